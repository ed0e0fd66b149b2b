"""The hook protocol.

What a monitored session does, with every hook in list order::

    for hook in hooks: hook.begin()                       # the graph is still open
    session = creator.create_session()                    # the graph is finalized
    for hook in hooks: hook.after_create_session(session, coord)
    while not stop_requested:
        asked = [hook.before_run(context) for hook in hooks]
        results = session.run(fetches and feeds of the caller and of all hooks, merged)
        for hook in hooks: hook.after_run(context, values)
    for hook in hooks: hook.end(session)

A run that raises is followed by no ``after_run``. A session that is left by an exception other
than ``OutOfRangeError`` and ``StopIteration`` calls no ``end``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from runloop.run import RunArgs, RunContext, RunValues

if TYPE_CHECKING:
    from runloop.coordinator import Coordinator

__all__ = ["HOOK_METHODS", "SessionRunHook", "does_nothing", "is_overridden"]

HOOK_METHODS = ("begin", "after_create_session", "before_run", "after_run", "end")

_F = TypeVar("_F", bound=Callable[..., Any])
_Method = Callable[..., Any]


def does_nothing(method: _F) -> _F:
    """Mark a method of a base class as one that need not be called."""
    # Not just True: functools.wraps would copy that, and a mock has every attribute.
    method.does_nothing = method  # type: ignore[attr-defined]
    return method


def is_overridden(method: _Method) -> bool:
    """Return whether a hook's method is its own, and not one that :func:`does_nothing` marked."""
    function = getattr(method, "__func__", method)
    return getattr(function, "does_nothing", None) is not function


class SessionRunHook:
    """Base of hooks: five methods that do nothing, to be overridden as needed.

    It keeps no state and has no ``__init__`` to call. Methods are called positionally, so
    parameters may be renamed; a method that is not overridden is never called. A hook with
    ``state_dict()`` and ``load_state_dict(state)`` has its state in every checkpoint.

    Follows ``tf.train.SessionRunHook`` of TensorFlow 2.21.
    """

    @does_nothing
    def begin(self) -> None:
        """Called once, before the session is made; the last chance to add to the graph.

        The session's graph is the default graph. Not called again when a session is re-created.
        """

    @does_nothing
    def after_create_session(self, session: Any, coord: Coordinator) -> None:
        """Called each time a session was made, restored and initialised.

        Args:
            session: The session below the hooks.
            coord: Its coordinator; ``coord.callback(fn)`` registers what must happen at close,
                whichever way the session is left.
        """

    @does_nothing
    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Called before each ``run()``; may ask for fetches and feeds to be added to it.

        Args:
            run_context: The call: its arguments, the session below, ``request_stop()``.

        Returns:
            :class:`~runloop.RunArgs`, or ``None`` to ask for nothing.
        """
        return None

    @does_nothing
    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Called after each ``run()`` that succeeded; not called when it raised.

        Args:
            run_context: The same object that ``before_run`` got.
            run_values: What this hook's fetches gave, in their structure.
        """

    @does_nothing
    def end(self, session: Any) -> None:
        """Called once when the session ends normally, with the session still open.

        Not called when the session is left by an exception other than ``OutOfRangeError`` and
        ``StopIteration``.
        """
