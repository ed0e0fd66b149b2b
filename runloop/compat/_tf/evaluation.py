"""The hook that TensorFlow's evaluation loops use."""

from __future__ import annotations

from typing import Any

from runloop.compat._tf import logging
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues

__all__ = ["StopAfterNEvalsHook"]


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
