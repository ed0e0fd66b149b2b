"""The command line: ``python -m runloop COMMAND``, or ``runloop COMMAND``.

Each command is a module ``NAME_command`` with ``add(commands)``: it adds a parser to argparse's
subparsers and sets its default ``run``, a function from parsed arguments to the exit status.
:data:`COMMANDS` lists them. What they look at lives in ``checkpoint`` and ``testing``, not here.

Exit status: 0: fine; 1: the command found what it looks for (damage, a difference); 2: an error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from runloop.errors import RunloopError
from runloop.messages import printable, text_of

__all__ = ["COMMANDS", "main"]

COMMANDS = ("list", "show", "verify", "diff", "export", "lifecycle", "trace")
"""Names of the commands and of their modules, in the order in which help shows them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; by default those of the process.

    Returns:
        The exit status.

    Raises:
        SystemExit: If the arguments are wrong, or after ``--help``, as argparse does.
    """
    parser = argparse.ArgumentParser(
        prog="runloop", description="Inspect checkpoints and the lifecycle of training loops."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"runloop.cli.{name}_command").add(commands)
    args = parser.parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`): discard what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RunloopError, OSError) as exc:
        lines = [printable(line) for line in text_of(exc).splitlines()]
        print("runloop:", "\n".join(lines), file=sys.stderr)
        return 2
    return status
