"""Sources of ``loop.steps()``: where the items come from, and how each goes on after a restart."""

from __future__ import annotations

import operator
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from runloop.data import Batches
from runloop.errors import CheckpointMismatchError
from runloop.state import is_array, kind_of, to_numpy

__all__ = ["Source", "fingerprint", "make_source", "whole_number"]

_CONTENT_BYTES = 4096


def whole_number(value: Any, call: str) -> int:
    """Return a count as an ``int``.

    Raises:
        TypeError: If it is a bool, a float, or not a number.
        ValueError: If it is negative.
    """
    if isinstance(value, (bool, np.bool_)) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{call} takes a whole number, got {value!r:.80}")
    number = operator.index(value)
    if number < 0:
        raise ValueError(f"{call} must not be negative, got {number}")
    return number


def make_source(source: Any, *, replay: bool) -> Source:
    """Return the source of one ``steps()``.

    Raises:
        TypeError: If ``source`` is neither a whole number, ``None`` nor an iterable.
        ValueError: If it is a negative number.
    """
    if source is None:
        return _Count(None)
    if isinstance(source, (int, float, complex, np.number, np.bool_)) or not isinstance(
        source, (Iterable, Sequence)
    ):
        if not hasattr(type(source), "__index__") and not isinstance(source, (bool, float)):
            raise TypeError(
                f"steps() takes a whole number, None or an iterable, got {source!r:.80}"
            )
        return _Count(whole_number(source, "steps()"))
    if isinstance(source, Sequence) or _is_rows(source):
        return _Items(source)
    if isinstance(source, Batches):
        return _Epoch(source)
    if kind_of(source) is not None:
        return _Stateful(source, source)
    iterator = iter(source)
    if kind_of(iterator) is not None:
        return _Stateful(source, iterator)
    return _Replayed(source, iterator) if replay else _Stream(source, iterator)


def _is_rows(value: Any) -> bool:
    return is_array(value) and len(value.shape) > 0


class Source:
    """Items, and how to go on behind those that were used.

    Attributes:
        kind: Its name in checkpoints and messages.
        given: What the program gave.
        repeats: Whether each ``steps()`` begins again at the first item.
        checked: Whether items are compared with those before a restart.
    """

    kind = ""
    given: Any = None
    repeats = True
    checked = False

    def pull(self) -> Any:
        """Return the next item.

        Raises:
            StopIteration: If there is none.
        """
        raise NotImplementedError

    def skip(self, saved: Mapping[str, Any]) -> dict[int, str]:
        """Go behind the items that were used; return the fingerprints of those in ``"seen"``.

        Raises:
            CheckpointMismatchError: If there are not so many.
        """
        raise NotImplementedError

    def left(self, position: int) -> bool | None:
        """Whether there are items from ``position`` on; ``None`` where only a pull would tell."""
        del position
        return None

    def position(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside the number of items used."""
        return {}


class _Count(Source):
    kind = "count"

    def __init__(self, limit: int | None) -> None:
        self.given = limit
        self._limit = limit
        self._next = 0

    def pull(self) -> int:
        number = self._next
        if number == self._limit:
            raise StopIteration
        self._next = number + 1
        return number

    def skip(self, saved: Mapping[str, Any]) -> dict[int, str]:
        self._next = saved["position"]
        if self._limit is not None and self._next > self._limit:
            self._next = self._limit  # fewer steps than were made: it is done
        return {}

    def left(self, position: int) -> bool:
        return self._limit is None or position < self._limit


class _Items(Source):
    kind = "sequence"
    checked = True

    def __init__(self, items: Any) -> None:
        self.given = items
        self._next = 0

    def pull(self) -> Any:
        number = self._next
        if number >= len(self.given):
            raise StopIteration
        self._next = number + 1
        return self.given[number]

    def skip(self, saved: Mapping[str, Any]) -> dict[int, str]:
        position, length = saved["position"], len(self.given)
        if length < position:
            raise CheckpointMismatchError(
                f"was saved after {position} items of a sequence, and this one has only {length}"
            )
        self._next = position
        return {index: fingerprint(self.given[index]) for index, _ in saved["seen"]}

    def left(self, position: int) -> bool:
        return position < len(self.given)


class _Stateful(Source):
    kind = "state"
    repeats = False

    def __init__(self, given: Any, owner: Any) -> None:
        self.given = given
        self._owner = owner
        self._iterator: Iterator[Any] | None = None

    def pull(self) -> Any:
        if self._iterator is None:  # made late: an object is iterated after it got its state
            self._iterator = iter(self.given)
        return next(self._iterator)

    def skip(self, saved: Mapping[str, Any]) -> dict[int, str]:
        kind = kind_of(self._owner)
        if kind is None or "source" not in saved:
            raise CheckpointMismatchError("was saved with another kind of source")
        if self._owner is not self.given:
            self._iterator = self._owner
        kind.give(self._owner, saved["source"])
        return {}

    def position(self) -> dict[str, Any]:
        return {"source": self._owner}


class _Epoch(_Stateful):
    """One epoch of :class:`~runloop.Batches`, or the rest of the present one."""

    kind = "batches"

    def __init__(self, batches: Batches) -> None:
        super().__init__(batches, batches)
        self._begun: int | None = None

    def pull(self) -> Any:
        if self._begun is None:
            self._begun = self.given.epoch
        if self.given.epoch > self._begun:
            raise StopIteration
        return next(self.given)

    def skip(self, saved: Mapping[str, Any]) -> dict[int, str]:
        super().skip(saved)
        self._begun = saved["begun"]
        return {}

    def position(self) -> dict[str, Any]:
        return {**super().position(), "begun": self._begun}


class _Replayed(Source):
    kind = "iterable"
    checked = True

    def __init__(self, given: Any, iterator: Iterator[Any]) -> None:
        self.given = given
        self.repeats = iterator is not given
        self._iterator = iterator

    def pull(self) -> Any:
        return next(self._iterator)

    def skip(self, saved: Mapping[str, Any]) -> dict[int, str]:
        wanted = {index for index, _ in saved["seen"]}
        seen = {}
        for index in range(saved["position"]):
            try:
                item = next(self._iterator)
            except StopIteration:
                raise CheckpointMismatchError(
                    f"was saved after {saved['position']} items of an iterable, and this one has "
                    f"only {index}"
                ) from None
            if index in wanted:
                seen[index] = fingerprint(item)
        return seen


class _Stream(Source):
    kind = "stream"

    def __init__(self, given: Any, iterator: Iterator[Any]) -> None:
        self.given = given
        self._iterator = iterator

    def pull(self) -> Any:
        return next(self._iterator)

    def skip(self, saved: Mapping[str, Any]) -> dict[int, str]:
        del saved
        return {}


def fingerprint(item: Any) -> str:
    """Return type, shape, dtype and a checksum of up to 4 KiB of an item's content, as text."""
    if is_array(item):
        try:
            array = to_numpy(item)
        except TypeError:
            return type(item).__name__
        head = array.reshape(-1) if array.flags.c_contiguous else array.flat
        head = head[: max(1, _CONTENT_BYTES // max(1, array.itemsize))]
        content = repr(head.tolist()).encode() if array.dtype == object else head.tobytes()
        return f"{array.dtype}{array.shape}:{zlib.crc32(content[:_CONTENT_BYTES]):08x}"
    name = type(item).__name__
    if isinstance(item, Mapping):
        inner = ",".join(f"{key!r:.40}:{fingerprint(value)}" for key, value in _first(item.items()))
        return f"{name}{len(item)}({inner})"
    if isinstance(item, (tuple, list)):
        return f"{name}{len(item)}({','.join(map(fingerprint, item[:16]))})"
    if isinstance(item, (str, bytes)):
        return f"{name}{len(item)}:{zlib.crc32(repr(item[:_CONTENT_BYTES]).encode()):08x}"
    if item is None or isinstance(item, (bool, int, float, complex, np.generic)):
        return f"{name}:{item!r:.40}"
    return name


def _first(items: Iterable[Any]) -> list[Any]:
    return [item for item, _ in zip(items, range(16), strict=False)]
