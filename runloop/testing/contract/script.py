"""``Script``: a program step by step; after each step the hook is checked against the contract."""

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
    Subject,
    shape_of,
)
from runloop.testing.events import Event, describe

__all__ = ["BrokenContractError", "Script", "Step"]

Step: TypeAlias = tuple[str, dict[str, Any]]

_METHODS = {"begin", "after_create_session", "before_run", "after_run", "end", "load_state_dict"}

_RAISES = "a hook's methods must not raise"
_GRAPH = "a hook must not change the graph after its begin"
_BEGIN = "a second begin must change nothing"
_ACCEPTED = "what a hook fetches, feeds and keeps must be acceptable"
_OPEN = "a hook must not close the session"
_SAME_STATE = "a hook's state must be the same after a save and a restore"
_SAME_BEHAVIOUR = "a restored hook must behave like one that was not interrupted"


class BrokenContractError(AssertionError):
    """A hook broke a rule of the contract.

    Attributes:
        rule: The rule.
        losses: The values of ``"loss"``.
        steps: The steps that led to it.
    """

    def __init__(self, message: str, rule: str, losses: list[float], steps: list[Step]) -> None:
        super().__init__(message)
        self.rule = rule
        self.losses = losses
        self.steps = steps


class Script:
    """A program, step by step. A hook with state has a twin that is never interrupted.

    Args:
        subject: The hook and its surroundings.
        losses: The values of ``"loss"``.

    Attributes:
        over: Whether the script has ended: the hook raised what it may raise.
    """

    def __init__(self, subject: Subject, losses: list[float]) -> None:
        self._subject = subject
        self._losses = losses
        self._scratch = tempfile.mkdtemp(prefix="runloop-contract-")
        self._folders = 0
        self._steps: list[Step] = []
        self._story: list[str] = []
        self.over = False
        self._twin: Process | None = None
        self._saved: Any = None  # the hook's state, if the last step was a run that was saved
        self._restarted_at: int | None = None  # how many acts the twin had done at the last restart
        self._process = Process(subject, losses, self._folder())

    def close(self) -> None:
        """Delete its folders."""
        for process in (self._process, self._twin):
            if process is not None:
                process.abandon()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def is_possible(self, name: str) -> bool:
        """Return whether the step ``name`` can come next."""
        if self.over:
            return False
        if name in {"make_session", "process_dies"}:
            return True
        if name in {"leave", "leave_by_error"}:
            return self._process.open
        return self._process.running

    def act(self, name: str, **how: Any) -> None:
        """Do one step: ``name`` is a method below.

        Raises:
            BrokenContractError: If the hook breaks a rule.
        """
        self._steps.append((name, how))
        getattr(self, name)(**how)

    # -- the steps -------------------------------------------------------------------------------

    def make_session(self) -> None:
        """The first step."""
        self._do(
            f"create a session; loss is {self._losses}",
            lambda process: process.harness.session,
        )
        if self._process.stateful:
            self._twin = Process(self._subject, self._losses, self._folder())
            self._shadow(self._twin, lambda process: process.harness.session)
        self._note_saved()

    def run(self, times: int = 1, *, fed: bool = False) -> None:
        """Do some runs, perhaps with a feed that no hook knows."""
        feeds = {"fed_by_program": 1.0} if fed else None
        text = f"run, {times} times" if times > 1 else "run"
        text += ", with a feed of the program" if fed else ""
        self._do(text, lambda process: process.harness.run(times, feed_dict=feeds))
        self._note_saved()

    def op_fails(self) -> None:
        """Do a run that fails; the program goes on."""

        def fail(process: Process) -> None:
            process.harness.fail_next(OpFailedError("an op failed"))
            process.harness.run(catch=(OpFailedError,))

        self._saved = None
        self._do("run: an op fails; the program catches the error", fail)

    def session_is_lost(self, where: str = "an op") -> None:
        """Do a run that is aborted in an op or in another hook, and repeated."""

        def lose(process: Process) -> None:
            if where == "an op":
                process.harness.abort_next()
            else:
                what, _, neighbour = where.partition(" of ")
                (process.first if "before" in neighbour else process.last).lose_in = what
            process.harness.run()

        self._do(f"run: the session is lost in {where} and re-created, the run is repeated", lose)
        self._note_saved()

    def time_passes(self, secs: float) -> None:
        """Let time pass between two runs."""
        self._do(f"{secs:g} seconds pass", lambda process: process.clock.advance(secs))

    def data_ends(self) -> None:
        """Do a run when the data is exhausted."""

        def end(process: Process) -> None:
            process.harness.exhaust_after(0)
            process.harness.run()

        self._saved = None
        self._do("run: the data is exhausted; the with block is left normally", end)

    def leave(self) -> None:
        """End the program."""
        self._saved = None
        self._do("leave the with block normally", lambda process: process.harness.close())

    def leave_by_error(self) -> None:
        """End the program by an error in its own code."""
        error = ProgramFailedError("the program failed")
        self._saved = None
        self._do(
            "leave the with block by an exception", lambda process: process.harness.close(error)
        )

    def process_dies(self) -> None:
        """Start another process, with a new hook and the folder as it is at this moment."""
        # One that was about to stop does another run when it is restarted: nothing to compare.
        before, saved = self._process, self._saved if self._process.running else None
        folder = self._folder()
        # A copy, so that the new process does not see what the old one does while it closes.
        shutil.copytree(before.folder, folder, dirs_exist_ok=True)
        Path(folder, ".runloop.lock").unlink(missing_ok=True)
        before.abandon()
        self._process = Process(self._subject, self._losses, folder)
        self._process.clock.now = before.clock.now
        # What the hook saw since the last save is lost; without such a loss the twin must agree.
        twin = self._twin if saved is not None else None
        self._restarted_at = None if twin is None else len(twin.behaviour())
        self._twin = None
        self._do(
            "kill the process; restart from the newest checkpoint with a new hook",
            lambda process: process.harness.session,
        )
        self._twin = twin
        if saved is not None and not self.over and self._process.state() != saved:
            what = f"it was {_plain(saved)}, it is {_plain(self._process.state())}"
            self._fail(_SAME_STATE, what)

    # -- doing and checking ----------------------------------------------------------------------

    def _folder(self) -> str:
        self._folders += 1
        folder = Path(self._scratch, str(self._folders))
        folder.mkdir()
        return str(folder)

    def _do(self, text: str, action: Callable[[Process], Any]) -> None:
        self._story.append(text)
        told = len(self._process.harness.recorder.events)
        try:
            self._process.act(action)
        except self._subject.may_raise:
            self.over = True
            return
        except Exception as exc:  # no exception is right in a program that a hook must survive
            self._blame(exc, self._process.harness.recorder.events[told:])
        self._check_graph()
        if self._twin is not None:
            self._shadow(self._twin, action)
            self._compare(self._twin)

    def _shadow(self, twin: Process, action: Callable[[Process], Any]) -> None:
        try:
            twin.act(action)
        except Exception:  # the hook under test has shown it, or will
            self.over = True

    def _note_saved(self) -> None:
        usable = self._process.stateful and self._process.open and not self.over
        self._saved = self._process.state() if usable else None

    def _blame(self, exc: Exception, events: list[Event]) -> NoReturn:
        name = self._process.name
        begun = len(self._process.shapes)
        own = [e for e in events if e.who == name and e.what in _METHODS and e.error is not None]
        if own:
            rule = _BEGIN if begun == 1 and own[-1].what == "begin" else _RAISES
            rule = _GRAPH if "Graph is finalized" in str(own[-1].error) else rule
            self._fail(rule, str(own[-1]), exc)
        if begun == 0:
            self._fail(_RAISES, f"{name}.begin raises {describe(exc)}", exc)
        if isinstance(exc, SessionClosedError):
            self._fail(_OPEN, describe(exc), exc)
        asks = [e for e in events if e.who == name and e.what == "before_run"]
        did = f"{asks[-1]}; then the session: " if asks else ""
        self._fail(_ACCEPTED, f"{did}{describe(exc)}", exc)

    def _check_graph(self) -> None:
        shapes = self._process.shapes
        if len(shapes) > 1 and shapes[0] != shapes[1]:
            self._fail(_BEGIN, _change(shapes[0], shapes[1]))
        if self._process.open:
            now = shape_of(self._process.harness.graph)
            if len(shapes) == 2:
                shapes.append(now)  # with what creating the session has added
            elif now != shapes[2]:
                self._fail(_GRAPH, _change(shapes[2], now))

    def _compare(self, twin: Process) -> None:
        if self._restarted_at is None or self.over:
            return
        expected = twin.behaviour()[self._restarted_at :]
        got = self._process.behaviour()
        if got != expected:
            told = f"it did: {_told(got)}. The one that was not interrupted: {_told(expected)}"
            self._fail(_SAME_BEHAVIOUR, told)

    def _fail(self, rule: str, what: str, exc: BaseException | None = None) -> NoReturn:
        steps = "\n".join(f"  {i}. {text}" for i, text in enumerate(self._story, 1))
        message = (
            f"{self._process.name} breaks the contract: {rule}.\nThe program:\n{steps}\n"
            f"The result: {what}"
        )
        raise BrokenContractError(message, rule, self._losses, self._steps) from exc


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
