"""The process that kills itself for ``assert_resume_exact(kill=True)``.

``python -m runloop.testing.resume_child MODULE NAME FILE CHECKPOINT_DIR STEPS POINT``
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
from functools import reduce
from typing import Any

from runloop.testing.resume import interrupting_hooks

__all__: list[str] = []


def _load(module: str, file: str) -> Any:
    """Import the module by its name, or (a test, a script) by its file."""
    try:
        if module != "__main__" and importlib.util.find_spec(module) is not None:
            return importlib.import_module(module)
    except ModuleNotFoundError:
        pass
    spec = importlib.util.spec_from_file_location("runloop_resume_program", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"module {module!r} not found, and file {file!r} can't be imported")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _main(module: str, name: str, file: str, folder: str, steps: str, point: str) -> None:
    make_run = reduce(getattr, name.split("."), _load(module, file))
    make_run(folder, interrupting_hooks(int(steps), int(point), _die))


if __name__ == "__main__":
    _main(*sys.argv[1:])
