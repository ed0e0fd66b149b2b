"""Arrays of any layout as the bytes of the file, piece by piece, and back.

In the file, a tensor is C-contiguous and little-endian. An array that is both is used without a
copy; any other is copied in pieces, so that the whole array is never copied at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from runloop.state.dtypes import Storage

__all__ = ["CHUNK_BYTES", "blocks", "fill", "is_plain", "pieces", "view_bytes"]

#: Bytes that are written, read or checked at once.
CHUNK_BYTES = 4 << 20

Array = np.ndarray[Any, Any]


def is_plain(array: Array, storage: Storage) -> bool:
    """Whether the memory of ``array`` and its bytes in the file are the same."""
    return array.flags.c_contiguous and not storage.swap


def view_bytes(array: Array) -> Array:
    """Return the memory of a C-contiguous array as a 1-d ``uint8`` array."""
    # Reshaped first: a 0-d array can't be viewed as another dtype.
    return array.reshape(-1).view(np.uint8)


def pieces(array: Array, storage: Storage) -> Iterable[Array]:
    """Return the bytes of ``array`` in the file's order as 1-d ``uint8`` arrays.

    Each has at most :data:`CHUNK_BYTES`, views of the array's own memory where it is plain.
    """
    if array.size == 0:
        return ()
    if not is_plain(array, storage):
        return _copied_pieces(array, storage)
    flat = view_bytes(array)
    if flat.size <= CHUNK_BYTES:
        return (flat,)
    return (flat[start : start + CHUNK_BYTES] for start in range(0, flat.size, CHUNK_BYTES))


def _copied_pieces(array: Array, storage: Storage) -> Iterator[Array]:
    for block in blocks(array):
        copied = block.astype(array.dtype, order="C", copy=True)
        if storage.swap:
            copied.byteswap(inplace=True)
        yield view_bytes(copied)


def fill(array: Array, storage: Storage, read_into: Callable[[Array], None]) -> None:
    """Fill ``array`` in place with what ``read_into`` reads, in the file's order.

    Args:
        array: Any writable array; no two of its elements may share memory.
        storage: How its dtype is stored.
        read_into: Fills the 1-d ``uint8`` array that it is given with the next bytes.
    """
    if array.size == 0:
        return
    if array.flags.c_contiguous:
        flat = view_bytes(array)
        for start in range(0, flat.size, CHUNK_BYTES):
            read_into(flat[start : start + CHUNK_BYTES])
        if storage.swap:
            array.byteswap(inplace=True)
        return
    for block in blocks(array):
        fresh = np.empty(block.shape, array.dtype)
        read_into(view_bytes(fresh))
        if storage.swap:
            fresh.byteswap(inplace=True)
        np.copyto(block, fresh)


def blocks(array: Array, most: int = CHUNK_BYTES) -> Iterator[Array]:
    """Yield views of at most ``most`` bytes that together are ``array`` in C order."""
    if array.nbytes <= most or array.ndim == 0:
        yield array
        return
    row_bytes = array.nbytes // array.shape[0]
    rows = most // row_bytes
    if rows == 0:
        for row in array:
            yield from blocks(row, most)
        return
    for start in range(0, array.shape[0], rows):
        yield array[start : start + rows]
