"""The hook protocol.

What a monitored session does, in pseudo-code; each loop calls the hooks in list order::

    for hook in hooks: hook.begin()                       # the graph is still open
    session = creator.create_session()                    # finalizes the graph, restores
    for hook in hooks: hook.after_create_session(session, coord)
    while not stop_requested:                             # the user's loop; one pass is one run()
        requests = [hook.before_run(context) for hook in hooks]
        results = session.run(the caller's fetches and feeds merged with all requests)
        for hook in hooks: hook.after_run(context, the hook's own results)
    for hook in hooks: hook.end(session)

Two rules for exceptions. If a run raises, ``after_run`` is skipped. If the session is left by an
exception other than ``OutOfRangeError`` and ``StopIteration``, ``end`` is skipped. For cleanup that
must always happen, call ``coord.callback(fn)`` in ``after_create_session``.
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
    """Mark a base class's empty method, so that the dispatcher does not call it."""
    # The mark is the function itself, not True: functools.wraps copies attributes to the wrapper,
    # and a mock has every attribute.
    method.does_nothing = method  # type: ignore[attr-defined]
    return method


def is_overridden(method: _Method) -> bool:
    """Return whether a hook's method must be called: it is not one that ``does_nothing`` marked."""
    function = getattr(method, "__func__", method)
    return getattr(function, "does_nothing", None) is not function


class SessionRunHook:
    """Base class of hooks. A hook has five methods; override the ones you need.

    Methods that you do not override are never called. The base class has no state and no
    ``__init__`` to call. Hooks are called with positional arguments, so you may rename the
    parameters.

    A hook may have more methods, which the base class lacks. With ``state_dict()`` and
    ``load_state_dict(state)``, its state is in every checkpoint. A hook that ends the training may
    have ``is_finished(session)``, whether a new session has nothing left to run (its checkpoint is
    then not written again), and ``final_step(session)``, the step at which it will request a stop
    (the total of a progress bar).

    Follows ``tf.train.SessionRunHook`` of TensorFlow 2.21.
    """

    @does_nothing
    def begin(self) -> None:
        """Called once, before the session is created. The graph can still be changed.

        The session's graph is the default graph. Not called again when a session is re-created.
        """

    @does_nothing
    def after_create_session(self, session: Any, coord: Coordinator) -> None:
        """Called after each creation of a session, once it is restored or initialised.

        Args:
            session: The session below the hooks; its ``run`` calls no hooks.
            coord: The session's coordinator. ``coord.callback(fn)`` registers cleanup that runs
                when the session is closed, on every way out.
        """

    @does_nothing
    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Called before each ``run()``; may add fetches and feeds to it.

        Args:
            run_context: The call: its arguments, the session below the hooks, ``request_stop()``.

        Returns:
            :class:`~runloop.RunArgs`, or ``None`` to add nothing.
        """
        return None

    @does_nothing
    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Called after each ``run()`` that succeeded; skipped if the run raised.

        Args:
            run_context: The object that ``before_run`` got.
            run_values: ``run_values.results`` has the values of this hook's fetches, in the
                structure of the fetches.
        """

    @does_nothing
    def end(self, session: Any) -> None:
        """Called once at a normal end, while the session is still open.

        Skipped if the session is left by an exception other than ``OutOfRangeError`` and
        ``StopIteration``.

        Args:
            session: The session below the hooks.
        """
