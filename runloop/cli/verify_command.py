"""``runloop verify DIR|FILE``: check that every checkpoint is whole."""

from __future__ import annotations

import argparse
import os
from typing import Any

from runloop.checkpoint import CheckpointReader
from runloop.cli.list_command import describe_folder
from runloop.cli.text import print_json, print_table
from runloop.errors import CheckpointError, CheckpointNotFoundError
from runloop.messages import printable

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="check every byte of a checkpoint or of all in a folder",
        description="Check the header and every tensor against their CRC-32. The exit status is 1 "
        "if anything is damaged or missing.",
    )
    parser.add_argument("path", help="a data file or a folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _check(path: str) -> tuple[str | None, bool]:
    """Return what is wrong with a file (``None`` if it is whole), and whether it has checksums."""
    try:
        with CheckpointReader(path) as reader:
            damaged = [
                name
                for name, crc in reader.checksums()
                if reader.stored[name].crc not in (None, crc)
            ]
    except CheckpointError as exc:
        return str(exc), True
    has_checksums = reader.document is not None
    if damaged:
        return f"{path}: damaged: {', '.join(damaged)}", has_checksums
    return None, has_checksums


def _state(row: dict[str, Any]) -> str:
    if row["problem"] is not None:
        return "DAMAGED"
    return "whole" if row["checksums"] else "header only: no checksums"


def _run(args: argparse.Namespace) -> int:
    problems: list[str] = []
    found: list[dict[str, Any]] = []
    if os.path.isdir(args.path):
        rows, problems = describe_folder(args.path)
        for row in rows:
            problem, checked = row["problem"], True
            if problem is None:
                problem, checked = _check(os.path.join(args.path, row["file"]))
            found.append({"file": row["file"], "problem": problem, "checksums": checked})
    else:
        try:
            CheckpointReader(args.path).close()
        except CheckpointNotFoundError:
            raise
        except CheckpointError:  # reported by _check
            pass
        problem, checked = _check(args.path)
        found.append({"file": args.path, "problem": problem, "checksums": checked})
    is_whole = not problems and all(row["problem"] is None for row in found)
    if args.json:
        print_json({"whole": is_whole, "files": found, "problems": problems})
    elif not found:
        print(f"no checkpoints in {printable(args.path)}")
    else:
        print_table(("FILE", "STATE"), [(row["file"], _state(row)) for row in found])
    if not args.json:
        for problem in [*problems, *(row["problem"] for row in found if row["problem"])]:
            print(f"! {printable(problem)}")
    return 0 if is_whole else 1
