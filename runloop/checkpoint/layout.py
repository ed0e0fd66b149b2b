"""The layout of a checkpoint file, and the bytes of its header.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from json.encoder import encode_basestring_ascii as quoted
from operator import attrgetter, eq, itemgetter
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
    "Run",
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
# What follows on the beginning of each record; the checksum's eight digits first.
_CRC_AND_END = '00000000\\"}, '
_FORM = attrgetter("dtype", "shape")
# Tensors up to this size are written together: passing one to the checksum thread costs as much
# as 20 KB of checksum.
_SMALL_BYTES = 20 << 10
_RUN_BYTES = 1 << 20


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


class Run(NamedTuple):
    """Tensors that lie one after the other.

    Attributes:
        first: Index of the first.
        last: The index after that of the last.
        start: First byte of the first, counted from the end of the header.
        end: The byte after the last of the last.
        arrays_in: Takes the arrays by name and returns those of this run, if all are small and the
            memory of each, where it is C-contiguous, is what lies in the file; else ``None``.
    """

    first: int
    last: int
    start: int
    end: int
    arrays_in: Callable[[Mapping[str, Array]], Sequence[Any]] | None


class Layout:
    """Where the tensors of a state lie in its file.

    Training saves states with the same names, dtypes and shapes again and again. What depends only
    on these is made once: for 10,000 tensors it would cost more than the writing.

    Args:
        arrays: The tensors by name.

    Attributes:
        entries: One :class:`Entry` each, in the order in which they lie: the widest dtypes first,
            so that each is aligned to its elements.
        size: Bytes of all tensors together.
        structure: Names, dtypes, shapes and places, as they stand in the header.
        renamed: ``{stored name: name}`` of the entries where the two differ.
        records: What the document says of the tensors, with zeros as the checksums.
        digits: Where each digit of the checksums is in ``records``.
        costs: The :func:`parsing_cost` of ``records`` and of ``structure``.

    Raises:
        TypeError: If a dtype can't be stored; names the tensor.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._names = list(arrays)
        self._forms = list(map(_FORM, arrays.values()))
        self.entries = _plan_entries(arrays)
        self.size = self.entries[-1].end if self.entries else 0
        self.structure = "".join(
            f',{quoted(e.stored_name)}:{{"dtype":"{e.storage.code}","shape":'
            f"[{','.join(map(str, e.shape + e.storage.trailing))}],"
            f'"data_offsets":[{e.start},{e.end}]}}'
            for e in self.entries
        ).encode()
        self.renamed = {e.stored_name: e.name for e in self.entries if e.stored_name != e.name}
        # One call each: a single call of the encoder for 10,000 tensors would block the other
        # threads for its duration.
        beginnings = [
            _inner(f'{quoted(e.stored_name)}: {{"dtype": {quoted(e.storage.logical)}, "crc32": "')
            for e in self.entries
        ]
        # Everything is ASCII: characters are bytes.
        self.records = (_CRC_AND_END.join([*beginnings, ""])[: -len(", ")]).encode()
        lengths = np.fromiter(map(len, beginnings), np.int64, len(beginnings))
        at = np.cumsum(lengths) + np.arange(len(beginnings)) * len(_CRC_AND_END)
        self.digits = (at[:, np.newaxis] + np.arange(len(_BLANK))).reshape(-1)
        self.costs = (parsing_cost(self.records), parsing_cost(self.structure))

    def fits(self, arrays: Mapping[str, Array]) -> bool:
        """Whether names, dtypes and shapes are those that the layout was made from."""
        # Loops in C: training waits, and there may be 10,000 tensors. A list of their forms would
        # set off the garbage collection.
        return list(arrays) == self._names and all(
            map(eq, map(_FORM, arrays.values()), self._forms)
        )

    @cached_property
    def runs(self) -> list[Run]:
        """All tensors in order, small ones together."""
        dtypes = dict(zip(self._names, self._forms, strict=True))
        runs: list[Run] = []
        small: list[Entry] = []

        def finish(index: int) -> None:
            if small:
                names = [entry.name for entry in small]
                # itemgetter of one name gives no tuple.
                get = itemgetter(*names) if len(names) > 1 else None
                runs.append(Run(index - len(small), index, small[0].start, small[-1].end, get))
                small.clear()

        for index, entry in enumerate(self.entries):
            size = entry.end - entry.start
            if size > _SMALL_BYTES or not _is_buffer(dtypes[entry.name][0], entry.storage):
                finish(index)
                runs.append(Run(index, index + 1, entry.start, entry.end, None))
                continue
            if small and entry.end - small[0].start > _RUN_BYTES:
                finish(index)
            small.append(entry)
        finish(len(self.entries))
        return runs


def _is_buffer(dtype: np.dtype[Any], storage: Storage) -> bool:
    """Whether a C-contiguous array is a buffer of the bytes in the file; dates are not buffers."""
    return dtype.kind in "biufc" and dtype.isbuiltin == 1 and not storage.swap


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
        head = json.dumps(
            {"version": VERSION, **document, "renamed": layout.renamed}, allow_nan=False
        )
        document_head = _inner(f'{head[:-1]}, "tensors": {{')
        self._layout = layout
        self._before = b'%s00000000","%s":"%s' % (
            PREFIX,
            DOCUMENT_KEY.encode(),
            document_head.encode(),
        )
        self._after = b'}}"}%s}' % layout.structure
        records = len(layout.records)
        self.size = 8 + _filled(len(self._before) + records + len(self._after))
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

    def render(self, crcs: Sequence[int]) -> bytearray:
        """Return the bytes in front of the tensors, the eight of the length included."""
        records = bytearray(self._layout.records)
        digits = np.array(crcs, ">u4").tobytes().hex().encode()
        np.frombuffer(records, np.uint8)[self._layout.digits] = np.frombuffer(digits, np.uint8)
        length = struct.pack("<Q", self.size - 8)
        raw = bytearray().join((length, self._before, records, self._after))
        raw += b" " * (self.size - len(raw))
        raw[_CRC_AT : _CRC_AT + 8] = f"{zlib.crc32(raw):08x}".encode()
        return raw


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
