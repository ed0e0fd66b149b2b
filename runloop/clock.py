"""The only module that reads the time.

    with clock.use(my_clock):
        ...                       # objects created in here read the time from my_clock

An object calls ``clock.current()`` once, when it is created, and keeps that clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Protocol

from runloop.contexts import contextmanager

__all__ = ["Clock", "SystemClock", "current", "use"]


class Clock(Protocol):
    """The clock protocol; all values are seconds as ``float``."""

    def monotonic(self) -> float:
        """Return seconds since a fixed moment; never goes back. For durations."""

    def time(self) -> float:
        """Return seconds since 1970 (UTC). Only for display and storage."""

    def sleep(self, secs: float) -> None:
        """Return once ``secs`` seconds have passed on this clock."""


class SystemClock:
    """The system's clock, the default."""

    def monotonic(self) -> float:
        """Return ``time.monotonic()``."""
        return time.monotonic()

    def time(self) -> float:
        """Return ``time.time()``."""
        return time.time()

    def sleep(self, secs: float) -> None:
        """Call ``time.sleep(secs)``."""
        time.sleep(secs)


_SYSTEM: Clock = SystemClock()
_current: ContextVar[Clock] = ContextVar("runloop_clock", default=_SYSTEM)


def current() -> Clock:
    """Return the clock of the innermost ``use`` block, or the system's clock."""
    return _current.get()


@contextmanager
def use(other: Clock) -> Iterator[Clock]:
    """Make ``other`` the clock of every object created inside the ``with`` block.

    Args:
        other: An object with ``monotonic()``, ``time()`` and ``sleep(secs)``.

    Raises:
        TypeError: If one of the three methods is missing.
    """
    missing = [m for m in ("monotonic", "time", "sleep") if not callable(getattr(other, m, None))]
    if missing:
        raise TypeError(
            f"a clock needs the methods monotonic(), time() and sleep(secs); "
            f"{other!r} lacks {', '.join(missing)}"
        )
    token = _current.set(other)
    try:
        yield other
    finally:
        _current.reset(token)
