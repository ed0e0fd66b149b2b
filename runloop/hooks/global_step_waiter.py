"""Wait for others before the first step."""

from __future__ import annotations

import logging

from runloop import clock
from runloop.hooks._shared import require_global_step
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext

__all__ = ["GlobalStepWaiterHook"]

_logger = logging.getLogger(__name__)


class GlobalStepWaiterHook(SessionRunHook):
    """Holds the first run back until the global step has reached a number.

    Workers of a distributed run are started one after another with it. It looks every half
    second, on the session's clock, for as long as it takes, once in its life: a session that is
    re-created does not wait again.

    Args:
        wait_until_step: The step to wait for; 0 or less does not wait.

    Raises:
        RuntimeError: From ``begin``, if the graph has no global step.

    Follows ``tf.train.GlobalStepWaiterHook`` of TensorFlow 2.21.
    """

    def __init__(self, wait_until_step: int) -> None:
        self._wait_until_step = wait_until_step
        self._clock = clock.current()

    def begin(self) -> None:
        """Find the global step."""
        self._worker_is_started = False
        # With the underscore: TensorFlow's text has it.
        self._global_step_tensor = require_global_step("_GlobalStepWaiterHook")

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Wait, the first time."""
        if self._worker_is_started or self._wait_until_step <= 0:
            return None
        _logger.info("waiting for global step %d before the first run", self._wait_until_step)
        logged = 0
        while True:
            step = run_context.session.run(self._global_step_tensor)
            if step >= self._wait_until_step:
                self._worker_is_started = True
                return None
            if step - logged > 1000:
                _logger.info(
                    "waiting for global step %d before the first run, it is at %d",
                    self._wait_until_step,
                    step,
                )
                logged = step
            self._clock.sleep(0.5)
