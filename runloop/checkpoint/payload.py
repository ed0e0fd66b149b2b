"""The tensors of a checkpoint on their way into the file: the live arrays, or a copy.

Both know their layout, write the tensors after the header, and return their CRC-32. Live arrays
are written while training waits. A copy is written beside the training: each release of the GIL
may cost a 5 ms switch interval, which for 10,000 tensors would be a minute.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Protocol

import numpy as np

from runloop.checkpoint.array_bytes import is_plain, pieces
from runloop.checkpoint.checksums import Checksums
from runloop.checkpoint.files import Files, write_all
from runloop.checkpoint.layout import Layout, Run

__all__ = ["Content", "Copies", "LiveArrays"]

_BATCH_BYTES = 1 << 20  # small tensors are written together up to this size
_LARGE_BYTES = 16 << 20
# zlib.crc32 keeps the GIL for up to this many bytes.
_QUIET_BYTES = 5 << 10
# From this size on it is worth releasing the GIL: 70 us of checksum.
_WORTH_BYTES = 128 << 10

_IS_CONTIGUOUS = attrgetter("flags.c_contiguous")

Array = np.ndarray[Any, Any]


class Content(Protocol):
    """Tensors that can be written."""

    @property
    def layout(self) -> Layout:
        """The place of each tensor."""

    def write(self, files: Files, fd: int, offset: int) -> list[int]:
        """Write the tensors at ``offset``, and return the CRC-32 of each."""


class LiveArrays:
    """The live arrays; nothing may change them meanwhile.

    C-contiguous little-endian arrays are written from their own memory; others in pieces.

    Args:
        layout: Fits the arrays.
        arrays: The tensors by name.
    """

    def __init__(self, layout: Layout, arrays: Mapping[str, Array]) -> None:
        self.layout = layout
        self._arrays = arrays

    def write(self, files: Files, fd: int, offset: int) -> list[int]:
        """Write the tensors at ``offset``, and return the CRC-32 of each."""
        sums = Checksums(len(self.layout.entries))
        batch = _Batch(files, fd, offset)
        try:
            for run in self.layout.runs:
                arrays = _joinable(run, self._arrays)
                if arrays is not None:
                    sums.put(run.first, list(map(zlib.crc32, arrays)))
                    batch.add(b"".join(arrays))
                    continue
                for index in range(run.first, run.last):
                    entry = self.layout.entries[index]
                    array = self._arrays[entry.name]
                    is_copy = not is_plain(array, entry.storage)
                    for piece in pieces(array, entry.storage):
                        sums.add(index, piece, is_copy=is_copy)
                        batch.add(piece)
            batch.flush()
            if batch.offset >= _LARGE_BYTES:
                # The disk works while the checksums are computed. The sync after the header makes
                # the save durable.
                files.sync(fd)
            return sums.results()
        finally:
            sums.stop()


class _Batch:
    """Writes bytes one after the other, small pieces of them together."""

    def __init__(self, files: Files, fd: int, offset: int) -> None:
        self._files, self._fd, self.offset = files, fd, offset
        self._pieces: list[Any] = []
        self._size = 0

    def add(self, piece: bytes | Array) -> None:
        if len(piece) >= _BATCH_BYTES:
            self.flush()
            self.offset = write_all(self._files, self._fd, piece, self.offset)
            return
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self.offset = write_all(self._files, self._fd, data, self.offset)
            self._pieces, self._size = [], 0


def _joinable(run: Run, arrays: Mapping[str, Array]) -> Sequence[Any] | None:
    """Return the arrays of a run if their memory, one after the other, is what lies in the file.

    For 10,000 small tensors the loops in C make a save four times faster than piece by piece.
    """
    if run.arrays_in is None:
        return None
    found = run.arrays_in(arrays)
    return found if all(map(_IS_CONTIGUOUS, found)) else None


class Copies:
    """A copy of a state in the order of the file; the memory is reused for the next one."""

    def __init__(self) -> None:
        self.layout = Layout({})
        self._memory = np.empty(0, np.uint8)
        self._views: list[tuple[str, Array]] = []

    def take(self, layout: Layout, arrays: Mapping[str, Array]) -> None:
        """Copy arrays over the previous copy.

        Args:
            layout: Fits the arrays.
            arrays: The tensors by name.
        """
        if layout is not self.layout:
            self._make_views(layout, arrays)
        for run in layout.runs:
            found = _joinable(run, arrays)
            if found is not None:
                self._memory[run.start : run.end] = np.frombuffer(b"".join(found), np.uint8)
                continue
            for name, view in self._views[run.first : run.last]:
                view[...] = arrays[name]

    def _make_views(self, layout: Layout, arrays: Mapping[str, Array]) -> None:
        # The old views go first: the new memory may not be available. So does the old memory, so
        # that never both exist.
        self._views, self.layout = [], Layout({})
        if self._memory.size < layout.size:
            self._memory = np.empty(0, np.uint8)
            self._memory = np.empty(layout.size, np.uint8)
        for entry in layout.entries:
            dtype = arrays[entry.name].dtype
            dtype = dtype.newbyteorder("<") if entry.storage.swap else dtype
            view = self._memory[entry.start : entry.end].view(dtype).reshape(entry.shape)
            self._views.append((entry.name, view))
        self.layout = layout

    def write(self, files: Files, fd: int, offset: int) -> list[int]:
        """Write the tensors at ``offset``, and return the CRC-32 of each."""
        memory = memoryview(self._memory.data)[: self.layout.size]
        write_all(files, fd, memory, offset)  # in as few calls as the system allows
        crcs = []
        for entry in self.layout.entries:
            tensor = memory[entry.start : entry.end]
            if not _QUIET_BYTES < len(tensor) < _WORTH_BYTES:
                crcs.append(zlib.crc32(tensor))
                continue
            crc = 0
            for start in range(0, len(tensor), _QUIET_BYTES):
                crc = zlib.crc32(tensor[start : start + _QUIET_BYTES], crc)
            crcs.append(crc)
        return crcs
