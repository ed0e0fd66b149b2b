"""The default graph: its global step, collections and variables."""

from __future__ import annotations

from typing import Any, NamedTuple

from runloop.graph import Graph, get_default_graph
from runloop.graph import graph as graphs
from runloop.graph.elements import Variable
from runloop.graph.handles import Tensor, VariableHandle

__all__ = [
    "GraphKeys",
    "MetaGraphDef",
    "add_to_collection",
    "add_to_collections",
    "as_graph_element",
    "assert_global_step",
    "create_global_step",
    "create_meta_graph_def",
    "get_collection",
    "get_collection_ref",
    "get_global_step",
    "get_or_create_global_step",
    "get_or_create_global_step_read",
    "global_step",
    "global_variables",
    "global_variables_initializer",
    "initialize_nothing",
    "is_tensor",
    "local_variables",
    "reset_default_graph",
    "set_random_seed",
    "trainable_variables",
    "write_graph",
]


GLOBAL_STEP_READ_KEY = "global_step_read_op_cache"


class MetaGraphDef(NamedTuple):
    """A graph's description together with a saver's. Hooks pass it on; nothing reads it.

    Attributes:
        graph_def: The result of ``graph.as_graph_def()``.
        saver_def: The result of ``saver.as_saver_def()``, or ``None``.
    """

    graph_def: Any
    saver_def: Any


class GraphKeys:
    """Names of collections. Follows ``tf.compat.v1.GraphKeys`` of TensorFlow 2.21."""

    GLOBAL_VARIABLES = VARIABLES = "variables"
    TRAINABLE_VARIABLES = "trainable_variables"
    LOCAL_VARIABLES = "local_variables"
    MODEL_VARIABLES = "model_variables"
    METRIC_VARIABLES = "metric_variables"
    MOVING_AVERAGE_VARIABLES = "moving_average_variables"
    GLOBAL_STEP = "global_step"
    SUMMARIES = "summaries"
    SUMMARY_OP = "summary_op"
    LOSSES = "losses"
    REGULARIZATION_LOSSES = "regularization_losses"
    UPDATE_OPS = "update_ops"
    TRAIN_OP = "train_op"
    INIT_OP = "init_op"
    LOCAL_INIT_OP = "local_init_op"
    READY_OP = "ready_op"
    READY_FOR_LOCAL_INIT_OP = "ready_for_local_init_op"
    SAVERS = "savers"
    SAVEABLE_OBJECTS = "saveable_objects"
    TABLE_INITIALIZERS = "table_initializer"
    QUEUE_RUNNERS = "queue_runners"
    ASSET_FILEPATHS = "asset_filepaths"
    ACTIVATIONS = "activations"
    BIASES = "biases"
    WEIGHTS = "weights"
    RESOURCES = "resources"
    LOCAL_RESOURCES = "local_resources"
    EVAL_STEP = "eval_step"
    CONCATENATED_VARIABLES = "concatenated_variables"
    COND_CONTEXT = "cond_context"
    TRAINABLE_RESOURCE_VARIABLES = "trainable_resource_variables"
    WHILE_CONTEXT = "while_context"


def get_global_step(graph: Graph | None = None) -> VariableHandle | None:
    """Return the handle of the global step, or ``None`` if the graph has none.

    Raises:
        TypeError: If ``global_step`` is not a variable.

    Follows ``tf.compat.v1.train.get_global_step`` of TensorFlow 2.21.
    """
    graph = graph or get_default_graph()
    return graph.variable_handle("global_step") if graphs.get_global_step(graph) else None


def get_or_create_global_step(graph: Graph | None = None) -> VariableHandle:
    """Return the handle of the global step; create it with the value 0 if the graph has none.

    Raises:
        RuntimeError: If the graph has none and is finalized.

    Follows ``tf.compat.v1.train.get_or_create_global_step`` of TensorFlow 2.21.
    """
    graph = graph or get_default_graph()
    return graph.variable_handle(graphs.get_or_create_global_step(graph).name)


def get_or_create_global_step_read(graph: Graph | None = None) -> VariableHandle | None:
    """Return what hooks read the global step by, from the collection ``global_step_read_op_cache``.

    It is put there at the first call. Here it is the handle of the step itself, which TensorFlow
    reads by a separate tensor.

    Returns:
        ``None`` if the graph has no global step.

    Follows ``_get_or_create_global_step_read`` of TensorFlow 2.21's ``training_util``.
    """
    graph = graph or get_default_graph()
    step = get_global_step(graph)
    cache = graph.get_collection_ref(GLOBAL_STEP_READ_KEY)
    if step is not None and not cache:
        cache.append(step)
    return cache[0] if cache else None


def create_global_step(graph: Graph | None = None) -> VariableHandle:
    """Create the global step and return its handle.

    Raises:
        ValueError: If it exists already.

    Follows ``tf.compat.v1.train.create_global_step`` of TensorFlow 2.21.
    """
    if get_global_step(graph) is not None:
        raise ValueError('"global_step" already exists.')
    return get_or_create_global_step(graph)


def assert_global_step(global_step_tensor: Any) -> None:
    """Check that the global step is an integer scalar.

    Raises:
        TypeError: If it is not.

    Follows ``tf.compat.v1.train.assert_global_step`` of TensorFlow 2.21.
    """
    dtype, shape = global_step_tensor.dtype, global_step_tensor.get_shape()
    if not dtype.base_dtype.is_integer:
        raise TypeError(f"the global step must be an integer, got {dtype}")
    if shape.ndims not in {0, None}:
        raise TypeError(f"the global step must be a scalar, got shape {shape}")


def global_step(sess: Any, global_step_tensor: Any) -> int:
    """Return the step as an ``int``. Follows ``tf.compat.v1.train.global_step``."""
    return int(sess.run(global_step_tensor))


def as_graph_element(obj: Any) -> Any:
    """Return what stock hooks fetch for ``obj``: a handle unchanged, or the tensor of a name.

    Raises:
        ValueError: If ``obj`` is not a name and does not belong to the default graph.
        KeyError: If the graph has nothing of that name.

    Follows ``_as_graph_element`` of TensorFlow 2.21's ``basic_session_run_hooks``.
    """
    graph = get_default_graph()
    if isinstance(obj, str):
        return graph.as_graph_element(obj if ":" in obj else f"{obj}:0")
    owner: object = getattr(obj, "graph", None)
    if owner is not graph:
        raise ValueError(
            f"Passed {obj!r} should have graph attribute that is equal to current graph {graph!r}."
        )
    return obj


def add_to_collection(name: Any, value: Any) -> None:
    """Append to a collection of the default graph."""
    get_default_graph().add_to_collection(name, value)


def add_to_collections(names: Any, value: Any) -> None:
    """Append to several collections of the default graph; a single name is accepted as well."""
    for name in [names] if isinstance(names, str) else set(names or ()):
        add_to_collection(name, value)


def get_collection(key: Any, scope: str | None = None) -> list[Any]:
    """Return a copy of a collection of the default graph; see ``Graph.get_collection``."""
    return get_default_graph().get_collection(key, scope)


def get_collection_ref(key: Any) -> list[Any]:
    """Return a collection of the default graph, not a copy."""
    return get_default_graph().get_collection_ref(key)


def global_variables(scope: str | None = None) -> list[Any]:
    """Return handles of all variables whose names begin with the pattern ``scope``."""
    return get_collection(GraphKeys.GLOBAL_VARIABLES, scope)


def trainable_variables(scope: str | None = None) -> list[Any]:
    """Return handles of the trainable variables whose names begin with the pattern ``scope``."""
    return get_collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def local_variables(scope: str | None = None) -> list[Any]:
    """Return the collection of local variables, which only the program adds to."""
    return get_collection(GraphKeys.LOCAL_VARIABLES, scope)


def initialize_nothing() -> None:
    """Do nothing: a session's variables are initialised when it is created."""


def global_variables_initializer(name: str | None = None) -> Any:  # noqa: ARG001
    """Return a fetch that does nothing: a session's variables are initialised when it is created."""
    return initialize_nothing


def reset_default_graph() -> None:
    """Make a new graph the default graph from here on."""
    graphs._default.set(Graph())  # noqa: SLF001  # as_default() would end with its with block


def set_random_seed(seed: int | None) -> None:
    """Store a seed as ``seed`` of the default graph.

    Nothing reads it: random numbers come from the program's own generators. Follows
    ``tf.compat.v1.set_random_seed`` of TensorFlow 2.21.
    """
    vars(get_default_graph())["seed"] = seed


def is_tensor(x: Any) -> bool:
    """Return whether this is a handle of a value, or a variable; an operation is not.

    Follows ``tf.is_tensor`` of TensorFlow 2.21.
    """
    return isinstance(x, (Tensor, VariableHandle, Variable))


def write_graph(
    graph_or_graph_def: Any,
    logdir: str,
    name: str,
    as_text: bool = True,  # noqa: ARG001
) -> str:
    """Write a description of a graph as text, and return the path.

    Args:
        graph_or_graph_def: A graph, or the result of its ``as_graph_def()``.
        logdir: The folder; it is made if it does not exist.
        name: The file's name.
        as_text: For TensorFlow's signature; ignored, the file is always text.

    Follows ``tf.io.write_graph`` of TensorFlow 2.21.
    """
    from pathlib import Path

    describe = getattr(graph_or_graph_def, "as_graph_def", None)
    path = Path(logdir) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(describe() if describe else graph_or_graph_def), encoding="utf-8")
    return str(path)


def create_meta_graph_def(
    meta_info_def: Any = None,  # noqa: ARG001
    graph_def: Any = None,
    saver_def: Any = None,
    **ignored: Any,  # noqa: ARG001
) -> MetaGraphDef:
    """Return graph and saver together; see :class:`MetaGraphDef`."""
    return MetaGraphDef(graph_def or get_default_graph().as_graph_def(), saver_def)
