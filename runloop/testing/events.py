"""``Event``: one thing that happened to a session, as a line to read and compare."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from runloop import nest
from runloop.messages import text_of

__all__ = ["Event", "current_step", "describe", "show"]

_LONGEST = 60


class Event(str):
    """A line of text that also carries what it was made from.

        assert events == ["A.begin", "A.after_create_session step=0", "A.end step=0"]

    An event is a string: compare a list of events with a list of plain strings, and any tool that
    shows the difference of two lists of strings works. Only the text is compared, not the
    attributes.

    Attributes:
        who: The hook's name, or ``"loop"``, ``"session"``, ``"saver"``.
        what: What happened: a method of the hook, ``"run"``, ``"create"``, ``"save"``, ...
        step: The global step at that moment; ``None`` without one.
        args: The :class:`~runloop.RunArgs` of the run or of the hook's request, if any.
        results: The results, if any.
        error: The exception that it ended with, if any.
        stop: Whether it requested a stop.
        by: Who called it: ``"loop"`` (the program), ``"session"`` (the monitored session), or the
            name of a hook or of a thread.
        depth: How many earlier events enclose it: 1 for a hook's method in a run.
        life: The number of the session that it belongs to: 0 for the first, 1 more for each one
            created after it.
        start: When it began, in seconds on the clock of the session.
        secs: How long it took.
    """

    __slots__ = (
        "args",
        "by",
        "depth",
        "error",
        "life",
        "results",
        "secs",
        "start",
        "step",
        "stop",
        "what",
        "who",
    )

    who: str
    what: str
    step: int | None
    args: Any
    results: Any
    error: BaseException | None
    stop: bool
    by: str
    depth: int
    life: int
    start: float
    secs: float

    def __new__(
        cls,
        text: str,
        *,
        who: str = "",
        what: str = "",
        step: int | None = None,
        args: Any = None,
        results: Any = None,
        error: BaseException | None = None,
        stop: bool = False,
        by: str = "session",
        depth: int = 0,
        life: int = 0,
        start: float = 0.0,
        secs: float = 0.0,
    ) -> Self:
        """Return the line ``text`` with its attributes."""
        event = super().__new__(cls, text)
        event.who = who
        event.what = what
        event.step = step
        event.args = args
        event.results = results
        event.error = error
        event.stop = stop
        event.by = by
        event.depth = depth
        event.life = life
        event.start = start
        event.secs = secs
        return event

    @property
    def details(self) -> str:
        """The text without who, what and step."""
        text = self.removeprefix(f"{self.who}.{self.what}").lstrip()
        return text.removeprefix(f"step={self.step}").lstrip()


def current_step(session: Any) -> int | None:
    """Return the global step of a session without a ``run()``; ``None`` without a step.

    The session is asked for its attribute ``global_step``: the whole state would take as long as
    there are variables, and it is shown four times a run.
    """
    step = getattr(session, "global_step", None)
    return int(step) if isinstance(step, (int, np.integer)) else None


def describe(error: BaseException) -> str:
    """Return an exception as one line."""
    lines = text_of(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def show(value: Any) -> str:
    """Return a short text for a value: scalars as numbers, arrays by dtype and shape, nests alike."""
    text = _show(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _show(value: Any) -> str:
    if isinstance(value, np.generic):
        return repr(value.item())
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        name = getattr(value, "name", None)
        if isinstance(name, str):  # a handle, which stands for an array by name
            return name
        shape = ",".join(map(str, value.shape))
        return f"{value.dtype}[{shape}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_show(k)}: {_show(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_show, value)) + "]"
    if type(value) is tuple:
        return "(" + ", ".join(map(_show, value)) + ("," if len(value) == 1 else "") + ")"
    if nest.children(value) is not None:
        return f"{type(value).__name__}({', '.join(map(_show, nest.children(value) or ()))})"
    name = getattr(value, "name", None) or getattr(value, "__name__", None)
    return name if isinstance(name, str) else repr(value)
