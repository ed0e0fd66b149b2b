"""Reading a checkpoint: structure first, then tensors, each checked against its CRC-32."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np

from runloop.checkpoint.array_bytes import fill
from runloop.checkpoint.checksums import Checksums
from runloop.checkpoint.header import Document, Stored, header_length, parse_header
from runloop.checkpoint.layout import SUFFIX
from runloop.errors import (
    CheckpointCorruptError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    CheckpointReadError,
)
from runloop.messages import nearest
from runloop.state.dtypes import dtype_of_code, named, storage_of

__all__ = ["CheckpointReader"]

_PIECE_BYTES = 1 << 20  # stays in the cache between its reading and its checksum
_OPEN = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe of this name must not hold the reader for ever
)


class CheckpointReader:
    """An open checkpoint file; any safetensors file will do.

    Opening reads and checks the header only. The file stays readable when retention deletes its
    name meanwhile. It is closed by ``close()``, by leaving its ``with`` block, or when the reader
    is collected.

    Args:
        path: The data file, with or without ``.safetensors``.

    Raises:
        CheckpointNotFoundError: If there is no such file.
        CheckpointReadError: If the system can't open or read it.
        CheckpointCorruptError: If it was cut off or changed.
        CheckpointFormatError: If it is no safetensors file, or of a newer runloop.

    Follows ``tf.train.load_checkpoint``'s ``CheckpointReader`` of TensorFlow 2.21.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._fd = -1
        self._dtypes: dict[tuple[str, str | None], tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self.path = os.fspath(path)
        self._open()
        try:
            status = os.fstat(self._fd)
            if stat.S_ISDIR(status.st_mode):
                raise CheckpointFormatError(
                    f"{self.path}: a folder, and no data file; load_checkpoint opens the newest in "
                    f"it, and restore_newest restores the newest that is whole"
                )
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointFormatError(f"{self.path}: not a regular file")
            #: Bytes of the whole file.
            self.size = status.st_size
            first = self._pread_bytes(min(8, self.size), 0)
            length = header_length(first, self.size, self.path)
            #: Offset of the first tensor in the file.
            self.data_start = 8 + length
            raw = first + self._pread_bytes(length, 8)
            tensors, document, metadata = parse_header(raw, self.size - self.data_start, self.path)
            self._tensors = tensors
            #: What runloop wrote beside the tensors; ``None`` if another program wrote the file.
            self.document: Document | None = document
            #: ``__metadata__`` of the header: strings.
            self.metadata: dict[str, str] = metadata
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        candidates = [self.path]
        if not self.path.endswith(SUFFIX):
            candidates.insert(0, self.path + SUFFIX)
        for candidate in candidates:
            try:
                self._fd = os.open(candidate, _OPEN)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except ValueError as exc:  # a null byte in the name
                raise CheckpointNotFoundError(f"{candidate!r} can't be a file: {exc}") from exc
            except OSError as exc:
                raise CheckpointReadError(
                    exc.errno, f"the checkpoint can't be opened: {exc.strerror}", candidate
                ) from exc
            self.path = candidate
            return
        raise CheckpointNotFoundError(f"there is no checkpoint {self.path}")

    # -- what there is --------------------------------------------------------------------------

    @property
    def step(self) -> int | None:
        """The global step at which it was saved, if that is known."""
        return None if self.document is None else self.document.step

    @property
    def stored(self) -> dict[str, Stored]:
        """``{name: where and how it lies}`` in the order of the header."""
        return self._tensors

    def names(self) -> list[str]:
        """Return the names of all tensors, sorted."""
        return sorted(self._tensors)

    def has_tensor(self, name: str) -> bool:
        """Whether there is a tensor of this name."""
        return name in self._tensors

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """Return ``{name: shape}``."""
        return {name: list(self._shape_of(name, stored)) for name, stored in self._tensors.items()}

    def get_variable_to_dtype_map(self) -> dict[str, np.dtype[Any]]:
        """Return ``{name: NumPy dtype}``.

        Raises:
            CheckpointFormatError: If a dtype is not known here, e.g. for want of ``ml_dtypes``.
        """
        return {name: self._dtype_of(name, stored)[0] for name, stored in self._tensors.items()}

    def debug_string(self) -> str:
        """Return a line a tensor: name, dtype, shape."""
        return "".join(
            f"{name} ({stored.logical or stored.code}) {list(self._shape_of(name, stored))}\n"
            for name, stored in sorted(self._tensors.items())
        )

    def spec(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
        """Return (shape, dtype) of a tensor, ``None`` if there is none of this name.

        Raises:
            CheckpointFormatError: If its dtype is not known here.
        """
        stored = self._tensors.get(name)
        if stored is None:
            return None
        dtype, trailing = self._dtype_of(name, stored)
        return (stored.shape[: -len(trailing)] if trailing else stored.shape), dtype

    def _dtype_of(self, name: str, stored: Stored) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Return the dtype, and what the shape in the file has at its end beyond the tensor's."""
        key = (stored.code, stored.logical)
        known = self._dtypes.get(key)
        if known is None:
            try:
                known = self._look_up(*key)
            except ValueError as exc:
                raise CheckpointFormatError(f"{self.path}: tensor {name!r}: {exc}") from exc
            self._dtypes[key] = known
        trailing = known[1]
        if trailing and stored.shape[-len(trailing) :] != trailing:
            raise CheckpointFormatError(
                f"{self.path}: tensor {name!r}: {stored.logical} can't lie in {stored.code} "
                f"{stored.shape}"
            )
        return known

    def _look_up(self, code: str, logical: str | None) -> tuple[np.dtype[Any], tuple[int, ...]]:
        if logical is None:
            return dtype_of_code(code), ()
        dtype = named(logical)
        storage = storage_of(dtype)
        if storage.code != code:
            raise ValueError(f"{logical} can't lie in {code}")
        return dtype, storage.trailing

    def _shape_of(self, name: str, stored: Stored) -> tuple[int, ...]:
        try:
            _, trailing = self._dtype_of(name, stored)
        except CheckpointFormatError:  # ml_dtypes is missing; most of its types lie as they are
            return stored.shape
        return stored.shape[: -len(trailing)] if trailing else stored.shape

    # -- tensors --------------------------------------------------------------------------------

    def get_tensor(self, name: str) -> np.ndarray[Any, Any]:
        """Return a tensor as a new array, checked against its CRC-32.

        Raises:
            KeyError: If there is none of this name; names the nearest.
            CheckpointCorruptError: If its bytes have changed.
            CheckpointReadError: If the system can't read them.
        """
        if name not in self._tensors:
            raise KeyError(f"{self.path} has no tensor {name!r}.{nearest(name, self._tensors)}")
        return self.read(name)

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Return a tensor as a new array, checked; like :meth:`get_tensor`.

        Raises:
            ValueError: If there is none of this name.
        """
        spec = self.spec(name) if isinstance(name, str) else None
        if spec is None:
            raise ValueError(f"{self.path} has no tensor {name!r:.200}")
        array = np.empty(*spec)
        self.read_into(name, array, check=True)
        return array

    def read_into(self, name: str, array: np.ndarray[Any, Any], *, check: bool) -> None:
        """Read a tensor into an array of its shape and of its dtype but for the byte order.

        Args:
            name: A tensor that is there.
            array: Any writable array in which no two elements share memory.
            check: Whether to compute the CRC-32 on the way. If it differs the array is spoilt.

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

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Check tensors against their CRC-32, without keeping them.

        Args:
            names: Which ones; all by default. Those of a file without document have none.

        Raises:
            CheckpointCorruptError: If the bytes of one have changed; names the first.
            CheckpointReadError: If the system can't read them.
        """
        for name, computed in self.checksums(names):
            if self._tensors[name].crc not in (None, computed):
                raise self._damaged(name, computed)

    def checksums(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, int]]:
        """Yield (name, CRC-32 of the bytes as they are now), all read before the first is given."""
        chosen = self._tensors if names is None else names
        order = sorted(
            ((name, self._tensors[name]) for name in chosen), key=lambda item: item[1][2:4]
        )
        sums = Checksums(len(order))
        ring = [np.empty(_PIECE_BYTES, np.uint8) for _ in range(Checksums.WINDOW)]
        turn = 0
        have = np.empty(0, np.uint8)  # what was read last, and where it begins
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
            f"{self.path}: tensor {name!r} is damaged: its CRC-32 is {computed:08x}, expected "
            f"{self._tensors[name].crc:08x}"
        )

    # -- the file -------------------------------------------------------------------------------

    def _pread_bytes(self, count: int, offset: int) -> bytes:
        buffer = np.empty(count, np.uint8)
        self._pread_into(buffer, offset)
        return buffer.tobytes()

    def _pread_into(self, piece: np.ndarray[Any, Any], offset: int) -> None:
        view = piece.data
        while view:
            try:
                count = _pread(self._fd, view, offset)
            except OSError as exc:
                raise CheckpointReadError(
                    exc.errno, f"the checkpoint can't be read: {exc.strerror}", self.path
                ) from exc
            if count == 0:
                raise CheckpointCorruptError(f"{self.path}: the file was cut off while it was read")
            offset += count
            view = view[count:]

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"CheckpointReader({self.path!r})"


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
