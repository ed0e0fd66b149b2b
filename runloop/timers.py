"""Timers that trigger every N steps or seconds.

    timer = SecondOrStepTimer(every_steps=10)
    if timer.should_trigger_for_step(step):
        elapsed_secs, elapsed_steps = timer.update_last_triggered_step(step)

A timer keeps nothing over a restart: in a new process it triggers at the first step that it is
asked about, like TensorFlow's.
"""

from __future__ import annotations

from runloop import clock as clocks

__all__ = ["NeverTriggerTimer", "SecondOrStepTimer"]


class SecondOrStepTimer:
    """Triggers at the first step it is asked about, then every N steps or every N seconds.

    Asking does not restart the interval; :meth:`update_last_triggered_step` does. The step that
    triggered last does not trigger again, no matter how much time has passed. If the step goes
    back (a restored session), the timer triggers N steps after its last trigger.

    Args:
        every_secs: Seconds between triggers, an ``int`` or ``float``.
        every_steps: Steps between triggers. Give exactly one of the two.
        clock: The clock to read; :func:`runloop.clock.current` by default.

    Raises:
        ValueError: If not exactly one of ``every_secs`` and ``every_steps`` is given.

    Follows ``tf.train.SecondOrStepTimer`` of TensorFlow 2.21, except that the clock is monotonic:
    changing the system time neither delays nor causes a trigger.
    """

    def __init__(
        self,
        every_secs: float | None = None,
        every_steps: int | None = None,
        *,
        clock: clocks.Clock | None = None,
    ) -> None:
        if every_secs is None and every_steps is None:
            raise ValueError("Either every_secs or every_steps should be provided.")
        if every_secs is not None and every_steps is not None:
            raise ValueError("Can not provide both every_secs and every_steps.")
        self._every_secs = every_secs
        self._every_steps = every_steps
        self._clock = clock or clocks.current()
        self.reset()

    def reset(self) -> None:
        """Forget the last trigger, so that the next call triggers."""
        self._last_triggered_step: int | None = None
        self._last_triggered_time: float | None = None

    def should_trigger_for_step(self, step: int) -> bool:
        """Return whether the interval is over at ``step``, without restarting it."""
        last_step, last_time = self._last_triggered_step, self._last_triggered_time
        if last_step is None or last_time is None:
            return True
        if step == last_step:
            return False
        if self._every_secs is not None:
            return self._clock.monotonic() >= last_time + self._every_secs
        return self._every_steps is not None and bool(step >= last_step + self._every_steps)

    def update_last_triggered_step(self, step: int) -> tuple[float | None, int | None]:
        """Record that ``step`` triggered now, which restarts the interval.

        Returns:
            ``(elapsed_secs, elapsed_steps)`` since the previous trigger; ``(None, None)`` at the
            first.
        """
        now = self._clock.monotonic()
        last_step, last_time = self._last_triggered_step, self._last_triggered_time
        self._last_triggered_step, self._last_triggered_time = step, now
        if last_step is None or last_time is None:
            return None, None
        return now - last_time, step - last_step

    def last_triggered_step(self) -> int | None:
        """Return the step that triggered last, or ``None``."""
        return self._last_triggered_step


class NeverTriggerTimer:
    """A timer that never triggers.

    Follows ``NeverTriggerTimer`` of TensorFlow 2.21's ``basic_session_run_hooks``.
    """

    def reset(self) -> None:
        """Do nothing."""

    def should_trigger_for_step(self, step: int) -> bool:
        """Return ``False``."""
        return False

    def update_last_triggered_step(
        self,
        step: int,
    ) -> tuple[float | None, int | None]:
        """Return ``(None, None)``."""
        return None, None

    def last_triggered_step(self) -> int | None:
        """Return ``None``."""
        return None
