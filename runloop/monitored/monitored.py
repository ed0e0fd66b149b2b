"""Monitored sessions: hooks ride along on every run, lost sessions are made anew.

The whole lifecycle is in one class; see :class:`MonitoredSession`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from runloop import clock
from runloop.errors import OutOfRangeError
from runloop.graph import Graph, get_default_graph
from runloop.graph.elements import parameters
from runloop.monitored.coordinated import PREEMPTION_ERRORS, CoordinatedSession, raise_first
from runloop.monitored.creators import ChiefSessionCreator
from runloop.monitored.dispatch import Dispatcher
from runloop.monitored.scaffold import Scaffold
from runloop.monitored.watch import Watch
from runloop.run import RunMetadata, RunOptions

__all__ = ["MonitoredSession", "SingularMonitoredSession", "StepContext"]

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class StepContext:
    """What a ``step_fn`` gets: the session below the hooks, and a way to run with them.

    Args:
        session: The session below the hooks.
        run_with_hooks: Runs as ``MonitoredSession.run`` does.

    Follows ``tf.compat.v1.train.MonitoredSession.StepContext`` of TensorFlow 2.21.
    """

    def __init__(self, session: Any, run_with_hooks: Callable[..., Any]) -> None:
        self._session = session
        self._run_with_hooks = run_with_hooks

    @property
    def session(self) -> Any:
        """The session below the hooks."""
        return self._session

    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """Run as ``MonitoredSession.run`` does, with its parameters."""
        return self._run_with_hooks(*args, **kwargs)

    def request_stop(self) -> None:
        """Leave the loop: raises ``StopIteration``, which ends a ``with`` block normally.

        Raises:
            StopIteration: Always.
        """
        raise StopIteration("step_fn has requested the iterations to stop.")


class _MonitoredSession:
    """What both kinds of monitored session share; they differ in ``_recovers`` alone."""

    _recovers: ClassVar[bool]

    def __init__(
        self,
        session_creator: Any,
        hooks: Iterable[Any] | None,
        stop_grace_period_secs: float,
        graph: Graph | None,
    ) -> None:
        creator = ChiefSessionCreator(graph=graph) if session_creator is None else session_creator
        if not callable(getattr(creator, "create_session", None)):
            raise TypeError(
                f"session_creator must have create_session(), got {creator!r}; hooks go to hooks="
            )
        self._graph = _graph_of(creator, graph)
        watch = Watch.of_this_context()
        self._hooks = Dispatcher(() if hooks is None else hooks, clock.current(), watch)
        self._run_hooks = self._hooks.run if watch is None else watch.running(self._hooks.run)
        self._creator = creator
        self._stop_grace_period_secs = stop_grace_period_secs
        self._life: CoordinatedSession | None = None
        self._closed = False
        self._default_graph = ExitStack()
        self._reopen = not self._graph.finalized
        try:
            with self._graph.as_default():
                self._hooks.call("begin")
                self._life = self._make()
        except BaseException:
            self._release()
            raise

    # -- running --------------------------------------------------------------------------------

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: RunOptions | None = None,
        run_metadata: RunMetadata | None = None,
    ) -> Any:
        """Run ``fetches`` together with what the hooks ask for.

        Args:
            fetches: Any nesting of what the session can fetch.
            feed_dict: Values that override others for this run.
            options: Merged with the hooks' options, into this very object.
            run_metadata: Where the run leaves what it recorded.

        Returns:
            The values, in the structure of ``fetches``.

        Raises:
            RuntimeError: If a hook asked to stop before, the session is closed, or one thing is
                fed twice.
            Exception: Whatever an op or a hook raises; then ``after_run`` was called on none
                (on no later hook, if an ``after_run`` raised).
        """
        while True:
            try:
                life = self._life or self._make_again()
                return self._run_once(life, fetches, feed_dict, options, run_metadata)
            except PREEMPTION_ERRORS as exc:
                self._lose(exc)

    def _run_once(
        self,
        life: CoordinatedSession,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: RunOptions | None = None,
        run_metadata: RunMetadata | None = None,
    ) -> Any:
        try:
            if life.stop_requested:
                error = RuntimeError("Run called even after should_stop requested.")
                error.add_note(
                    "A hook has asked to stop. Ask before each run: "
                    "while not session.should_stop(): session.run(...)"
                )
                raise error
            result, stop = self._run_hooks(life.session, fetches, feed_dict, options, run_metadata)
        except PREEMPTION_ERRORS:
            raise
        except Exception:
            # The run may have failed because a thread lost what it needs: that is what counts.
            cause = life.coord.requested_exception
            if isinstance(cause, PREEMPTION_ERRORS):
                raise cause  # noqa: B904  # the run's own error stays visible as its context
            raise
        if stop:
            life.stop_requested = True
        return result

    def run_step_fn(self, step_fn: Callable[[StepContext], _T]) -> _T:
        """Call ``step_fn`` with a :class:`StepContext`, which may run with or without hooks.

        After an ``AbortedError`` or ``UnavailableError``, ``MonitoredSession`` makes the session
        anew and calls ``step_fn`` again from its start, with the new session.

        Args:
            step_fn: A function of one parameter that is called ``step_context``.

        Returns:
            What ``step_fn`` returns.

        Raises:
            ValueError: If its parameters are others.
            RuntimeError: If the session is closed.
        """
        names = tuple(parameter.name for parameter in parameters(step_fn, "step_fn"))
        if names not in {("step_context",), ("self", "step_context")}:
            raise ValueError(
                "`step_fn` may either have one `step_context` argument, or `self` and "
                "`step_context` arguments if it's an instance method. "
                f"Got {names} instead."
            )
        while True:
            try:
                life = self._life or self._make_again()
                # A lost session is let out of run_with_hooks: the whole step_fn is repeated.
                return step_fn(StepContext(life.session, partial(self._run_once, life)))
            except PREEMPTION_ERRORS as exc:
                self._lose(exc)

    # -- lives ----------------------------------------------------------------------------------

    def _make(self) -> CoordinatedSession:
        while True:
            try:
                return CoordinatedSession(self._creator, self._hooks, self._stop_grace_period_secs)
            except PREEMPTION_ERRORS as exc:
                if not self._recovers:
                    raise
                _logger.warning("Making the session failed, it is tried again: %s", exc)

    def _make_again(self) -> CoordinatedSession:
        if self._closed:
            raise RuntimeError("Session is already closed.")
        with self._graph.as_default():
            self._life = self._make()
        return self._life

    def _lose(self, exc: BaseException) -> None:
        """Close the session that failed, so that the next use makes another; or raise ``exc``."""
        if not self._recovers:
            raise exc
        _logger.warning("The session was lost, it is made anew: %s: %s", type(exc).__name__, exc)
        life, self._life = self._life, None
        if life is not None:
            raise_first(_without_preemption(life.close(exc)))

    # -- looking --------------------------------------------------------------------------------

    def should_stop(self) -> bool:
        """Return whether the loop should end: a hook or the coordinator asked, or it is closed.

        In a ``MonitoredSession``, a thread's ``AbortedError`` or ``UnavailableError`` makes the
        session anew and gives ``False``, any other failure of a thread ``True``. A
        ``SingularMonitoredSession`` raises it.
        """
        life = self._life
        if life is None:
            return True
        try:
            life.coord.raise_requested_exception()
        except PREEMPTION_ERRORS as exc:
            self._lose(exc)
            self._make_again()
            return False
        except Exception:
            if not self._recovers:
                raise
            return True  # the exception itself is raised by leaving
        return life.stop_requested or life.coord.should_stop()

    @property
    def graph(self) -> Any:
        """The graph; ``None`` once the session is closed."""
        return None if self._closed else self._graph

    @property
    def hooks(self) -> tuple[Any, ...]:
        """The hooks, in the order in which they are called."""
        return self._hooks.hooks

    def raw_session(self) -> Any:
        """Return the session below the hooks; ``None`` once this one is closed."""
        return None if self._life is None else self._life.session

    # -- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Call ``end`` on each hook, then close the session.

        Raises:
            RuntimeError: If it is closed already; no ``end`` is called again.
            BaseException: The first of what the hooks' ``end``, the threads and the closing
                raised; the others are notes on it. The session is closed in any case.
        """
        self._close(None)

    def _close(self, error: BaseException | None) -> None:
        if self._closed:
            raise RuntimeError("Session is already closed.")
        life, self._life = self._life, None
        failures: list[BaseException] = []
        if life is not None:
            if error is None:
                try:
                    with self._graph.as_default():
                        self._hooks.end(life.session, failures)
                except BaseException as exc:  # an interrupt: close all the same
                    failures.append(exc)
            closing = life.close(error or (failures[0] if failures else None))
            failures += _without_preemption(closing) if self._recovers else closing
        self._release()
        raise_first(failures if error is None else [error, *failures], reraise=error is None)

    def _release(self) -> None:
        self._closed = True
        if self._reopen:
            self._graph.reopen()

    def __enter__(self) -> Self:
        self._default_graph.enter_context(self._graph.as_default())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        normal = exc is None or isinstance(exc, (OutOfRangeError, StopIteration))
        with self._default_graph:
            if not self._closed or exc is None:
                self._close(None if normal else exc)
        return exc is not None and normal


def _graph_of(creator: Any, graph: Graph | None) -> Graph:
    """Return the graph of a session: as given, else the creator's own, else the default graph."""
    if graph is not None and not isinstance(graph, Graph):
        raise TypeError(f"graph must be a runloop.Graph, got {graph!r}")
    own = getattr(creator, "graph", None)
    if not isinstance(own, Graph):  # whatever a creator of another kind calls its graph
        return graph or get_default_graph()
    if graph is not None and graph is not own:
        raise ValueError(
            f"session_creator makes sessions of {own!r}, but graph is {graph!r}: give only one"
        )
    return own


def _without_preemption(failures: list[BaseException]) -> list[BaseException]:
    """Log the errors that call for a new session, of which there is no more use, and drop them."""
    for failure in failures:
        if isinstance(failure, PREEMPTION_ERRORS):
            _logger.warning("While closing: %s: %s", type(failure).__name__, failure)
    return [failure for failure in failures if not isinstance(failure, PREEMPTION_ERRORS)]


class MonitoredSession(_MonitoredSession):
    """A session with hooks, initialised, restored, watched and, when it is lost, made anew.

    Making it calls ``begin()`` on each hook, finalizes the graph, makes the session through
    ``session_creator`` and calls ``after_create_session(session, coord)`` on each hook. When an
    ``AbortedError`` or ``UnavailableError`` comes out of anything in a run, the session is
    closed and made anew, and the call is repeated, as often as it takes.

    As a context manager it is left normally by ``OutOfRangeError`` and ``StopIteration`` too,
    which it swallows; any other exception goes on, and then no ``end`` is called.

    Args:
        session_creator: Makes the session: a :class:`~runloop.ChiefSessionCreator` if ``None``,
            or anything with ``create_session()`` that gives an object with
            ``run(fetches, feed_dict, options, run_metadata)`` and ``close()``.
        hooks: The hooks, called in this order.
        stop_grace_period_secs: Seconds that the coordinator's threads get at close.
        graph: The graph; that of the creator, or the default graph, if ``None``.

    Raises:
        TypeError: If one of ``hooks`` is not a hook, or another argument of the wrong kind.
        ValueError: If the creator has another graph of its own.

    Follows ``tf.compat.v1.train.MonitoredSession`` of TensorFlow 2.21. It differs where that
    is an accident: every ``end`` is called even if one raises, a second ``close()`` calls none,
    closing never masks the exception on its way, and a session that could not be made leaves
    the graph open.
    """

    StepContext = StepContext
    _recovers = True

    def __init__(
        self,
        session_creator: Any = None,
        hooks: Iterable[Any] | None = None,
        stop_grace_period_secs: float = 120,
        *,
        graph: Graph | None = None,
    ) -> None:
        super().__init__(session_creator, hooks, stop_grace_period_secs, graph)


class SingularMonitoredSession(_MonitoredSession):
    """A session with hooks that is made once: errors that would call for a new one come out.

    Args:
        hooks: The hooks, called in this order.
        scaffold: The parts; a default :class:`~runloop.Scaffold` if ``None``.
        master: For TensorFlow's signature; must be empty.
        config: For TensorFlow's signature; ignored.
        checkpoint_dir: Folder whose newest whole checkpoint is restored, if it has one.
        stop_grace_period_secs: Seconds that the coordinator's threads get at close.
        checkpoint_filename_with_path: The file to restore; not both of the two.
        graph: The graph; the default graph if ``None``.

    Raises:
        TypeError: If one of ``hooks`` is not a hook.

    Follows ``tf.compat.v1.train.SingularMonitoredSession`` of TensorFlow 2.21.
    """

    StepContext = StepContext
    _recovers = False

    def __init__(
        self,
        hooks: Iterable[Any] | None = None,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        stop_grace_period_secs: float = 120,
        checkpoint_filename_with_path: str | os.PathLike[str] | None = None,
        *,
        graph: Graph | None = None,
    ) -> None:
        creator = ChiefSessionCreator(
            scaffold, master, config, checkpoint_dir, checkpoint_filename_with_path, graph=graph
        )
        super().__init__(creator, hooks, stop_grace_period_secs, graph)
