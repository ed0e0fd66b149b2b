"""``tf.summary.scalar``, ``merge`` and ``merge_all`` as ops of a runloop graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from runloop.compat._tf.protos import Summary
from runloop.graph import Graph, get_default_graph
from runloop.graph.elements import REQUIRED, Parameter
from runloop.graph.handles import Tensor
from runloop.state import read_leaf

__all__ = ["merge", "merge_all", "scalar"]

_SUMMARIES = "summaries"
_SUFFIX = "/ScalarSummary"
_TAGS = "_runloop_compat_tags"  # the collection of tags that scalar() registered


def scalar(
    name: str,
    tensor: Any,
    collections: Iterable[Any] | None = None,
    family: str | None = None,
) -> Tensor:
    """Add a scalar summary to the default graph; runloop's own summary hooks see it as well.

    Args:
        name: The tag; ``family/name`` if ``family`` is given.
        tensor: The value to summarise: a handle, a name, a variable or an op.
        collections: The collections to add it to, ``"summaries"`` if ``None``.
        family: The first part of the tag.

    Returns:
        A handle that fetches as the bytes of a ``Summary``.

    Raises:
        RuntimeError: If the graph is finalized.
        KeyError: If the graph has nothing of that name.

    Follows ``tf.compat.v1.summary.scalar`` of TensorFlow 2.21: a duplicate tag gets a number. A tag
    that equals an op's name stays as it is here; in TensorFlow it gets a number, too.
    """
    graph = get_default_graph()
    tag = _unused(f"{family}/{name}" if family else name, graph.summaries)
    key = _key(graph, tensor)
    graph.summary(tag, key)
    graph.add_to_collection(_TAGS, tag)
    handle = _serialized(graph, tag, key)
    for collection in (_SUMMARIES,) if collections is None else collections:
        graph.add_to_collection(collection, handle)
    return handle


def merge(
    inputs: Iterable[Any],
    collections: Iterable[Any] | None = None,
    name: str | None = None,
) -> Tensor:
    """Add the concatenation of several summaries to the default graph.

    Args:
        inputs: Handles that :func:`scalar` and :func:`merge` returned.
        collections: The collections to add it to, none if ``None``.
        name: Its name in the graph.

    Raises:
        RuntimeError: If the graph is finalized.

    Follows ``tf.compat.v1.summary.merge`` of TensorFlow 2.21.
    """
    graph = get_default_graph()
    keys = [graph.as_graph_element(item).name.removesuffix(":0") for item in inputs]
    handle = _add_op(graph, name or "Merge/MergeSummary", lambda *parts: b"".join(parts), keys)
    for collection in collections or ():
        graph.add_to_collection(collection, handle)
    return handle


def merge_all(
    key: Any = _SUMMARIES, scope: str | None = None, name: str | None = None
) -> Tensor | None:
    """Merge a collection of the default graph, ``None`` if it is empty.

    Args:
        key: The collection.
        scope: Only summaries whose names begin with this pattern.
        name: The name in the graph.

    Follows ``tf.compat.v1.summary.merge_all`` of TensorFlow 2.21.
    """
    graph = get_default_graph()
    found = graph.get_collection(key, scope)
    if key == _SUMMARIES and scope is None:
        # Include what graph.summary() registered, without the shim.
        known = graph.get_collection(_TAGS)
        found += [
            _serialized(graph, tag, _key(graph, fetch))
            for tag, fetch in graph.summaries.items()
            if tag not in known
        ]
    return merge(found, name=name) if found else None


def _key(graph: Graph, fetch: Any) -> str:
    """Return the graph's name for a name, handle, variable or op."""
    source = f"{fetch.removesuffix(':0')}:0" if isinstance(fetch, str) else fetch
    return graph.as_graph_element(source).name.removesuffix(":0")


def _serialized(graph: Graph, tag: str, key: str) -> Tensor:
    """Add the op that gives a scalar's ``Summary`` as bytes."""
    root, path = key, None
    if key not in graph.elements:  # a leaf of attached state
        root = next(name for name in graph.attached if key.startswith(f"{name}/"))
        path = key.removeprefix(f"{root}/")

    def serialize(value: Any) -> bytes:
        value = value if path is None else read_leaf(root, value, path)
        return Summary(value=[Summary.Value(tag=tag, simple_value=value)]).SerializeToString()

    # As in TensorFlow the op has the tag's name, unless the name is taken.
    name = tag if tag not in graph.elements else tag + _SUFFIX
    return _add_op(graph, name, serialize, [root])


def _unused(name: str, used: Iterable[str]) -> str:
    if name not in used:
        return name
    return next(n for n in (f"{name}_{i}" for i in itertools.count(1)) if n not in used)


def _add_op(graph: Graph, name: str, fn: Callable[..., bytes], reads: list[str]) -> Tensor:
    op = graph.op(lambda: b"", name=_unused(name, graph.elements))
    # A Python parameter can't be called "layer/loss"; an entry of the op's list can.
    op.fn = fn
    op.parameters = tuple(Parameter(key, REQUIRED, keyword_only=False) for key in reads)
    return graph.get_tensor_by_name(f"{op.name}:0")
