"""Where everything lies in a checkpoint file, and the bytes of its header.

A checkpoint is a safetensors file::

    8 bytes    N, little-endian: the length of the header
    N bytes    the header, JSON in ASCII, filled up with spaces to a multiple of 8:
               {"__metadata__": {"runloop.crc32": "1a2b3c4d", "runloop": "<the document>"},
                "w": {"dtype": "F64", "shape": [64, 10], "data_offsets": [0, 5120]}, ...}
    the rest   the tensors, one after the other without gaps, the widest dtypes first

A CRC-32 covers every byte: the document holds one for each tensor, and ``runloop.crc32`` covers
the length and the header, padding included, computed with its own eight digits as zeros. It stands
at a fixed place, so that it can be checked before anything is parsed.

Why not safetensors' ``serialize_file``: it needs all checksums before it writes the first byte,
leaves the file's mode 0600, does not fsync, and holds the GIL all the time (seen with 0.8.0).
Safetensors itself opens the first file of a layout before the rename
(:mod:`runloop.checkpoint.writer`), and the tests read every kind of file back through it.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

import numpy as np

from runloop.state.dtypes import Storage, storage_of

__all__ = [
    "CRC_KEY",
    "DOCUMENT_KEY",
    "HOOKS",
    "MAX_HEADER_BYTES",
    "SUFFIX",
    "VERSION",
    "Entry",
    "HeaderTemplate",
    "Layout",
    "header_crc",
    "is_too_dense",
    "parsing_cost",
]

Array = np.ndarray[Any, Any]

SUFFIX = ".safetensors"
"""The end of a data file's name."""
HOOKS = "hooks"
"""The group of the hooks' state in the document, and the first part of their tensors' names."""
#: Version of the document; a reader refuses a later one.
VERSION = 1
CRC_KEY = "runloop.crc32"
DOCUMENT_KEY = "runloop"
#: safetensors' own limit (0.8.0); a larger file could be written and not read.
MAX_HEADER_BYTES = 100_000_000
# What a list and an object of one member cost the JSON parser, and how many times its own bytes a
# text may cost. A safetensors header costs 6 times its bytes.
_LIST_BYTES, _OBJECT_BYTES, _MOST_TIMES = 96, 232, 8
_ALWAYS_FINE = 64 << 20

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


class Layout:
    """Where the tensors of a state lie in its file.

    Training saves states of one form again and again, and what depends on the form alone is made
    once: for 10,000 tensors that is most of the cost of a save beside the writing.

    Args:
        arrays: The tensors by name.

    Attributes:
        entries: One :class:`Entry` each, in the order in which they lie: the widest dtypes first,
            so that each is aligned to its elements.
        size: Bytes of all tensors together.
        structure: Names, dtypes, shapes and places, as they stand in the header.
        records: What the document says of each tensor, up to its checksum.
        costs: The :func:`parsing_cost` of ``records`` and of ``structure``.

    Raises:
        TypeError: If a dtype can't be stored; names the tensor.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._names = list(arrays)
        self._forms = [(array.dtype, array.shape) for array in arrays.values()]
        self.entries = _plan_entries(arrays)
        self.size = self.entries[-1].end if self.entries else 0
        self.structure = "".join(
            f',{quoted(e.stored_name)}:{{"dtype":"{e.storage.code}","shape":'
            f"[{','.join(map(str, e.shape + e.storage.trailing))}],"
            f'"data_offsets":[{e.start},{e.end}]}}'
            for e in self.entries
        )
        # One call each: a single call of the encoder for 10,000 tensors would block the other
        # threads for its duration.
        self.records = [
            _inner(f'{quoted(e.stored_name)}: {{"dtype": {quoted(e.storage.logical)}, "crc32": "')
            for e in self.entries
        ]
        self.costs = (
            sum(parsing_cost(record.encode()) for record in self.records),
            parsing_cost(self.structure.encode()),
        )

    def fits(self, arrays: Mapping[str, Array]) -> bool:
        """Whether names, dtypes and shapes are those that the layout was made from."""
        if list(arrays) != self._names:
            return False
        for array, (dtype, shape) in zip(arrays.values(), self._forms, strict=True):
            if array.shape != shape or (array.dtype is not dtype and array.dtype != dtype):
                return False
        return True


def _plan_entries(arrays: Mapping[str, Array]) -> list[Entry]:
    storages: dict[str, Storage] = {}
    for name, array in arrays.items():
        try:
            storages[name] = storage_of(array.dtype)
        except TypeError as exc:
            raise TypeError(f"tensor {name!r} can't be saved: {exc}") from exc
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
    """Return ``name``, or another name if the format can't store it."""
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
    except UnicodeEncodeError:  # half a surrogate pair: UTF-8 can't encode it
        return False
    return True


class HeaderTemplate:
    """The header of a file whose length is known, but not yet the checksums.

    Args:
        layout: The tensors.
        document: What else the document holds: JSON-able values.

    Attributes:
        size: Bytes from the start of the file to the first tensor.

    Raises:
        ValueError: If the header would be larger, or have more members, than a reader accepts.
    """

    def __init__(self, layout: Layout, document: Mapping[str, Any]) -> None:
        renamed = {e.stored_name: e.name for e in layout.entries if e.stored_name != e.name}
        head = json.dumps({"version": VERSION, **document, "renamed": renamed}, allow_nan=False)
        self._document_head = f'{head[:-1]}, "tensors": {{'
        self._layout = layout
        # Everything is ASCII: characters are bytes.
        records = sum(map(len, layout.records)) + len(layout.records) * len('00000000\\"}, ') - 2
        self.size = 8 + _filled(len(self._text("")) + (records if layout.records else 0))
        # The same limits as in a reader: what can be saved can be restored.
        cost = parsing_cost(head.encode())
        texts = [(cost + layout.costs[0], len(head) + records)]
        texts.append((cost + sum(layout.costs), self.size))
        if any(is_too_dense(*text) for text in texts):
            raise ValueError(
                f"not saved: the state has too many lists and mappings beside its arrays: "
                f"{head.count('[')} lists and {head.count('{')} mappings; use arrays"
            )
        if self.size - 8 > MAX_HEADER_BYTES:
            raise ValueError(
                f"not saved: the header would have {self.size - 8} bytes, and at most "
                f"{MAX_HEADER_BYTES} can be read; use arrays for long lists, and fewer tensors"
            )

    def render(self, crcs: Sequence[int]) -> bytes:
        """Return the bytes in front of the tensors, the eight of the length included."""
        text = self._text(
            ", ".join(
                [
                    f'{part}{crc:08x}\\"}}'
                    for part, crc in zip(self._layout.records, crcs, strict=True)
                ]
            )
        )
        header = text.encode().ljust(_filled(len(text)))
        raw = struct.pack("<Q", len(header)) + header
        digits = f"{zlib.crc32(raw):08x}".encode()
        return raw[:_CRC_AT] + digits + raw[_CRC_AT + 8 :]

    def _text(self, records: str) -> str:
        document = f'"{_inner(self._document_head)}{records}}}}}"'
        structure = self._layout.structure
        return f'{PREFIX.decode()}00000000","{DOCUMENT_KEY}":{document}}}{structure}}}'


def _filled(size: int) -> int:
    """Return the next multiple of 8."""
    return -(-size // 8) * 8


def _inner(text: str) -> str:
    """Return ``text`` as a JSON string without its quotes."""
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


def parsing_cost(text: bytes) -> int:
    """Return about how many bytes the lists and objects of a JSON text need once parsed."""
    return _LIST_BYTES * text.count(b"[") + _OBJECT_BYTES * text.count(b"{")


def is_too_dense(cost: int, size: int) -> bool:
    """Whether parsing JSON of ``size`` bytes at this cost needs far more memory than its bytes."""
    return cost > max(_ALWAYS_FINE, _MOST_TIMES * size)
