"""``LifecycleRecorder``: everything that happens to a session, seen from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from runloop import clock as clocks
from runloop import observers
from runloop.clock import Clock
from runloop.contexts import contextmanager
from runloop.observers import Moment
from runloop.run import RunArgs
from runloop.testing.events import Event, current_step, describe, show
from runloop.testing.recorder import mermaid, render

__all__ = ["LifecycleRecorder"]


class LifecycleRecorder:
    """Records every monitored session that is made while it is open.

        with LifecycleRecorder() as recorder:
            with rl.MonitoredSession(hooks=[rl.StopAtStepHook(last_step=2)]) as session:
                ...
        print(recorder.table())

    It records:

    - every call of a method that a hook overrides: the step, what the hook asked for and got,
      whether it requested a stop, what it raised, and how long it took;
    - what the program asked to run, and what the session below the hooks ran;
    - how sessions are created, lost and closed;
    - saves and restores, and the state given to hooks.

    It does not change the sessions, except for the time that recording takes.

    Recorders can be nested. A session that is created while the recorder is open, in the same
    context, is recorded until it is closed, in all threads. A new thread has a new context, unless
    it is started as ``Thread(target=contextvars.copy_context().run, args=(fn,))``.

    Attributes:
        events: The :class:`Event` s so far, in the order in which they began.
        hooks: The names of all hooks of these sessions, in list order: the hook's class; the second
            of a class gets ``_1``, and so on.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.hooks: list[str] = []
        self._life = -1
        self._depth = 0
        self._clock: Clock = clocks.current()
        self._local = threading.local()
        self._main = threading.get_ident()
        self._open: list[AbstractContextManager[None]] = []

    def __enter__(self) -> Self:
        watching = observers.use(self)
        watching.__enter__()
        self._open.append(watching)
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
        """Return the events as a text table, a line each.

        Args:
            width: The most characters in a line; the terminal's width if ``None``.
        """
        return render.table(self.events, width)

    def mermaid(self) -> str:
        """Return the events as a Mermaid sequence diagram."""
        return mermaid.diagram(self.events, self.hooks)

    def json(self) -> str:
        """Return the events as a JSON array of objects, with values as texts as in the table."""
        return render.json_text(self.events)

    def chrome_trace(self) -> str:
        """Return the events as JSON in Chrome's trace event format, which Perfetto opens."""
        return render.chrome_trace(self.events)

    def __str__(self) -> str:
        return self.table()

    # -- as an observer --------------------------------------------------------------------------

    def new_session(self, names: Sequence[str], clock: Clock) -> None:
        """Add the hooks of one more monitored session, and take the clock of the first."""
        self.hooks += [name for name in names if name not in self.hooks]
        if not self.events:
            self._clock = clock

    @contextmanager
    def moment(self, moment: Moment) -> Iterator[None]:
        """Record what happens inside the ``with`` block.

        The event takes its place in the list before the block and gets its results after it. A
        session that is made is listed after what happens meanwhile: it is not there before.
        """
        creates = (moment.who, moment.what) == ("session", "create")
        if creates:
            self._life += 1
        known: dict[str, Any] = {
            "by": self._caller_of(moment),
            "step": current_step(moment.session),
            "depth": self._depth,
            "life": max(self._life, 0),
            "start": self._clock.monotonic(),
        }
        has_session = moment.session is not None
        place = len(self.events)
        if not creates:
            self.events.append(_event(moment, **known))
            self._depth += 1
        try:
            with self._acting(_actor(moment) or self.callers()[0]):
                yield
        finally:
            if not has_session:
                known["step"] = current_step(moment.session)
            known["secs"] = self._clock.monotonic() - known["start"]
            if creates:
                self.events.append(_event(moment, **known))
            else:
                self._depth -= 1
                self.events[place] = _event(moment, **known)

    def callers(self) -> tuple[str, ...]:
        """Return who is at work, the first caller first: ``("loop", "session", "StopAtStepHook")``.

        The first is ``"loop"``, or a thread's name in a thread that does not own the recorder.
        """
        main = threading.get_ident() == self._main
        first = "loop" if main else threading.current_thread().name
        return (first, *getattr(self._local, "stack", ()))

    @contextmanager
    def _acting(self, who: str) -> Iterator[None]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        self._local.stack.append(who)
        try:
            yield
        finally:
            self._local.stack.pop()

    def _caller_of(self, moment: Moment) -> str:
        asked_for = moment.who in {"loop", "saver"} or (moment.who, moment.what) == (
            "session",
            "run",
        )
        return self.callers()[-1] if asked_for and not moment.again else "session"


def _actor(moment: Moment) -> str | None:
    """Return who is at work inside ``moment``; ``None`` for the program itself."""
    if moment.who == "loop":
        return "session" if moment.what == "run" else None
    if moment.who == "session":
        return {"create": "creator", "run": "graph"}.get(moment.what, "closing")
    return moment.who


def _event(moment: Moment, *, by: str, step: int | None, **known: Any) -> Event:
    fields = ("who", "what", "args", "results", "error", "stop")
    made_from = {name: getattr(moment, name) for name in fields}
    return Event(_line(moment, by, step), by=by, step=step, **made_from, **known)


def _line(moment: Moment, by: str, step: int | None) -> str:
    parts = [f"{moment.who}.{moment.what}"]
    if step is not None:
        parts.append(f"step={step}")
    if moment.text:
        parts.append(moment.text)
    if isinstance(moment.args, RunArgs):
        parts += _requests(moment)
    if moment.who == "session" and moment.what == "run" and by != "session":
        parts.append(f"by={by}")
    if moment.again:
        parts.append("again")
    if moment.cause is not None:
        parts.append(f"after {describe(moment.cause)}")
    if moment.results is not None and moment.who not in {"loop", "session", "saver"}:
        parts.append(f"got={show(moment.results)}")
    if moment.stop:
        parts.append("requests stop")
    if moment.error is not None:
        parts.append(f"raises {describe(moment.error)}")
    return " ".join(parts)


def _requests(moment: Moment) -> list[str]:
    """Return what is asked for: by the program in one word, by a hook with feeds and options."""
    if moment.who in {"loop", "session"}:
        return [f"fetches={show(moment.args.fetches)}"]
    named = zip(("asks", "feeds", "options"), moment.args, strict=True)
    return [f"{name}={show(value)}" for name, value in named if value is not None]
