"""``python -m runloop.compat.tf script.py args...`` runs a file that imports TensorFlow."""

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
        The exit status: 2 for a wrong command line or a missing script, else 0. A ``SystemExit`` of
        the script is passed on.

    Log lines go to standard error as with TensorFlow: ``WARNING`` and above, or the level that
    ``tf.logging.set_verbosity`` sets. If the program installs handlers, only those show them.
    """
    if not arguments or arguments[0] in {"-h", "--help"} or arguments == ["-m"]:
        sys.stderr.write(f"{_USAGE}\n")
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    if arguments[0] != "-m" and not Path(arguments[0]).exists():
        sys.stderr.write(f"{_USAGE}\nno such script: {arguments[0]}\n")
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
