"""The lines of a trace, and how values and structures are written in them."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# A log line is part of the trace if it carries values in TensorFlow's form, or is the user's own.
_VALUE_LINE = re.compile(r"^(\S+ = |\S+/sec: |user: )")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_TENSOR = re.compile(r"<tf\.(?:Tensor|Variable|Operation) '([^':]+)(?::\d+)?'[^>]*>")


def number(value: Any) -> str:
    """Write a number the same way for every dtype that the two back ends may use for it."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return str(int(value))
    return f"{float(value):.6g}"


def describe(value: Any, name_of: Callable[[Any], str | None] = lambda _: None) -> str:
    """Write a result, a fetch or a feed; ``name_of`` gives the name of a handle, else None."""
    name = name_of(value)
    if name is not None:
        return name
    if value is None:
        return "None"
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray) and value.ndim:
        return "[" + ", ".join(describe(v) for v in value) + "]"
    if isinstance(value, Mapping):
        items = [f"{describe(k, name_of)}: {describe(v, name_of)}" for k, v in value.items()]
        return "{" + ", ".join(items) + "}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [f"{k}={describe(v, name_of)}" for k, v in zip(value._fields, value, strict=True)]
        return f"{type(value).__name__}({', '.join(items)})"
    if isinstance(value, list | tuple):
        left, right = "[]" if isinstance(value, list) else "()"
        return left + ", ".join(describe(v, name_of) for v in value) + right
    if isinstance(value, bool | int | float | np.generic | np.ndarray):
        item = value.item() if isinstance(value, np.ndarray | np.generic) else value
        return describe(item) if isinstance(item, bytes | str) else number(item)
    return f"<{type(value).__name__}>"


class Trace:
    """What happened, in order.

    Ops that ran between two other events are written as one line with their names sorted: inside
    one run TensorFlow promises no order. Folders that are watched are looked at before each event,
    so that a checkpoint shows up right where it was written or deleted.
    """

    def __init__(self, checkpoints: Callable[[str], list[str]]) -> None:
        self._checkpoints = checkpoints
        self._lines: list[str] = []
        self._ran: list[str] = []
        self._watched: dict[str, list[str]] = {}
        self._paths: dict[str, str] = {}

    def watch(self, path: str, label: str) -> None:
        """Report checkpoints that come and go in ``path``, which is written as ``<label>``."""
        self._paths[path] = f"<{label}>"
        self._watched[path] = []

    def clean(self, text: str) -> str:
        """Take paths and addresses out of a text, and write handles by their names."""
        for path, label in self._paths.items():
            text = text.replace(path, label)
        if "<" not in text and "0x" not in text:
            return text
        return _TENSOR.sub(r"'\1'", _ADDRESS.sub("", text))

    def ran(self, name: str, *, alone: bool = False) -> None:
        """An op of the program was evaluated; ``alone`` writes it on a line of its own."""
        if alone:
            self._settle()
        self._ran.append(name)
        if alone:
            self._settle()

    def add(self, line: str) -> None:
        """Write one line."""
        self._settle()
        self._lines.append(self.clean(line))

    def log(self, message: str) -> None:
        """A line of the library's log: kept if it carries values."""
        if _VALUE_LINE.match(message):
            self.add(f"log {message}")

    def lines(self) -> list[str]:
        """All that was written, with what is still pending."""
        self._settle()
        return list(self._lines)

    def _settle(self) -> None:
        if self._ran:
            counts, self._ran = Counter(self._ran), []
            names = [n if c == 1 else f"{n}*{c}" for n, c in sorted(counts.items())]
            self._lines.append("ran " + " ".join(names))
        for path, before in self._watched.items():
            now = self._checkpoints(path)
            if now != before:
                self._watched[path] = now
                parts = [f"+{c}" for c in now if c not in before]
                parts += [f"-{c}" for c in before if c not in now]
                self._lines.append(f"disk {self._paths[path]} {' '.join(parts)}")
