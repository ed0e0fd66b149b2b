"""Checkpoints: the state of a session as a safetensors file, whole, checked and exact.

``Saver`` saves and restores; ``CheckpointReader`` and the functions read files. Files, folders,
locks and retention live here. How objects become tensors is in ``runloop.state``; ``runloop.hooks.CheckpointSaverHook``
decides when to save.
"""

from typing import TYPE_CHECKING

from runloop import lazy

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
    from runloop.checkpoint.retention import KeepBest
    from runloop.checkpoint.saver import Saver
    from runloop.checkpoint.state_file import CheckpointState, get_checkpoint_state
else:
    __getattr__, __dir__ = lazy.attributes(
        globals(),
        {
            "runloop.checkpoint.folder": (
                "latest_checkpoint list_variables load_checkpoint load_variable restore_newest"
            ),
            "runloop.checkpoint.reader": "CheckpointReader",
            "runloop.checkpoint.restore": "RestoreReport",
            "runloop.checkpoint.retention": "KeepBest",
            "runloop.checkpoint.saver": "Saver",
            "runloop.checkpoint.state_file": "CheckpointState get_checkpoint_state",
        },
    )
