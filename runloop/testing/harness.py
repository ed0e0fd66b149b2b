"""``HookHarness``: drives hooks through the real lifecycle without a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from runloop import clock as clocks
from runloop.clock import Clock
from runloop.contexts import contextmanager
from runloop.errors import AbortedError
from runloop.graph import Graph, get_or_create_global_step
from runloop.hooks import CheckpointSaverHook
from runloop.monitored import MonitoredSession
from runloop.monitored.dispatch import hook_names
from runloop.run import RunArgs
from runloop.testing.clock import FakeClock
from runloop.testing.events import Event
from runloop.testing.harness_parts import (
    Action,
    HookLog,
    ScalarLog,
    ScriptedCreator,
    as_hooks,
    fake_clock,
    give_clock,
    makes_hooks,
    scripted,
)
from runloop.testing.recorder import LifecycleRecorder

__all__ = ["HookHarness"]


_LOST = "the session was lost"


class _ScheduledError(Exception):
    """What fails in a schedule."""


class HookHarness:
    """Drives one or several hooks through the real lifecycle, with scripted values and no model.

        harness = HookHarness(MyHook(), outputs={"loss": [0.9, 0.5, 0.1]})
        harness.run(steps=3)
        harness.close()
        assert harness.events == [...]

    The harness runs a real ``MonitoredSession`` over a small graph: one op for each of
    ``outputs``, and a ``train`` op that only increments the global step. The first call of
    :meth:`run`, :meth:`run_until_stop` or :meth:`close` creates the session. An exception out of a
    run leaves the ``with`` block, as in a program: it closes the session and comes out of the
    method, unless it is ``OutOfRangeError`` or ``StopIteration``, which end a program normally.
    Nothing sleeps: time stands still but for the clock's own ``per_step``.

    Args:
        hook: The hook; or a list of hooks; or a function or class that makes them, called with the
            harness's clock in use. A hook that was made before gets the clock too, in place of the
            system's: the hook itself and the timers among its attributes.
        graph: Your own graph, in place of the small one. The harness adds ``outputs`` and, unless
            the graph has an op of that name, ``train``.
        outputs: ``{name: values}``; each becomes an op. A list or tuple has one value for each
            global step from ``start_step`` on; its last value repeats, and an exception in it is
            raised. A function is called with the global step. Anything else is the value itself.
        start_step: The global step at the start, unless a checkpoint says otherwise.
        clock: What tells the time. Default: the clock in use if that is a :class:`FakeClock`, else
            a new one. A ``FakeClock`` ticks once in every run.
        checkpoint_dir: A folder to restore from when a session is created, and to save to after
            each run. If one of the hooks is a ``CheckpointSaverHook``, saving is left to it.
        train: The name of the op that :meth:`run` runs.

    Attributes:
        hooks: The hooks under test; ``()`` before the session is created, if the harness makes
            them.
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
        self._make = hook if makes_hooks(hook) else lambda: hook
        self.hooks: tuple[Any, ...] = () if self._make is hook else as_hooks(hook)
        self.clock: Clock = clock if clock is not None else fake_clock()
        self.graph = Graph() if graph is None else graph
        self.recorder = LifecycleRecorder()
        self._checkpoint_dir = None if checkpoint_dir is None else os.fspath(checkpoint_dir)
        self._train = train
        self._names: tuple[str, ...] = ()  # of the hooks under test, once they exist
        self._session: MonitoredSession | None = None
        self._log = HookLog(self._is_calling_hook)
        self._scalars = ScalarLog()
        self._creator = ScriptedCreator(
            self.graph, self._checkpoint_dir, start_step, self._begin_run, self._watch_writers
        )
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
            steps: The most runs there may be, failed ones included.
            feed_dict: The program's own feeds.
            catch: Exceptions that the program catches around its ``run()``, before it goes on.

        Returns:
            How many runs succeeded.

        Raises:
            RuntimeError: If the session is closed.
            Exception: What came out of a run; the session is closed then.
        """
        succeeded = 0
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
                        succeeded += 1
                    except catch:
                        pass
            except BaseException as exc:
                if not session.__exit__(type(exc), exc, exc.__traceback__):
                    raise
        return succeeded

    def run_until_stop(self, limit: int = 1000) -> int:
        """Run until something asks to stop, or the data is exhausted.

        Args:
            limit: The most runs there may be.

        Returns:
            How many runs succeeded.

        Raises:
            AssertionError: If nothing has asked to stop by then.
        """
        succeeded = self.run(limit)
        if not self.session.should_stop():
            last = self.events[-1] if self.events else "none"
            raise AssertionError(f"nothing asked to stop in {limit} runs; the last event: {last}")
        return succeeded

    def fail_next(self, exc: BaseException) -> None:
        """Make the next run raise ``exc``, as an op of the graph would. Called twice: two runs."""
        self._creator.failures.append(exc)

    def abort_next(self, message: str = _LOST) -> None:
        """Make the next run raise ``AbortedError``: the session is re-created, the run repeated."""
        self.fail_next(AbortedError(message))

    def exhaust_after(self, runs: int) -> None:
        """Let ``runs`` more runs have data; the one after them raises ``OutOfRangeError``."""
        self._creator.runs_left = runs

    def play(self, schedule: Iterable[Action]) -> None:
        """Play a schedule, such as ``runloop.testing.strategies.schedules()`` gives.

        Actions after the session was asked to stop, or closed, are left out.

        Raises:
            ValueError: If an action is unknown.
            TypeError: If time is to pass on a clock that is not a :class:`FakeClock`.
        """
        for what, amount in schedule:
            if self.closed:
                return
            if what == "run":
                self.run(int(amount))
            elif what in {"fail", "abort"}:
                if not self.session.should_stop():
                    lost = what == "abort"
                    self.fail_next(AbortedError(_LOST) if lost else _ScheduledError("an op failed"))
                    self.run(catch=(_ScheduledError,))
            elif what == "advance":
                if not isinstance(self.clock, FakeClock):
                    raise TypeError(f"time passes only on a FakeClock, not on {self.clock!r}")
                self.clock.advance(amount)
            elif what == "exhaust":
                self.exhaust_after(0)
                self.run()
            elif what in {"close", "leave_by_error"}:
                self.close(None if what == "close" else _ScheduledError("the program failed"))
            else:
                raise ValueError(
                    f"HookHarness.play: unknown action {what!r}; the actions are run, fail, abort, "
                    f"advance, exhaust, close and leave_by_error"
                )

    def close(self, exc: BaseException | None = None) -> None:
        """Leave the ``with`` block; does nothing if it was left before.

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

    # -- what happened ---------------------------------------------------------------------------

    @property
    def events(self) -> list[Event]:
        """What happened to the hooks under test, as lines: compare it with a list of strings.

        There is a line for each call of a method that a hook overrides, for each save and restore,
        for each run that failed, and for each session that was lost.
        """
        return [event for event in self.recorder.events if self._concerns_hooks(event)]

    @property
    def fetches(self) -> list[Any]:
        """What each ``before_run`` asked for, ``None`` for nothing; one entry a call."""
        return [None if args is None else args.fetches for args in self._requests()]

    @property
    def feeds(self) -> list[Any]:
        """What each ``before_run`` fed, ``None`` for nothing; one entry a call."""
        return [None if args is None else args.feed_dict for args in self._requests()]

    @property
    def stop_requested_by(self) -> str | None:
        """The name of the first hook that requested a stop (its class's name), if any did."""
        return next((e.who for e in self.recorder.events if e.stop and e.who in self._names), None)

    @property
    def saved_steps(self) -> list[int]:
        """The global step of every checkpoint that was saved."""
        saves = [e for e in self.recorder.events if (e.who, e.what) == ("saver", "save")]
        return [e.step for e in saves if e.error is None and e.step is not None]

    @property
    def scalars(self) -> list[tuple[str, Any, int]]:
        """``(tag, value, step)`` of what the hooks wrote to writers that they hold as attributes."""
        return list(self._scalars.written)

    @property
    def logs(self) -> list[str]:
        """The messages logged while a hook under test was being called, from ``INFO`` on."""
        return list(self._log.messages)

    @property
    def session(self) -> MonitoredSession:
        """The session that drives the hooks, created now if necessary."""
        with self._at_work():
            return self._open()

    @property
    def started(self) -> bool:
        """Whether the session was created."""
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

    def _requests(self) -> Iterator[RunArgs | None]:
        for event in self.recorder.events:
            if event.who in self._names and event.what == "before_run":
                yield event.args

    def _concerns_hooks(self, event: Event) -> bool:
        if event.who in self._names or event.who == "saver":
            return True
        if event.who == "session":
            return event.what == "lost" or (event.what == "run" and event.error is not None)
        return False

    # -- inside ----------------------------------------------------------------------------------

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with (
            clocks.use(self.clock),
            self.graph.as_default(),
            self.recorder,
            self._log.listening(),
            self._scalars.listening(),
        ):
            self._watch_writers()
            yield

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
        self._session = MonitoredSession(self._creator, every, graph=self.graph)
        return self._session

    def _watch_writers(self) -> None:
        self._scalars.listen_to(self.hooks)

    def _begin_run(self) -> bool:
        """Let time pass; return whether this run is the program's own, not one of a hook."""
        own = self.recorder.callers()[-2:] == ("session", "graph")
        if own and isinstance(self.clock, FakeClock):
            self.clock.tick()
        return own

    def _is_calling_hook(self) -> bool:
        return any(name in self._names for name in self.recorder.callers())
