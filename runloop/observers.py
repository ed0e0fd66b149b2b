"""Observers: told of each moment in a session's life, from outside.

    with observers.use(observer):
        ...                       # monitored sessions that are made in here are watched

A monitored session asks for its observers once, when it is made, and keeps them. Without
observers nothing is added to a run. As with :mod:`runloop.clock`, the context decides: a new
thread starts without observers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

from runloop.clock import Clock
from runloop.contexts import contextmanager

__all__ = ["Moment", "Observer", "current", "reported", "show", "use"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Moment:
    """One thing that happens to a session. It is filled in while it happens.

    Attributes:
        who: A hook's name, ``"loop"`` (the program), ``"session"`` or ``"saver"``.
        what: The hook's method; ``"run"``, ``"create"``, ``"close"``, ``"lost"``, ``"save"``, ...
        session: The session below the hooks, once it is known.
        args: The :class:`~runloop.RunArgs` that are asked for, if any.
        results: What comes out, if anything.
        error: The exception that ends it, if any.
        stop: Whether it requests a stop.
        again: Whether it repeats a run whose session was lost.
        cause: The exception for which the session is closed, if any.
        text: A few more words: a saver's file.
    """

    def __init__(self, who: str, what: str, session: Any = None, args: Any = None) -> None:
        self.who = who
        self.what = what
        self.session = session
        self.args = args
        self.results: Any = None
        self.error: BaseException | None = None
        self.stop = False
        self.again = False
        self.cause: BaseException | None = None
        self.text = ""


class Observer(Protocol):
    """Is told what happens to monitored sessions."""

    def new_session(self, names: Sequence[str], clock: Clock) -> None:
        """A monitored session is about to be made, with hooks of these names and this clock."""

    def moment(self, moment: Moment) -> AbstractContextManager[None]:
        """Return a context that is entered before ``moment`` happens and left after it."""


_current: ContextVar[tuple[Observer, ...]] = ContextVar("runloop_observers", default=())


def current() -> tuple[Observer, ...]:
    """Return the observers of this context, the outermost first."""
    return _current.get()


@contextmanager
def use(*observers: Observer) -> Iterator[None]:
    """Let ``observers`` watch what is made inside the ``with`` block, beside the present ones."""
    before = _current.get()
    token = _current.set((*before, *(one for one in observers if one not in before)))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def show(moment: Moment, observers: Sequence[Observer]) -> Iterator[Moment]:
    """Show ``observers`` what happens inside the ``with`` block."""
    with ExitStack() as stack:
        for observer in observers:
            stack.enter_context(observer.moment(moment))
        try:
            yield moment
        except BaseException as exc:
            moment.error = exc
            raise


def reported(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Show the calls of ``Saver.save`` or ``Saver.restore`` to the observers of their context."""

    @wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        observers = _current.get()
        return _shown(method, observers, args, kwargs) if observers else method(*args, **kwargs)

    return call


def _shown(
    method: Callable[..., _R],
    observers: Sequence[Observer],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> _R:
    from inspect import signature  # needed only where somebody watches

    given = signature(method).bind(*args, **kwargs).arguments
    raw_session = getattr(given["session"], "raw_session", None)
    session = raw_session() if callable(raw_session) else given["session"]
    moment = Moment("saver", method.__name__)
    if "path" in given:  # a restore: the step to be shown is the one after it
        moment.text = os.path.basename(given["path"])
    else:
        moment.session = session
    with show(moment, observers):
        result = method(*args, **kwargs)
        if "path" in given:
            moment.session = session
        else:
            moment.text = "refused" if result is None else os.path.basename(str(result))
    return result
