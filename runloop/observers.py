"""Who watches sessions from outside: nobody, unless a recorder is open.

    with observers.use(observer):
        ...                       # monitored sessions that are made in here are watched

A monitored session asks once, when it is made, and keeps what it got: watching costs nothing where
nobody watches. As with :mod:`runloop.clock`, it is the context that counts, and a new thread has
one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

__all__ = ["Observer", "current", "reported", "use"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Observer(Protocol):
    """Puts itself between a monitored session and its parts."""

    def dispatcher(self, kind: type[Any]) -> type[Any]:
        """Return a subclass of a ``Dispatcher`` class, to be used in its place."""

    def life(self, kind: type[Any]) -> type[Any]:
        """Return a subclass of a ``CoordinatedSession`` class, to be used in its place."""

    def transfer(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function to be called in place of ``Saver.save`` or ``Saver.restore``.

        Args:
            what: ``"save"`` or ``"restore"``.
            call: Takes the saver, then the method's own parameters.
        """


_current: ContextVar[tuple[Observer, ...]] = ContextVar("runloop_observers", default=())


def current() -> tuple[Observer, ...]:
    """Return the observers of this context, the outermost first."""
    return _current.get()


@contextmanager
def use(observer: Observer) -> Iterator[None]:
    """Let ``observer`` watch what is made inside the ``with`` block, beside those that do already."""
    token = _current.set((*_current.get(), observer))
    try:
        yield
    finally:
        _current.reset(token)


def reported(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let the observers of the calling context see the calls of a ``Saver``'s method."""

    @wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        seen: Callable[..., _R] = method
        for observer in _current.get():
            seen = observer.transfer(method.__name__, seen)
        return seen(*args, **kwargs)

    return call
