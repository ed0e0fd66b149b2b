"""Checkpoints: the state of a session as a safetensors file, whole, checked and exact.

``Saver`` writes and restores; ``CheckpointReader`` and the functions look at what is on disk.
"""

from typing import TYPE_CHECKING, Any

from runloop.checkpoint.retention import KeepBest
from runloop.checkpoint.saver import Saver
from runloop.checkpoint.state_file import CheckpointState, get_checkpoint_state

__all__ = [
    "CheckpointReader",
    "CheckpointState",
    "KeepBest",
    "RestoreReport",
    "Saver",
    "get_checkpoint_state",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "restore_newest",
]

if TYPE_CHECKING:
    from runloop.checkpoint.folder import (
        latest_checkpoint,
        list_variables,
        load_checkpoint,
        load_variable,
        restore_newest,
    )
    from runloop.checkpoint.reader import CheckpointReader
    from runloop.checkpoint.restore import RestoreReport
else:
    # What only a program that reads checkpoints needs is imported when it is first asked for:
    # it is a third of what importing runloop would cost.
    _LATE = {
        "CheckpointReader": "reader",
        "RestoreReport": "restore",
        "latest_checkpoint": "folder",
        "list_variables": "folder",
        "load_checkpoint": "folder",
        "load_variable": "folder",
        "restore_newest": "folder",
    }

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
        globals()[name] = value
        return value
