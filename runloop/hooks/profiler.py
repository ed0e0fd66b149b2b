"""Write a timeline of a run: where its time goes."""

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
    open it at ``ui.perfetto.dev`` or ``chrome://tracing``. It has a span for every op and for
    every hook's ``before_run`` and ``after_run``. The file is written after the last hook's
    ``after_run``, so that hooks later in the list are in it; if one of them fails, it is written
    when the next run begins or the session is closed.

    The first run only starts the interval. The interval is not in the checkpoint.

    Args:
        save_steps: Write every N steps.
        save_secs: Write every N seconds. Exactly one of the two must be given.
        output_dir: The folder, created if it does not exist; the working directory by default.
        show_dataflow: Draw an arrow from each op to the ops that read its results.
        show_memory: Add a counter of the result bytes that an op has still to read; results that
            no op reads count until the end of the run.

    Raises:
        ValueError: If not exactly one of ``save_steps`` and ``save_secs`` is given.
        RuntimeError: From ``begin``, if the graph has no global step.
        OSError: From ``begin``, if the folder can't be created; later, if a file can't be written.

    Extension points for subclasses: ``_output_file`` (``"<folder>/timeline-{}.json"``), ``_timer``,
    ``_save(step, save_path, step_stats)``.

    Traces the same runs and writes the same files as ``tf.train.ProfilerHook`` of TensorFlow 2.21,
    which has no spans of hooks and also writes to an event file.
    """

    # TensorFlow's hook does not have these: subclasses with their own __init__ find them here.
    _next_step: int | None = None
    _unwritten: tuple[int, Sequence[OpStats]] | None = None
    _hook_stats: Sequence[HookStats] = ()

    def __init__(
        self,
        save_steps: int | None = None,
        save_secs: float | None = None,
        output_dir: str | os.PathLike[str] = "",
        show_dataflow: bool = True,
        show_memory: bool = False,
    ) -> None:
        self._output_file = os.path.join(output_dir, "timeline-{}.json")
        self._show_dataflow = show_dataflow
        self._show_memory = show_memory
        self._timer = SecondOrStepTimer(every_secs=save_secs, every_steps=save_steps)

    @property
    def wants_hook_stats(self) -> bool:
        """Whether to trace the next run; the dispatcher then measures the hooks too."""
        return self._next_step is not None and self._timer.should_trigger_for_step(self._next_step)

    def begin(self) -> None:
        """Find the global step and create the folder."""
        self._next_step = None
        self._global_step_tensor = require_global_step("ProfilerHook")
        from pathlib import Path  # imported late: it slows the import of runloop

        make_folder(Path(self._output_file).parent, "timelines")

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Register the writing of a pending timeline, for every way out of the session."""
        if coord is not None:
            coord.callback(self._write)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Write a pending timeline; ask for a trace of this run if it is time."""
        self._request_summary = self.wants_hook_stats
        if self._unwritten is not None:
            self._write()
        options = RunOptions(trace_level=RunOptions.FULL_TRACE) if self._request_summary else None
        return RunArgs(self._global_step_tensor, options=options)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Keep the trace until the last hook is done."""
        stale_step = run_values.results
        if self._next_step is None:
            self._timer.update_last_triggered_step(stale_step)
        step = stale_step + 1
        if self._request_summary:
            step = run_context.session.run(self._global_step_tensor)
            self._timer.update_last_triggered_step(step)
            # Keep the lists, not the metadata: later hooks still append to hook_stats, and the
            # caller may pass the same metadata to the next run, which replaces both lists.
            metadata = run_values.run_metadata
            self._unwritten = int(step), metadata.step_stats
            self._hook_stats = metadata.hook_stats
            run_context.defer(self._write)
        self._next_step = step + 1

    def end(self, session: Any) -> None:
        """Write a pending timeline."""
        self._write()

    def _write(self) -> None:
        if self._unwritten is None:
            return
        step, step_stats = self._unwritten
        self._unwritten = None
        self._save(step, self._output_file.format(step), step_stats)

    def _save(self, step: int, save_path: str, step_stats: Sequence[OpStats]) -> None:
        """Write the timeline of one run. An extension point.

        Args:
            step: The global step after the run.
            save_path: The file.
            step_stats: The times of the ops.
        """
        import json  # imported late, like pathlib

        document = chrome_trace(
            step,
            step_stats,
            self._hook_stats,
            show_dataflow=self._show_dataflow,
            show_memory=self._show_memory,
        )
        _logger.info("Saving the timeline of step %d to %s", step, save_path)
        with open(save_path, "w", encoding="utf-8") as file:
            json.dump(document, file)
