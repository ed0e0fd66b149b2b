"""``runloop verify DIR|FILE``: is everything whole?"""

from __future__ import annotations

import argparse
import os
from typing import Any

from runloop.checkpoint import CheckpointReader
from runloop.cli.list_command import describe_folder
from runloop.cli.text import print_json, print_table, safe
from runloop.errors import CheckpointError, CheckpointNotFoundError

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


def _check(path: str) -> str | None:
    """Return what is wrong with a file, ``None`` if nothing is."""
    try:
        with CheckpointReader(path) as reader:
            damaged = [
                name
                for name, crc in reader.checksums()
                if reader.stored[name].crc not in (None, crc)
            ]
    except CheckpointError as exc:
        return str(exc)
    if damaged:
        return f"{path}: damaged: {', '.join(damaged)}"
    return None


def _run(args: argparse.Namespace) -> int:
    problems: list[str] = []
    found: list[dict[str, Any]] = []
    if os.path.isdir(args.path):
        rows, problems = describe_folder(args.path)
        for row in rows:
            problem = row["problem"]
            if problem is None:
                problem = _check(os.path.join(args.path, row["file"]))
            found.append({"file": row["file"], "problem": problem})
    else:
        try:
            CheckpointReader(args.path).close()
        except CheckpointNotFoundError:
            raise
        except CheckpointError:  # the check says it
            pass
        found.append({"file": args.path, "problem": _check(args.path)})
    is_whole = not problems and all(row["problem"] is None for row in found)
    if args.json:
        print_json({"whole": is_whole, "files": found, "problems": problems})
    else:
        print_table(
            ("FILE", "STATE"),
            [(row["file"], "whole" if row["problem"] is None else "DAMAGED") for row in found],
        )
        for problem in [*problems, *(row["problem"] for row in found if row["problem"])]:
            print(f"! {safe(problem)}")
    return 0 if is_whole else 1
