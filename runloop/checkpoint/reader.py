"""Reading a checkpoint: structure first, then tensors, each checked against its CRC-32."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, cast

import numpy as np

from runloop.checkpoint.array_bytes import fill, view_bytes
from runloop.checkpoint.checksums import Checksums
from runloop.checkpoint.files import OpenFile, open_regular
from runloop.checkpoint.header import Document, Stored, header_length, parse_header
from runloop.checkpoint.layout import SUFFIX
from runloop.errors import (
    CheckpointCorruptError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    CheckpointReadError,
)
from runloop.messages import nearest, printable
from runloop.state.dtypes import dtype_of_code, named, storage_of

__all__ = ["CheckpointReader"]

_FIRST_BYTES = 4096  # holds most headers, so that one read is enough
_PIECE_BYTES = 1 << 20  # stays in the cache between reading and checksum
# Larger tensors are summed beside the reading; see checksums.py.
_WORTH_BYTES = 256 << 10
# The system takes at most 1,024 pieces of memory in one call (IOV_MAX of Linux and macOS).
_BATCH = 1024
# A file this much longer than what is on disk of it, and a thousand times, is a hole and no
# checkpoint. File systems that compress store zeros as holes, so smaller ratios are honest.
_HOLE_BYTES = 1 << 30
_HOLE_TIMES = 1024


class CheckpointReader:
    """An open checkpoint file; any safetensors file will do.

    Opening reads and checks the header only. The file stays readable when retention deletes its
    name meanwhile. It is closed by ``close()``, by leaving its ``with`` block, or when the reader
    is garbage-collected.

    Args:
        path: The data file, with or without ``.safetensors``. It may be a symbolic link.

    Raises:
        CheckpointNotFoundError: If the file does not exist.
        CheckpointReadError: If the system can't open or read it.
        CheckpointCorruptError: If it was cut off or changed.
        CheckpointFormatError: If it is not a safetensors file, not a regular file, was written by
            a newer runloop, or is a hole: a file of more than 1 GiB of which less than a
            thousandth is on disk.

    Follows ``tf.train.load_checkpoint``'s ``CheckpointReader`` of TensorFlow 2.21.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._dtypes: dict[tuple[str, str | None], tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self.path = os.fspath(path)
        self._shown = self.path
        # It owns the descriptor: wherever an error strikes, what nobody refers to is closed.
        self._file = self._open()
        try:
            #: Bytes of the whole file.
            self.size = self._size()
            if self.size > _HOLE_BYTES and _is_hole(self._fd, self.size):
                raise CheckpointFormatError(
                    f"{self._shown}: the file is {self.size} bytes long, but nearly nothing of it "
                    f"is on disk"
                )
            first = self._pread_bytes(min(_FIRST_BYTES, self.size), 0)
            length = header_length(first[:8], self.size, self._shown)
            #: Offset of the first tensor in the file.
            self.data_start = 8 + length
            is_short = self.data_start <= len(first)
            raw = first[: self.data_start] if is_short else self._pread_bytes(self.data_start, 0)
            tensors, document, metadata = parse_header(
                raw, self.size - self.data_start, self._shown
            )
            self._tensors = tensors
            #: What runloop stored beside the tensors; ``None`` if another program wrote the file.
            self.document: Document | None = document
            #: ``__metadata__`` of the header: strings.
            self.metadata: dict[str, str] = metadata
        except BaseException:
            self.close()
            raise

    def _size(self) -> int:
        try:
            return os.fstat(self._fd).st_size
        except OSError as exc:
            raise CheckpointReadError(
                exc.errno, f"the checkpoint can't be looked at: {exc.strerror}", self.path
            ) from exc

    def _open(self) -> OpenFile:
        candidates = [self.path]
        if not self.path.endswith(SUFFIX):
            candidates.insert(0, self.path + SUFFIX)
        for candidate in candidates:
            shown = printable(candidate)
            try:
                file = open_regular(candidate, follow=True)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except IsADirectoryError as exc:
                raise CheckpointFormatError(
                    f"{shown}: a folder, not a data file; load_checkpoint opens the newest in it, "
                    f"and restore_newest restores the newest that is whole"
                ) from exc
            except CheckpointFormatError as exc:
                raise CheckpointFormatError(f"{shown}: not a regular file") from exc
            except ValueError as exc:  # a null byte in the name
                raise CheckpointNotFoundError(f"{candidate!r} can't be a file: {exc}") from exc
            except OSError as exc:
                raise CheckpointReadError(
                    exc.errno, f"the checkpoint can't be opened: {exc.strerror}", candidate
                ) from exc
            self.path, self._shown = candidate, shown
            return file
        raise CheckpointNotFoundError(f"there is no checkpoint {printable(self.path)}")

    # -- what is in the file --------------------------------------------------------------------

    @property
    def step(self) -> int | None:
        """The global step at which it was saved, if known."""
        return None if self.document is None else self.document.step

    @property
    def stored(self) -> dict[str, Stored]:
        """``{name: place and type}`` in the order of the header."""
        return self._tensors

    def names(self) -> list[str]:
        """Return the names of all tensors, sorted."""
        return sorted(self._tensors)

    def has_tensor(self, name: str) -> bool:
        """Whether the file has a tensor of this name."""
        return name in self._tensors

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """Return ``{name: shape}``."""
        return {name: list(self._shape_of(name, stored)) for name, stored in self._tensors.items()}

    def get_variable_to_dtype_map(self) -> dict[str, np.dtype[Any]]:
        """Return ``{name: NumPy dtype}``.

        Raises:
            CheckpointFormatError: If a dtype is unknown, e.g. because ``ml_dtypes`` is not installed.
        """
        return {name: self._dtype_of(name, stored)[0] for name, stored in self._tensors.items()}

    def debug_string(self) -> str:
        """Return one line per tensor: name, dtype, shape."""
        return "".join(
            f"{printable(name)} ({printable(stored.logical or stored.code)}) "
            f"{list(self._shape_of(name, stored))}\n"
            for name, stored in sorted(self._tensors.items())
        )

    def spec(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
        """Return (shape, dtype) of a tensor, ``None`` for an unknown name.

        Raises:
            CheckpointFormatError: If its dtype is unknown.
        """
        stored = self._tensors.get(name)
        if stored is None:
            return None
        dtype, trailing = self._dtype_of(name, stored)
        return (stored.shape[: -len(trailing)] if trailing else stored.shape), dtype

    def _dtype_of(self, name: str, stored: Stored) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Return the dtype, and the dimensions that the file has after those of the tensor."""
        key = (stored.code, stored.logical)
        known = self._dtypes.get(key)
        if known is None:
            try:
                known = self._look_up(*key)
            except ValueError as exc:
                raise CheckpointFormatError(f"{self._shown}: tensor {name!r}: {exc}") from exc
            self._dtypes[key] = known
        trailing = known[1]
        if trailing and stored.shape[-len(trailing) :] != trailing:
            raise CheckpointFormatError(
                f"{self._shown}: tensor {name!r}: {stored.logical} can't be stored in {stored.code} "
                f"{stored.shape}"
            )
        return known

    def _look_up(self, code: str, logical: str | None) -> tuple[np.dtype[Any], tuple[int, ...]]:
        if logical is None:
            return dtype_of_code(code), ()
        dtype = named(logical)
        storage = storage_of(dtype)
        if storage.code != code:
            raise ValueError(f"{logical} can't be stored in {code}")
        return dtype, storage.trailing

    def _shape_of(self, name: str, stored: Stored) -> tuple[int, ...]:
        try:
            _, trailing = self._dtype_of(name, stored)
        except (
            CheckpointFormatError
        ):  # ml_dtypes is not installed; most of its types keep their shape
            return stored.shape
        return stored.shape[: -len(trailing)] if trailing else stored.shape

    # -- tensors --------------------------------------------------------------------------------

    def get_tensor(self, name: str) -> np.ndarray[Any, Any]:
        """Return a tensor as a new array, checked against its CRC-32.

        Raises:
            KeyError: If the name is unknown; names the nearest.
            CheckpointCorruptError: If its bytes have changed.
            CheckpointReadError: If the system can't read them.
        """
        if name not in self._tensors:
            raise KeyError(f"{self._shown} has no tensor {name!r}.{nearest(name, self._tensors)}")
        return self.read(name)

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Return a tensor as a new array, checked; like :meth:`get_tensor`.

        Raises:
            ValueError: If the name is unknown.
            CheckpointFormatError: If NumPy can't make an array of its shape.
        """
        array = self.empty(name)
        self.read_into(name, array, check=True)
        return array

    def empty(self, name: str) -> np.ndarray[Any, Any]:
        """Return a new array for a tensor, not read yet.

        Raises:
            ValueError: If the name is unknown.
            CheckpointFormatError: If NumPy can't make an array of its shape.
        """
        spec = self.spec(name) if isinstance(name, str) else None
        if spec is None:
            raise ValueError(f"{self._shown} has no tensor {name!r:.200}")
        try:
            return np.empty(*spec)
        except ValueError as exc:
            raise CheckpointFormatError(f"{self._shown}: tensor {name!r:.200}: {exc}") from exc

    def read_into(self, name: str, array: np.ndarray[Any, Any], *, check: bool) -> None:
        """Read a tensor into an array of its shape and dtype; the byte order may differ.

        Args:
            name: A tensor of the file.
            array: Any writable array in which no two elements share memory.
            check: Whether to compute the CRC-32 while reading. If it differs, the array has the
                damaged content.

        Raises:
            CheckpointCorruptError: If the bytes have changed.
            CheckpointReadError: If the system can't read them.
        """
        stored = self._tensors[name]
        offset = self.data_start + stored.start
        crc = 0

        def next_bytes(piece: np.ndarray[Any, Any]) -> None:
            nonlocal offset, crc
            self._pread_into(piece, offset)
            offset += piece.size
            if check and stored.crc is not None:
                crc = zlib.crc32(piece.data, crc)

        fill(array, storage_of(array.dtype), next_bytes)
        if check and stored.crc is not None and crc != stored.crc:
            raise self._damaged(name, crc)

    def read_all(self, arrays: Sequence[tuple[str, np.ndarray[Any, Any]]]) -> None:
        """Read tensors into arrays, each checked; like :meth:`read_into`, and faster for many.

        Neighbours that are small are read by one call of the system, and the checksums of large
        ones are computed beside the reading.

        Args:
            arrays: Names of tensors in the file, each with a writable array of its shape and
                dtype in which no two elements share memory; the byte order may differ.

        Raises:
            CheckpointCorruptError: If the bytes of one have changed; names the first in the file.
            CheckpointReadError: If the system can't read them.
            MemoryError: If there is too little memory, also for a lock or a thread.
        """
        order = sorted(
            ((self._tensors[name], name, array) for name, array in arrays), key=_by_place
        )
        sums: Checksums | None = None  # its thread and locks are for large tensors only
        batch: list[tuple[Stored, str, np.ndarray[Any, Any]]] = []
        begin = end = 0
        in_thread = []
        try:
            for index, item in enumerate(order):
                stored, name, array = item
                if not _takes_bytes(array):
                    self.read_into(name, array, check=True)
                elif stored.end - stored.start >= _WORTH_BYTES:
                    if sums is None:
                        sums = Checksums(len(order))
                    in_thread.append(index)
                    self._read_beside(sums, index, stored, array)
                else:
                    if stored.start != end or len(batch) == _BATCH or end - begin >= _PIECE_BYTES:
                        self._read_batch(batch, begin, end)
                        batch, begin = [], stored.start
                    batch.append(item)
                    end = stored.end
            self._read_batch(batch, begin, end)
            results = [] if sums is None else sums.results()
        finally:
            if sums is not None:
                sums.stop()
        for index in in_thread:
            stored, name, _ = order[index]
            if stored.crc not in (None, results[index]):
                raise self._damaged(name, results[index])

    def _read_beside(
        self, sums: Checksums, index: int, stored: Stored, array: np.ndarray[Any, Any]
    ) -> None:
        at = self.data_start + stored.start
        flat = view_bytes(array)
        for start in range(0, flat.size, _PIECE_BYTES):
            piece = flat[start : start + _PIECE_BYTES]
            self._pread_into(piece, at + start)
            if stored.crc is not None:
                sums.add(index, piece, is_copy=False)

    def _read_batch(
        self, batch: list[tuple[Stored, str, np.ndarray[Any, Any]]], begin: int, end: int
    ) -> None:
        """Read tensors that lie one after the other from ``begin`` to ``end``, and check them."""
        if not batch:
            return
        count = 0
        if len(batch) > 1 and hasattr(os, "preadv"):
            try:
                memory: list[Any] = [item[2] for item in batch]
                count = os.preadv(self._fd, memory, self.data_start + begin)
            except OSError as exc:
                raise self._unreadable(exc) from exc
        for stored, name, array in batch:
            if count < stored.end - begin:  # a short read, or none yet
                self._pread_into(view_bytes(array), self.data_start + stored.start)
            if stored.crc is not None:
                crc = zlib.crc32(cast("Any", array))
                if crc != stored.crc:
                    raise self._damaged(name, crc)

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Check tensors against their CRC-32 without keeping them in memory.

        Args:
            names: Which ones; all by default. A file without document has no CRC-32.

        Raises:
            CheckpointCorruptError: If the bytes of one have changed; names the first.
            CheckpointReadError: If the system can't read them.
        """
        for name, computed in self.checksums(names):
            if self._tensors[name].crc not in (None, computed):
                raise self._damaged(name, computed)

    def checksums(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, int]]:
        """Yield (name, CRC-32 of its bytes); all are read before the first is yielded."""
        chosen = self._tensors if names is None else names
        order = sorted(
            ((name, self._tensors[name]) for name in chosen), key=lambda item: item[1][2:4]
        )
        sums = Checksums(len(order))
        ring = [np.empty(_PIECE_BYTES, np.uint8) for _ in range(Checksums.WINDOW)]
        turn = 0
        have = np.empty(0, np.uint8)  # the last piece that was read, and its offset
        have_at = 0
        last = max((stored.end for _, stored in order), default=0)
        try:
            for index, (_, stored) in enumerate(order):
                at = stored.start
                while at < stored.end:
                    if not have_at <= at < have_at + have.size:
                        have_at = at
                        have = ring[turn % len(ring)][: min(_PIECE_BYTES, last - at)]
                        turn += 1
                        self._pread_into(have, self.data_start + at)
                    piece = have[at - have_at : stored.end - have_at]
                    sums.add(index, piece, is_copy=True)
                    at += piece.size
            results = sums.results()
        finally:
            sums.stop()
        for (name, _), crc in zip(order, results, strict=True):
            yield name, crc

    def _damaged(self, name: str, computed: int) -> CheckpointCorruptError:
        return CheckpointCorruptError(
            f"{self._shown}: tensor {name!r} is damaged: its CRC-32 is {computed:08x}, expected "
            f"{self._tensors[name].crc:08x}"
        )

    # -- the file -------------------------------------------------------------------------------

    def _pread_bytes(self, count: int, offset: int) -> bytes:
        buffer = bytearray(count)
        self._pread_into(np.frombuffer(buffer, np.uint8), offset)
        return bytes(buffer)

    def _pread_into(self, piece: np.ndarray[Any, Any], offset: int) -> None:
        view = piece.data
        while view:
            try:
                count = _pread(self._fd, view, offset)
            except OSError as exc:
                raise self._unreadable(exc) from exc
            if count == 0:
                raise CheckpointCorruptError(
                    f"{self._shown}: the file was cut off while it was read"
                )
            offset += count
            view = view[count:]

    def _unreadable(self, exc: OSError) -> CheckpointReadError:
        return CheckpointReadError(
            exc.errno, f"the checkpoint can't be read: {exc.strerror}", self.path
        )

    @property
    def _fd(self) -> int:
        return -1 if self._file.closed else self._file.fileno()

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"CheckpointReader({self.path!r})"


def _by_place(item: tuple[Stored, str, Any]) -> tuple[int, int]:
    return item[0].start, item[0].end


def _takes_bytes(array: np.ndarray[Any, Any]) -> bool:
    """Whether the system can read a tensor straight into the memory of ``array``."""
    dtype = array.dtype  # dates and the types of ml_dtypes have no buffer that others may see
    return (
        array.flags.c_contiguous
        and dtype.isbuiltin == 1
        and dtype.kind not in "mM"
        and not storage_of(dtype).swap
    )


def _is_hole(fd: int, size: int) -> bool:
    """Whether less than a thousandth of a file is on disk."""
    blocks = getattr(os.fstat(fd), "st_blocks", 0)  # 0 where the file system does not tell
    if not blocks or blocks * 512 > size // _HOLE_TIMES or not hasattr(os, "SEEK_DATA"):
        return False
    # The number of blocks may lag behind on file systems that write late, the extents don't.
    found = end = 0
    try:
        while found <= size // _HOLE_TIMES:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
            found += end - start
    except OSError as exc:
        return exc.errno == errno.ENXIO  # no data after ``end``
    return False


def _pread_whole(fd: int, view: memoryview, offset: int) -> int:
    return os.preadv(fd, [view], offset)


def _pread_seeking(fd: int, view: memoryview, offset: int) -> int:
    os.lseek(fd, offset, os.SEEK_SET)
    data = os.read(fd, len(view))
    view[: len(data)] = data
    return len(data)


_pread: Callable[[int, memoryview, int], int] = (
    _pread_whole if hasattr(os, "preadv") else _pread_seeking
)
