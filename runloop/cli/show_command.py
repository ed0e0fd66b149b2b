"""``runloop show FILE``: what is in a checkpoint."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from runloop.checkpoint import CheckpointReader, load_checkpoint
from runloop.checkpoint.array_bytes import CHUNK_BYTES
from runloop.cli.text import number, print_cut, print_json, print_table, size, when
from runloop.messages import printable

__all__ = ["add", "statistics"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "show",
        help="tensors of a checkpoint with their values' range, and its JSON part",
        description="Show the tensors of a checkpoint and the rest of its state.",
    )
    parser.add_argument("file", help="the data file, or a folder for its newest checkpoint")
    parser.add_argument("--header", action="store_true", help="read no values, only the header")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def statistics(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return minimum, maximum, mean and number of NaNs; ``None`` for what is not defined.

    NaNs are left out of the other three. Complex numbers have a mean only.
    """
    found: dict[str, Any] = {"minimum": None, "maximum": None, "mean": None, "nan": 0}
    if array.size == 0:
        return found
    flat = array.reshape(-1)
    # In pieces: temporaries must not be as large as the tensor.
    step = max(1, CHUNK_BYTES // 16)
    total: Any = 0.0
    count = 0
    for start in range(0, flat.size, step):
        piece = flat[start : start + step]
        if piece.dtype.kind not in "biufcmM":  # of ml_dtypes
            piece = piece.astype(np.float32)
        if piece.dtype.kind in "mM":
            keep = ~np.isnat(piece)
        elif piece.dtype.kind in "fc":
            keep = ~np.isnan(piece)
        else:
            keep = np.ones(piece.shape, bool)
        values = piece[keep]
        found["nan"] += int(piece.size - values.size)
        if values.size == 0:
            continue
        if values.dtype.kind != "c":
            low, high = values.min(), values.max()
            found["minimum"] = low if found["minimum"] is None else min(low, found["minimum"])
            found["maximum"] = high if found["maximum"] is None else max(high, found["maximum"])
        if values.dtype.kind not in "mM":
            with np.errstate(over="ignore", invalid="ignore"):
                wide = complex if values.dtype.kind == "c" else float
                total += wide(values.sum(dtype=np.dtype(wide)))
            count += values.size
    found["mean"] = total / count if count else None
    for key in ("minimum", "maximum"):
        value = found[key]
        if value is not None:
            found[key] = str(value) if value.dtype.kind in "mM" else value.item()
            if isinstance(found[key], np.generic):  # Python has no long double
                found[key] = float(found[key])
    return found


def _tensors(reader: CheckpointReader, *, header_only: bool) -> list[dict[str, Any]]:
    shapes = reader.get_variable_to_shape_map()
    rows = []
    for name in reader.names():
        stored = reader.stored[name]
        row: dict[str, Any] = {
            "name": name,
            "dtype": stored.logical or stored.code,
            "shape": shapes[name],
            "bytes": stored.end - stored.start,
        }
        if not header_only:
            row.update(statistics(reader.get_tensor(name)))
        rows.append(row)
    return rows


def _run(args: argparse.Namespace) -> int:
    with load_checkpoint(args.file) as reader:
        document = reader.document
        rows = _tensors(reader, header_only=args.header)
        if args.json:
            about = None if document is None else document._asdict()
            print_json(
                {"file": reader.path, "bytes": reader.size, "document": about, "tensors": rows}
            )
            return 0
        print(f"{printable(reader.path)}: {size(reader.size)}, {len(rows)} tensors")
    if document is None:
        print("written by another program: tensors only")
    else:
        step = "no step" if document.step is None else f"step {document.step}"
        print(f"{step}, saved {when(document.time)} UTC")
        for name, value in document.metrics.items():
            print(f"{printable(name)} = {number(value)}")
    print()
    head = ["TENSOR", "DTYPE", "SHAPE", "SIZE"]
    keys = [] if args.header else ["minimum", "maximum", "mean", "nan"]
    print_table(
        [*head, *(["MIN", "MAX", "MEAN", "NAN"] if keys else [])],
        [
            (
                row["name"],
                row["dtype"],
                "x".join(map(str, row["shape"])) or "()",
                size(row["bytes"]),
                *(number(row[key]) for key in keys),
            )
            for row in rows
        ],
        right=range(3, len(head) + len(keys)),
    )
    for title, nodes in (
        ("attached", document.attached if document else {}),
        ("hooks", document.hooks if document else {}),
    ):
        if nodes:
            print(f"\n{title}:")
        for name, node in nodes.items():
            print_cut(f"  {name}: {json.dumps(node)}")
    return 0
