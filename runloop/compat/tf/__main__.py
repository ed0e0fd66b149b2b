"""``python -m runloop.compat.tf script.py args...``: runs a file that imports TensorFlow."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from runloop.compat._tf.logging import shown
from runloop.compat.tf import install

_USAGE = "usage: python -m runloop.compat.tf [script.py | -m module] [argument ...]"


def main(arguments: list[str]) -> int:
    """Run a script or a module as ``__main__``, with TensorFlow's names installed.

    Args:
        arguments: What follows ``python -m runloop.compat.tf``.

    Returns:
        The exit status: 2 for a wrong command line or a script that is not there, else 0. A
        ``SystemExit`` goes through.

    Log lines are shown on standard error as TensorFlow shows them: from ``WARNING`` on, or from
    the level that ``tf.logging.set_verbosity`` sets, unless the program has handlers of its own.
    """
    if not arguments or arguments[0] in {"-h", "--help"} or arguments == ["-m"]:
        sys.stderr.write(f"{_USAGE}\n")
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    if arguments[0] != "-m" and not Path(arguments[0]).exists():
        sys.stderr.write(f"{_USAGE}\nthere is no script {arguments[0]}\n")
        return 2
    with install(), shown():
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
            runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
