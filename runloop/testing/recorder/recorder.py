"""``LifecycleRecorder``: the whole story of a session, seen from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self

from runloop import clock as clocks
from runloop.clock import Clock
from runloop.testing.events import Event
from runloop.testing.recorder import mermaid, render
from runloop.testing.recorder.watching import Note, Watcher

__all__ = ["LifecycleRecorder"]


class LifecycleRecorder:
    """Records every monitored session that is made while it is open.

        with LifecycleRecorder() as recorder:
            with rl.MonitoredSession(hooks=[rl.StopAtStepHook(last_step=2)]) as session:
                ...
        print(recorder.table())

    Recorded are: every call of a hook's method that it overrides, with step, what it asked for,
    what it got, whether it requested a stop, what it raised, and how long it took; what the
    program asked to run and what the session below really ran; how sessions are made, lost and
    closed; saves and restores; the state handed to hooks. The sessions are not changed by it,
    but for the time that it takes.

    Recorders may be open inside of each other. A session is recorded for good, in whatever thread
    it is run, if it was made while the recorder was open, in the same context: a thread has its
    own, unless it is started as ``Thread(target=contextvars.copy_context().run, args=(fn,))``.

    Attributes:
        events: What happened so far, in the order in which it began: :class:`Event` s.
        hooks: The names of all hooks of these sessions, in list order: a hook's class, numbered
            from the second of a class.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.hooks: list[str] = []
        self._life = -1
        self._depth = 0
        self._clock: Clock = clocks.current()
        self._local = threading.local()
        self._main = threading.get_ident()
        self._watcher = Watcher(self)
        self._open: list[AbstractContextManager[None]] = []

    def __enter__(self) -> Self:
        watch = self._watcher.here()
        watch.__enter__()
        self._open.append(watch)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.pop().__exit__(None, None, None)

    # -- shown -----------------------------------------------------------------------------------

    def table(self, width: int | None = None) -> str:
        """Return the events as a text table, one line each, at most ``width`` characters wide.

        Args:
            width: The terminal's width if ``None``.
        """
        return render.table(self.events, width)

    def mermaid(self) -> str:
        """Return the events as a Mermaid sequence diagram."""
        return mermaid.diagram(self.events, self.hooks)

    def json(self) -> str:
        """Return the events as a JSON array of objects, values in words as in the table."""
        return render.json_text(self.events)

    def chrome_trace(self) -> str:
        """Return the events as JSON in Chrome's trace event format, which Perfetto opens."""
        return render.chrome_trace(self.events)

    def __str__(self) -> str:
        return self.table()

    # -- used by what watches --------------------------------------------------------------------

    @contextmanager
    def noting(self, note: Note, *, late: bool = False) -> Iterator[Note]:
        """Record what happens inside the ``with`` block as ``note``."""
        note.life = max(self._life, 0)
        note.depth = self._depth
        note.start = self._clock.monotonic()
        place = None
        if not late:
            place = len(self.events)
            self.events.append(_event(note))
            self._depth += 1
        try:
            yield note
        except BaseException as exc:
            note.error = exc
            raise
        finally:
            note.secs = self._clock.monotonic() - note.start
            if place is None:
                self.events.append(_event(note))
            else:
                self._depth -= 1
                self.events[place] = _event(note)

    def callers(self) -> tuple[str, ...]:
        """Return who is at work, whom that one called, and so on."""
        main = threading.get_ident() == self._main
        first = "loop" if main else threading.current_thread().name
        return (first, *getattr(self._local, "stack", ()))

    def caller(self) -> str:
        """Return who is at work: ``"loop"``, ``"session"``, a hook's name, a thread's name."""
        return self.callers()[-1]

    @contextmanager
    def acting(self, who: str) -> Iterator[None]:
        """Say that ``who`` is at work inside the ``with`` block."""
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        self._local.stack.append(who)
        try:
            yield
        finally:
            self._local.stack.pop()

    def new_life(self) -> None:
        """Count the sessions."""
        self._life += 1

    def new_hooks(self, names: Sequence[str], clock: Clock) -> None:
        """Take in the hooks of one more monitored session, and the clock of the first."""
        self.hooks += [name for name in names if name not in self.hooks]
        if not self.events:
            self._clock = clock


def _event(note: Note) -> Event:
    fields: dict[str, Any] = {name: getattr(note, name) for name in _FIELDS}
    return Event(note.line(), **fields)


_FIELDS = (
    "who",
    "what",
    "by",
    "depth",
    "step",
    "args",
    "results",
    "error",
    "stop",
    "life",
    "start",
    "secs",
)
