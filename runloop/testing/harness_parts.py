"""What ``HookHarness`` works with: scripted values and failures, a clock, logs of what hooks write."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from runloop import clock as clocks
from runloop.clock import Clock
from runloop.contexts import contextmanager
from runloop.errors import OutOfRangeError
from runloop.graph import Graph
from runloop.hooks.base import HOOK_METHODS
from runloop.monitored.creators import ChiefSessionCreator
from runloop.monitored.scaffold import Scaffold
from runloop.session import Session
from runloop.summary import SummaryWriter
from runloop.testing.clock import FakeClock

__all__ = [
    "Action",
    "HookLog",
    "ScalarLog",
    "ScriptedCreator",
    "as_hooks",
    "fake_clock",
    "give_clock",
    "makes_hooks",
    "scripted",
]


class Action(NamedTuple):
    """One step of a schedule, for :meth:`HookHarness.play`.

    Attributes:
        what: ``"run"``, ``"fail"`` (an op fails, the program catches the error), ``"abort"`` (the
            session is lost and re-created), ``"advance"`` (time passes), ``"exhaust"`` (a run for
            which there is no data), ``"close"``, ``"leave_by_error"``.
        amount: How many runs, or seconds.
    """

    what: str
    amount: float = 1


class ScriptedCreator:
    """Creates the harness's sessions, whose runs fail on request.

    Args:
        graph: The graph.
        checkpoint_dir: The folder that the sessions are restored from, if any.
        start_step: The global step of a session that is not restored.
        begin_run: Called before each run of a session; returns whether the run may be failed.
        created: Called when a session was created, before the hooks see it.

    Attributes:
        failures: The exceptions that the next runs raise.
        runs_left: How many more runs have data; ``None``: no limit.
        graph: The graph.
    """

    def __init__(
        self,
        graph: Graph,
        checkpoint_dir: str | None,
        start_step: int,
        begin_run: Callable[[], bool],
        created: Callable[[], None],
    ) -> None:
        self.graph = graph
        self.failures: list[BaseException] = []
        self.runs_left: int | None = None
        self._start_step = start_step
        self._begin_run = begin_run
        self._created = created
        self._creator = ChiefSessionCreator(
            Scaffold(init_fn=self._initialize), checkpoint_dir=checkpoint_dir, graph=graph
        )

    def create_session(self) -> Session:
        """Return a session, restored or at the start step."""
        session = self._creator.create_session()
        self._created()
        original = session.run

        def run(*args: Any, **kwargs: Any) -> Any:
            if self._begin_run():
                self._fail_if_told()
            return original(*args, **kwargs)

        session.run = run  # type: ignore[method-assign]  # between the hooks and the graph
        return session

    def _initialize(self, _: Scaffold, session: Any) -> None:
        if self._start_step:
            session.assign({"global_step": np.int64(self._start_step)})

    def _fail_if_told(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        if self.runs_left is not None:
            if self.runs_left == 0:
                raise OutOfRangeError("HookHarness.exhaust_after: the data is exhausted")
            self.runs_left -= 1


class HookLog(logging.Handler):
    """Keeps the messages that are logged while a hook under test is being called.

    Args:
        is_calling_hook: Says whether a hook is being called now.

    Attributes:
        messages: The messages, from level ``INFO`` on.
    """

    def __init__(self, is_calling_hook: Callable[[], bool]) -> None:
        super().__init__(logging.INFO)
        self.messages: list[str] = []
        self._is_calling_hook = is_calling_hook

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message if a hook is being called."""
        if self._is_calling_hook():
            self.messages.append(record.getMessage())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the root logger inside the ``with`` block."""
        root = logging.getLogger()
        level = root.level
        root.addHandler(self)
        root.setLevel(min(level, logging.INFO) if level else level)
        try:
            yield
        finally:
            root.removeHandler(self)
            root.setLevel(level)


class ScalarLog:
    """Keeps the scalars that hooks write to summary writers.

    Attributes:
        written: ``(tag, value, step)`` of each.
    """

    def __init__(self) -> None:
        self.written: list[tuple[str, Any, int]] = []
        self._undo: list[Callable[[], None]] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """At the end of the ``with`` block, stop listening to the writers that were added in it."""
        before = len(self._undo)
        try:
            yield
        finally:
            while len(self._undo) > before:
                self._undo.pop()()

    def listen_to(self, hooks: Iterable[Any]) -> None:
        """Record what is written to the writers that ``hooks`` hold as attributes."""
        for hook in hooks:
            for writer in getattr(hook, "__dict__", {}).values():
                if isinstance(writer, type) or not isinstance(writer, SummaryWriter):
                    continue
                own = vars(writer).get("add_scalar")
                if getattr(own, "noted_by", None) is not self:
                    self._note(writer)

    def _note(self, writer: Any) -> None:
        original = writer.add_scalar
        before = vars(writer).get("add_scalar")

        def add_scalar(tag: str, value: Any, step: int, *args: Any, **kwargs: Any) -> Any:
            result = original(tag, value, step, *args, **kwargs)
            self.written.append((tag, value.item() if hasattr(value, "item") else value, int(step)))
            return result

        add_scalar.noted_by = self  # type: ignore[attr-defined]
        writer.add_scalar = add_scalar

        def undo() -> None:
            if before is None:
                del writer.add_scalar
            else:
                writer.add_scalar = before

        self._undo.append(undo)


def scripted(name: str, values: Any, start: int) -> Callable[[Any], Any]:
    """Return a function of ``global_step`` that returns the scripted values of one output.

    Raises:
        ValueError: If ``values`` is an empty list.
    """
    if isinstance(values, (list, tuple)) and not values:
        raise ValueError(f"HookHarness: outputs[{name!r}] needs at least one value, got {values!r}")

    def output(global_step: Any) -> Any:
        step = int(global_step)
        value = values
        if isinstance(values, (list, tuple)):
            value = values[min(max(step - start, 0), len(values) - 1)]
        elif callable(values):
            value = values(step)
        if isinstance(value, BaseException):
            raise value
        return value

    return output


def fake_clock() -> FakeClock:
    """Return the clock in use if it is a ``FakeClock``, else a new one."""
    current = clocks.current()
    return current if isinstance(current, FakeClock) else FakeClock()


def give_clock(hook: Any, clock: Clock) -> None:
    """Replace the system's clock in a hook and its timers by ``clock``."""
    for owner in (hook, *getattr(hook, "__dict__", {}).values()):
        own = getattr(owner, "__dict__", {})
        if isinstance(own.get("_clock"), clocks.SystemClock):
            owner._clock = clock  # noqa: SLF001  # its name in runloop's own hooks and timers


def makes_hooks(given: Any) -> bool:
    """Return whether ``given`` makes hooks, rather than being one."""
    is_hook = all(callable(getattr(given, name, None)) for name in HOOK_METHODS)
    return callable(given) and (isinstance(given, type) or not is_hook)


def as_hooks(given: Any) -> tuple[Any, ...]:
    """Return one hook or several as a tuple."""
    return tuple(given) if isinstance(given, (list, tuple)) else (given,)
