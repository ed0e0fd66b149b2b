"""Hooks and listeners that record their calls, or that fail at a chosen step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues
from runloop.testing.events import Event, current_step

__all__ = ["RaiseAt", "RecordingHook", "RecordingListener"]


class RecordingHook(SessionRunHook):
    """A hook that records its calls, and fetches what the test wants.

        hook = RecordingHook("A", asks="loss")
        ...
        assert hook.events == ["A.begin", "A.after_create_session", "A.before_run", "A.after_run"]
        assert hook.results == [0.5]

    Args:
        name: The first word of its events.
        asks: What ``before_run`` returns: fetches, :class:`~runloop.RunArgs`, ``None`` for
            nothing, or a function of the run context that returns one of these.
        events: A list to append to, so that several hooks can share one; a new list if ``None``.
        failing: ``{method: exception}``: the first call of each method raises its exception, once.
        stop_after: Request a stop in the ``after_run`` of this run, counted from 1; ``None`` for
            never.

    Attributes:
        events: The calls so far, each an :class:`Event` that reads ``name.method``; ``step``,
            ``args`` and ``results`` are attributes of the event.
        failing: ``{method: exception}``: what is yet to be raised; may be changed.
        results: What each ``after_run`` got as ``run_values.results``.
        steps: The global step that the session had at each ``after_run``.
        session: The session given to the last ``after_create_session``.
        coord: Its coordinator.
    """

    def __init__(
        self,
        name: str = "RecordingHook",
        *,
        asks: Any = None,
        events: list[Any] | None = None,
        failing: Mapping[str, BaseException] | None = None,
        stop_after: int | None = None,
    ) -> None:
        self.name = name
        self.asks = asks
        self.events: list[Any] = [] if events is None else events
        self.results: list[Any] = []
        self.steps: list[int | None] = []
        self.session: Any = None
        self.coord: Any = None
        self.failing = dict(failing or {})
        self._stop_after = stop_after

    def _note(self, what: str, session: Any = None, args: Any = None, results: Any = None) -> None:
        error = self.failing.pop(what, None)
        step = current_step(session)
        self.events.append(
            Event(
                f"{self.name}.{what}",
                who=self.name,
                what=what,
                step=step,
                args=args,
                results=results,
                error=error,
            )
        )
        if error is not None:
            raise error

    def begin(self) -> None:
        """Record the call."""
        self._note("begin")

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Record the call, and keep both arguments."""
        self.session, self.coord = session, coord
        self._note("after_create_session", session)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Record the call, and ask for what was given as ``asks``."""
        asks = self.asks(run_context) if callable(self.asks) else self.asks
        request = asks if asks is None or isinstance(asks, RunArgs) else RunArgs(asks)
        self._note("before_run", run_context.session, request)
        return request

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Record the call and the results; request a stop after run ``stop_after``."""
        self.results.append(run_values.results)
        self.steps.append(current_step(run_context.session))
        self._note("after_run", run_context.session, results=run_values.results)
        if self._stop_after is not None and len(self.results) >= self._stop_after:
            run_context.request_stop()

    def end(self, session: Any) -> None:
        """Record the call."""
        self._note("end", session)


class RecordingListener:
    """A checkpoint saver's listener that records its calls.

    Args:
        name: What its events begin with.
        events: A list to append to; a new list if ``None``.
        stop_at: ``after_save`` returns ``True`` at this step, which asks to stop.

    Attributes:
        events: The calls so far, e.g. ``"RecordingListener.before_save step=2"``.
        saved_steps: The steps of all ``after_save`` so far.
    """

    def __init__(
        self,
        name: str = "RecordingListener",
        *,
        events: list[Any] | None = None,
        stop_at: int | None = None,
    ) -> None:
        self.name = name
        self.events: list[Any] = [] if events is None else events
        self.saved_steps: list[int] = []
        self._stop_at = stop_at

    def _note(self, what: str, step: int | None = None) -> None:
        at = "" if step is None else f" step={step}"
        self.events.append(Event(f"{self.name}.{what}{at}", who=self.name, what=what, step=step))

    def begin(self) -> None:
        """Record the call."""
        self._note("begin")

    def before_save(self, session: Any, global_step_value: Any) -> None:
        """Record the call."""
        self._note("before_save", int(global_step_value))

    def after_save(self, session: Any, global_step_value: Any) -> bool:
        """Record the call; return whether to stop."""
        self._note("after_save", int(global_step_value))
        self.saved_steps.append(int(global_step_value))
        return self._stop_at == int(global_step_value)

    def end(self, session: Any, global_step_value: Any) -> None:
        """Record the call."""
        self._note("end", int(global_step_value))


class RaiseAt(SessionRunHook):
    """A hook that raises once, at a step and in a method of your choice.

        RaiseAt(3, AbortedError("worker lost"))      # the run that follows step 3 fails

    Args:
        step: The global step at which to raise, as the session has it at that moment: in
            ``before_run`` and in the run itself the step before the run, in ``after_run`` the step
            after it. Without a global step, and in ``begin``, the number of the run counts; the
            first has number 0.
        exc: The exception, or a class of exceptions.
        where: ``"run"`` to raise inside the run, as an op of the graph would; or the name of a
            method of the hook.
        times: How many times it raises.

    Raises:
        ValueError: If ``where`` is something else.
    """

    _WHERE = ("begin", "after_create_session", "before_run", "run", "after_run", "end")

    def __init__(
        self,
        step: int,
        exc: BaseException | type[BaseException],
        where: str = "run",
        *,
        times: int = 1,
    ) -> None:
        if where not in self._WHERE:
            raise ValueError(
                f"RaiseAt: where must be one of {', '.join(self._WHERE)}, got {where!r}"
            )
        self._step = step
        self._exc = exc
        self._where = where
        self._left = times
        self._runs = 0

    def _due(self, where: str, session: Any) -> bool:
        if where != self._where or not self._left:
            return False
        step = current_step(session)
        if (self._runs if step is None else step) != self._step:
            return False
        self._left -= 1
        return True

    def _raise_if_due(self, where: str, session: Any) -> None:
        if self._due(where, session):
            raise self._exc

    def begin(self) -> None:
        """Raise if ``where`` is ``"begin"`` and ``step`` is 0."""
        self._raise_if_due("begin", None)

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Raise if place and step are as chosen."""
        self._raise_if_due("after_create_session", session)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Raise, or make the run raise, if place and step are as chosen."""
        self._raise_if_due("before_run", run_context.session)
        if not self._due("run", run_context.session):
            return None

        def raise_at() -> None:
            raise self._exc

        return RunArgs(raise_at)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Raise if place and step are as chosen."""
        self._runs += 1
        self._raise_if_due("after_run", run_context.session)

    def end(self, session: Any) -> None:
        """Raise if place and step are as chosen."""
        self._raise_if_due("end", session)
