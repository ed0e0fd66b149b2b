"""The hooks that TensorFlow's evaluation loops use."""

from __future__ import annotations

from typing import Any

from runloop.compat._tf import logging
from runloop.compat._tf.graphs import get_or_create_global_step
from runloop.compat._tf.summaries import merge_all
from runloop.compat._tf.writer import FileWriterCache
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues

__all__ = ["StopAfterNEvalsHook", "SummaryAtEndHook"]


class StopAfterNEvalsHook(SessionRunHook):
    """Counts evaluations, logs the count, and requests a stop at a number of them.

    The counter is a fetch that gives the number of evaluations after the run.
    :meth:`_set_evals_completed_tensor` must set it before the session is created.

    Args:
        num_evals: The number to stop at; ``None`` to go on until the data is exhausted.
        log_progress: Whether to log: each evaluation, or about ten times if there are 20 or more.

    Follows ``_StopAfterNEvalsHook`` of TensorFlow 2.21's ``tensorflow.python.training.evaluation``.
    """

    def __init__(self, num_evals: int | None, log_progress: bool = True) -> None:
        self._num_evals = num_evals
        self._evals_completed: Any = None
        self._log_progress = log_progress
        self._log_frequency = 1 if num_evals is None or num_evals < 20 else num_evals // 10

    def _set_evals_completed_tensor(self, updated_eval_step: Any) -> None:
        """Set the counter. An extension point."""
        self._evals_completed = updated_eval_step

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the counter."""
        return RunArgs({"evals_completed": self._evals_completed})

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Log the count, and request the stop if it is reached."""
        done, wanted = run_values.results["evals_completed"], self._num_evals
        if self._log_progress and (done % self._log_frequency == 0 or done == wanted):
            of = "" if wanted is None else f"/{wanted}"
            logging.info("Evaluation [%d%s]", done, of)
        if wanted is not None and done >= wanted:
            run_context.request_stop()


class SummaryAtEndHook(SessionRunHook):
    """Writes summaries once, when the session ends.

    Args:
        log_dir: The folder; its :class:`FileWriter` is used.
        summary_writer: A writer, instead of ``log_dir``.
        summary_op: The summaries, ``merge_all()`` if ``None``.
        feed_dict: What to feed when they are computed.

    Raises:
        ValueError: If neither ``log_dir`` nor ``summary_writer`` is given.

    Follows ``SummaryAtEndHook`` of TensorFlow 1.15's ``tf.contrib.training``.
    """

    def __init__(
        self,
        log_dir: str | None = None,
        summary_writer: Any = None,
        summary_op: Any = None,
        feed_dict: Any = None,
    ) -> None:
        if log_dir is None and summary_writer is None:
            raise ValueError("One of log_dir or summary_writer should be used.")
        self._summary_op = summary_op
        self._replace_summary_op = summary_op is None
        self._feed_dict = feed_dict
        self._summary_writer = summary_writer
        self._log_dir = log_dir
        self._global_step: Any = None

    def begin(self) -> None:
        """Find the summaries and the global step."""
        if self._replace_summary_op:
            self._summary_op = merge_all()
        self._global_step = get_or_create_global_step()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Find the folder's writer."""
        if self._summary_writer is None:
            self._summary_writer = FileWriterCache.get(str(self._log_dir))

    def end(self, session: Any) -> None:
        """Write the summaries at the current step, and flush the writer."""
        if self._summary_op is not None:
            step = session.run(self._global_step)
            self._summary_writer.add_summary(session.run(self._summary_op, self._feed_dict), step)
        self._summary_writer.flush()
