"""When to fire: timers that count steps or seconds.

    timer = SecondOrStepTimer(every_steps=10)
    if timer.should_trigger_for_step(step):
        elapsed_secs, elapsed_steps = timer.update_last_triggered_step(step)

A timer carries nothing over a restart: in a new process it triggers at the first step that it is
asked about, as TensorFlow's does.
"""

from __future__ import annotations

from runloop import clock as clocks

__all__ = ["NeverTriggerTimer", "SecondOrStepTimer"]


class SecondOrStepTimer:
    """Triggers at the first step it is asked about, then every N steps or every N seconds.

    Asking changes nothing: the interval starts anew with :meth:`update_last_triggered_step`. The
    step that triggered last never triggers again, however much time passes. A step counter that
    went back (a restored session) triggers once it is N steps beyond the last trigger.

    Args:
        every_secs: Seconds between triggers, an ``int`` or ``float``.
        every_steps: Steps between triggers. Exactly one of the two must be given.
        clock: Where seconds come from; :func:`runloop.clock.current` by default.

    Raises:
        ValueError: If none or both of ``every_secs`` and ``every_steps`` are given.

    Follows ``tf.train.SecondOrStepTimer`` of TensorFlow 2.21, but for the clock, which is
    monotonic: setting the machine's date neither delays nor causes a trigger.
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
        """Forget the last trigger: the next step that is asked about triggers."""
        self._last_triggered_step: int | None = None
        self._last_triggered_time: float | None = None

    def should_trigger_for_step(self, step: int) -> bool:
        """Return whether the interval has passed at ``step``; changes nothing."""
        last_step, last_time = self._last_triggered_step, self._last_triggered_time
        if last_step is None or last_time is None:
            return True
        if step == last_step:
            return False
        if self._every_secs is not None:
            return self._clock.monotonic() >= last_time + self._every_secs
        return self._every_steps is not None and bool(step >= last_step + self._every_steps)

    def update_last_triggered_step(self, step: int) -> tuple[float | None, int | None]:
        """Note that ``step`` triggered, now.

        Returns:
            ``(elapsed_secs, elapsed_steps)`` since the trigger before, ``(None, None)`` at the
            first.
        """
        now = self._clock.monotonic()
        last_step, last_time = self._last_triggered_step, self._last_triggered_time
        self._last_triggered_step, self._last_triggered_time = step, now
        if last_step is None or last_time is None:
            return None, None
        return now - last_time, step - last_step

    def last_triggered_step(self) -> int | None:
        """Return the step that triggered last, ``None`` if none did."""
        return self._last_triggered_step


class NeverTriggerTimer:
    """A timer that never triggers.

    Follows ``NeverTriggerTimer`` of TensorFlow 2.21's ``basic_session_run_hooks``.
    """

    def reset(self) -> None:
        """Do nothing: there is nothing to forget."""

    def should_trigger_for_step(self, step: int) -> bool:
        """Return ``False``."""
        return False

    def update_last_triggered_step(
        self,
        step: int,
    ) -> tuple[float | None, int | None]:
        """Return ``(None, None)`` and note nothing."""
        return None, None

    def last_triggered_step(self) -> int | None:
        """Return ``None``."""
        return None
