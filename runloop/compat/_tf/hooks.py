"""The stock hooks under TensorFlow's names.

They are runloop's hooks. What differs is what subclasses see and use: ``_global_step_tensor`` is a
handle, the writer is the process's one :class:`FileWriter` for the folder, summaries are bytes, and
timers read ``time.time``.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

from runloop import hooks, timers
from runloop.compat._tf import clock
from runloop.compat._tf.graphs import as_graph_element, get_or_create_global_step_read
from runloop.compat._tf.protos import SessionLog
from runloop.compat._tf.writer import FileWriterCache
from runloop.run import RunArgs, RunContext, RunValues
from runloop.summary import SummaryWriter

__all__ = [
    "CheckpointSaverHook",
    "GlobalStepWaiterHook",
    "LoggingTensorHook",
    "ProfilerHook",
    "SecondOrStepTimer",
    "StepCounterHook",
    "StopAtStepHook",
    "SummarySaverHook",
]


@clock.timed_by_wall_clock
class SecondOrStepTimer(timers.SecondOrStepTimer):
    """:class:`runloop.SecondOrStepTimer` that reads ``time.time``, which tests may replace.

    Follows ``tf.compat.v1.train.SecondOrStepTimer`` of TensorFlow 2.21.
    """


class StopAtStepHook(hooks.StopAtStepHook):
    """:class:`runloop.StopAtStepHook`; ``_global_step_tensor`` is a handle.

    As in TensorFlow, a session that is restored at its last step makes one more run.
    """

    def begin(self) -> None:
        """Find the global step."""
        super().begin()
        self._global_step_tensor: Any = get_or_create_global_step_read()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Work out the last step from ``num_steps``."""
        if self._last_step is None:
            self._last_step = session.run(self._global_step_tensor) + self._num_steps

    def is_finished(self, session: Any) -> bool:
        """Return ``False``: the hook looks at the step only after a run."""
        return False


@clock.timed_by_wall_clock
class LoggingTensorHook(hooks.LoggingTensorHook):
    """:class:`runloop.LoggingTensorHook`; ``_current_tensors`` are handles."""

    def begin(self) -> None:
        """Look up what is to be logged.

        Raises:
            KeyError: If the graph has nothing of one of the names.
            ValueError: If one of the tensors belongs to another graph.
        """
        super().begin()
        self._current_tensors = {
            tag: as_graph_element(tensor) for tag, tensor in self._tensors.items()
        }


@clock.timed_by_wall_clock
class StepCounterHook(hooks.StepCounterHook):
    """:class:`runloop.StepCounterHook`; ``_summary_writer`` is the folder's ``FileWriter``."""

    # Attributes that TensorFlow's hook does not have: subclasses that skip __init__ find them here.
    # The same below.
    _own_writer = None
    _warnings_left = 5
    _summary_writer: SummaryWriter | None

    def begin(self) -> None:
        """Find the global step and the writer."""
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = FileWriterCache.get(self._output_dir)
        super().begin()
        self._global_step_tensor: Any = get_or_create_global_step_read()


@clock.timed_by_wall_clock
class SummarySaverHook(hooks.SummarySaverHook):
    """:class:`runloop.SummarySaverHook` that also writes ``Summary`` messages and their bytes."""

    _own_writer = None

    def begin(self) -> None:
        """Find the global step and the writer."""
        if self._summary_writer is None and self._output_dir:
            self._summary_writer = FileWriterCache.get(self._output_dir)
        super().begin()
        self._global_step_tensor: Any = get_or_create_global_step_read()

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Fetch the global step and, if the timer fires in this run, the summaries."""
        self._request_summary = self._next_step is None or self._timer.should_trigger_for_step(
            self._next_step
        )
        requests: dict[str, Any] = {"global_step": self._global_step_tensor}
        summary_op = self._get_summary_op() if self._request_summary else None
        if summary_op is not None:
            requests["summary"] = summary_op
        return RunArgs(requests)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Write the summaries: bytes, ``Summary`` messages or mappings of tag to scalar."""
        writer: Any = self._summary_writer
        if writer is None:
            return
        results = run_values.results
        step = results["global_step"] + 1
        if self._request_summary:
            step = run_context.session.run(self._global_step_tensor)
            if self._next_step is None and hasattr(writer, "add_session_log"):
                writer.add_session_log(SessionLog(status=SessionLog.START), step)
            self._timer.update_last_triggered_step(step)
            for summary in results.get("summary", ()):
                if hasattr(writer, "add_summary"):
                    writer.add_summary(summary, step)
                else:
                    for tag, value in summary.items():
                        writer.add_scalar(tag, value, step)
        self._next_step = step + 1


@clock.timed_by_wall_clock
class CheckpointSaverHook(hooks.CheckpointSaverHook):
    """:class:`runloop.CheckpointSaverHook` that also notes each checkpoint in the event file."""

    def begin(self) -> None:
        """Find the global step and the writer, and let the listeners add to the graph."""
        self._summary_writer: Any = FileWriterCache.get(self._checkpoint_dir)
        super().begin()
        self._global_step_tensor: Any = get_or_create_global_step_read()

    def _announce(self, session: Any, step: Any) -> bool:
        log = SessionLog(status=SessionLog.CHECKPOINT, checkpoint_path=self._save_path)
        self._summary_writer.add_session_log(log, step)
        return super()._announce(session, step)


@clock.timed_by_wall_clock
class GlobalStepWaiterHook(hooks.GlobalStepWaiterHook):
    """:class:`runloop.GlobalStepWaiterHook`; ``_global_step_tensor`` is a handle."""

    def begin(self) -> None:
        """Find the global step."""
        super().begin()
        self._global_step_tensor: Any = get_or_create_global_step_read()


@clock.timed_by_wall_clock
class ProfilerHook(hooks.ProfilerHook):
    """:class:`runloop.ProfilerHook`; ``_file_writer`` is the folder's, which gets no timelines."""

    @cached_property
    def _file_writer(self) -> Any:
        # Opened when a subclass asks for it: the hook itself writes no event file.
        return FileWriterCache.get(os.path.dirname(self._output_file) or ".")

    def begin(self) -> None:
        """Find the global step and make the folder."""
        super().begin()
        self._global_step_tensor: Any = get_or_create_global_step_read()
