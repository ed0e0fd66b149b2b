"""Where the time of a run goes."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from runloop.hooks._shared import require_global_step
from runloop.hooks._timeline import chrome_trace
from runloop.hooks.base import SessionRunHook
from runloop.run import HookStats, OpStats, RunArgs, RunContext, RunOptions, RunValues
from runloop.summary.writer import make_folder
from runloop.timers import SecondOrStepTimer

__all__ = ["ProfilerHook"]

_logger = logging.getLogger(__name__)


class ProfilerHook(SessionRunHook):
    """Writes a timeline of one run every N steps or seconds.

    ``timeline-<step>.json``, named by the global step after the run, is in Chrome's trace format:
    open it at ``ui.perfetto.dev`` or ``chrome://tracing``. It has a span for every op, and one
    for every hook's ``before_run`` and ``after_run``. The hooks that come later in the list are
    not done yet when this one is called, so the file is written after the last of them; if one of
    them fails, when the next run begins or the session is closed.

    The first run only starts the interval, which is not kept over a restart.

    Args:
        save_steps: Write every N steps.
        save_secs: Write every N seconds. Exactly one of the two must be given.
        output_dir: The folder, made if it is not there; the current one by default.
        show_dataflow: Whether arrows lead from each op to the ops that read its results.
        show_memory: Whether a counter shows how many bytes of results wait for an op that reads
            them; results that no op reads stay to the end of the run.

    Raises:
        ValueError: If not exactly one of ``save_steps`` and ``save_secs`` is given.
        RuntimeError: From ``begin``, if the graph has no global step.
        OSError: From ``begin``, if the folder can't be made; and when a file can't be written.

    Follows ``tf.train.ProfilerHook`` of TensorFlow 2.21 in when it traces and what it writes;
    that one knows no spans of hooks, and writes to an event file as well.
    """

    def __init__(
        self,
        save_steps: int | None = None,
        save_secs: float | None = None,
        output_dir: str | os.PathLike[str] = "",
        show_dataflow: bool = True,
        show_memory: bool = False,
    ) -> None:
        from pathlib import Path  # only who profiles pays for the import

        self._output_dir = Path(output_dir)
        self._show_dataflow = show_dataflow
        self._show_memory = show_memory
        self._timer = SecondOrStepTimer(every_secs=save_secs, every_steps=save_steps)
        self._next_step: int | None = None
        self._unwritten: tuple[int, Sequence[OpStats], Sequence[HookStats]] | None = None

    @property
    def wants_hook_stats(self) -> bool:
        """Whether the coming run is to be traced; the times of hooks are then taken, too."""
        return self._next_step is not None and self._timer.should_trigger_for_step(self._next_step)

    def begin(self) -> None:
        """Find the global step and make the folder."""
        self._next_step = None
        self._global_step_tensor = require_global_step("ProfilerHook")
        make_folder(self._output_dir, "timelines")

    def after_create_session(self, session: Any, coord: Any) -> None:
        """See to it that a timeline is written, whichever way the session is left."""
        if coord is not None:
            coord.callback(self._write)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Write the timeline of the run before; ask that this run is traced, if it is time."""
        self._request_summary = self.wants_hook_stats
        if self._unwritten is not None:
            self._write()
        options = RunOptions(trace_level=RunOptions.FULL_TRACE) if self._request_summary else None
        return RunArgs(self._global_step_tensor, options=options)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Keep what was traced."""
        stale_step = run_values.results
        if self._next_step is None:
            self._timer.update_last_triggered_step(stale_step)
        step = stale_step + 1
        if self._request_summary:
            step = run_context.session.run(self._global_step_tensor)
            self._timer.update_last_triggered_step(step)
            # The lists themselves: the hooks still to come add to one of them, and whoever gave
            # the metadata may give it to the next run, which puts new ones in their place.
            metadata = run_values.run_metadata
            self._unwritten = int(step), metadata.step_stats, metadata.hook_stats
            run_context.defer(self._write)
        self._next_step = step + 1

    def end(self, session: Any) -> None:
        """Write the timeline of the last run, if it was traced."""
        self._write()

    def _write(self) -> None:
        if self._unwritten is None:
            return
        import json  # as pathlib

        step, step_stats, hook_stats = self._unwritten
        self._unwritten = None
        path = self._output_dir / f"timeline-{step}.json"
        document = chrome_trace(
            step,
            step_stats,
            hook_stats,
            show_dataflow=self._show_dataflow,
            show_memory=self._show_memory,
        )
        _logger.info("saving the timeline of step %d: %s", step, path)
        with path.open("w", encoding="utf-8") as file:
            json.dump(document, file)
