"""Log values at regular intervals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from runloop.hooks._shared import check_late_fetches, label
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues
from runloop.timers import NeverTriggerTimer, SecondOrStepTimer

__all__ = ["LoggingTensorHook"]

_logger = logging.getLogger(__name__)


class LoggingTensorHook(SessionRunHook):
    """Logs values every N runs, every N seconds, or at the end.

        loss = 0.5, step = 100 (1.234 sec)

    The lines go to the logger ``runloop.hooks.logging_tensor`` at level ``INFO``; call
    ``logging.basicConfig(level=logging.INFO)`` to see them. The seconds are the time since the
    previous line; the first line shows none. The first run is logged. Runs are counted from
    ``begin``; the count is not in the checkpoint. Variables show their values from before the run,
    so a logged ``global_step`` is the step before it.

    Args:
        tensors: ``{tag: fetch}``, logged in the order of the sorted tags; or an iterable of
            fetches, each its own tag, logged in the given order.
        every_n_iter: Log every N runs.
        every_n_secs: Log every N seconds. Give exactly one of the two, unless ``at_end``.
        at_end: Log in ``end`` too, in a separate run: do not fetch what changes state.
        formatter: A function that turns ``{tag: value}`` into the line.

    Raises:
        TypeError: If ``tensors`` is a single string.
        ValueError: If ``every_n_iter`` and ``every_n_secs`` are both given, or neither of them
            without ``at_end``, or ``every_n_iter`` is less than 1. From ``after_create_session``,
            if a fetch is not in the graph.

    Extension points for subclasses: ``_timer``, ``_iter_count`` (runs so far),
    ``_should_trigger`` (whether the current run is logged), ``_current_tensors`` (the fetches,
    made in ``begin``), ``_tag_order``, ``_formatter``, ``_log_tensors(values)``.

    Follows ``tf.train.LoggingTensorHook`` of TensorFlow 2.21.
    """

    _timer: SecondOrStepTimer | NeverTriggerTimer

    def __init__(
        self,
        tensors: Mapping[str, Any] | Iterable[Any],
        every_n_iter: int | None = None,
        every_n_secs: float | None = None,
        at_end: bool = False,
        formatter: Callable[[dict[Any, Any]], str] | None = None,
    ) -> None:
        only_at_end = at_end and every_n_iter is None and every_n_secs is None
        if not only_at_end and (every_n_iter is None) == (every_n_secs is None):
            raise ValueError(
                "either at_end and/or exactly one of every_n_iter and every_n_secs must be "
                "provided."
            )
        if every_n_iter is not None and every_n_iter <= 0:
            raise ValueError(f"invalid every_n_iter={every_n_iter}.")
        if isinstance(tensors, str):
            raise TypeError(
                f"LoggingTensorHook: tensors must be several fetches, got {tensors!r}; "
                f"write [{tensors!r}]"
            )
        if isinstance(tensors, Mapping):
            self._tensors = dict(tensors)
            self._tag_order: list[Any] = sorted(tensors)
        else:
            self._tag_order = list(tensors)
            self._tensors = {item: item for item in self._tag_order}
        self._formatter = formatter
        self._timer = (
            NeverTriggerTimer()
            if only_at_end
            else SecondOrStepTimer(every_secs=every_n_secs, every_steps=every_n_iter)
        )
        self._log_at_end = at_end

    def begin(self) -> None:
        """Reset the timer and the count of runs."""
        self._timer.reset()
        self._iter_count = 0
        self._current_tensors = dict(self._tensors)

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Check the fetches now; the first line may come much later."""
        check_late_fetches(session, list(self._current_tensors.values()))

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the values if this run is logged."""
        self._should_trigger = self._timer.should_trigger_for_step(self._iter_count)
        return RunArgs(self._current_tensors) if self._should_trigger else None

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Log the values if this run is logged."""
        if self._should_trigger:
            self._log_tensors(run_values.results)
        self._iter_count += 1

    def end(self, session: Any) -> None:
        """Fetch and log once more if ``at_end``."""
        if self._log_at_end:
            self._log_tensors(session.run(self._current_tensors))

    def _log_tensors(self, tensor_values: dict[Any, Any]) -> None:
        """Log ``{tag: value}`` and restart the timer. An extension point."""
        elapsed_secs, _ = self._timer.update_last_triggered_step(self._iter_count)
        with np.printoptions(suppress=True):
            if self._formatter is not None:
                _logger.info("%s", self._formatter(tensor_values))
                return
            line = ", ".join(
                # A tag may be a Variable or an Op: show its name.
                f"{label(tag)} = {tensor_values[tag]!s}"
                for tag in self._tag_order
            )
        if elapsed_secs is None:
            _logger.info("%s", line)
        else:
            _logger.info("%s (%.3f sec)", line, elapsed_secs)
