"""Stop at a step."""

from __future__ import annotations

from typing import Any

from runloop.hooks._shared import require_global_step
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues

__all__ = ["StopAtStepHook"]


class StopAtStepHook(SessionRunHook):
    """Requests a stop once the global step has reached a number.

    It looks after each run that an increment of 1 could have brought there. So a session that is
    restored at or beyond the last step still makes one run, and where a train op's increment is
    larger it may make one run too many, as in TensorFlow.

    Args:
        num_steps: Steps to make from where the first session starts. A program that is killed
            and started again makes that many once more: to end at a fixed step, use
            ``last_step``. A session that is re-created after an ``AbortedError`` does not count
            anew.
        last_step: The global step to stop at. Exactly one of the two must be given.

    Raises:
        ValueError: If none or both are given.
        RuntimeError: From ``begin``, if the graph has no global step.

    Follows ``tf.train.StopAtStepHook`` of TensorFlow 2.21.
    """

    def __init__(self, num_steps: int | None = None, last_step: int | None = None) -> None:
        if num_steps is None and last_step is None:
            raise ValueError("One of num_steps or last_step must be specified.")
        if num_steps is not None and last_step is not None:
            raise ValueError("Only one of num_steps or last_step can be specified.")
        self._num_steps: Any = num_steps
        self._last_step: Any = last_step

    def begin(self) -> None:
        """Find the global step."""
        self._global_step_tensor = require_global_step("StopAtStepHook")

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Fix the last step, if ``num_steps`` was given and this is the first session."""
        if self._last_step is None:
            self._last_step = session.run(self._global_step_tensor) + self._num_steps

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the global step."""
        return RunArgs(self._global_step_tensor)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Request the stop, if the step is reached."""
        # The step asked for with the run is the one before it. The one after it costs a run of
        # its own, so it is read only where one increment could have been enough.
        if run_values.results + 1 >= self._last_step:
            step = run_context.session.run(self._global_step_tensor)
            if step >= self._last_step:
                run_context.request_stop()
