"""The wire format of protocol buffers: encodes and decodes numbers, strings and fields."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = [
    "BYTES",
    "FIXED32",
    "FIXED64",
    "KINDS",
    "VARINT",
    "DecodeError",
    "parsed",
    "scalar",
    "tokens",
    "unpack",
    "varint",
]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
KINDS: Mapping[str, tuple[int, Any]] = {
    "double": (FIXED64, 0.0),
    "float": (FIXED32, 0.0),
    "int64": (VARINT, 0),
    "int32": (VARINT, 0),
    "uint64": (VARINT, 0),
    "bool": (VARINT, False),
    "enum": (VARINT, 0),
    "string": (BYTES, ""),
    "bytes": (BYTES, b""),
}


class DecodeError(ValueError):
    """The bytes are not a message."""


def varint(value: int) -> bytes:
    """Encode an integer, modulo 2**64, in groups of seven bits, the lowest first."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def scalar(kind: str, value: Any) -> bytes:
    """Encode a number for a field of ``kind``."""
    if kind == "double":
        return bytes(struct.pack("<d", value))
    if kind == "float":
        return bytes(struct.pack("<f", value))
    return varint(int(value))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at >= len(data):
            raise DecodeError("the message ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise DecodeError("a number has more than 10 bytes")


def tokens(data: bytes) -> Iterator[tuple[int, int, Any, bytes]]:
    """Yield (number, wire type, value, encoded bytes) of each field.

    Raises:
        DecodeError: If the bytes are not a sequence of fields.
    """
    at = 0
    while at < len(data):
        start = at
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        value: Any
        if not number:
            raise DecodeError("a field has the number 0")
        if wire == VARINT:
            value, at = _read_varint(data, at)
        elif wire in {FIXED64, FIXED32, BYTES}:
            size = 8 if wire == FIXED64 else 4
            if wire == BYTES:
                size, at = _read_varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise DecodeError(f"field {number} has the wire type {wire}, which is not supported")
        if at > len(data):
            raise DecodeError(f"the message ends in the middle of field {number}")
        yield number, wire, value, data[start:at]


def unpack(wire: int, data: bytes) -> Iterator[Any]:
    """Yield the members of a packed list, in the form that :func:`tokens` gives values.

    Raises:
        DecodeError: If the bytes are not such a list.
    """
    if wire == VARINT:
        at = 0
        while at < len(data):
            value, at = _read_varint(data, at)
            yield value
        return
    size = 8 if wire == FIXED64 else 4
    if len(data) % size:
        raise DecodeError(f"a packed list of {len(data)} bytes can't hold members of {size} bytes")
    for at in range(0, len(data), size):
        yield data[at : at + size]


def parsed(kind: str, value: Any) -> Any:
    """Convert a value that :func:`tokens` gave to the value of a field of ``kind``.

    Raises:
        DecodeError: If a string is not UTF-8.
    """
    if kind == "double":
        return struct.unpack("<d", value)[0]
    if kind == "float":
        return struct.unpack("<f", value)[0]
    if kind == "bool":
        return bool(value)
    if kind == "string":
        try:
            return bytes(value).decode()
        except UnicodeDecodeError as exc:
            raise DecodeError(f"a string is not UTF-8: {exc}") from exc
    if kind == "bytes":
        return bytes(value)
    if kind == "uint64":
        return value
    bits = 64 if kind == "int64" else 32
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >= 1 << (bits - 1) else value
