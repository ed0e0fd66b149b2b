"""Monitored sessions: hooks are called around every run, lost sessions are re-created.

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
from runloop.messages import describe
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
    """The argument of a ``step_fn``: the session below the hooks, and a way to run with hooks.

    Args:
        session: The session below the hooks.
        run_with_hooks: A function that runs like ``MonitoredSession.run``.

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
        """Run like ``MonitoredSession.run``, with the same parameters."""
        return self._run_with_hooks(*args, **kwargs)

    def request_stop(self) -> None:
        """Leave the loop by raising ``StopIteration``, which ends the ``with`` block normally.

        Raises:
            StopIteration: Always.
        """
        raise StopIteration("step_fn has requested the iterations to stop.")


class _MonitoredSession:
    """Base of both monitored sessions; they differ only in ``_recovers``."""

    _recovers: ClassVar[bool]
    _hooks_may_train: ClassVar[bool] = False  # True in the shim, as in TensorFlow

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
                f"session_creator must have create_session(), got {creator!r}; pass hooks as hooks="
            )
        self._graph = _graph_of(creator, graph)
        watch = Watch.of_this_context()
        self._hooks = Dispatcher(
            () if hooks is None else hooks,
            clock.current(),
            watch,
            hooks_may_train=self._hooks_may_train,
        )
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
        """Run ``fetches`` together with the fetches of the hooks.

        Args:
            fetches: Any nesting of fetches.
            feed_dict: Values that override others in this run.
            options: The hooks' options are merged into this object.
            run_metadata: The run records its metadata into this object.

        Returns:
            The values, in the structure of ``fetches``.

        Raises:
            RuntimeError: If a hook has requested a stop, the session is closed, or two feeds set
                the same tensor.
            Exception: Any error of an op or a hook. If ``before_run`` or the run raised, no
                ``after_run`` is called; if an ``after_run`` raised, no later one is.
        """
        lost: BaseException | None = None
        while True:
            try:
                life = self._life or self._make_again(lost)
                return self._run_once(life, fetches, feed_dict, options, run_metadata)
            except PREEMPTION_ERRORS as exc:
                self._lose(exc)
                lost = exc

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
                    "A hook has requested a stop. Check before each run: "
                    "while not session.should_stop(): session.run(...)"
                )
                raise error
            run = self._run_hooks  # as a local it is called in 20 ns less
            result, stop = run(life.session, fetches, feed_dict, options, run_metadata)
        except PREEMPTION_ERRORS:
            raise
        except Exception:
            # A thread's preemption error may be the real cause of this failure: recover from it.
            cause = life.coord.requested_exception
            if isinstance(cause, PREEMPTION_ERRORS):
                raise cause  # noqa: B904  # the run's own error stays visible as its context
            raise
        if stop:
            life.stop_requested = True
        return result

    def evaluate(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Any:
        """Run ``fetches`` without the hooks, if that trains and updates nothing.

        It works until the session is closed, also after a hook asked to stop. Ops that work in
        place on attached state are not recognised: do not evaluate those.

        Args:
            fetches: Any nesting of fetches.
            feed_dict: Values that override others in this run; must feed each input that is needed.

        Returns:
            The values, in the structure of ``fetches``.

        Raises:
            ValueError: If an op that updates or trains would run, or an input that is needed is not
                fed: an evaluation uses up no batch. The message names the op or the input.
            TypeError: If the session below is not a :class:`~runloop.Session`.
            RuntimeError: If the session is closed.
        """
        while True:
            try:
                session = (self._life or self._make_again()).session
                evaluate = getattr(session, "evaluate", None)
                if evaluate is None:
                    raise TypeError(
                        f"evaluate needs a runloop.Session below the hooks, got {session!r}; use "
                        f"raw_session().run(...)"
                    )
                return evaluate(fetches, feed_dict)
            except PREEMPTION_ERRORS as exc:
                self._lose(exc)

    def run_step_fn(self, step_fn: Callable[[StepContext], _T]) -> _T:
        """Call ``step_fn`` with a :class:`StepContext`, which can run with or without hooks.

        After an ``AbortedError`` or ``UnavailableError``, ``MonitoredSession`` re-creates the
        session and calls ``step_fn`` again from its start, with the new session.

        Args:
            step_fn: A function whose only parameter is named ``step_context`` (besides ``self``).

        Returns:
            The return value of ``step_fn``.

        Raises:
            ValueError: If ``step_fn`` has other parameters.
            RuntimeError: If the session is closed.
        """
        names = tuple(parameter.name for parameter in parameters(step_fn, "step_fn"))
        if names not in {("step_context",), ("self", "step_context")}:
            raise ValueError(
                "`step_fn` may either have one `step_context` argument, or `self` and "
                "`step_context` arguments if it's an instance method. "
                f"Got {names} instead."
            )
        lost: BaseException | None = None
        while True:
            try:
                life = self._life or self._make_again(lost)
                # run_with_hooks does not recover by itself, so that the whole step_fn is repeated.
                return step_fn(StepContext(life.session, partial(self._run_once, life)))
            except PREEMPTION_ERRORS as exc:
                self._lose(exc)
                lost = exc

    # -- creating and re-creating ---------------------------------------------------------------

    def _make(self) -> CoordinatedSession:
        while True:
            try:
                return CoordinatedSession(self._creator, self._hooks, self._stop_grace_period_secs)
            except PREEMPTION_ERRORS as exc:
                if not self._recovers:
                    raise
                _logger.warning("Creating the session failed (%s); trying again.", describe(exc))

    def _make_again(self, lost: BaseException | None = None) -> CoordinatedSession:
        """Create the next session; ``lost`` is the error of a run that is to be repeated in it."""
        if self._closed:
            raise RuntimeError("Session is already closed.")
        with self._graph.as_default():
            self._life = self._make()
        if lost is not None and self._life.stop_requested:
            # Repeating the run would train beyond the end. This error ends a with block normally.
            raise OutOfRangeError(
                "The session was lost in a run that is already in the newest checkpoint, and a "
                "hook has requested a stop there: the run is not repeated. Leave the loop."
            ) from lost
        return self._life

    def _lose(self, exc: BaseException) -> None:
        """Close the lost session, so that the next use re-creates it; or raise ``exc``."""
        if not self._recovers:
            raise exc
        _logger.warning(
            "Session lost (%s); creating a new one from the newest checkpoint.", describe(exc)
        )
        life, self._life = self._life, None
        if life is not None:
            raise_first(_without_preemption(life.close(exc)))

    # -- state ----------------------------------------------------------------------------------

    def should_stop(self) -> bool:
        """Return whether the loop should end: a stop was requested, or the session is closed.

        If one of the coordinator's threads failed with ``AbortedError`` or ``UnavailableError``,
        ``MonitoredSession`` re-creates the session and returns ``False``; after any other failure
        it returns ``True``. ``SingularMonitoredSession`` raises the failure.
        """
        life = self._life
        if life is None:
            return True
        try:
            life.coord.raise_requested_exception()
        except PREEMPTION_ERRORS as exc:
            self._lose(exc)
            return self._make_again().stop_requested
        except Exception:
            if not self._recovers:
                raise
            return True  # leaving the session raises it
        return life.stop_requested or life.coord.should_stop()

    @property
    def graph(self) -> Any:
        """The graph; ``None`` once the session is closed."""
        return None if self._closed else self._graph

    @property
    def hooks(self) -> tuple[Any, ...]:
        """The hooks, in calling order."""
        return self._hooks.hooks

    def raw_session(self) -> Any:
        """Return the session below the hooks; ``None`` once it is closed."""
        return None if self._life is None else self._life.session

    # -- closing --------------------------------------------------------------------------------

    def close(self) -> None:
        """Call ``end`` on each hook, then close the session.

        Raises:
            RuntimeError: If it is already closed; no ``end`` is called again.
            BaseException: The first error of the hooks' ``end``, the threads or the closing; the
                others are notes on it. The session is closed in any case.
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
                except BaseException as exc:  # an interrupt: the session is still closed
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
    """Return the graph: the given one, else the creator's, else the default graph."""
    if graph is not None and not isinstance(graph, Graph):
        raise TypeError(f"graph must be a runloop.Graph, got {graph!r}")
    own = getattr(creator, "graph", None)
    if not isinstance(own, Graph):  # a foreign creator may use the attribute for anything
        return graph or get_default_graph()
    if graph is not None and graph is not own:
        raise ValueError(
            f"session_creator creates sessions of {own!r}, but graph is {graph!r}: give only one"
        )
    return own


def _without_preemption(failures: list[BaseException]) -> list[BaseException]:
    """Log and drop preemption errors: a session that is being closed is not re-created."""
    for failure in failures:
        if isinstance(failure, PREEMPTION_ERRORS):
            _logger.warning("While closing: %s: %s", type(failure).__name__, failure)
    return [failure for failure in failures if not isinstance(failure, PREEMPTION_ERRORS)]


class MonitoredSession(_MonitoredSession):
    """A session with hooks that is restored when it is created and re-created when it is lost.

    The constructor calls ``begin()`` on each hook, finalizes the graph, creates the session
    through ``session_creator`` and calls ``after_create_session(session, coord)`` on each hook.

    When a run raises ``AbortedError`` or ``UnavailableError``, ``MonitoredSession`` closes the
    session, restores the newest checkpoint (or starts over if there is none), calls
    ``after_create_session``, and retries the run until it succeeds.

    Leaving the ``with`` block normally, or by ``OutOfRangeError`` or ``StopIteration``, calls
    ``end`` on each hook and swallows the exception. Any other exception goes on, and ``end`` is
    skipped.

    Args:
        session_creator: Creates the session: a :class:`~runloop.ChiefSessionCreator` if ``None``,
            or any object whose ``create_session()`` returns an object with
            ``run(fetches, feed_dict, options, run_metadata)`` and ``close()``.
        hooks: The hooks, called in this order.
        stop_grace_period_secs: Seconds that the coordinator's threads get to end at close.
        graph: The graph; if ``None``, the creator's graph or the default graph.

    Raises:
        TypeError: If one of ``hooks`` is not a hook, or another argument has the wrong type.
        ValueError: If the creator has a different graph.

    Follows ``tf.compat.v1.train.MonitoredSession`` of TensorFlow 2.21. It differs where
    TensorFlow's behaviour is an accident: if one hook's ``end()`` raises, the others' still run; a
    second ``close()`` calls none; closing never masks the exception that the block is left by; and
    if the session can't be created, the graph is reopened.
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
    """A session with hooks that is never re-created: preemption errors are raised.

    Args:
        hooks: The hooks, called in this order.
        scaffold: How to initialise and save; a default :class:`~runloop.Scaffold` if ``None``.
        master: Part of TensorFlow's signature; must be empty.
        config: Part of TensorFlow's signature; ignored.
        checkpoint_dir: Folder whose newest whole checkpoint is restored, if there is one.
        stop_grace_period_secs: Seconds that the coordinator's threads get to end at close.
        checkpoint_filename_with_path: The file to restore; not together with
            ``checkpoint_dir``.
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
