"""Stop at a global step."""

from __future__ import annotations

from typing import Any

from runloop.hooks._shared import require_global_step
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues

__all__ = ["StopAtStepHook"]


class StopAtStepHook(SessionRunHook):
    """Requests a stop when the global step has reached the last step.

    A session that is created or restored at the last step or beyond is finished: the hook requests
    the stop in ``after_create_session``, so ``should_stop()`` is true before any run, and starting
    a finished training again changes nothing. If a train op increments by more than 1, there may
    be one run too many, as in TensorFlow.

    Args:
        num_steps: Number of steps from where the first session starts. A program that is started
            again makes as many once more; use ``last_step`` to end at a fixed step. A session that
            is re-created after an ``AbortedError`` keeps the first session's last step.
        last_step: The global step to stop at. Give exactly one of the two.

    Raises:
        ValueError: If not exactly one of the two is given.
        RuntimeError: From ``begin``, if the graph has no global step.

    Follows ``tf.train.StopAtStepHook`` of TensorFlow 2.21, except at the start: that one always
    makes one run, even after the last step.
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
        """Work out the last step from ``num_steps``; request a stop if it is already reached."""
        step = session.run(self._global_step_tensor)
        self._last_step = self.final_step(session)
        if step >= self._last_step and coord is not None:
            coord.request_stop()

    def final_step(self, session: Any) -> int:
        """Return the last step; with ``num_steps``, counted from ``session`` if it is the first."""
        if self._last_step is not None:
            return int(self._last_step)
        return int(session.run(self._global_step_tensor) + self._num_steps)

    def is_finished(self, session: Any) -> bool:
        """Return whether a new session is at its last step already."""
        if self._last_step is None:
            return False
        return bool(session.run(self._global_step_tensor) >= self._last_step)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the global step."""
        return RunArgs(self._global_step_tensor)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Request a stop if the last step is reached."""
        # results is the step before the run. Reading the step after it costs another run, so do
        # that only if one increment could have reached the last step.
        if run_values.results + 1 >= self._last_step:
            step = run_context.session.run(self._global_step_tensor)
            if step >= self._last_step:
                run_context.request_stop()
