"""The shim's clock, which behaves as hooks and tests written for TensorFlow expect."""

from __future__ import annotations

import time as _time
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from runloop import clock

__all__ = ["WallClock", "current", "timed_by_wall_clock"]

_C = TypeVar("_C", bound=type[Any])


class WallClock:
    """A clock whose every reading is ``time.time()``, looked up at each call.

    TensorFlow's timers ask ``time.time``, and tests replace it.
    """

    def monotonic(self) -> float:
        """``time.time()``."""
        return _time.time()

    def time(self) -> float:
        """``time.time()``."""
        return _time.time()

    def sleep(self, secs: float) -> None:
        """``time.sleep(secs)``."""
        _time.sleep(secs)


def current() -> clock.Clock:
    """Return the clock that :func:`runloop.clock.use` set, else a :class:`WallClock`."""
    found = clock.current()
    return WallClock() if isinstance(found, clock.SystemClock) else found


def timed_by_wall_clock(kind: _C) -> _C:
    """Make the timers that a class creates in its constructor read :func:`current`."""
    make: Callable[..., None] = kind.__init__

    @wraps(make)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        with clock.use(current()):
            make(self, *args, **kwargs)

    kind.__init__ = init
    return kind
