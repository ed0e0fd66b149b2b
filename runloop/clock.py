"""The one place where time is read.

    with clock.use(my_clock):
        ...                       # everything made in here asks my_clock for the time

An object reads ``clock.current()`` once, when it is made, and keeps what it got.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

__all__ = ["Clock", "SystemClock", "current", "use"]


class Clock(Protocol):
    """What runloop asks of a clock; all values are seconds as ``float``."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back. Durations are measured with it."""

    def time(self) -> float:
        """Seconds since 1970 (UTC). Only for what is shown or stored."""

    def sleep(self, secs: float) -> None:
        """Return once ``secs`` seconds have passed on this clock."""


class SystemClock:
    """The machine's own clock, the default everywhere."""

    def monotonic(self) -> float:
        """``time.monotonic()``."""
        return time.monotonic()

    def time(self) -> float:
        """``time.time()``."""
        return time.time()

    def sleep(self, secs: float) -> None:
        """``time.sleep(secs)``."""
        time.sleep(secs)


_SYSTEM: Clock = SystemClock()
_current: ContextVar[Clock] = ContextVar("runloop_clock", default=_SYSTEM)


def current() -> Clock:
    """Return the clock of the innermost ``use`` of this context, else the system's."""
    return _current.get()


@contextmanager
def use(other: Clock) -> Iterator[Clock]:
    """Give ``other`` to everything that is made inside the ``with`` block.

    Args:
        other: An object with ``monotonic()``, ``time()`` and ``sleep(secs)``.

    Raises:
        TypeError: If one of the three methods is missing.
    """
    missing = [m for m in ("monotonic", "time", "sleep") if not callable(getattr(other, m, None))]
    if missing:
        raise TypeError(
            f"a clock needs the methods monotonic(), time() and sleep(secs); "
            f"{other!r} has no {', '.join(missing)}"
        )
    token = _current.set(other)
    try:
        yield other
    finally:
        _current.reset(token)
