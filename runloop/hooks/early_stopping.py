"""Stop when a metric gets no better, or is good enough."""

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
    """Requests a stop when a metric has got no better for some steps, or has passed a threshold.

    The four hooks of TensorFlow's estimator are, for a metric ``m``:

    ======================================  ====================================================
    ``stop_if_no_decrease_hook(.., m, n)``  ``EarlyStoppingHook(m, mode="min", patience_steps=n)``
    ``stop_if_no_increase_hook(.., m, n)``  ``EarlyStoppingHook(m, mode="max", patience_steps=n)``
    ``stop_if_lower_hook(.., m, x)``        ``EarlyStoppingHook(m, mode="min", threshold=x)``
    ``stop_if_higher_hook(.., m, x)``       ``EarlyStoppingHook(m, mode="max", threshold=x)``
    ======================================  ====================================================

    A metric belongs to the step before the run that it was fetched with. The best value and its
    step are in every checkpoint, so that a run that is started again stops where it would have
    stopped; started again after that, it makes one more run before it stops. NaN is never better
    than anything; from the first metric on the patience runs out.

    A metric that is too dear for every run comes from :class:`InMemoryEvaluatorHook`::

        evaluator = InMemoryEvaluatorHook(evaluate, every_n_iter=500)
        stopper = EarlyStoppingHook(lambda: evaluator.results, mode="max", patience_steps=2000)

    Args:
        metric: A fetch that gives a scalar, evaluated with every run.
        mode: ``"min"`` if lower is better, ``"max"`` if higher is.
        patience_steps: Stop once the best value is this many global steps old; ``None`` for no
            such limit.
        min_delta: By how much a value must exceed the best one to be better.
        min_steps: Metrics of earlier global steps are not looked at.
        threshold: Stop once the metric is below (``"min"``) or above (``"max"``) this; ``None``
            for no such limit. At least one of ``patience_steps`` and ``threshold`` must be given.

    Raises:
        ValueError: If ``mode`` is neither of the two, a number is out of range, or there is
            neither ``patience_steps`` nor ``threshold``.
        RuntimeError: From ``begin``, if the graph has no global step.
        TypeError: From ``after_run``, if the metric is no scalar.

    Follows ``stop_if_no_decrease_hook`` and its siblings of ``tf.estimator.experimental``,
    TensorFlow Estimator 2.15, with a fetch in place of evaluation results read from event files.
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
                "EarlyStoppingHook: give patience_steps= to stop when the metric gets no better, "
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

    @property
    def best(self) -> float | None:
        """The best value so far; ``None`` before the first that is not NaN."""
        return self._best

    @property
    def best_step(self) -> int | None:
        """The global step from which the patience counts: that of the best value."""
        return self._best_step

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and its step."""
        return {"best": self._best, "best_step": self._best_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        best, step = state["best"], state["best_step"]
        self._best = None if best is None else float(best)
        self._best_step = None if step is None else int(step)

    def begin(self) -> None:
        """Find the global step."""
        self._global_step_tensor = require_global_step("EarlyStoppingHook")
        # One tuple for all runs: the session then sees at a glance that it has the plan already.
        self._request = RunArgs((self._metric, self._global_step_tensor))

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the metric and the global step."""
        return self._request

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Request the stop, if it is time."""
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
            # A first value that is NaN starts the patience, but any number is better than it.
            self._best = None if math.isnan(value) else float(value)
        if self._threshold is not None and self._beyond(value, self._threshold):
            _logger.info(
                "%s = %g at global step %d has passed the threshold %g: requesting a stop",
                self._name,
                value,
                step,
                self._threshold,
            )
            run_context.request_stop()
        if self._patience_steps is not None and step - self._best_step >= self._patience_steps:
            _logger.info(
                "%s got no better than %s for %d steps, patience_steps is %d: requesting a stop "
                "at global step %d",
                self._name,
                self._best,
                step - self._best_step,
                self._patience_steps,
                step,
            )
            run_context.request_stop()

    def _better(self, value: float) -> bool:
        if self._best is None:
            return not math.isnan(value)
        return self._beyond(
            value,
            self._best + (self._min_delta if self._higher_is_better else -self._min_delta),
        )

    def _beyond(self, value: float, limit: float) -> bool:
        return value > limit if self._higher_is_better else value < limit
