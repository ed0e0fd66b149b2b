"""The header of an untrusted file, read with limits.

Nothing is allocated because a header says so: lengths are compared with the size of the file
first, and the number of brackets bounds what the JSON parser may build. What is read costs time
and memory in proportion to its bytes.
"""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any, NamedTuple, NoReturn

from runloop.checkpoint.layout import (
    CRC_KEY,
    DOCUMENT_KEY,
    MAX_HEADER_BYTES,
    VERSION,
    header_crc,
    is_too_dense,
    parsing_cost,
)
from runloop.checkpoint.state_file import STATE_FILE
from runloop.errors import CheckpointCorruptError, CheckpointFormatError
from runloop.state import MAX_DEPTH
from runloop.state.dtypes import CODES

__all__ = ["MAX_SERIAL", "Document", "Stored", "header_length", "parse_header"]

#: The largest serial number that is read; later saves do not go beyond it.
MAX_SERIAL = 2**53
_MAX_STEP = 2**63 - 1
_MAX_SECONDS = 1e12  # 30,000 years
_MAX_DIMENSIONS = 64
# pack() makes at most three levels of JSON of each of MAX_DEPTH mappings.
_MAX_LEVELS = 3 * MAX_DEPTH + 20
_MAX_BYTES = 2**62
# Every document contains these; a few flipped bits don't remove all of them.
_SIGNS = ('"serial": ', '"started": ', '"attached": ', '"renamed": ', '"crc32": "')
_HEX = r"[0-9a-f]{8}"
_NOT_IN_JSON = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Stored(NamedTuple):
    """One tensor, as the header describes it.

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
    """What the document says, apart from the tensors.

    Attributes:
        step: The global step, ``None`` if there was none.
        serial: Grows by one with every save into a folder.
        time: Seconds since 1970 when it was saved.
        started: ``time`` of the first save of the training.
        state_file: The state file that was to list it.
        metrics: ``{name: value}``, used by ``keep_best``.
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
            f"{path}: the file is cut off, or not a safetensors file: its header has {length} "
            f"bytes, and the file has {size - 8} more"
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
    """Whether runloop wrote this file: a damaged one must not be taken for another program's."""
    if CRC_KEY in metadata or DOCUMENT_KEY in metadata:
        return True
    return any(sum(sign in text for sign in _SIGNS) > 1 for text in metadata.values())


def _loads(raw: bytes, path: str) -> dict[str, Any]:
    if is_too_dense(parsing_cost(raw), len(raw)):
        raise CheckpointFormatError(
            f"{path}: the header has too many members for its {len(raw)} bytes"
        )
    try:
        text = raw.decode("utf-8", "surrogatepass")
        if not text.startswith("{"):
            raise CheckpointFormatError(
                f"{path}: not a safetensors file: the header is not a JSON object"
            )
        value = _DECODER.decode(text)
    except RecursionError as exc:
        raise CheckpointFormatError(
            f"{path}: the header is not valid JSON: it is nested too deep"
        ) from exc
    except CheckpointFormatError:
        raise
    except ValueError as exc:
        raise CheckpointFormatError(f"{path}: the header is not valid JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise CheckpointFormatError(
            f"{path}: not a safetensors file: the header is not a JSON object"
        )
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError(f"the number {text:.40} is too large")
    return value


# `json.loads` would make one for every header.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_BYTES


def _stored(name: str, info: Any, path: str) -> Stored:
    problem = None
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        problem = "must have dtype, shape and data_offsets, and nothing else"
    elif not isinstance(info["dtype"], str) or info["dtype"] not in CODES:
        problem = f"has the unknown dtype {info['dtype']!r:.40}"
    elif not isinstance(info["shape"], list) or not all(map(_is_size, info["shape"])):
        problem = "has a shape that is not a list of sizes"
    elif len(info["shape"]) > _MAX_DIMENSIONS:
        problem = f"has {len(info['shape'])} dimensions, more than {_MAX_DIMENSIONS}"
    elif (
        not isinstance(info["data_offsets"], list)
        or len(info["data_offsets"]) != 2
        or not all(map(_is_size, info["data_offsets"]))
    ):
        problem = "has data_offsets that are not two offsets"
    if problem is not None:
        raise CheckpointFormatError(f"{path}: tensor {name!r:.200} {problem}")
    start, end = info["data_offsets"]
    shape = tuple(info["shape"])
    itemsize = CODES[info["dtype"]][1]
    # Without the zeros: an empty array must not hide a dimension that is impossible.
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
        named = _named(tensors, _mapping(document, "tensors"), _mapping(document, "renamed"))
        attached, hooks = _mapping(document, "attached"), _mapping(document, "hooks")
        _check_levels([attached, hooks])
        step = document["step"]
        state_file = document.get("state_file", STATE_FILE)
        if type(state_file) is not str:
            raise ValueError(f"state_file must be a string, got {state_file!r:.60}")
        parsed = Document(
            step=None if step is None else _integer("step", step, -_MAX_STEP, _MAX_STEP),
            serial=_integer("serial", document["serial"], 0, MAX_SERIAL),
            time=_seconds("time", document["time"]),
            started=_seconds("started", document["started"]),
            state_file=state_file,
            metrics={
                name: _metric(name, value) for name, value in _mapping(document, "metrics").items()
            },
            attached=attached,
            hooks=hooks,
        )
    except KeyError as exc:
        raise CheckpointFormatError(
            f"{path}: the document is malformed: it has no {exc.args[0]!r:.60}"
        ) from exc
    except ValueError as exc:
        raise CheckpointFormatError(f"{path}: the document is malformed: {exc}") from exc
    return named, parsed


def _named(
    tensors: dict[str, Stored], listed: dict[str, Any], renamed: dict[str, Any]
) -> dict[str, Stored]:
    """Return the tensors under their own names, with what the document says of each."""
    named = {}
    is_crc = re.compile(_HEX).fullmatch
    if listed.keys() != tensors.keys():
        raise ValueError("its tensors are not those of the header")
    for stored_name, stored in tensors.items():
        about = listed[stored_name]
        logical, crc = (about.get("dtype"), about.get("crc32")) if type(about) is dict else (0, 0)
        if type(logical) is not str or type(crc) is not str or not is_crc(crc):
            raise ValueError(f"tensor {stored_name!r:.200} has no dtype or no CRC-32")
        name = renamed.get(stored_name, stored_name)
        if type(name) is not str:
            raise ValueError(f"tensor {stored_name!r:.200} is renamed to {name!r:.60}")
        named[name] = Stored(
            stored.code, stored.shape, stored.start, stored.end, logical, int(crc, 16)
        )
    if len(named) != len(tensors):
        raise ValueError("two tensors have one name")
    return named


def _mapping(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document[key]
    if type(value) is not dict:
        raise ValueError(f"{key} must be an object, got {value!r:.60}")
    return value


def _integer(name: str, value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, got {_shown(value)}")
    return value


def _seconds(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not -_MAX_SECONDS <= value <= _MAX_SECONDS:
        raise ValueError(f"{name} must be a number of seconds, got {_shown(value)}")
    return float(value)


def _metric(name: str, value: Any) -> float:
    if type(value) is str and value in _NOT_IN_JSON:
        return _NOT_IN_JSON[value]
    try:
        if type(value) in (int, float):
            return float(value)
    except OverflowError:  # an integer of hundreds of digits
        pass
    raise ValueError(f"the metric {name!r:.60} must be a number, got {_shown(value)}")


def _shown(value: Any) -> str:
    """Return a value for a message; an integer may have more digits than Python prints."""
    if type(value) is int and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    return f"{value!r:.60}"


def _check_levels(nodes: list[Any]) -> None:
    """Reject nesting too deep for recursive readers."""
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
