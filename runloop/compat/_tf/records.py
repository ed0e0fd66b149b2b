"""Record files with checksums, the container format of TensorBoard's event files."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any, Self

from runloop.compat._tf.errors import DataLossError, NotFoundError
from runloop.compat._tf.protos import Event

__all__ = ["RecordIterator", "frame", "masked_crc32c", "summary_iterator"]

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected
_MASK_DELTA = 0xA282EAD8


@cache
def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C of ``data``, rotated and shifted as in record files."""
    table, crc = _table(), 0xFFFF_FFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFF_FFFF
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFF_FFFF


def frame(data: bytes) -> bytes:
    """Return one record: length, its checksum, ``data``, its checksum."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            struct.pack("<I", masked_crc32c(length)),
            data,
            struct.pack("<I", masked_crc32c(data)),
        )
    )


class RecordIterator:
    """Iterates over the records of a file.

    It stops before an incomplete record. A later ``next`` looks again, so a file can be followed
    while it is being written.

    Args:
        path: The file.
        options: For TensorFlow's signature; must be ``None``: compressed files are not supported.

    Raises:
        ValueError: If ``options`` are given.
        NotFoundError: If the file does not exist.
        DataLossError: From ``next``, if a checksum is wrong.

    Follows ``tf.compat.v1.io.tf_record_iterator`` of TensorFlow 2.21, except that TensorFlow raises
    ``DataLossError`` for an incomplete record as well.
    """

    def __init__(self, path: str | os.PathLike[str], options: Any = None) -> None:
        if options is not None:
            raise ValueError(
                f"{path}: compressed record files are not supported, got options {options!r}"
            )
        self._path = os.fspath(path)
        self._at = 0
        if not os.path.exists(self._path):
            raise NotFoundError(None, None, f"{self._path}; No such file or directory")

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        # Opened for each record, so that an iterator never holds the file open.
        with open(self._path, "rb") as file:
            file.seek(self._at)
            head = file.read(12)
            if len(head) < 12:
                raise StopIteration
            if struct.pack("<I", masked_crc32c(head[:8])) != head[8:]:
                raise DataLossError(None, None, f"{self._path}: damaged length at {self._at}")
            (length,) = struct.unpack("<Q", head[:8])
            if length > os.fstat(file.fileno()).st_size:
                raise StopIteration  # never allocate more than the file holds
            data, check = file.read(length), file.read(4)
        if len(check) < 4:
            raise StopIteration
        if struct.pack("<I", masked_crc32c(data)) != check:
            raise DataLossError(None, None, f"{self._path}: damaged record at {self._at}")
        self._at += 16 + length
        return data


def summary_iterator(path: str | os.PathLike[str]) -> Iterator[Event]:
    """Yield the events of an event file.

    Raises:
        NotFoundError: If the file does not exist.
        DataLossError: If a checksum is wrong.

    Follows ``tf.compat.v1.train.summary_iterator`` of TensorFlow 2.21.
    """
    for data in RecordIterator(path):
        yield Event.FromString(data)
