"""Evaluate during training, in the same process and without a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runloop.hooks.base import SessionRunHook
from runloop.run import RunContext, RunValues
from runloop.timers import SecondOrStepTimer

__all__ = ["InMemoryEvaluatorHook"]


class InMemoryEvaluatorHook(SessionRunHook):
    """Calls a function of the session before the first run, every N runs, and at the end.

        evaluator = InMemoryEvaluatorHook(lambda session: session.run("test_accuracy"))

    It also evaluates after a restart and after a recovery, because it does so each time a session
    is created. Runs are counted from ``begin``; the count is not in the checkpoint. List it before
    a hook that reads :attr:`results`.

    Args:
        evaluate: Called with the session below the hooks, whose ``run`` calls no hooks. Its
            return value is kept as :attr:`results`.
        every_n_iter: Evaluate every N runs, 100 by default.

    Raises:
        ValueError: If ``every_n_iter`` is ``None`` or less than 1.
        TypeError: If ``evaluate`` is not callable.

    Evaluates at the same moments as ``tf.estimator.experimental.InMemoryEvaluatorHook`` of
    TensorFlow Estimator 2.15, but calls a function instead of an estimator.
    """

    def __init__(self, evaluate: Callable[[Any], Any], every_n_iter: int = 100) -> None:
        if every_n_iter is None or every_n_iter <= 0:
            raise ValueError(f"invalid every_n_iter={every_n_iter}.")
        if not callable(evaluate):
            raise TypeError(
                f"InMemoryEvaluatorHook: evaluate must be a function of the session, "
                f"got {evaluate!r}"
            )
        self._evaluate_fn = evaluate
        self._timer = SecondOrStepTimer(every_steps=every_n_iter)
        self._results: Any = None

    @property
    def results(self) -> Any:
        """The result of the last evaluation; ``None`` before the first."""
        return self._results

    def begin(self) -> None:
        """Reset the count of runs."""
        self._iter_count = 0  # the first evaluation restarts the timer

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Evaluate before the first run."""
        self._evaluate(session)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Evaluate every ``every_n_iter`` runs."""
        self._iter_count += 1
        if self._timer.should_trigger_for_step(self._iter_count):
            self._evaluate(run_context.session)

    def end(self, session: Any) -> None:
        """Evaluate the final state."""
        self._evaluate(session)

    def _evaluate(self, session: Any) -> None:
        self._results = self._evaluate_fn(session)
        self._timer.update_last_triggered_step(self._iter_count)
