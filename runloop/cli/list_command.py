"""``runloop list DIR``: which checkpoints there are. Reads headers only."""

from __future__ import annotations

import argparse
import os
from typing import Any

from runloop.checkpoint.folder import data_file, unlisted
from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.lock import holder_of
from runloop.checkpoint.reader import CheckpointReader
from runloop.checkpoint.state_file import read_state
from runloop.cli.text import print_json, print_table, safe, size, when
from runloop.errors import CheckpointError, CheckpointNotFoundError

__all__ = ["add", "describe_folder"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "list",
        help="step, time, size and state of each checkpoint in a folder",
        description="List the checkpoints of a folder in the order of their saving. Only headers "
        "are read: `runloop verify` checks the tensors.",
    )
    parser.add_argument("dir", help="the folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def describe_folder(folder: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what is known of each checkpoint from its header, and what is wrong with the folder.

    Raises:
        CheckpointNotFoundError: If there is no such folder.
    """
    if not os.path.isdir(folder):
        raise CheckpointNotFoundError(f"there is no folder {folder}")
    problems = []
    names: list[str] = []
    newest = None
    try:
        state = read_state(folder)
    except CheckpointError as exc:
        problems.append(str(exc))
        state = None
    if state is not None:
        newest = state.model_checkpoint_path
        names = [*state.all_model_checkpoint_paths]
        if newest not in names:
            names.append(newest)
    rows = [_describe(folder, name, is_newest=name == newest, listed=True) for name in names]
    listed = {name if name.endswith(SUFFIX) else name + SUFFIX for name in names}
    for name, found in unlisted(folder, listed):
        if isinstance(found, CheckpointReader):
            found.close()
        rows.append(_describe(folder, name, is_newest=False, listed=False))
    rows.sort(key=lambda row: (row["serial"] is None, row["serial"] or 0))
    if newest is None:
        for row in [row for row in rows if row["serial"] is not None][-1:]:
            row["newest"] = True
    return rows, problems


def _describe(folder: str, name: str, *, is_newest: bool, listed: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "file": name,
        "step": None,
        "time": None,
        "bytes": None,
        "tensors": None,
        "serial": None,
        "metrics": {},
        "newest": is_newest,
        "listed": listed,
        "state": "ok",
        "problem": None,
    }
    path = data_file(os.path.join(folder, name))
    if path is None:
        row["state"], row["problem"] = "missing", "the state file lists it, and it is not there"
        return row
    row["bytes"] = os.path.getsize(path)
    try:
        with CheckpointReader(path) as reader:
            row["tensors"] = len(reader.stored)
            document = reader.document
    except CheckpointError as exc:
        row["state"], row["problem"] = "damaged", str(exc)
        return row
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
        print(f"! {safe(problem)}")
    if holder is not None:
        print(f"process {holder['pid']} on {safe(holder.get('host'))} is saving here")
    return 0
