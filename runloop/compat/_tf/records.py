"""Files of records with checksums: the container of TensorBoard's event files."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from functools import cache

from runloop.compat._tf.errors import DataLossError
from runloop.compat._tf.protos import Event

__all__ = ["frame", "masked_crc32c", "record_iterator", "summary_iterator"]

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
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


def record_iterator(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yield the records of a file.

    A record that is not all there ends it, so that a file can be read while it is written.

    Raises:
        DataLossError: If a checksum is wrong.

    Follows ``tf.compat.v1.io.tf_record_iterator`` of TensorFlow 2.21, which raises
    ``DataLossError`` for a cut record, too.
    """
    with open(path, "rb") as file:
        while len(head := file.read(12)) == 12:
            (length,) = struct.unpack("<Q", head[:8])
            at = file.tell() - 12
            if struct.pack("<I", masked_crc32c(head[:8])) != head[8:]:
                raise DataLossError(None, None, f"{path}: corrupted record at {at}: its length")
            if length > os.fstat(file.fileno()).st_size:
                return  # nothing is allocated that the file does not back
            data, check = file.read(length), file.read(4)
            if len(check) < 4:
                return
            if struct.pack("<I", masked_crc32c(data)) != check:
                raise DataLossError(None, None, f"{path}: corrupted record at {at}: its data")
            yield data


def summary_iterator(path: str | os.PathLike[str]) -> Iterator[Event]:
    """Yield the events of an event file.

    Raises:
        DataLossError: If a checksum is wrong.

    Follows ``tf.compat.v1.train.summary_iterator`` of TensorFlow 2.21.
    """
    for data in record_iterator(path):
        yield Event.FromString(data)
