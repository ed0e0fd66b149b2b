"""Stop when a value becomes NaN."""

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
    """Checks a value in every run, and raises or requests a stop when it is NaN.

    Args:
        loss_tensor: The fetch to check: a scalar, or an array in which any NaN counts.
        fail_on_nan_loss: Raise on NaN if true; request a stop if false.

    Raises:
        NanLossDuringTrainingError: From ``after_run``. The run's updates are already committed by
            then, but no final checkpoint is written, because ``end`` is not called.
        TypeError: From ``after_run``, if the value is neither a number nor an array of numbers.

    Follows ``tf.train.NanTensorHook`` of TensorFlow 2.21, which takes only scalars.
    """

    def __init__(self, loss_tensor: Any, fail_on_nan_loss: bool = True) -> None:
        self._loss_tensor = loss_tensor
        self._fail_on_nan_loss = fail_on_nan_loss

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the value."""
        return RunArgs(self._loss_tensor)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Check the value."""
        value = run_values.results
        if isinstance(value, float):  # np.float64 is one: the fastest check
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
