"""How a recorder gets to see a monitored session from outside.

While it watches (:mod:`runloop.observers`), monitored sessions that are made get a dispatcher and
lives that report. Those are subclasses of what a session would have got, so that recorders may
watch inside of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial, wraps
from pathlib import Path
from typing import Any, Protocol

from runloop import observers
from runloop.checkpoint import Saver
from runloop.clock import Clock
from runloop.monitored.coordinated import PREEMPTION_ERRORS, CoordinatedSession
from runloop.monitored.dispatch import Dispatcher
from runloop.run import RunArgs
from runloop.testing.events import current_step, describe, show

__all__ = ["Note", "Sink", "Watch", "Watcher"]


class Note:
    """One event while it happens.

    Args:
        who: See :class:`~runloop.testing.Event`, as for the others.
        what: What happens.
        by: Who called.
        session: The session whose step is shown, if there is one.
        text: What is to be read behind the step.
    """

    def __init__(
        self, who: str, what: str, *, by: str, session: Any = None, text: str = ""
    ) -> None:
        self.who = who
        self.what = what
        self.by = by
        self.step = current_step(session)
        self.text = text
        self.args: Any = None
        self.results: Any = None
        self.error: BaseException | None = None
        self.stop = False
        self.depth = 0
        self.life = 0
        self.start = 0.0
        self.secs = 0.0

    def line(self) -> str:
        """Return the event's text."""
        parts = [f"{self.who}.{self.what}"]
        if self.step is not None:
            parts.append(f"step={self.step}")
        if self.text:
            parts.append(self.text)
        if self.who not in {"loop", "session", "saver"}:
            if isinstance(self.args, RunArgs):
                names = (("asks", 0), ("feeds", 1), ("options", 2))
                given = [(name, self.args[i]) for name, i in names]
                parts += [f"{name}={show(value)}" for name, value in given if value is not None]
            if self.results is not None:
                parts.append(f"got={show(self.results)}")
        if self.stop:
            parts.append("requests stop")
        if self.error is not None:
            parts.append(f"raises {describe(self.error)}")
        return " ".join(parts)


class Sink(Protocol):
    """Who is told; see :class:`~runloop.testing.LifecycleRecorder`."""

    def noting(self, note: Note, *, late: bool = False) -> AbstractContextManager[Note]:
        """Record what happens inside the block as ``note``; ``late`` puts it after, not before."""

    def caller(self) -> str:
        """Return who is at work at this moment."""

    def acting(self, who: str) -> AbstractContextManager[None]:
        """Say that ``who`` is at work inside the ``with`` block."""

    def new_life(self) -> None:
        """Say that a session is being made."""

    def new_hooks(self, names: Sequence[str], clock: Clock) -> None:
        """Say which hooks a monitored session has, and which clock."""


class Watch:
    """What a dispatcher and the lives of one monitored session report to a sink.

    Args:
        watcher: Who made it.
    """

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.sink = watcher.sink
        self.coord: Any = None
        self._aborted = False  # the last run was; it is to be repeated if a session is made anew
        self._again = False

    def hook(self, name: str, what: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``method`` so that each call of it is noted."""

        def call(*args: Any) -> Any:
            first = args[0] if args else None
            context = first if what in {"before_run", "after_run"} else None
            session = first if context is None else context.session
            coord = args[1] if what == "after_create_session" else self.coord
            asked_before = _stops(context, coord)
            note = Note(name, what, by="session", session=session)
            with self.sink.noting(note), self.sink.acting(name), self.watcher.here():
                try:
                    if what == "after_run":
                        note.results = args[1].results
                    result = method(*args)
                finally:
                    note.stop = _stops(context, coord) and not asked_before
                if what == "before_run":
                    note.args = result
                return result

        return call

    def run(
        self, session: Any, fetches: Any, feed_dict: Any, run: Callable[[], tuple[Any, bool]]
    ) -> tuple[Any, bool]:
        """Note one ``run()`` of the monitored session."""
        by = "session" if self._again else self.sink.caller()
        text = _asked(fetches) + (" again" if self._again else "")
        note = Note("loop", "run", by=by, session=session, text=text)
        note.args = RunArgs(fetches, feed_dict)
        self._again = False
        with self.sink.noting(note), self.sink.acting("session"), self.watcher.here():
            try:
                result, note.stop = run()
            except PREEMPTION_ERRORS:
                self._aborted = True
                raise
            note.results = result
            return result, note.stop

    def create(self, make: Callable[[], Any]) -> Any:
        """Note how a session is made, and watch its runs from then on."""
        self.sink.new_life()
        self._again, self._aborted = self._aborted, False
        note = Note("session", "create", by="session")
        acting = self.sink.acting("creator")
        with self.sink.noting(note, late=True), acting, self.watcher.here():
            session = make()
            note.step = current_step(session)
        original = session.run

        def watched(
            fetches: Any,
            feed_dict: Mapping[Any, Any] | None = None,
            options: Any = None,
            run_metadata: Any = None,
        ) -> Any:
            by = self.sink.caller()
            text = _asked(fetches) + ("" if by == "session" else f" by={by}")
            note = Note("session", "run", by=by, session=session, text=text)
            note.args = RunArgs(fetches, feed_dict)
            with self.sink.noting(note), self.sink.acting("graph"):
                note.results = original(fetches, feed_dict, options, run_metadata)
                return note.results

        own = getattr(session, "__dict__", {})
        if own.get("run") is None:
            restore = partial(own.pop, "run", None)
        else:  # another recorder watches it, too
            restore = partial(own.update, run=own["run"])
        try:
            session.run = watched
        except AttributeError:  # a foreign session with slots: its runs are seen from above only
            return session
        self.coord.after_close(restore)
        return session

    def close(
        self,
        session: Any,
        error: BaseException | None,
        close: Callable[[], list[BaseException]],
    ) -> list[BaseException]:
        """Note how a session is closed."""
        lost = isinstance(error, PREEMPTION_ERRORS)
        text = "" if error is None else f"after {describe(error)}"
        note = Note(
            "session", "lost" if lost else "close", by="session", session=session, text=text
        )
        with self.sink.noting(note), self.sink.acting("closing"):
            failures = close()
            note.error = next((f for f in failures if f is not error), None)
        return failures


class _Companion:
    """A hook with state, seen by a session; what it is given is noted."""

    def __init__(self, watch: Watch, name: str, hook: Any) -> None:
        self._watch = watch
        self._name = name
        self._hook = hook

    def state_dict(self) -> Any:
        return self._hook.state_dict()

    def load_state_dict(self, state: Any) -> None:
        note = Note(self._name, "load_state_dict", by="session")
        note.results = state
        with self._watch.sink.noting(note), self._watch.sink.acting(self._name):
            self._hook.load_state_dict(state)


class _Creator:
    """A session creator that lets a watch see what is made."""

    def __init__(self, create_session: Callable[[], Any]) -> None:
        self.create_session = create_session


class Watcher:
    """Lets every monitored session that is made while it is in use report to a sink.

    Saves and restores are reported while it is in use, whoever makes them, and later those of the
    sessions that report.

    Args:
        sink: Who is told.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def here(self) -> AbstractContextManager[None]:
        """Watch inside the ``with`` block; a session may be run in a thread of another context."""
        return nullcontext() if self in observers.current() else observers.use(self)

    def transfer(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``call`` so that it is reported."""
        return (_watched_save if what == "save" else _watched_restore)(call, self.sink)

    def dispatcher(self, kind: Any) -> type[Dispatcher]:
        """Return a subclass whose hooks report."""
        watcher, sink = self, self.sink

        class WatchedDispatcher(kind):  # type: ignore[misc]  # the base is known only now
            def __init__(self, hooks: Any, clock: Clock) -> None:
                self.watches = {**getattr(self, "watches", {}), watcher: Watch(watcher)}
                super().__init__(hooks, clock)
                sink.new_hooks(self.names, clock)

            def _overridden(self, name: str) -> list[tuple[int, Callable[..., Any]]]:
                watch = self.watches[watcher]
                return [
                    (number, watch.hook(self.names[number - 1], name, method))
                    for number, method in super()._overridden(name)
                ]

            def companions(self) -> dict[str, Any]:
                watch, found = self.watches[watcher], super().companions()
                return {name: _Companion(watch, name, hook) for name, hook in found.items()}

            def run(
                self, session: Any, fetches: Any, feed_dict: Any, *rest: Any
            ) -> tuple[Any, bool]:
                run = partial(super().run, session, fetches, feed_dict, *rest)
                watch: Watch = self.watches[watcher]
                return watch.run(session, fetches, feed_dict, run)

        return WatchedDispatcher

    def life(self, kind: Any) -> type[CoordinatedSession]:
        """Return a subclass that reports how sessions are made and closed."""
        watcher = self

        class WatchedLife(kind):  # type: ignore[misc]  # the base is known only now
            def __init__(self, creator: Any, hooks: Any, stop_grace_period_secs: float) -> None:
                watch = hooks.watches[watcher]
                creator = _Creator(partial(self._create, watch, creator.create_session))
                self._watches = {**getattr(self, "_watches", {}), watcher: watch}
                super().__init__(creator, hooks, stop_grace_period_secs)

            def _create(self, watch: Watch, create: Callable[[], Any]) -> Any:
                watch.coord = self.coord
                return watch.create(create)

            def close(self, error: BaseException | None) -> list[BaseException]:
                watch: Watch = self._watches[watcher]
                return watch.close(self.session, error, partial(super().close, error))

        return WatchedLife


def _watched_save(original: Callable[..., Any], sink: Sink) -> Callable[..., Any]:
    @wraps(original)
    def save(saver: Saver, session: Any, save_path: Any, *args: Any, **kwargs: Any) -> Any:
        note = Note("saver", "save", by=sink.caller(), session=_raw(session))
        with sink.noting(note), sink.acting("saver"):
            path = original(saver, session, save_path, *args, **kwargs)
            note.text = "refused" if path is None else Path(path).name
            return path

    return save


def _watched_restore(original: Callable[..., Any], sink: Sink) -> Callable[..., Any]:
    @wraps(original)
    def restore(saver: Saver, session: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
        text = Path(path).name
        note = Note("saver", "restore", by=sink.caller(), text=text)
        with sink.noting(note), sink.acting("saver"):
            report = original(saver, session, path, *args, **kwargs)
            note.step = current_step(_raw(session))
            return report

    return restore


def _raw(session: Any) -> Any:
    raw_session = getattr(session, "raw_session", None)
    return raw_session() if callable(raw_session) else session


def _stops(context: Any, coord: Any) -> bool:
    asked = context is not None and context.stop_requested
    return bool(asked or (coord is not None and coord.should_stop()))


def _asked(fetches: Any) -> str:
    return f"fetches={show(fetches)}"
