"""``runloop trace script.py``: run a program and print the lifecycle of its sessions."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any

from runloop.cli.lifecycle_command import add_format, text_of

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "trace",
        help="run a program and print how its hooks were called",
        description="Run a Python script. When it has ended, print every call of a hook, every run, "
        "save and recovery of its monitored sessions.",
    )
    add_format(parser)
    parser.add_argument("-o", "--output", help="write to this file instead of standard output")
    parser.add_argument("script", help="the program")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="the program's arguments")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from runloop.testing.recorder.recorder import LifecycleRecorder

    if not Path(args.script).exists():
        raise FileNotFoundError(f"script not found: {args.script}")
    recorder = LifecycleRecorder()
    before = sys.argv, sys.path[0]
    sys.argv = [args.script, *args.args]
    sys.path[0] = str(Path(args.script).resolve().parent)
    status = 0
    try:
        with recorder:
            runpy.run_path(args.script, run_name="__main__")
    except Exception:  # the script's own: shown as Python would show it
        import traceback

        traceback.print_exc()
        status = 1
    finally:
        # After a failure or sys.exit() too: that is when a trace is needed most.
        sys.argv, sys.path[0] = before
        text = text_of(recorder, args.format)
        if args.output is None:
            print(text)
        else:
            Path(args.output).write_text(text + "\n", encoding="utf-8")
    return status
