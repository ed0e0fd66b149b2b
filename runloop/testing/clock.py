"""``FakeClock``: a clock that moves only when a test says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from runloop import clock as clocks
from runloop.contexts import contextmanager
from runloop.hooks.base import SessionRunHook

__all__ = ["FakeClock"]


class FakeClock:
    """A clock that moves only when a test says so; fits :class:`runloop.clock.Clock`.

        clock = FakeClock()
        with clock.use():
            hook = LoggingTensorHook(["loss"], every_n_secs=10)   # asks this clock for the time
        clock.advance(10)

    Sleeping on it returns at once, and moves it. Hooks, timers and sessions take the clock that is
    in use when they are created: create the hook inside :meth:`use`, too.

    Args:
        start: The first ``monotonic()``, in seconds.
        per_step: Seconds that :meth:`tick` adds. A :class:`~runloop.testing.HookHarness` ticks once
            in every run; in your own session, add :meth:`hook` to the hooks.
        per_read: Seconds that every ``monotonic()`` adds, for code that only measures.
        epoch: ``time()`` when ``monotonic()`` is 0, in seconds since 1970.

    Attributes:
        now: The present time in seconds, as ``monotonic()`` gives it; may be set.
        slept: The durations of all sleeps so far, in seconds.

    Raises:
        ValueError: If ``per_step`` or ``per_read`` is negative.
    """

    def __init__(
        self,
        start: float = 0.0,
        *,
        per_step: float = 0.0,
        per_read: float = 0.0,
        epoch: float = 1_000_000.0,
    ) -> None:
        for name, secs in (("per_step", per_step), ("per_read", per_read)):
            if not secs >= 0:
                raise ValueError(f"FakeClock: {name} must be at least 0 seconds, got {secs!r}")
        self.now = start
        self.slept: list[float] = []
        self._per_step = per_step
        self._per_read = per_read
        self._epoch = epoch

    def monotonic(self) -> float:
        """Seconds on this clock, after it moved by ``per_read``."""
        self.now += self._per_read
        return self.now

    def time(self) -> float:
        """Seconds since 1970 on this clock."""
        return self._epoch + self.now

    def sleep(self, secs: float) -> None:
        """Move by ``secs`` seconds, and add them to :attr:`slept`."""
        self.slept.append(secs)
        self.advance(max(0.0, secs))

    def advance(self, secs: float) -> None:
        """Let ``secs`` seconds pass.

        Raises:
            ValueError: If ``secs`` is negative: a monotonic clock never goes back.
        """
        if not secs >= 0:
            raise ValueError(f"FakeClock.advance: secs must be at least 0, got {secs!r}")
        self.now += secs

    def tick(self) -> None:
        """Let ``per_step`` seconds pass."""
        self.now += self._per_step

    @contextmanager
    def use(self) -> Iterator[Self]:
        """Give this clock to everything that is created inside the ``with`` block."""
        with clocks.use(self):
            yield self

    def hook(self) -> SessionRunHook:
        """Return a hook that ticks once in every ``run()``, before it."""
        return _TickHook(self)

    def __repr__(self) -> str:
        return f"FakeClock(now={self.now})"


class _TickHook(SessionRunHook):
    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def before_run(self, run_context: Any) -> None:
        self._clock.tick()
