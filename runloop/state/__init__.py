"""State objects as tensors and JSON, and back into the objects that hold them.

Here live the kinds of object that have state, and how each is taken apart, decoded and restored in
place. Files, checksums and folders are the business of ``runloop.checkpoint``.
"""

from runloop.state.kinds import (
    KINDS,
    check_attachable,
    is_array,
    is_stateful,
    kind_of,
    read_leaf,
    state_of,
)
from runloop.state.pack import MAX_DEPTH, float_node, pack, to_numpy

__all__ = [
    "KINDS",
    "MAX_DEPTH",
    "check_attachable",
    "float_node",
    "is_array",
    "is_stateful",
    "kind_of",
    "pack",
    "read_leaf",
    "state_of",
    "to_numpy",
]
