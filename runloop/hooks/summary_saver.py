"""Save scalars now and then."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from runloop.hooks._shared import require_global_step
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues
from runloop.summary import SummaryWriter, default_writer
from runloop.timers import SecondOrStepTimer

__all__ = ["SummarySaverHook"]


class SummarySaverHook(SessionRunHook):
    """Writes scalars every N steps or seconds, the first time after the first run.

    The values are those of the run itself, and are written under the global step after it. The
    interval is not kept over a restart: the first run of a new process is written.

    Args:
        save_steps: Write every N steps.
        save_secs: Write every N seconds. Exactly one of the two must be given.
        output_dir: Where to write, by :func:`runloop.summary.default_writer`, if there is no
            ``summary_writer``. With neither, nothing is written.
        summary_writer: A writer; it belongs to the caller, who closes it.
        scaffold: Takes ``summary_op`` from this :class:`~runloop.Scaffold`, which by default has
            what ``graph.summary(tag, fetch)`` registered.
        summary_op: ``{tag: fetch}``, a fetch that gives ``{tag: scalar}``, or a list of these.
            Exactly one of ``scaffold`` and ``summary_op`` must be given.

    Raises:
        ValueError: If ``scaffold`` and ``summary_op``, or ``save_steps`` and ``save_secs``, are
            both given or both not.
        RuntimeError: From ``begin``, if the graph has no global step.
        OSError: From ``begin``, if ``output_dir`` can't be made.
        TypeError: From ``after_run``, if what was fetched is no mapping, or a value no scalar.

    Extension points for subclasses: ``_request_summary`` (whether the present run is written),
    ``_get_summary_op()``, ``_summary_writer``, ``_timer``.

    Follows ``tf.train.SummarySaverHook`` of TensorFlow 2.21, with scalars in place of protocol
    buffers.
    """

    def __init__(
        self,
        save_steps: int | None = None,
        save_secs: float | None = None,
        output_dir: str | os.PathLike[str] | None = None,
        summary_writer: SummaryWriter | None = None,
        scaffold: Any = None,
        summary_op: Any = None,
    ) -> None:
        if (scaffold is None) == (summary_op is None):
            raise ValueError("Exactly one of scaffold or summary_op must be provided.")
        self._summary_op = summary_op
        self._summary_writer = summary_writer
        self._own_writer: SummaryWriter | None = None
        self._output_dir = output_dir
        self._scaffold = scaffold
        self._timer = SecondOrStepTimer(every_secs=save_secs, every_steps=save_steps)

    def begin(self) -> None:
        """Find the global step and make the writer."""
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = self._own_writer = default_writer(self._output_dir)
        self._next_step: int | None = None
        self._global_step_tensor = require_global_step("SummarySaverHook")

    def after_create_session(self, session: Any, coord: Any) -> None:
        """See to it that the hook's own writer is closed, whichever way the session is left."""
        # It opens again at the next scalar: a session that is made anew goes on with it.
        if self._own_writer is not None and coord is not None:
            coord.callback(self._own_writer.close)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the global step and, if this run is to be written, the scalars."""
        self._request_summary = self._next_step is None or self._timer.should_trigger_for_step(
            self._next_step
        )
        if not self._request_summary:
            return RunArgs(self._global_step_tensor)
        summary_op = self._get_summary_op()
        summaries = [] if summary_op is None else summary_op
        return RunArgs({"global_step": self._global_step_tensor, "summary": summaries})

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Write them."""
        writer = self._summary_writer
        if writer is None:
            return
        if not self._request_summary:
            step = run_values.results + 1
        else:
            step = run_context.session.run(self._global_step_tensor)
            self._timer.update_last_triggered_step(step)
            for summary in run_values.results["summary"]:
                if not isinstance(summary, Mapping):
                    raise TypeError(
                        f"SummarySaverHook: summary_op must give {{tag: scalar}}, got {summary!r}"
                    )
                for tag, value in summary.items():
                    writer.add_scalar(tag, value, step)
        self._next_step = step + 1

    def end(self, session: Any) -> None:
        """Flush the writer."""
        if self._summary_writer is not None:
            self._summary_writer.flush()

    def _get_summary_op(self) -> list[Any] | None:
        """Return what to fetch, as a list; ``None`` where there is nothing. An extension point."""
        summary_op = self._summary_op
        if summary_op is None:
            summary_op = self._scaffold.summary_op
        if summary_op is None or isinstance(summary_op, list):
            return summary_op
        return [summary_op]
