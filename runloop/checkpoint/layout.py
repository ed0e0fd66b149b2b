"""Where everything lies in a checkpoint file, and the bytes of its header.

A checkpoint is a safetensors file::

    8 bytes    N, little-endian: the length of the header
    N bytes    the header, JSON in ASCII, filled up with spaces to a multiple of 8:
               {"__metadata__": {"runloop.crc32": "1a2b3c4d", "runloop": "<the document>"},
                "w": {"dtype": "F64", "shape": [64, 10], "data_offsets": [0, 5120]}, ...}
    the rest   the tensors, one after the other without gaps, the widest dtypes first

Every byte of it is covered by a CRC-32: each tensor by its own, which stands in the document; the
length and the header, padding included, by ``runloop.crc32``, computed with its own eight digits
as zeros. It stands at a fixed place, so that it can be checked before anything is parsed.

Why the header is made here and not by safetensors' ``serialize_file``: that one wants all
checksums before it writes the first byte, leaves the file's mode 0600, does not fsync, and holds
the interpreter's lock all the while (all seen with 0.8.0). Safetensors has the last word all the
same: it opens the first file of every structure before that gets its name
(:mod:`runloop.checkpoint.accept`), and the tests read every kind of file back through it.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

import numpy as np

from runloop.dtypes import Storage, storage_of

__all__ = [
    "CRC_KEY",
    "DOCUMENT_KEY",
    "VERSION",
    "Entry",
    "HeaderTemplate",
    "header_crc",
    "plan_entries",
]

#: Version of the document; a reader refuses a later one.
VERSION = 1
CRC_KEY = "runloop.crc32"
DOCUMENT_KEY = "runloop"

PREFIX = f'{{"__metadata__":{{"{CRC_KEY}":"'.encode()
_BLANK = b"00000000"
_CRC_AT = 8 + len(PREFIX)


class Entry(NamedTuple):
    """One tensor of a file.

    Attributes:
        name: Its name.
        stored_name: Its name in the header; differs where safetensors can't have it.
        shape: The array's shape.
        storage: How its dtype lies in the file.
        start: Its first byte, counted from the end of the header.
        end: The byte after its last one.
    """

    name: str
    stored_name: str
    shape: tuple[int, ...]
    storage: Storage
    start: int
    end: int


def plan_entries(arrays: Mapping[str, np.ndarray[Any, Any]]) -> list[Entry]:
    """Lay out tensors in a file, in the order in which they lie.

    The widest dtypes come first, so that each is aligned to its elements.

    Raises:
        TypeError: If a dtype can't be stored; names the tensor.
    """
    storages: dict[str, Storage] = {}
    for name, array in arrays.items():
        try:
            storages[name] = storage_of(array.dtype)
        except TypeError as exc:
            raise TypeError(f"{name} can't be saved: {exc}") from exc
    entries = []
    offset = 0
    taken: set[str] = {"__metadata__"}
    for name in sorted(arrays, key=lambda name: -storages[name].align):
        array = arrays[name]
        end = offset + array.nbytes
        stored_name = _stored_name(name, taken, arrays)
        entries.append(Entry(name, stored_name, array.shape, storages[name], offset, end))
        offset = end
    return entries


def _stored_name(name: str, taken: set[str], names: Iterable[str]) -> str:
    """Return ``name``, or what stands for it where the format has no room for it."""
    stored = name
    if name == "__metadata__" or not _is_text(name):
        stored = name.encode("utf-8", "backslashreplace").decode() + "_"
        while stored in taken or stored in names:
            stored += "_"
        taken.add(stored)
    return stored


def _is_text(name: str) -> bool:
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:  # half a surrogate pair: JSON in UTF-8 can't have it
        return False
    return True


class HeaderTemplate:
    """The header of a file whose checksums are not known yet, but whose length is.

    Args:
        entries: The tensors in the order in which they lie.
        document: What else the document holds: JSON-able values.
    """

    def __init__(self, entries: Sequence[Entry], document: Mapping[str, Any]) -> None:
        renamed = {e.stored_name: e.name for e in entries if e.stored_name != e.name}
        head = json.dumps({"version": VERSION, **document, "renamed": renamed}, allow_nan=False)
        # Built by hand and in small pieces, each quoted for itself: a single call of the encoder
        # over 10,000 tensors would stop the other threads for its duration.
        self._document_head = f'{head[:-1]}, "tensors": {{'
        self._tensors = [
            _inner(f'{quoted(e.stored_name)}: {{"dtype": {quoted(e.storage.logical)}, "crc32": "')
            for e in entries
        ]
        #: Names, dtypes, shapes and places, as they stand in the header.
        self.structure = "".join(
            f',{quoted(e.stored_name)}:{{"dtype":"{e.storage.code}","shape":'
            f"[{','.join(map(str, e.shape + e.storage.trailing))}],"
            f'"data_offsets":[{e.start},{e.end}]}}'
            for e in entries
        )
        #: Bytes from the start of the file to the first tensor.
        self.size = len(self.render([0] * len(entries)))

    def render(self, crcs: Sequence[int]) -> bytes:
        """Return the bytes in front of the tensors, the eight of the length included."""
        tensors = ", ".join(
            [f'{part}{crc:08x}\\"}}' for part, crc in zip(self._tensors, crcs, strict=True)]
        )
        document = f'"{_inner(self._document_head)}{tensors}}}}}"'
        header = (
            f'{PREFIX.decode()}00000000","{DOCUMENT_KEY}":{document}}}{self.structure}}}'.encode()
        )
        header += b" " * (-len(header) % 8)
        raw = struct.pack("<Q", len(header)) + header
        digits = f"{zlib.crc32(raw):08x}".encode()
        return raw[:_CRC_AT] + digits + raw[_CRC_AT + 8 :]


def _inner(text: str) -> str:
    """Return what stands between the quotes where ``text`` is a string in JSON."""
    return quoted(text)[1:-1]


def header_crc(raw: bytes) -> tuple[str, str] | None:
    """Return (computed, stored) checksum of a header with its length in front.

    ``None`` if it does not begin as :class:`HeaderTemplate` begins it.
    """
    if not raw.startswith(PREFIX, 8):
        return None
    stored = raw[_CRC_AT : _CRC_AT + 8].decode("ascii", "replace")
    crc = zlib.crc32(_BLANK, zlib.crc32(memoryview(raw)[:_CRC_AT]))
    return f"{zlib.crc32(memoryview(raw)[_CRC_AT + 8 :], crc):08x}", stored
