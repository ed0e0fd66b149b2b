"""The program as named elements: variables, ops, inputs and attached state.

This package holds the graph, its elements, and TensorFlow's names and handles for them. Nothing
runs here: ``runloop.plan`` plans a run, and ``runloop.session`` executes it.
"""

from runloop.graph.elements import GLOBAL_STEP
from runloop.graph.graph import (
    Graph,
    get_default_graph,
    get_global_step,
    get_or_create_global_step,
    step_value,
)

__all__ = [
    "GLOBAL_STEP",
    "Graph",
    "get_default_graph",
    "get_global_step",
    "get_or_create_global_step",
    "step_value",
]
