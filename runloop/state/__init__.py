"""State objects as tensors and JSON, and back into the objects that hold them.

Here are the kinds of object that have state, how each is taken apart, compared with a checkpoint
and restored in place. Files, checksums and folders are in ``runloop.checkpoint``.
"""

from runloop.state.arrays import to_numpy
from runloop.state.attributes import Attributes, attributes
from runloop.state.kinds import KINDS, check_attachable, is_array, is_stateful, kind_of
from runloop.state.pack import MAX_DEPTH, float_node, pack
from runloop.state.paths import read_leaf

__all__ = [
    "KINDS",
    "MAX_DEPTH",
    "Attributes",
    "attributes",
    "check_attachable",
    "float_node",
    "is_array",
    "is_stateful",
    "kind_of",
    "pack",
    "read_leaf",
    "to_numpy",
]
