"""A hook's life as a script of steps, each of which is checked against what a hook owes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from runloop.testing.contract.process import (
    OpFailedError,
    Process,
    ProgramFailedError,
    SessionClosedError,
    World,
    shape_of,
)
from runloop.testing.events import Event, describe

__all__ = ["BrokenContractError", "Script", "Step"]

Step: TypeAlias = tuple[str, dict[str, Any]]

_METHODS = {"begin", "after_create_session", "before_run", "after_run", "end", "load_state_dict"}

_OWN = "a hook raises nothing of its own in a legal life"
_GRAPH = "a hook does not change the graph after its begin"
_BEGIN = "a second begin changes nothing"
_ACCEPTED = "what a hook asks for, feeds and keeps is accepted"
_OPEN = "a hook does not close the session"
_SAME_STATE = "state that was saved and restored is the same state"
_SAME_LIFE = "a hook whose state was restored behaves like one that was not interrupted"


class BrokenContractError(AssertionError):
    """What a hook owes and did not do.

    Attributes:
        duty: What it owes.
        losses: The values of ``"loss"``.
        steps: The steps that led to it.
    """

    def __init__(self, message: str, duty: str, losses: list[float], steps: list[Step]) -> None:
        super().__init__(message)
        self.duty = duty
        self.losses = losses
        self.steps = steps


class Script:
    """A life, step by step; where the hook has state, beside a twin that is not interrupted.

    Args:
        world: What lives are made of.
        losses: The values of ``"loss"``.

    Attributes:
        over: Whether nothing more can happen: the hook has raised what it may raise.
    """

    def __init__(self, world: World, losses: list[float]) -> None:
        self._world = world
        self._losses = losses
        self._scratch = tempfile.mkdtemp(prefix="runloop-lives-")
        self._folders = 0
        self._steps: list[Step] = []
        self._story: list[str] = []
        self.over = False
        self._twin: Process | None = None
        self._saved: Any = None  # the hook's state, if the last thing was a run that was saved
        self._restarted_at: int | None = None  # how much the twin had done at the last restart
        self._life = Process(world, losses, self._folder())

    def close(self) -> None:
        """Remove what it left on the disk."""
        for life in (self._life, self._twin):
            if life is not None:
                life.abandon()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def is_possible(self, name: str) -> bool:
        """Return whether a step can be the next."""
        if self.over:
            return False
        if name in {"make_session", "process_dies"}:
            return True
        if name in {"leave", "leave_by_error"}:
            return self._life.open
        return self._life.running

    def act(self, name: str, **how: Any) -> None:
        """Let one step happen: the name of a method below.

        Raises:
            BrokenContractError: If the hook does not do what it owes.
        """
        self._steps.append((name, how))
        getattr(self, name)(**how)

    # -- the steps -------------------------------------------------------------------------------

    def make_session(self) -> None:
        """The first step."""
        self._do(
            f"a session is made; loss is {self._losses}",
            lambda life: life.harness.session,
        )
        if self._life.stateful:
            self._twin = Process(self._world, self._losses, self._folder())
            self._shadow(self._twin, lambda life: life.harness.session)
        self._note_saved()

    def run(self, times: int = 1, *, fed: bool = False) -> None:
        """Runs, perhaps with a feed that no hook knows."""
        feeds = {"fed_by_program": 1.0} if fed else None
        text = f"run, {times} times" if times > 1 else "run"
        text += ", fed by the program" if fed else ""
        self._do(text, lambda life: life.harness.run(times, feed_dict=feeds))
        self._note_saved()

    def op_fails(self) -> None:
        """A run that fails; the program goes on."""

        def fail(life: Process) -> None:
            life.harness.fail_next(OpFailedError("an op failed"))
            life.harness.run(catch=(OpFailedError,))

        self._saved = None
        self._do("run, in which an op fails; the program catches the error", fail)

    def session_is_lost(self, where: str = "an op") -> None:
        """A run that is aborted in an op or in another hook, and repeated."""

        def lose(life: Process) -> None:
            if where == "an op":
                life.harness.abort_next()
            else:
                what, _, neighbour = where.partition(" of ")
                (life.first if "before" in neighbour else life.last).lose_in = what
            life.harness.run()

        self._do(
            f"run, in which the session is lost in {where}; it is made anew, the run is repeated",
            lose,
        )
        self._note_saved()

    def time_passes(self, secs: float) -> None:
        """Time passes between two runs."""
        self._do(f"{secs:g} seconds pass", lambda life: life.clock.advance(secs))

    def data_ends(self) -> None:
        """A run for which there is no data."""

        def end(life: Process) -> None:
            life.harness.exhaust_after(0)
            life.harness.run()

        self._saved = None
        self._do("run, in which data comes to its end; the with block is left normally", end)

    def leave(self) -> None:
        """The end of the program."""
        self._saved = None
        self._do("the with block is left normally", lambda life: life.harness.close())

    def leave_by_error(self) -> None:
        """The end of the program, by an error of its own."""
        error = ProgramFailedError("the program failed")
        self._saved = None
        self._do("the with block is left by an exception", lambda life: life.harness.close(error))

    def process_dies(self) -> None:
        """Another process, with a new hook and the folder as it is at this moment."""
        # A process that was about to stop is started again in vain: that is no equal life.
        before, saved = self._life, self._saved if self._life.running else None
        folder = self._folder()
        # A copy: what the old process does to its own folder in closing is not seen.
        shutil.copytree(before.folder, folder, dirs_exist_ok=True)
        Path(folder, ".runloop.lock").unlink(missing_ok=True)
        before.abandon()
        self._life = Process(self._world, self._losses, folder)
        self._life.clock.now = before.clock.now
        # What a hook saw since the last save is lost; only without such a loss can lives be equal.
        twin = self._twin if saved is not None else None
        self._restarted_at = None if twin is None else len(twin.behaviour())
        self._twin = None
        self._do(
            "the process dies; another one starts from the newest checkpoint with a new hook",
            lambda life: life.harness.session,
        )
        self._twin = twin
        if saved is not None and not self.over and self._life.state() != saved:
            what = f"it was {_plain(saved)}, it is {_plain(self._life.state())}"
            self._fail(_SAME_STATE, what)

    # -- doing and checking ----------------------------------------------------------------------

    def _folder(self) -> str:
        self._folders += 1
        folder = Path(self._scratch, str(self._folders))
        folder.mkdir()
        return str(folder)

    def _do(self, text: str, action: Callable[[Process], Any]) -> None:
        self._story.append(text)
        told = len(self._life.harness.recorder.events)
        try:
            self._life.act(action)
        except self._world.may_raise:
            self.over = True
            return
        except Exception as exc:  # whatever it is, it is not of a legal life
            self._blame(exc, self._life.harness.recorder.events[told:])
        self._check_graph()
        if self._twin is not None:
            self._shadow(self._twin, action)
            self._compare(self._twin)

    def _shadow(self, twin: Process, action: Callable[[Process], Any]) -> None:
        try:
            twin.act(action)
        except Exception:  # nothing that the other life has not told of, or will
            self.over = True

    def _note_saved(self) -> None:
        usable = self._life.stateful and self._life.open and not self.over
        self._saved = self._life.state() if usable else None

    def _blame(self, exc: Exception, events: list[Event]) -> NoReturn:
        name = self._life.name
        begun = len(self._life.shapes)
        own = [e for e in events if e.who == name and e.what in _METHODS and e.error is not None]
        if own:
            duty = _BEGIN if begun == 1 and own[-1].what == "begin" else _OWN
            duty = _GRAPH if "Graph is finalized" in str(own[-1].error) else duty
            self._fail(duty, str(own[-1]), exc)
        if begun == 0:
            self._fail(_OWN, f"{name}.begin raises {describe(exc)}", exc)
        if isinstance(exc, SessionClosedError):
            self._fail(_OPEN, describe(exc), exc)
        asks = [e for e in events if e.who == name and e.what == "before_run"]
        did = f"{asks[-1]}; then the session: " if asks else ""
        self._fail(_ACCEPTED, f"{did}{describe(exc)}", exc)

    def _check_graph(self) -> None:
        shapes = self._life.shapes
        if len(shapes) > 1 and shapes[0] != shapes[1]:
            self._fail(_BEGIN, _change(shapes[0], shapes[1]))
        if self._life.open:
            now = shape_of(self._life.harness.graph)
            if len(shapes) == 2:
                shapes.append(now)  # with what making the session itself has added
            elif now != shapes[2]:
                self._fail(_GRAPH, _change(shapes[2], now))

    def _compare(self, twin: Process) -> None:
        if self._restarted_at is None or self.over:
            return
        expected = twin.behaviour()[self._restarted_at :]
        got = self._life.behaviour()
        if got != expected:
            self._fail(_SAME_LIFE, f"it did: {_told(got)}. The other one: {_told(expected)}")

    def _fail(self, duty: str, what: str, exc: BaseException | None = None) -> NoReturn:
        steps = "\n".join(f"  {i}. {text}" for i, text in enumerate(self._story, 1))
        message = (
            f"{self._life.name} breaks the contract: {duty}.\nIn this life:\n{steps}\n"
            f"it came to this: {what}"
        )
        raise BrokenContractError(message, duty, self._losses, self._steps) from exc


def _told(behaviour: list[str]) -> str:
    return "; ".join(behaviour) or "nothing"


def _plain(value: Any) -> str:
    return json.dumps(value, default=str)


def _change(before: Any, after: Any) -> str:
    for what, old, new in zip(("element", "summary"), before[:2], after[:2], strict=True):
        added = [name for name in new if name not in old]
        if added:
            return f"the graph got the {what} {', '.join(map(repr, added))}"
    changed = [key for key in after[2] if after[2][key] != before[2].get(key)]
    return f"the graph's collection {', '.join(map(repr, changed))} changed"
