"""``HookHarness``: drives hooks through the real lifecycle without a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np

from runloop import clock as clocks
from runloop.clock import Clock
from runloop.errors import AbortedError, OutOfRangeError
from runloop.graph import Graph, get_or_create_global_step
from runloop.hooks import CheckpointSaverHook
from runloop.monitored import MonitoredSession
from runloop.monitored.creators import ChiefSessionCreator
from runloop.monitored.dispatch import hook_names
from runloop.monitored.scaffold import Scaffold
from runloop.summary import SummaryWriter
from runloop.testing.clock import FakeClock
from runloop.testing.harness_parts import (
    as_hooks,
    fake_clock,
    give_clock,
    listen,
    makes_hooks,
    scripted,
)
from runloop.testing.schedule import Action, play
from runloop.testing.story import Story

__all__ = ["HookHarness"]


class HookHarness(Story):
    """Drives one or several hooks through the real lifecycle, with scripted values and no model.

        harness = HookHarness(MyHook(), outputs={"loss": [0.9, 0.5, 0.1]})
        harness.run(steps=3)
        harness.close()
        assert harness.events == [...]

    It is a real ``MonitoredSession`` over a small graph: one op for each of ``outputs``, and a
    ``train`` op that does nothing but let the global step grow. The session is made by the first
    call of :meth:`run`, :meth:`run_until_stop` or :meth:`close`. An exception that comes out of a
    run leaves the ``with`` block, as in a program: the session is closed, and the exception comes
    out of the method, unless it is ``OutOfRangeError`` or ``StopIteration``, which end a program
    normally. Nothing sleeps: time stands still but for the clock's own ``per_step``.

    Args:
        hook: The hook; or a list of hooks; or a function or class that makes one of these, and is
            called with the harness's clock in use. A hook that was made outside of it gets the
            clock all the same, in place of the system's: the hook itself and the timers that it
            has as attributes.
        graph: A graph of your own in place of the small one; ``outputs`` and, unless it has an
            op of that name, ``train`` are added to it.
        outputs: ``{name: values}``, each of which becomes an op. A list or tuple has one value for
            each global step from ``start_step`` on, the last one again and again; an exception
            among them is raised. A function is called with the global step. Anything else is the
            value itself.
        start_step: The global step at the start, unless a checkpoint says otherwise.
        clock: What tells the time; the clock in use if that is a :class:`FakeClock`, else a new
            one. A ``FakeClock`` ticks once in every run.
        checkpoint_dir: A folder to restore from when a session is made, and to save to after each
            run. If one of the hooks is a ``CheckpointSaverHook``, saving is left to it.
        train: The name of the op that :meth:`run` runs.

    Attributes:
        hooks: The hooks under test; ``()`` before the session is made, where they are made late.
        clock: The clock.
        graph: The graph.
        recorder: The :class:`LifecycleRecorder` with everything that happened, not only to hooks.
    """

    def __init__(
        self,
        hook: Any,
        *,
        graph: Graph | None = None,
        outputs: Mapping[str, Any] | None = None,
        start_step: int = 0,
        clock: Clock | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        train: str = "train",
    ) -> None:
        super().__init__()
        self._make = hook if makes_hooks(hook) else lambda: hook
        self.hooks: tuple[Any, ...] = () if self._make is hook else as_hooks(hook)
        self.clock: Clock = clock if clock is not None else fake_clock()
        self.graph = Graph() if graph is None else graph
        self._start_step = start_step
        self._checkpoint_dir = None if checkpoint_dir is None else os.fspath(checkpoint_dir)
        self._train = train
        self._session: MonitoredSession | None = None
        self._failures: list[BaseException] = []
        self._runs_left: int | None = None
        self._undo: list[Callable[[], None]] = []
        with self.graph.as_default():
            get_or_create_global_step()
            for name, values in (outputs or {}).items():
                self.graph.op(scripted(name, values, start_step), name=name)
            if train not in self.graph.elements:
                self.graph.train_op(lambda: None, name=train)

    # -- driving ---------------------------------------------------------------------------------

    def run(
        self,
        steps: int = 1,
        *,
        feed_dict: Mapping[Any, Any] | None = None,
        catch: tuple[type[Exception], ...] = (),
    ) -> int:
        """Run ``steps`` times, or until the session should stop.

        Args:
            steps: How often at most, failed runs included.
            feed_dict: The program's own feeds.
            catch: Exceptions that the program catches around its ``run()``, and goes on.

        Returns:
            How many runs succeeded.

        Raises:
            RuntimeError: If the session is closed.
            Exception: What came out of a run; the session is closed then.
        """
        made = 0
        if self.closed:
            raise RuntimeError(
                "HookHarness.run: the session is closed, by close() or by an exception that came "
                "out of a run; make another HookHarness for another session"
            )
        with self._at_work():
            session = self._open()
            try:
                for _ in range(steps):
                    if session.should_stop():
                        break
                    try:
                        session.run(self._train, feed_dict)
                        made += 1
                    except catch:
                        pass
            except BaseException as exc:
                if not session.__exit__(type(exc), exc, exc.__traceback__):
                    raise
        return made

    def run_until_stop(self, limit: int = 1000) -> int:
        """Run until something asks to stop, or data comes to an end.

        Args:
            limit: How many runs there may be.

        Returns:
            How many runs succeeded.

        Raises:
            AssertionError: If nothing has asked to stop by then.
        """
        made = self.run(limit)
        if not self.session.should_stop():
            last = self.events[-1] if self.events else "none"
            raise AssertionError(f"nothing asked to stop in {limit} runs; the last event: {last}")
        return made

    def fail_next(self, exc: BaseException) -> None:
        """Let the next run raise ``exc``, as an op of the graph would. Called twice: two runs."""
        self._failures.append(exc)

    def abort_next(self, message: str = "the session was lost") -> None:
        """Let the next run raise ``AbortedError``: the session is made anew, the run repeated."""
        self.fail_next(AbortedError(message))

    def exhaust_after(self, runs: int) -> None:
        """Let data come to its end after ``runs`` more runs: the one after raises ``OutOfRangeError``."""
        self._runs_left = runs

    def play(self, schedule: Iterable[Action]) -> None:
        """Let a schedule happen, such as ``runloop.testing.strategies.schedules()`` gives.

        What follows once the session should stop, or is closed, is left out.

        Raises:
            ValueError: If there is no such action.
            TypeError: If time is to pass on a clock that is no :class:`FakeClock`.
        """
        play(self, schedule)

    def close(self, exc: BaseException | None = None) -> None:
        """Leave the ``with`` block; does nothing if that has happened.

        Args:
            exc: Leave it by this exception, as if the loop's own code had raised it. It is not
                raised here.

        Raises:
            BaseException: What ``end`` or the closing raised.
        """
        with self._at_work():
            if not self.closed:
                session = self._open()
                session.__exit__(None if exc is None else type(exc), exc, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(exc)

    @property
    def session(self) -> MonitoredSession:
        """The session that drives the hooks, made now if it is not there."""
        with self._at_work():
            return self._open()

    @property
    def started(self) -> bool:
        """Whether the session was made."""
        return self._session is not None

    @property
    def closed(self) -> bool:
        """Whether the ``with`` block was left."""
        return self._session is not None and self._session.graph is None

    @property
    def step(self) -> int | None:
        """The global step of the open session; ``None`` without one."""
        if self._session is None or self.closed:
            return None
        return int(self._session.raw_session().state().variables["global_step"])

    # -- inside ----------------------------------------------------------------------------------

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with clocks.use(self.clock), self.graph.as_default(), self.recorder, self._log.listening():
            self._watch_writers()
            try:
                yield
            finally:
                while self._undo:
                    self._undo.pop()()

    def _open(self) -> MonitoredSession:
        if self._session is not None:
            return self._session
        self.hooks = as_hooks(self._make())
        for hook in self.hooks:
            give_clock(hook, self.clock)
        every = list(self.hooks)
        self._names = hook_names(every)
        saves = any(isinstance(hook, CheckpointSaverHook) for hook in every)
        if self._checkpoint_dir is not None and not saves:
            every.append(CheckpointSaverHook(self._checkpoint_dir, save_steps=1))
        creator = ChiefSessionCreator(
            Scaffold(init_fn=self._initialise),
            checkpoint_dir=self._checkpoint_dir,
            graph=self.graph,
        )
        self._session = MonitoredSession(_Creator(self, creator), every, graph=self.graph)
        return self._session

    def _initialise(self, _: Scaffold, session: Any) -> None:
        if self._start_step:
            session.assign({"global_step": np.int64(self._start_step)})

    def _created(self, session: Any) -> None:
        """Take in a session before the hooks see it."""
        self._watch_writers()
        original = session.run

        def run(*args: Any, **kwargs: Any) -> Any:
            if self.recorder.callers()[-2:] == ("session", "graph"):
                self._before_run()
            return original(*args, **kwargs)

        session.run = run

    def _before_run(self) -> None:
        """Do what comes between the hooks and the graph in every run of the program's own."""
        if isinstance(self.clock, FakeClock):
            self.clock.tick()
        if self._failures:
            raise self._failures.pop(0)
        if self._runs_left is not None:
            if self._runs_left == 0:
                raise OutOfRangeError("the harness was told that data has come to its end")
            self._runs_left -= 1

    def _watch_writers(self) -> None:
        """Note what the hooks write from now on, until the present call of the harness is over."""
        for hook in self.hooks:
            for writer in getattr(hook, "__dict__", {}).values():
                if isinstance(writer, type) or not isinstance(writer, SummaryWriter):
                    continue
                own = vars(writer)
                if getattr(own.get("add_scalar"), "listens_for", None) is not self:
                    self._undo.append(listen(self, writer, self._scalars))


class _Creator:
    """Makes sessions that a harness can let fail."""

    def __init__(self, harness: HookHarness, creator: ChiefSessionCreator) -> None:
        self._harness = harness
        self._creator = creator
        self.graph = creator.graph

    def create_session(self) -> Any:
        session = self._creator.create_session()
        self._harness._created(session)  # noqa: SLF001  # one class in two halves
        return session
