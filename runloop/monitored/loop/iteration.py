"""The iterators that ``loop.steps()`` and ``loop.epochs()`` return.

The loop does not hold them. A ``for`` does, so that one left by ``break`` is gone at once, which is
how the loop notices. Nothing in here may refer back to them: a reference cycle would keep them
until the next garbage collection.

They are classes and not generators: a ``StopIteration`` that a hook raises inside a generator would
become a ``RuntimeError``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from runloop.monitored.loop.positions import Record
from runloop.monitored.loop.run import LoopRun

__all__ = ["Epochs", "Steps"]


class Steps(Iterator[Any]):
    """The items of one ``loop.steps()``; each one is a run."""

    def __init__(self, run: LoopRun, record: Record) -> None:
        self._run = run
        self._record = record

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self._run.next_item(self._record)

    def __del__(self) -> None:
        self._run.dropped(self._record)


class Epochs(Iterator[int]):
    """The numbers of the epochs of one ``loop.epochs()``."""

    def __init__(self, run: LoopRun, record: Record) -> None:
        self._run = run
        self._record = record

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> int:
        return self._run.next_epoch(self._record)

    def __del__(self) -> None:
        self._run.dropped(self._record)
