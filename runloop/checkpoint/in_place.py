"""Which arrays a restore may write into where they are, and which must be replaced by new ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from runloop.checkpoint.reader import CheckpointReader
from runloop.errors import CheckpointMismatchError
from runloop.state import to_numpy
from runloop.state.dtypes import same_but_for_order
from runloop.state.matching import Read

__all__ = ["split"]


def split(
    reads: list[Read], variable_reads: int, reader: CheckpointReader
) -> tuple[list[tuple[Read, np.ndarray[Any, Any]]], list[Read]]:
    """Part the arrays that are written into from those that are replaced by new ones.

    Replaced are read-only ones, those with elements that share memory, and those that share memory
    with another one: variables always, attached arrays if the two were saved different.

    Args:
        reads: What is to be restored, the variables first.
        variable_reads: How many of them are variables.
        reader: The open checkpoint.

    Returns:
        ``([(read, the array to write into), ...], [those to be replaced])``.

    Raises:
        CheckpointMismatchError: If one can be neither; nothing was touched.
    """
    in_place = []
    fresh = []
    spans: list[tuple[int, int, int]] = []
    arrays: dict[int, np.ndarray[Any, Any]] = {}
    for index, read in enumerate(reads):
        array = _memory_of(read.current)
        spec = reader.spec(read.source_name)
        if array is None or spec is None or spec[0] != array.shape:
            continue
        if not same_but_for_order(spec[1], array.dtype):
            continue
        arrays[index] = array
        low, high = _bounds(array)
        spans.append((low, high, index))
    for index in _sharing(spans, reads, variable_reads, reader):
        if reads[index].put is not None:
            del arrays[index]
    for index, read in enumerate(reads):
        if index in arrays:
            in_place.append((read, arrays[index]))
        elif read.put is not None:
            fresh.append(read)
        else:
            raise CheckpointMismatchError(
                f"{read.name} can't be restored: it is read-only, or its elements share memory; "
                f"nothing was restored"
            )
    return in_place, fresh


def _memory_of(value: Any) -> np.ndarray[Any, Any] | None:
    """Return the array to write into, ``None`` if that can't be done."""
    if not isinstance(value, np.ndarray):
        if str(getattr(value, "device", "")) != "cpu" or not hasattr(value, "detach"):
            return None
        value = to_numpy(value)  # PyTorch's memory seen by NumPy
    elif type(value) is not np.ndarray:
        value = np.asarray(value)  # a matrix is never one-dimensional
    if not value.flags.writeable:
        return None
    if not (value.flags.c_contiguous or value.flags.f_contiguous):
        reach = 0
        for stride, size in sorted(
            (abs(s), n) for s, n in zip(value.strides, value.shape, strict=True)
        ):
            if size > 1:
                if stride <= reach:
                    return None
                reach += stride * (size - 1)
    array: np.ndarray[Any, Any] = value
    return array


def _bounds(array: np.ndarray[Any, Any]) -> tuple[int, int]:
    low = high = array.__array_interface__["data"][0]
    if array.flags.c_contiguous:
        return low, low + array.nbytes
    for stride, size in zip(array.strides, array.shape, strict=True):
        if size == 0:
            return low, low
        if stride < 0:
            low += stride * (size - 1)
        else:
            high += stride * (size - 1)
    return low, high + array.itemsize


def _sharing(
    spans: list[tuple[int, int, int]],
    reads: list[Read],
    variable_reads: int,
    reader: CheckpointReader,
) -> set[int]:
    """Return the indices of the reads whose memory must not be written into."""
    found: set[int] = set()
    group: list[tuple[int, int, int]] = []
    end = -1

    def settle() -> None:
        attached = [span for span in group if span[2] >= variable_reads]
        if len(group) > 1:
            found.update(span[2] for span in group if span[2] < variable_reads)
        same = {(s[0], s[1], reader.stored[reads[s[2]].source_name].crc) for s in attached}
        if len(same) > 1:
            found.update(span[2] for span in attached[1:])

    for span in sorted(span for span in spans if span[0] < span[1]):
        if span[0] >= end:
            settle()
            group, end = [], -1
        group.append(span)
        end = max(end, span[1])
    settle()
    return found
