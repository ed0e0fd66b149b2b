"""Write summary scalars at regular intervals."""

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
    """Writes scalars every N steps or seconds, beginning with the first run.

    Values fetched in a run are written under the global step after it. The interval is not in the
    checkpoint: the first run of each process is written.

    Args:
        save_steps: Write every N steps.
        save_secs: Write every N seconds. Give exactly one of the two.
        output_dir: Folder for the scalars, written by :func:`runloop.summary.default_writer`; used
            only without ``summary_writer``. With neither of them, nothing is written.
        summary_writer: A writer, which the caller closes.
        scaffold: A :class:`~runloop.Scaffold` whose ``summary_op`` is used; by default that is
            everything registered with ``graph.summary(tag, fetch)``.
        summary_op: ``{tag: fetch}``, a fetch that returns ``{tag: scalar}``, or a list of these.
            Give exactly one of ``scaffold`` and ``summary_op``.

    Raises:
        ValueError: If not exactly one of ``scaffold`` and ``summary_op``, or of ``save_steps`` and
            ``save_secs``, is given.
        RuntimeError: From ``begin``, if the graph has no global step.
        OSError: From ``begin``, if ``output_dir`` can't be created.
        TypeError: From ``after_run``, if a fetched summary is not a mapping, or one of its values
            is not a scalar.

    Extension points for subclasses: ``_request_summary`` (whether the current run is written),
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
        """Find the global step and create the writer."""
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = self._own_writer = default_writer(self._output_dir)
        self._next_step: int | None = None
        self._global_step_tensor = require_global_step("SummarySaverHook")

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Register the closing of the hook's own writer, for every way out of the session."""
        # The writer reopens at the next scalar, so a re-created session goes on with it.
        if self._own_writer is not None and coord is not None:
            coord.callback(self._own_writer.close)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the global step and, if this run is written, the scalars."""
        self._request_summary = self._next_step is None or self._timer.should_trigger_for_step(
            self._next_step
        )
        if not self._request_summary:
            return RunArgs(self._global_step_tensor)
        summary_op = self._get_summary_op()
        summaries = [] if summary_op is None else summary_op
        return RunArgs({"global_step": self._global_step_tensor, "summary": summaries})

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Write the scalars if this run is written."""
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
        """Return the fetches as a list, or ``None`` for nothing. An extension point."""
        summary_op = self._summary_op
        if summary_op is None:
            summary_op = self._scaffold.summary_op
        if summary_op is None or isinstance(summary_op, list):
            return summary_op
        return [summary_op]
