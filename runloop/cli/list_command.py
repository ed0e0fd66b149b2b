"""``runloop list DIR``: the checkpoints of a folder. Reads headers only."""

from __future__ import annotations

import argparse
import os
from itertools import chain
from typing import Any

from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.lock import holder_of
from runloop.checkpoint.scan import DataFile, Scan
from runloop.cli.text import print_json, print_table, size, when
from runloop.errors import CheckpointNotFoundError
from runloop.messages import printable

__all__ = ["add", "describe_folder"]

_ROUNDS = 100  # looks at a folder that a training saves into all the time


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "list",
        help="step, time, size and state of each checkpoint in a folder",
        description="List the checkpoints of a folder in the order of saving. Only headers "
        "are read: `runloop verify` checks the tensors.",
    )
    parser.add_argument("dir", help="the folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def describe_folder(folder: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return one row per checkpoint, from its header, and what is wrong with the folder.

    Raises:
        CheckpointNotFoundError: If the folder does not exist.
        CheckpointReadError: If it can't be listed.
    """
    if not os.path.isdir(folder):
        raise CheckpointNotFoundError(f"there is no folder {folder}")
    for _ in range(_ROUNDS):
        scan = Scan(folder)
        # One at a time: the documents of thousands would fill the memory.
        rows = [_describe(found, scan) for found in chain(scan.listed(), scan.unlisted())]
        # A training may have deleted one between its listing and its opening.
        if not any(row["state"] == "missing" for row in rows) or not scan.has_changed:
            break
    rows.sort(key=lambda row: (row["serial"] is None, row["serial"] or 0))
    if scan.state is None:
        for row in [row for row in rows if row["serial"] is not None][-1:]:
            row["newest"] = True
    return rows, [] if scan.problem is None else [str(scan.problem)]


def _describe(found: DataFile, scan: Scan) -> dict[str, Any]:
    newest = None if scan.state is None else scan.state.model_checkpoint_path
    row: dict[str, Any] = {
        "file": found.name,
        "step": None,
        "time": None,
        "bytes": found.size,
        "tensors": found.tensors,
        "serial": None,
        "metrics": {},
        "newest": newest is not None and found.name in (newest, newest + SUFFIX),
        "listed": found.listed,
        "state": "ok" if found.problem is None else "damaged",
        "problem": None if found.problem is None else str(found.problem),
    }
    if isinstance(found.problem, CheckpointNotFoundError):
        row["state"] = "missing"
        row["problem"] = "the state file lists it, but it does not exist"
    document = found.document
    if document is not None:
        row.update(
            step=document.step,
            time=document.time,
            serial=document.serial,
            metrics=document.metrics,
        )
    return row


def _run(args: argparse.Namespace) -> int:
    rows, problems = describe_folder(args.dir)
    holder = holder_of(args.dir)
    if args.json:
        print_json({"checkpoints": rows, "problems": problems, "saving": holder})
        return 0
    if not rows:
        print(f"no checkpoints in {args.dir}")
    else:
        print_table(
            ("STEP", "SAVED (UTC)", "SIZE", "TENSORS", "STATE", "FILE"),
            [
                (
                    "-" if row["step"] is None else row["step"],
                    "-" if row["time"] is None else when(row["time"]),
                    "-" if row["bytes"] is None else size(row["bytes"]),
                    "-" if row["tensors"] is None else row["tensors"],
                    ", ".join(
                        [row["state"]]
                        + ["newest"] * row["newest"]
                        + ["not listed"] * (not row["listed"])
                    ),
                    row["file"],
                )
                for row in rows
            ],
            right=(0, 2, 3),
            whole=(4,),
        )
    for problem in [*problems, *(row["problem"] for row in rows if row["problem"])]:
        print(f"! {printable(problem)}")
    if holder is not None:
        who = "another process" if holder["pid"] is None else f"process {holder['pid']}"
        where = f" on {printable(holder['host'])}" if holder["host"] else ""
        print(f"{who}{where} is saving here")
    return 0
