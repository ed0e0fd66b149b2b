"""Stop when a metric stops improving or reaches a threshold."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from runloop.hooks._shared import label, require_global_step
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues
from runloop.summary.writer import scalar

__all__ = ["EarlyStoppingHook"]

_logger = logging.getLogger(__name__)


class EarlyStoppingHook(SessionRunHook):
    """Requests a stop when a metric has not improved for some steps, or has passed a threshold.

    It replaces four hooks of TensorFlow's estimator. For a metric ``m``:

    ======================================  ====================================================
    ``stop_if_no_decrease_hook(.., m, n)``  ``EarlyStoppingHook(m, mode="min", patience_steps=n)``
    ``stop_if_no_increase_hook(.., m, n)``  ``EarlyStoppingHook(m, mode="max", patience_steps=n)``
    ``stop_if_lower_hook(.., m, x)``        ``EarlyStoppingHook(m, mode="min", threshold=x)``
    ``stop_if_higher_hook(.., m, x)``       ``EarlyStoppingHook(m, mode="max", threshold=x)``
    ======================================  ====================================================

    A metric counts for the global step before the run that fetched it. The best value and its
    step are in every checkpoint, so a restarted run stops where the first one would have stopped.
    Started again after that, it is finished: the hook requests the stop in
    ``after_create_session``, before any run, unless the new ``patience_steps`` or ``threshold``
    would not have stopped there. NaN never counts as an improvement, but the patience starts at
    the first metric, NaN or not.

    Take a metric that is too expensive for every run from :class:`InMemoryEvaluatorHook`::

        evaluator = InMemoryEvaluatorHook(evaluate, every_n_iter=500)
        stopper = EarlyStoppingHook(lambda: evaluator.results, mode="max", patience_steps=2000)

    Args:
        metric: A fetch that returns a scalar, evaluated in every run.
        mode: ``"min"`` if lower is better, ``"max"`` if higher is.
        patience_steps: Stop once the best value is this many global steps old; ``None`` never
            stops for lack of improvement.
        min_delta: A value must beat the best one by more than this to count as an improvement.
        min_steps: Ignore metrics of global steps before this one.
        threshold: Stop once the metric is below (``"min"``) or above (``"max"``) this; ``None``
            never stops for a good value. Give ``patience_steps``, ``threshold``, or both.

    Raises:
        ValueError: If ``mode`` is something else, a number is out of range, or neither
            ``patience_steps`` nor ``threshold`` is given.
        RuntimeError: From ``begin``, if the graph has no global step.
        TypeError: From ``after_run``, if the metric is not a scalar.

    Follows ``stop_if_no_decrease_hook`` and its siblings of ``tf.estimator.experimental``,
    TensorFlow Estimator 2.15, which read evaluation results from event files instead of a fetch.
    """

    def __init__(
        self,
        metric: Any,
        *,
        mode: str,
        patience_steps: int | None = None,
        min_delta: float = 0.0,
        min_steps: int = 0,
        threshold: float | None = None,
    ) -> None:
        if mode not in {"min", "max"}:
            raise ValueError(f"EarlyStoppingHook: mode must be 'min' or 'max', got {mode!r}")
        if patience_steps is None and threshold is None:
            raise ValueError(
                "EarlyStoppingHook: give patience_steps= to stop when the metric stops improving, "
                "threshold= to stop when it is good enough, or both"
            )
        if patience_steps is not None and patience_steps < 1:
            raise ValueError(
                f"EarlyStoppingHook: patience_steps must be at least 1, got {patience_steps!r}"
            )
        if not min_delta >= 0:
            raise ValueError(f"EarlyStoppingHook: min_delta must be at least 0, got {min_delta!r}")
        self._metric = metric
        self._name = label(metric)
        self._higher_is_better = mode == "max"
        self._patience_steps = patience_steps
        self._min_delta = min_delta
        self._min_steps = min_steps
        self._threshold = threshold
        self._best: float | None = None
        self._best_step: int | None = None
        self._stopped_at: tuple[int, float] | None = None  # the step and metric of the request

    @property
    def best(self) -> float | None:
        """The best value so far; ``None`` while every value was NaN."""
        return self._best

    @property
    def best_step(self) -> int | None:
        """The global step of the best value, from which the patience is counted."""
        return self._best_step

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, its step, and the (step, metric) at which it requested a stop."""
        stopped_at = None if self._stopped_at is None else list(self._stopped_at)
        return {"best": self._best, "best_step": self._best_step, "stopped_at": stopped_at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        best, step = state["best"], state["best_step"]
        self._best = None if best is None else float(best)
        self._best_step = None if step is None else int(step)
        stopped_at = state.get("stopped_at")  # missing in checkpoints of older versions
        self._stopped_at = (
            None if stopped_at is None else (int(stopped_at[0]), float(stopped_at[1]))
        )

    def begin(self) -> None:
        """Find the global step."""
        self._global_step_tensor = require_global_step("EarlyStoppingHook")
        # The same tuple for every run lets the session find its plan by identity.
        self._request = RunArgs((self._metric, self._global_step_tensor))

    def is_finished(self, session: Any) -> bool:
        """Return whether the restored run had stopped, and would stop with these arguments too."""
        return self._stopped_at is not None and bool(self._reasons(*self._stopped_at))

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Request a stop if the training is finished."""
        if self.is_finished(session):
            if coord is not None:
                coord.request_stop()
        else:
            self._stopped_at = None

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the metric and the global step."""
        return self._request

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Request a stop if the metric is good enough or has not improved for too long."""
        metric, stale_step = run_values.results
        step = int(stale_step)
        if step < self._min_steps:
            return
        if isinstance(metric, float):  # np.float64 among them
            value = metric
        else:
            value = float(scalar(f"EarlyStoppingHook: the metric {self._name!r}", metric))
        if self._best_step is None or self._better(value):
            self._best_step = step
            # A NaN as the first value starts the patience, but any number is an improvement.
            self._best = None if math.isnan(value) else float(value)
        for reason in self._reasons(step, value):
            _logger.info("%s", reason)
            self._stopped_at = (step, value)
            run_context.request_stop()

    def _reasons(self, step: int, value: float) -> list[str]:
        """Return why to stop at ``step``, where the metric is ``value``; empty to go on."""
        reasons = []
        if self._threshold is not None and self._beyond(value, self._threshold):
            reasons.append(
                f"{self._name} = {value:g} at global step {step} has passed the threshold "
                f"{self._threshold:g}: requesting a stop"
            )
        if self._patience_steps is not None and self._best_step is not None:
            waited = step - self._best_step
            if waited >= self._patience_steps:
                reasons.append(
                    f"{self._name} did not improve on {self._best} for {waited} steps, "
                    f"patience_steps is {self._patience_steps}: requesting a stop at global step "
                    f"{step}"
                )
        return reasons

    def _better(self, value: float) -> bool:
        if self._best is None:
            return not math.isnan(value)
        return self._beyond(
            value,
            self._best + (self._min_delta if self._higher_is_better else -self._min_delta),
        )

    def _beyond(self, value: float, limit: float) -> bool:
        return value > limit if self._higher_is_better else value < limit
