"""Where what was read goes: into the memory that is there, or in place of it.

Attached arrays are written into, so that everybody who holds one, or a view of it, sees the saved
contents. Arrays that share memory are looked at together: if the file holds the same bytes for
what they share, all of them are written into, and if not, those that differ must be replaced, which
is said by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from runloop.checkpoint.array_bytes import blocks
from runloop.errors import CheckpointMismatchError
from runloop.state.arrays import like, to_numpy
from runloop.state.changes import Change, same_value
from runloop.state.dtypes import same_but_for_order
from runloop.state.matching import Read

__all__ = ["Exchange", "SmallExchange", "place"]

# A piece that is swapped stays in the cache: its three copies cost little more than one.
_SWAP_BYTES = 256 << 10
# Smaller arrays are copied as a whole: that is cheaper than swapping, and the memory is little
# beside what such an array costs anyway.
_SMALL_BYTES = 4 << 10

Array = np.ndarray[Any, Any]


class Exchange:
    """Swap the contents of two arrays, piece by piece, so that it can be undone at any moment.

    Args:
        name: What messages call it.
        here: The array that stays; no two of its elements share memory.
        new: What it will hold: of its shape and dtype. It holds the former contents afterwards.
        buffer: Room for one piece.
    """

    def __init__(self, name: str, here: Array, new: Array, buffer: Array) -> None:
        self._name = name
        self._pairs = [
            (mine, yours, buffer[: mine.nbytes].view(mine.dtype).reshape(mine.shape))
            for mine, yours in zip(blocks(here, _SWAP_BYTES), blocks(new, _SWAP_BYTES), strict=True)
        ]
        # Twice the number of pieces that are swapped, and one more while the buffer holds what the
        # next one held: one assignment each, so that it is right wherever an error strikes.
        self._done = 0

    def do(self) -> None:
        """Swap."""
        for index, (mine, yours, kept) in enumerate(self._pairs):
            np.copyto(kept, mine)
            self._done = 2 * index + 1
            np.copyto(mine, yours)
            np.copyto(yours, kept)
            self._done = 2 * index + 2

    def undo(self) -> None:
        """Swap back what was swapped."""
        if self._done % 2:
            mine, _, kept = self._pairs[self._done // 2]
            np.copyto(mine, kept)
        for index in reversed(range(self._done // 2)):
            mine, yours, _ = self._pairs[index]
            np.copyto(mine, yours)
        self._done = 0

    def __str__(self) -> str:
        return self._name


class SmallExchange:
    """Fill many small arrays, with a copy of what they held.

    Args:
        pairs: ``(the array that stays, what it will hold)``.
    """

    def __init__(self, pairs: list[tuple[Array, Array]]) -> None:
        self._pairs = pairs
        self._former = [here.copy(order="K") for here, _ in pairs]

    def do(self) -> None:
        """Fill them."""
        copy = np.copyto
        for here, new in self._pairs:
            copy(here, new)

    def undo(self) -> None:
        """Put back what they held; right for those, too, that were not filled yet."""
        for (here, _), former in zip(self._pairs, self._former, strict=True):
            np.copyto(here, former)

    def __str__(self) -> str:
        return f"{len(self._pairs)} arrays"


def place(reads: list[tuple[Read, Array]]) -> tuple[list[Change], list[str]]:
    """Decide for each array that was read where it goes, and give each ``read`` its value.

    Args:
        reads: What is restored, each with the array that was read. Arrays that can't be written
            into (read-only, elements that share memory, another shape) are replaced, unless they
            will hold what was saved anyway.

    Returns:
        What is to be written in place, and a sentence for each array that shared memory with
        another one and no longer will.

    Raises:
        CheckpointMismatchError: If an array can be neither; nothing was touched.
    """
    in_place: list[tuple[Read, Array, Array]] = []
    replaced: dict[int, list[tuple[Read, Array]]] = {}
    separated: list[str] = []
    memory = [_memory_of(read.current) if read.in_place else None for read, _ in reads]
    for (read, new), here in zip(reads, memory, strict=True):
        if here is None or here.size == 0:
            if here is None:
                _replace(read, new, replaced)
            else:
                read.value = read.current
    members = [
        (here, read, _in_order(new, here.dtype))
        for (read, new), here in zip(reads, memory, strict=True)
        if here is not None and here.size
    ]
    for group in _groups(members):
        if len(group) == 1 and _is_writable(group[0][0]):
            here, read, new = group[0]
            read.value = read.current
            in_place.append((read, here, new))
        else:
            in_place += _settle(group, replaced, separated)
    small = [(here, new) for _, here, new in in_place if here.nbytes <= _SMALL_BYTES]
    large = [item for item in in_place if item[1].nbytes > _SMALL_BYTES]
    buffer = np.empty(_SWAP_BYTES if large else 0, np.uint8)
    changes: list[Change] = [SmallExchange(small)] if small else []
    changes += [Exchange(read.name, here, new, buffer) for read, here, new in large]
    return changes, separated


def _in_order(new: Array, dtype: np.dtype[Any]) -> Array:
    """Return ``new`` in the byte order of ``dtype``."""
    return new if new.dtype == dtype else new.astype(dtype)


def _memory_of(value: Any) -> Array | None:
    """Return the array that sees the memory of ``value``, ``None`` if NumPy can't see it."""
    if isinstance(value, np.ndarray):
        return np.asarray(value)  # a matrix is never one-dimensional
    if hasattr(value, "detach") and str(getattr(value, "device", "")) == "cpu":
        return to_numpy(value)
    return None


def _is_writable(array: Array) -> bool:
    return array.flags.writeable and not _overlaps_itself(array)


def _overlaps_itself(array: Array) -> bool:
    if array.flags.c_contiguous or array.flags.f_contiguous:
        return False
    reach = array.itemsize - 1
    for stride, size in sorted(
        (abs(s), n) for s, n in zip(array.strides, array.shape, strict=True)
    ):
        if size > 1:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
    return False


def _bounds(array: Array) -> tuple[int, int]:
    low = high = array.__array_interface__["data"][0]
    if array.flags.c_contiguous:
        return low, low + array.nbytes
    for stride, size in zip(array.strides, array.shape, strict=True):
        if stride < 0:
            low += stride * (size - 1)
        else:
            high += stride * (size - 1)
    return low, high + array.itemsize


_Member = tuple[Array, Read, Array]


def _groups(members: list[_Member]) -> list[list[_Member]]:
    """Return the members, those whose spans of memory overlap together."""
    spans = sorted((*_bounds(member[0]), i) for i, member in enumerate(members))
    groups: list[list[int]] = []
    end = -1
    for low, high, index in spans:
        if low >= end:
            groups.append([index])
            end = high
        else:
            groups[-1].append(index)
            end = max(end, high)
    return [[members[i] for i in sorted(group)] for group in groups]


def _settle(
    group: list[_Member],
    replaced: dict[int, list[tuple[Read, Array]]],
    separated: list[str],
) -> list[tuple[Read, Array, Array]]:
    """Return which of the arrays that share memory are written into; the others are replaced.

    What they will hold together is put together first, in an image of their memory.
    """
    low = min(_bounds(here)[0] for here, _, _ in group)
    high = max(_bounds(here)[1] for here, _, _ in group)
    image = np.zeros(high - low, np.uint8)
    written = np.zeros(high - low, bool)
    in_place: list[tuple[Read, Array, Array]] = []
    rest = []
    # What can't be replaced goes first, and so is written into if anything is.
    for here, read, new in sorted(group, key=lambda member: member[1].replaceable):
        if not _is_writable(here):
            rest.append((here, read, new))
            continue
        there, known = (_same_place(here, low, memory) for memory in (image, written))
        fresh = _bytes_of(new)
        if bool((known & (there != fresh)).any()):
            _replace(read, new, replaced)
            _note(separated, read, here, in_place)
            continue
        there[...] = fresh
        known[...] = True
        read.value = read.current
        in_place.append((read, here, new))
    for here, read, new in rest:
        there, known = (_same_place(here, low, memory) for memory in (image, written))
        if bool((np.where(known, there, _bytes_of(here)) == _bytes_of(new)).all()):
            read.value = read.current  # it will show what was saved
        else:
            _replace(read, new, replaced)
            _note(separated, read, here, in_place)
    return in_place


def _note(
    separated: list[str], read: Read, here: Array, in_place: list[tuple[Read, Array, Array]]
) -> None:
    others = [other.name for other, array, _ in in_place if np.may_share_memory(here, array)]
    if others:
        separated.append(
            f"{read.name} shared memory with {others[0]}, and the file holds other contents for "
            f"each; {read.name} is an array that shares no memory now"
        )


def _same_place(here: Array, low: int, memory: Array) -> Array:
    """Return the bytes of ``memory`` at the places of the bytes of ``here``."""
    offset = here.__array_interface__["data"][0] - low
    shape, strides = (*here.shape, here.itemsize), (*here.strides, 1)
    return np.ndarray(shape, memory.dtype, memory, offset, strides)


def _bytes_of(array: Array) -> Array:
    whole = np.ascontiguousarray(array)
    return whole.reshape(-1).view(np.uint8).reshape(*array.shape, array.itemsize)


def _replace(read: Read, new: Array, replaced: dict[int, list[tuple[Read, Array]]]) -> None:
    """Let a new array stand in the place; one array in two places is one array again."""
    if not read.replaceable:
        raise CheckpointMismatchError(
            f"{read.name} can't be restored: it is read-only, or it shares memory with another "
            f"array and they were saved different, or its elements share memory; nothing was "
            f"restored"
        )
    for other, other_new in replaced.get(id(read.current), ()):
        if same_value(other_new, new):
            read.value = other.value
            return
    have = to_numpy(read.current).dtype
    if same_but_for_order(new.dtype, have):
        new = _in_order(new, have)
    read.value = like(new, read.current)
    replaced.setdefault(id(read.current), []).append((read, new))
