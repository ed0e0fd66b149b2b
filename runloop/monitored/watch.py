"""``Watch``: shows the observers what happens to one monitored session.

A session without observers has no watch. With one, its dispatcher gets its hooks' methods from the
watch, and the session makes, runs and closes what is below it through the watch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from runloop import observers
from runloop.clock import Clock
from runloop.contexts import contextmanager
from runloop.errors import AbortedError, UnavailableError
from runloop.observers import Moment, Observer
from runloop.run import RunArgs

__all__ = ["PassWatch", "Watch"]

_LOST = (AbortedError, UnavailableError)


class Watch:
    """Shows observers one monitored session, or one loop.

    Args:
        watchers: The observers.
    """

    def __init__(self, watchers: Sequence[Observer]) -> None:
        self._observers = watchers
        self._coord: Any = None
        self._lost = False  # the last run was; it will be repeated in the next session
        self._again = False

    @classmethod
    def of_this_context(cls) -> Watch | None:
        """Return a watch for the observers of this context; ``None`` if there are none."""
        watchers = observers.current()
        return cls(watchers) if watchers else None

    def new_session(self, names: Sequence[str], clock: Clock) -> None:
        """Say which hooks the session has, and which clock."""
        for observer in self._observers:
            observer.new_session(names, clock)

    # -- hooks -----------------------------------------------------------------------------------

    def hook(self, name: str, what: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a hook's ``method`` so that each call of it is shown."""

        def call(*args: Any) -> Any:
            first = args[0] if args else None
            context = first if what in {"before_run", "after_run"} else None
            coord = args[1] if what == "after_create_session" else self._coord
            asked_before = _stop_requested(context, coord)
            moment = Moment(name, what, first if context is None else context.session)
            with self._show(moment):
                try:
                    if what == "after_run":
                        moment.results = args[1].results
                    result = method(*args)
                finally:
                    moment.stop = _stop_requested(context, coord) and not asked_before
                if what == "before_run":
                    moment.args = result
            return result

        return call

    def companion(self, name: str, hook: Any) -> Any:
        """Return a stand-in for a hook with state; the state that it is given is shown."""
        return _Companion(self, name, hook)

    # -- runs ------------------------------------------------------------------------------------

    @contextmanager
    def run(self, session: Any, args: RunArgs | None) -> Iterator[Moment]:
        """Show one run of the program's own, or one pass of its loop.

        Inside the block the caller notes ``results`` and ``stop`` on the moment.

        Args:
            session: The session below the hooks.
            args: What the program asked for; ``None`` for a pass of a loop.
        """
        moment = Moment("loop", "run", session, args)
        moment.again, self._again = self._again, False
        with self._show(moment):
            try:
                yield moment
            except _LOST:
                self._lost = True
                raise

    def running(self, run: Callable[..., tuple[Any, bool]]) -> Callable[..., tuple[Any, bool]]:
        """Return ``Dispatcher.run`` so that each call of it is shown."""

        def call(session: Any, fetches: Any, feed_dict: Any, *rest: Any) -> tuple[Any, bool]:
            with self.run(session, RunArgs(fetches, feed_dict)) as moment:
                moment.results, moment.stop = run(session, fetches, feed_dict, *rest)
            return moment.results, moment.stop

        return call

    @contextmanager
    def body(self, session: Any) -> Iterator[None]:
        """Show the body of a loop's pass: what the program does between two halves of a run."""
        with self._show(Moment("loop", "body", session)):
            yield

    # -- the session below -----------------------------------------------------------------------

    def create(self, create_session: Callable[[], Any], coord: Any) -> Any:
        """Show how a session is made, and its runs from then on; return it."""
        self._coord = coord
        self._again, self._lost = self._lost, False
        moment = Moment("session", "create")
        with self._show(moment):
            session = moment.session = create_session()
        self._show_runs(session)
        return session

    def close(
        self,
        session: Any,
        error: BaseException | None,
        close: Callable[[BaseException | None], list[BaseException]],
    ) -> list[BaseException]:
        """Show how a session is closed; return what ``close(error)`` returns."""
        lost = isinstance(error, _LOST)
        moment = Moment("session", "lost" if lost else "close", session)
        moment.cause = error
        with self._show(moment):
            failures = close(error)
            moment.error = next((failure for failure in failures if failure is not error), None)
        return failures

    def _show_runs(self, session: Any) -> None:
        original = session.run

        def run(
            fetches: Any,
            feed_dict: Mapping[Any, Any] | None = None,
            options: Any = None,
            run_metadata: Any = None,
        ) -> Any:
            moment = Moment("session", "run", session, RunArgs(fetches, feed_dict))
            with self._show(moment):
                moment.results = original(fetches, feed_dict, options, run_metadata)
            return moment.results

        own = getattr(session, "__dict__", {})
        if "run" in own:
            restore = partial(own.update, run=own["run"])
        else:
            restore = partial(own.pop, "run", None)
        try:
            session.run = run
        except AttributeError:  # a foreign session with slots: its runs are seen from above only
            return
        self._coord.after_close(restore)

    @contextmanager
    def _show(self, moment: Moment) -> Iterator[None]:
        # A session may be run in another context than that in which it was made: the saves of its
        # hooks are to be seen there, too.
        with observers.use(*self._observers), observers.show(moment, self._observers):
            yield


class PassWatch:
    """Shows the passes of a loop: what comes before a body, the body, and what comes after it.

    A pass begins in one call of the loop's iterator and ends in another, so there is no ``with``
    around it.

    Args:
        watch: The watch of the loop's session.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._pass = ExitStack()
        self._body = ExitStack()
        self._moment: Moment | None = None

    def begin(self, session: Any) -> None:
        """Begin a pass."""
        self.end()  # the one before, if the program has caught its error
        self._moment = self._pass.enter_context(self._watch.run(session, None))

    def enter_body(self, session: Any) -> None:
        """Begin the body: the program's own code."""
        self._body.enter_context(self._watch.body(session))

    def leave_body(self, exc: BaseException | None = None) -> None:
        """End the body, by ``exc`` if it raised."""
        _leave(self._body, exc)

    def end(self, *, stop: bool = False, exc: BaseException | None = None) -> None:
        """End the pass, if one has begun.

        Args:
            stop: Whether a hook requested a stop.
            exc: The exception that ends the pass, if any.
        """
        self.leave_body(exc)
        if self._moment is not None:
            self._moment.stop = stop
            self._moment = None
        _leave(self._pass, exc)


def _leave(stack: ExitStack, exc: BaseException | None) -> None:
    if exc is None:
        stack.close()
    else:
        stack.__exit__(type(exc), exc, exc.__traceback__)


class _Companion:
    """A hook with state, as a session sees it."""

    def __init__(self, watch: Watch, name: str, hook: Any) -> None:
        self._watch = watch
        self._name = name
        self._hook = hook

    def state_dict(self) -> Any:
        return self._hook.state_dict()

    def load_state_dict(self, state: Any) -> None:
        moment = Moment(self._name, "load_state_dict")
        moment.results = state
        with self._watch._show(moment):  # noqa: SLF001  # one class in two halves
            self._hook.load_state_dict(state)


def _stop_requested(context: Any, coord: Any) -> bool:
    asked = context is not None and context.stop_requested
    return bool(asked or (coord is not None and coord.should_stop()))
