"""Steps per second."""

from __future__ import annotations

import logging
import math
import os
from typing import Any

from runloop.hooks._shared import require_global_step
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues
from runloop.summary import SummaryWriter, default_writer
from runloop.timers import SecondOrStepTimer

__all__ = ["StepCounterHook"]

_logger = logging.getLogger(__name__)


class StepCounterHook(SessionRunHook):
    """Logs and records how many steps are made in a second.

        global_step/sec: 12.3

    The first run only starts the count. Where a train op's increment is larger than 1, an interval
    may end a run late, as in TensorFlow. The line goes to the logger
    ``runloop.hooks.step_counter`` at level ``INFO``; the scalar is written under the same tag.
    The first five runs that leave the global step where it was are warned of. Nothing is kept
    over a restart: the time that a program was not running is in no figure.

    Args:
        every_n_steps: Count over this many steps, 100 by default.
        every_n_secs: Count over this many seconds; ``every_n_steps`` must be ``None`` then.
        output_dir: Where to write the scalar, by :func:`runloop.summary.default_writer`, if there
            is no ``summary_writer``. ``None`` writes nothing.
        summary_writer: A writer; it belongs to the caller, who closes it.

    Raises:
        ValueError: If not exactly one of ``every_n_steps`` and ``every_n_secs`` is given.
        RuntimeError: From ``begin``, if the graph has no global step.
        OSError: From ``begin``, if ``output_dir`` can't be made.

    Extension points for subclasses: ``_log_and_record(elapsed_steps, elapsed_time,
    global_step)``, ``_summary_writer`` (``None`` where nothing is written), ``_timer``.

    Follows ``tf.train.StepCounterHook`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        every_n_steps: int | None = 100,
        every_n_secs: float | None = None,
        output_dir: str | os.PathLike[str] | None = None,
        summary_writer: SummaryWriter | None = None,
    ) -> None:
        if (every_n_steps is None) == (every_n_secs is None):
            raise ValueError("exactly one of every_n_steps and every_n_secs should be provided.")
        self._timer = SecondOrStepTimer(every_steps=every_n_steps, every_secs=every_n_secs)
        self._summary_writer = summary_writer
        self._own_writer: SummaryWriter | None = None
        self._output_dir = output_dir
        self._last_global_step: Any = None
        self._warnings_left = 5

    def begin(self) -> None:
        """Find the global step and make the writer."""
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = self._own_writer = default_writer(self._output_dir)
        self._global_step_tensor = require_global_step("StepCounterHook")
        self._summary_tag = f"{self._global_step_tensor.name}/sec"

    def after_create_session(self, session: Any, coord: Any) -> None:
        """See to it that the hook's own writer is closed, whichever way the session is left."""
        # It opens again at the next scalar: a session that is made anew goes on with it.
        if self._own_writer is not None and coord is not None:
            coord.callback(self._own_writer.close)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the global step."""
        return RunArgs(self._global_step_tensor)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Log and record, if the interval is over."""
        stale_step = run_values.results
        if self._timer.should_trigger_for_step(stale_step + 1):
            step = run_context.session.run(self._global_step_tensor)
            # The run may not have been a training step: the timer has the last word on the
            # step that really is.
            if self._timer.should_trigger_for_step(step):
                elapsed_time, elapsed_steps = self._timer.update_last_triggered_step(step)
                if elapsed_time is not None and elapsed_steps is not None:
                    self._log_and_record(elapsed_steps, elapsed_time, step)
        if stale_step == self._last_global_step and self._warnings_left:
            self._warnings_left -= 1
            _logger.warning(
                "the global step did not grow: %s before this run, %s before the last one; "
                "steps per second count runs of a train_op",
                stale_step,
                self._last_global_step,
            )
        self._last_global_step = stale_step

    def _log_and_record(self, elapsed_steps: int, elapsed_time: float, global_step: int) -> None:
        """Write and log steps per second. An extension point.

        Args:
            elapsed_steps: Steps since the last time.
            elapsed_time: Seconds since the last time.
            global_step: The present step.
        """
        per_sec = elapsed_steps / elapsed_time if elapsed_time else math.inf
        if self._summary_writer is not None:
            self._summary_writer.add_scalar(self._summary_tag, per_sec, global_step)
        _logger.info("%s: %g", self._summary_tag, per_sec)
