"""Stop where a value became NaN."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np

from runloop.errors import NanLossDuringTrainingError
from runloop.hooks._shared import label
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues

__all__ = ["NanTensorHook"]

_logger = logging.getLogger(__name__)


class NanTensorHook(SessionRunHook):
    """Watches a value at every run, and fails or stops when it is NaN.

    Args:
        loss_tensor: The fetch to watch: a scalar, or an array in which any NaN counts.
        fail_on_nan_loss: Whether to raise; if not, a stop is requested.

    Raises:
        NanLossDuringTrainingError: From ``after_run``. The updates of the run are done by then,
            and no checkpoint is written: ``end`` is not called.
        TypeError: From ``after_run``, if the value is no number and no array of numbers.

    Follows ``tf.train.NanTensorHook`` of TensorFlow 2.21; that one takes scalars only.
    """

    def __init__(self, loss_tensor: Any, fail_on_nan_loss: bool = True) -> None:
        self._loss_tensor = loss_tensor
        self._fail_on_nan_loss = fail_on_nan_loss

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the value."""
        return RunArgs(self._loss_tensor)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Look at it."""
        value = run_values.results
        if isinstance(value, float):  # np.float64 among them: this costs least
            if not math.isnan(value):
                return
        elif not self._has_nan(value):
            return
        name = label(self._loss_tensor)
        if self._fail_on_nan_loss:
            _logger.error("%s is NaN: the model diverged", name)
            error = NanLossDuringTrainingError()
            error.add_note(f"The watched value is {name!r}.")
            raise error
        _logger.warning("%s is NaN: the model diverged, requesting a stop", name)
        run_context.request_stop()

    def _has_nan(self, value: Any) -> bool:
        try:
            return bool(np.isnan(value).any())
        except TypeError as exc:
            raise TypeError(
                f"NanTensorHook: the value of {label(self._loss_tensor)!r} must be a number or an "
                f"array of numbers, got {value!r:.60}"
            ) from exc
