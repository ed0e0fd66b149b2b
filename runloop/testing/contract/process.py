"""``Process``: one process with the hook under test, in which a script makes things happen."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from runloop.checkpoint import files
from runloop.errors import AbortedError
from runloop.graph import Graph, get_default_graph
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs
from runloop.state import pack
from runloop.testing.clock import FakeClock
from runloop.testing.events import show
from runloop.testing.harness import HookHarness

__all__ = [
    "OpFailedError",
    "Process",
    "ProgramFailedError",
    "SessionClosedError",
    "Subject",
    "shape_of",
]


class Subject(NamedTuple):
    """The hook under test and its surroundings; see :func:`~runloop.testing.assert_hook_contract`."""

    make_hook: Callable[[], Any]
    outputs: dict[str, Any]
    make_graph: Callable[[], Graph]
    may_raise: tuple[type[BaseException], ...]


class OpFailedError(Exception):
    """Raised by an op, where the script says so."""


class ProgramFailedError(Exception):
    """Raised by the loop's own code, where the script says so."""


class SessionClosedError(Exception):
    """The hook under test has closed the session."""


class _NoSync(files.Files):
    """The system's files, without waiting for the disk: there are hundreds of short programs."""

    def sync(self, fd: int) -> None:
        """Do nothing."""

    def sync_dir(self, path: str) -> None:
        """Do nothing."""


class _Neighbour(SessionRunHook):
    """Another hook in the list, which loses the session when the script says so."""

    def __init__(self) -> None:
        self.lose_in: str | None = None
        self.watches = False  # whether it checks that the session is still open
        self.after_begin: Callable[[], None] | None = None

    def _lose(self, what: str) -> None:
        if self.lose_in == what:
            self.lose_in = None
            raise AbortedError(f"lost in {what} of another hook")

    def begin(self) -> None:
        if self.after_begin is not None:
            self.after_begin()

    def _look(self, session: Any) -> None:
        if self.watches and getattr(session, "closed", False):
            raise SessionClosedError("the session is closed")

    def before_run(self, run_context: Any) -> None:
        self._look(run_context.session)
        self._lose("before_run")

    def after_run(self, run_context: Any, run_values: Any) -> None:
        self._look(run_context.session)
        self._lose("after_run")


class Process:
    """One process with the hook between two others. It saves after each step.

    Args:
        subject: The hook and its surroundings.
        losses: The values of ``"loss"``, unless ``subject`` has some.
        folder: The checkpoint folder.
    """

    def __init__(self, subject: Subject, losses: list[float], folder: str) -> None:
        self.folder = folder
        self.clock = FakeClock(per_step=1.0)
        self.first, self.last = _Neighbour(), _Neighbour()
        self.last.watches = True
        self.hook: Any = None
        self.shapes: list[Any] = []
        self.last.after_begin = lambda: self.shapes.append(shape_of(get_default_graph()))
        self.subject = subject
        graph = subject.make_graph()
        graph.op(lambda fed_by_program=0.0: fed_by_program, name="reads_what_is_fed")
        outputs = {"loss": losses, **subject.outputs}
        for name in list(outputs):
            if name in graph.elements:
                del outputs[name]
        self.harness = HookHarness(
            self._make, graph=graph, outputs=outputs, clock=self.clock, checkpoint_dir=folder
        )

    def _make(self) -> list[Any]:
        self.hook = self.subject.make_hook()
        self.hook.begin()  # so that the session's own is the second
        self.shapes.append(shape_of(get_default_graph()))
        return [self.first, self.hook, self.last]

    def act(self, action: Callable[[Process], Any]) -> None:
        """Run ``action`` on this process."""
        with files.use(_NoSync()):
            action(self)

    def abandon(self) -> None:
        """Release its files and threads; ignore all errors."""
        try:
            if self.open:
                self.act(lambda process: process.harness.close(ProgramFailedError("abandoned")))
        except BaseException:  # noqa: S110  # it was abandoned because it may be broken
            pass

    @property
    def name(self) -> str:
        """The hook's name."""
        return type(self.hook).__name__ if self.hook is not None else "the hook"

    @property
    def stateful(self) -> bool:
        """Whether the hook has state to save."""
        methods = ("state_dict", "load_state_dict")
        return all(callable(getattr(self.hook, method, None)) for method in methods)

    @property
    def open(self) -> bool:
        """Whether the program is still inside the with block."""
        return not self.harness.closed

    @property
    def running(self) -> bool:
        """Whether a program would do another run."""
        return self.open and not self.harness.session.should_stop()

    def state(self) -> Any:
        """Return the hook's state as it would be saved, for comparison."""
        arrays, document = pack("hook", self.hook)
        words = {name: (str(a.dtype), np.asarray(a).tolist()) for name, a in arrays.items()}
        return json.loads(json.dumps([document, words]))

    def behaviour(self) -> list[str]:
        """Return for each run what the hook asked for and fed, and whether it requested a stop."""
        found = []
        for event in self.harness.events:
            if event.who != self.name:
                continue
            if event.what == "before_run":
                found.append(f"at step {event.step} {_request(event.args)}")
            if event.stop:
                found.append(f"at step {event.step} requests stop")
        return found


def _request(args: Any) -> str:
    fetches, feeds = (args.fetches, args.feed_dict) if isinstance(args, RunArgs) else (None, None)
    parts = ["asks for nothing" if fetches is None else f"asks for {show(fetches)}"]
    if feeds is not None:
        parts.append(f"feeds {show(dict(feeds))}")
    return " ".join(parts)


def shape_of(graph: Graph) -> Any:
    """Return what is in a graph, for comparison."""
    collections = graph._collections  # noqa: SLF001  # nothing else lists the keys
    kept = {key: list(values) for key, values in collections.items() if values}
    return list(graph.elements), list(graph.summaries), kept
