"""Wait for a global step before the first run."""

from __future__ import annotations

import logging

from runloop import clock
from runloop.hooks._shared import require_global_step
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext

__all__ = ["GlobalStepWaiterHook"]

_logger = logging.getLogger(__name__)


class GlobalStepWaiterHook(SessionRunHook):
    """Delays the first run until the global step has reached ``wait_until_step``.

    Use it to start the workers of a distributed run one after another. It reads the step every
    half second, without a time limit, and waits only once: a re-created session does not wait
    again.

    Args:
        wait_until_step: The global step to wait for; with 0 or less the hook does not wait.

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
        # TensorFlow's text has the underscore.
        self._global_step_tensor = require_global_step("_GlobalStepWaiterHook")

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Wait before the first run."""
        if self._worker_is_started or self._wait_until_step <= 0:
            return None
        _logger.info("Waiting for global step %d before starting training.", self._wait_until_step)
        logged = 0
        while True:
            step = run_context.session.run(self._global_step_tensor)
            if step >= self._wait_until_step:
                self._worker_is_started = True
                return None
            if step - logged > 1000:
                _logger.info(
                    "Waiting for global step %d before starting training. Current step is %d.",
                    self._wait_until_step,
                    step,
                )
                logged = step
            self._clock.sleep(0.5)
