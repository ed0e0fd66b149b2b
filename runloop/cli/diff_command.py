"""``runloop diff A B``: what differs between two checkpoints."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from runloop.checkpoint import CheckpointReader, load_checkpoint
from runloop.cli.text import number, print_json, print_table
from runloop.messages import printable

__all__ = ["add", "largest_difference"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "diff",
        help="missing and changed tensors of two checkpoints, and by how much",
        description="Compare two checkpoints, bit by bit. The exit status is 1 if they differ.",
    )
    parser.add_argument("a", help="a data file, or a folder for its newest checkpoint")
    parser.add_argument("b", help="the other")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def largest_difference(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float | None:
    """Return the largest absolute difference of two arrays of one shape and dtype.

    ``None`` if the two can't be subtracted (dates) or only NaNs differ.
    """
    if a.dtype.kind in "mM":
        return None
    if a.dtype.kind not in "biufc":  # of ml_dtypes
        a, b = a.astype(np.float32), b.astype(np.float32)
    if a.dtype.kind in "bui":
        # The difference of two int64 may not fit into int64; it always fits into uint64.
        gaps = np.maximum(a, b).astype(np.uint64) - np.minimum(a, b).astype(np.uint64)
        return float(gaps.max(initial=0))
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.abs(a - b)
    gaps = gaps[~np.isnan(gaps)]
    return float(gaps.max()) if gaps.size else None


def _changed(a: CheckpointReader, b: CheckpointReader, name: str) -> dict[str, Any] | None:
    one, other = a.stored[name], b.stored[name]
    spec, its_spec = a.spec(name), b.spec(name)
    if spec != its_spec:
        text = [f"{s[1]} {s[0]}" for s in (spec, its_spec) if s]
        return {
            "name": name,
            "change": f"{text[0]} -> {text[1]}",
            "largest": None,
            "elements": None,
        }
    if one.crc is not None and one.crc == other.crc:
        return None
    x, y = a.get_tensor(name), b.get_tensor(name)
    width = x.dtype.itemsize
    bits = [array.reshape(-1).view(np.uint8).reshape(-1, width) for array in (x, y)]
    apart = int((bits[0] != bits[1]).any(axis=1).sum())
    if not apart:
        return None
    return {
        "name": name,
        "change": f"{apart} of {x.size} differ",
        "largest": largest_difference(x, y),
        "elements": apart,
    }


def _run(args: argparse.Namespace) -> int:
    with load_checkpoint(args.a) as a, load_checkpoint(args.b) as b:
        only_a = [name for name in a.names() if not b.has_tensor(name)]
        only_b = [name for name in b.names() if not a.has_tensor(name)]
        both = [name for name in a.names() if b.has_tensor(name)]
        changed = [row for name in both if (row := _changed(a, b, name)) is not None]
        state = _state_differences(a, b)
        paths = [a.path, b.path]
    differ = bool(only_a or only_b or changed or state)
    if args.json:
        print_json(
            {
                "same": not differ,
                "files": paths,
                "only_in_a": only_a,
                "only_in_b": only_b,
                "changed": changed,
                "state": state,
            }
        )
        return int(differ)
    if not differ:
        print(f"the same: {len(both)} tensors, bit for bit, and the rest of the state")
        return 0
    rows: list[tuple[str, str, str]] = [(name, f"only in {paths[0]}", "-") for name in only_a]
    rows += [(name, f"only in {paths[1]}", "-") for name in only_b]
    rows += [(row["name"], row["change"], number(row["largest"])) for row in changed]
    rows += [(name, "differs (JSON)", "-") for name in state]
    print_table(("NAME", "DIFFERENCE", "LARGEST"), rows, right=(2,))
    same = len(both) - len(changed)
    print(f"{printable(same)} of {len(both)} common tensors are the same")
    return 1


def _state_differences(a: CheckpointReader, b: CheckpointReader) -> list[str]:
    """Return the names of steps, attached state and hooks whose JSON differs."""
    one, other = a.document, b.document
    if one is None or other is None:
        return []
    found = ["step"] if one.step != other.step else []
    for group, mine, theirs in (
        ("attached", one.attached, other.attached),
        ("hooks", one.hooks, other.hooks),
    ):
        found += [
            f"{group} {name}"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name, ...) != theirs.get(name, ...)
        ]
    return found
