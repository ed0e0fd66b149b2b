"""The tensors of a checkpoint on their way into the file: the live arrays, or a copy.

Both know their layout, write the tensors after the header, and return their CRC-32. Live arrays
are written while training waits. A copy is written beside the training: each release of the GIL
may cost a 5 ms switch interval, which for 10,000 tensors would be a minute.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from runloop.checkpoint.array_bytes import is_plain, pieces
from runloop.checkpoint.checksums import Checksums
from runloop.checkpoint.files import Files, write_all
from runloop.checkpoint.layout import Layout

__all__ = ["Content", "Copies", "LiveArrays"]

_BATCH_BYTES = 1 << 20  # small tensors are written together up to this size
_LARGE_BYTES = 16 << 20
# zlib.crc32 keeps the GIL for up to this many bytes.
_QUIET_BYTES = 5 << 10
# From this size on it is worth releasing the GIL: 70 us of checksum.
_WORTH_BYTES = 128 << 10

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
        small: list[memoryview] = []
        waiting = 0
        try:
            for index, entry in enumerate(self.layout.entries):
                array = self._arrays[entry.name]
                is_copy = not is_plain(array, entry.storage)
                for piece in pieces(array, entry.storage):
                    sums.add(index, piece, is_copy=is_copy)
                    if piece.size < _BATCH_BYTES:
                        small.append(piece.data)
                        waiting += piece.size
                        if waiting < _BATCH_BYTES:
                            continue
                    if small:
                        offset = write_all(files, fd, b"".join(small), offset)
                        small, waiting = [], 0
                    if piece.size >= _BATCH_BYTES:
                        offset = write_all(files, fd, piece, offset)
            if small:
                offset = write_all(files, fd, b"".join(small), offset)
            if offset >= _LARGE_BYTES:
                # The disk works while the checksums are computed. The sync after the header makes
                # the save durable.
                files.sync(fd)
            return sums.results()
        finally:
            sums.stop()


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
        for name, view in self._views:
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
            if len(tensor) >= _WORTH_BYTES:
                crcs.append(zlib.crc32(tensor))
                continue
            crc = 0
            for start in range(0, len(tensor), _QUIET_BYTES):
                crc = zlib.crc32(tensor[start : start + _QUIET_BYTES], crc)
            crcs.append(crc)
        return crcs
