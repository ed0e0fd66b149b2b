"""Log and record steps per second."""

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
    """Logs and records the number of global steps per second.

        global_step/sec: 12.3

    The first run only starts the count. If a train op increments by more than 1, an interval may
    end one run late, as in TensorFlow. The line goes to the logger ``runloop.hooks.step_counter``
    at level ``INFO``; the scalar has the same tag. The first five runs that do not increase the
    global step log a warning. Nothing is kept over a restart, so the time between two processes
    never counts.

    Args:
        every_n_steps: Count over this many steps, 100 by default.
        every_n_secs: Count over this many seconds; set ``every_n_steps=None`` then.
        output_dir: Folder for the scalars, written by :func:`runloop.summary.default_writer`; used
            only without ``summary_writer``. ``None`` writes nothing.
        summary_writer: A writer, which the caller closes.

    Raises:
        ValueError: If not exactly one of ``every_n_steps`` and ``every_n_secs`` is given.
        RuntimeError: From ``begin``, if the graph has no global step.
        OSError: From ``begin``, if ``output_dir`` can't be created.

    Extension points for subclasses: ``_log_and_record(elapsed_steps, elapsed_time,
    global_step)``, ``_summary_writer`` (``None`` if nothing is written), ``_timer``,
    ``_steps_per_run``, ``_set_steps_per_run(steps_per_run)``.

    Follows ``tf.train.StepCounterHook`` of TensorFlow 2.21.
    """

    _steps_per_run = 1

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

    def _set_steps_per_run(self, steps_per_run: int) -> None:
        """Say how many steps a run makes, 1 by default, so that no interval ends a run late."""
        self._steps_per_run = steps_per_run

    def begin(self) -> None:
        """Find the global step and create the writer."""
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = self._own_writer = default_writer(self._output_dir)
        self._global_step_tensor = require_global_step("StepCounterHook")
        self._summary_tag = f"{self._global_step_tensor.name}/sec"

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Register the closing of the hook's own writer, for every way out of the session."""
        # The writer reopens at the next scalar, so a re-created session goes on with it.
        if self._own_writer is not None and coord is not None:
            coord.callback(self._own_writer.close)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the global step."""
        return RunArgs(self._global_step_tensor)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Log and record at the end of each interval."""
        stale_step = run_values.results
        if self._timer.should_trigger_for_step(stale_step + self._steps_per_run):
            step = run_context.session.run(self._global_step_tensor)
            # The run may not have trained, so ask the timer again with the actual step.
            if self._timer.should_trigger_for_step(step):
                elapsed_time, elapsed_steps = self._timer.update_last_triggered_step(step)
                if elapsed_time is not None and elapsed_steps is not None:
                    self._log_and_record(elapsed_steps, elapsed_time, step)
        if stale_step == self._last_global_step and self._warnings_left:
            self._warnings_left -= 1
            _logger.warning(
                "The global step did not increase: %s before this run, %s before the last one; "
                "only runs of a train_op count as steps",
                stale_step,
                self._last_global_step,
            )
        self._last_global_step = stale_step

    def _log_and_record(self, elapsed_steps: int, elapsed_time: float, global_step: int) -> None:
        """Write and log steps per second. An extension point.

        Args:
            elapsed_steps: Steps in this interval.
            elapsed_time: Seconds in this interval.
            global_step: The current step.
        """
        per_sec = elapsed_steps / elapsed_time if elapsed_time else math.inf
        if self._summary_writer is not None:
            self._summary_writer.add_scalar(self._summary_tag, per_sec, global_step)
        _logger.info("%s: %g", self._summary_tag, per_sec)
