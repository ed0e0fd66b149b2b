"""The header of a file that nobody vouches for, read with limits.

Nothing is allocated because a header says so: lengths are compared with the size of the file
first, and the number of brackets and quotes bounds what the JSON parser may build.
"""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any, NamedTuple, NoReturn

from runloop.checkpoint.layout import CRC_KEY, DOCUMENT_KEY, VERSION, header_crc
from runloop.checkpoint.state_file import STATE_FILE
from runloop.errors import CheckpointCorruptError, CheckpointFormatError
from runloop.state import MAX_DEPTH
from runloop.state.dtypes import CODES

__all__ = ["MAX_HEADER_BYTES", "Document", "Stored", "header_length", "parse_header"]

#: safetensors' own limit (0.8.0).
MAX_HEADER_BYTES = 100_000_000
_MAX_BRACKETS = 4_000_000
_MAX_QUOTES = 32_000_000
_MAX_DIMENSIONS = 64
# What pack() makes of MAX_DEPTH mappings, three levels of JSON each, is well below it.
_MAX_LEVELS = 3 * MAX_DEPTH + 20
_MAX_BYTES = 2**62
# What is in every document; no few changed bits take all of it away.
_SIGNS = ('"serial": ', '"started": ', '"attached": ', '"renamed": ', '"crc32": "')
_HEX = r"[0-9a-f]{8}"


class Stored(NamedTuple):
    """One tensor as the header has it.

    Attributes:
        code: safetensors' code of the dtype.
        shape: The shape in the file.
        start: First byte, from the end of the header.
        end: The byte after the last.
        logical: The dtype that the document names, ``None`` in a file without document.
        crc: The CRC-32, ``None`` in a file without document.
    """

    code: str
    shape: tuple[int, ...]
    start: int
    end: int
    logical: str | None
    crc: int | None


class Document(NamedTuple):
    """What the document says beside the tensors.

    Attributes:
        step: The global step, ``None`` if there was none.
        serial: Grows by one with every save into a folder.
        time: Seconds since 1970 when it was saved.
        started: ``time`` of the first save of the training.
        state_file: The state file in which it was to be listed.
        metrics: ``{name: value}`` that retention goes by.
        attached: ``{name: node}`` of the attached state, see ``runloop.state``.
        hooks: ``{name: node}`` of the hooks' state.
    """

    step: int | None
    serial: int
    time: float
    started: float
    state_file: str
    metrics: dict[str, float]
    attached: dict[str, Any]
    hooks: dict[str, Any]


def header_length(first: bytes, size: int, path: str) -> int:
    """Return the length of the header from the first eight bytes of a file of ``size`` bytes.

    Raises:
        CheckpointCorruptError: If the file is shorter than that.
        CheckpointFormatError: If it can't be a safetensors file.
    """
    if size == 0:
        raise CheckpointCorruptError(f"{path}: the file is empty")
    if len(first) < 8:
        raise CheckpointCorruptError(f"{path}: the file is cut off: it has {size} bytes")
    (length,) = struct.unpack("<Q", first)
    if length > MAX_HEADER_BYTES:
        raise CheckpointFormatError(
            f"{path}: not a safetensors file: its header would be {length} bytes long, and at "
            f"most {MAX_HEADER_BYTES} are allowed"
        )
    if length > size - 8:
        raise CheckpointCorruptError(
            f"{path}: the file is cut off, or no safetensors file: its header is {length} bytes "
            f"long, and {size - 8} are there"
        )
    return int(length)


def parse_header(
    raw: bytes, data_size: int, path: str
) -> tuple[dict[str, Stored], Document | None, dict[str, str]]:
    """Check and parse a header.

    Args:
        raw: The first bytes of the file: length and header.
        data_size: How many bytes follow.
        path: The file, for messages.

    Returns:
        ``(tensors by name, document, metadata)``; no document if runloop did not write the file.

    Raises:
        CheckpointCorruptError: If the bytes are not those that were written.
        CheckpointFormatError: If it is not a safetensors file, or of a newer runloop.
    """
    crcs = header_crc(raw)
    if crcs is not None and crcs[0] != crcs[1]:
        raise CheckpointCorruptError(
            f"{path}: the header is damaged: CRC-32 {crcs[0]}, expected {crcs[1]!r}"
        )
    header = _loads(raw[8:], path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointFormatError(f"{path}: __metadata__ must map strings to strings")
    if crcs is None and _is_ours(metadata):
        raise CheckpointCorruptError(f"{path}: the header is damaged: its checksum is out of place")
    tensors = {name: _stored(name, info, path) for name, info in header.items()}
    _check_ranges(tensors, data_size, path)
    if crcs is None:
        return tensors, None, metadata
    if DOCUMENT_KEY not in metadata:
        raise CheckpointCorruptError(f"{path}: the header is damaged: the document is missing")
    document = _loads(metadata[DOCUMENT_KEY].encode("utf-8", "surrogatepass"), path)
    tensors, parsed = _document(tensors, document, path)
    return tensors, parsed, metadata


def _is_ours(metadata: dict[str, str]) -> bool:
    """Whether runloop made this, by several signs: damage must not pass for another's file."""
    if CRC_KEY in metadata or DOCUMENT_KEY in metadata:
        return True
    return any(sum(sign in text for sign in _SIGNS) > 1 for text in metadata.values())


def _loads(raw: bytes, path: str) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise CheckpointFormatError(f"{path}: not a safetensors file: the header is no JSON object")
    if raw.count(b"[") + raw.count(b"{") > _MAX_BRACKETS or raw.count(b'"') > _MAX_QUOTES:
        raise CheckpointFormatError(f"{path}: the header has too many members")
    try:
        value = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        reason = "it is nested too deep" if isinstance(exc, RecursionError) else exc
        raise CheckpointFormatError(f"{path}: the header is no valid JSON: {reason}") from exc
    if not isinstance(value, dict):
        raise CheckpointFormatError(f"{path}: not a safetensors file: the header is no JSON object")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_BYTES


def _stored(name: str, info: Any, path: str) -> Stored:
    problem = None
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        problem = "must have dtype, shape and data_offsets, and nothing else"
    elif not isinstance(info["dtype"], str) or info["dtype"] not in CODES:
        problem = f"has the unknown dtype {info['dtype']!r:.40}"
    elif not isinstance(info["shape"], list) or not all(map(_is_size, info["shape"])):
        problem = "has a shape that is no list of sizes"
    elif len(info["shape"]) > _MAX_DIMENSIONS:
        problem = f"has {len(info['shape'])} dimensions, more than {_MAX_DIMENSIONS}"
    elif (
        not isinstance(info["data_offsets"], list)
        or len(info["data_offsets"]) != 2
        or not all(map(_is_size, info["data_offsets"]))
    ):
        problem = "has data_offsets that are no two offsets"
    if problem is not None:
        raise CheckpointFormatError(f"{path}: tensor {name!r:.200} {problem}")
    start, end = info["data_offsets"]
    shape = tuple(info["shape"])
    itemsize = CODES[info["dtype"]][1]
    # Zeros are left out so that an empty array can't hide a size that no machine has.
    if math.prod(n for n in shape if n) * itemsize > _MAX_BYTES:
        raise CheckpointFormatError(f"{path}: tensor {name!r:.200} has an impossible shape")
    if math.prod(shape) * itemsize != end - start:
        raise CheckpointFormatError(
            f"{path}: tensor {name!r:.200} of {info['dtype']} {shape} does not fill its "
            f"{end - start} bytes"
        )
    return Stored(info["dtype"], shape, start, end, None, None)


def _check_ranges(tensors: dict[str, Stored], data_size: int, path: str) -> None:
    """Check that the tensors lie one after the other from the first byte to the last."""
    offset = 0
    for name, stored in sorted(tensors.items(), key=lambda item: item[1][2:4]):
        if stored.start != offset:
            what = "overlaps another" if stored.start < offset else "lies behind a gap"
            raise CheckpointFormatError(
                f"{path}: tensor {name!r:.200} {what}: it begins at {stored.start}, expected "
                f"{offset}"
            )
        if stored.end > data_size:
            raise CheckpointCorruptError(
                f"{path}: the file is cut off in tensor {name!r:.200}: it ends at byte "
                f"{stored.end}, and {data_size} are there"
            )
        offset = stored.end
    if offset != data_size:
        raise CheckpointCorruptError(
            f"{path}: the file has {data_size - offset} bytes too many at its end"
        )


def _document(
    tensors: dict[str, Stored], document: dict[str, Any], path: str
) -> tuple[dict[str, Stored], Document]:
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise CheckpointFormatError(f"{path}: the document has no version")
    if version > VERSION:
        raise CheckpointFormatError(
            f"{path}: written by a newer runloop: its document has version {version}, and "
            f"{VERSION} is the last one known here; update runloop"
        )
    try:
        renamed = document["renamed"]
        named = {}
        listed = document["tensors"]
        if listed.keys() != tensors.keys():
            raise ValueError("its tensors are not those of the header")
        for stored_name, stored in tensors.items():
            about = listed[stored_name]
            if not isinstance(about["dtype"], str) or not re.fullmatch(_HEX, about["crc32"]):
                raise ValueError(f"tensor {stored_name!r:.200} has no dtype or no CRC-32")
            crc = int(about["crc32"], 16)
            named[renamed.get(stored_name, stored_name)] = Stored(
                stored.code, stored.shape, stored.start, stored.end, about["dtype"], crc
            )
        if len(named) != len(tensors):
            raise ValueError("two tensors have one name")
        step = document["step"]
        _check_levels([document["attached"], document["hooks"]])
        parsed = Document(
            step=None if step is None else int(step),
            serial=int(document["serial"]),
            time=float(document["time"]),
            started=float(document["started"]),
            state_file=str(document.get("state_file", STATE_FILE)),
            metrics={str(k): float(v) for k, v in document["metrics"].items()},
            attached=dict(document["attached"]),
            hooks=dict(document["hooks"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise CheckpointFormatError(f"{path}: the document is malformed: {exc!r:.300}") from exc
    return named, parsed


def _check_levels(nodes: list[Any]) -> None:
    """Refuse what whoever walks the nodes could not follow."""
    for _ in range(_MAX_LEVELS):
        nodes = [
            inner
            for node in nodes
            if isinstance(node, (dict, list))
            for inner in (node.values() if isinstance(node, dict) else node)
        ]
        if not nodes:
            return
    raise ValueError(f"its state is nested deeper than {_MAX_LEVELS} levels")
