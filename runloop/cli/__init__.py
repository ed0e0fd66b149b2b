"""The command line: ``python -m runloop COMMAND``, or ``runloop COMMAND``.

A command is a module of this package with ``add(commands)``: it adds its parser to what argparse's
``add_subparsers`` gave, and sets the parser's default ``run`` to a function that takes the parsed
arguments and returns the exit status. :data:`COMMANDS` lists the modules.

Exit status: 0 is fine; 1 is what the command looks for (something is damaged, the two differ);
2 is an error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from runloop.errors import RunloopError

__all__ = ["COMMANDS", "main"]

COMMANDS = ("list", "show", "verify", "diff", "export", "lifecycle", "trace")
"""Names of the commands and of their modules, in the order in which help shows them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; those of the process by default.

    Returns:
        The exit status.

    Raises:
        SystemExit: If the arguments are wrong, or help was asked for, as argparse does.
    """
    parser = argparse.ArgumentParser(
        prog="runloop", description="Look at checkpoints, and at the life of a training loop."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"runloop.cli.{name}_command").add(commands)
    args = parser.parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough (`| head`). What is still buffered goes nowhere,
        # and quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RunloopError, OSError) as exc:
        print(f"runloop: {exc}", file=sys.stderr)
        return 2
    return status
