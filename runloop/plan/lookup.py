"""Resolves the names of one run: to elements of the graph, feeds, or arrays in attached state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runloop import nest
from runloop.graph import Graph
from runloop.graph.elements import AttachedLeaf, Element, Op, Variable
from runloop.messages import nearest

__all__ = ["Lookup", "check_fetches"]


def check_fetches(graph: Graph, fetches: Any) -> None:
    """Check the names in ``fetches`` as a run would, before it is known what will be fed.

    Raises:
        TypeError: If a leaf is of a kind that can't be fetched.
        ValueError: If a name is unknown; suggests the nearest names.
    """
    lookup = Lookup(graph)
    parameters = (p.name for op in graph.ops for p in op.parameters)
    lookup.fed = dict.fromkeys(
        parameters, 0
    )  # any of them may be fed, and what is fed can be fetched
    for leaf in nest.leaves(fetches):
        lookup.find(leaf)


class Lookup:
    """Resolves the leaves of fetches and the keys of feeds.

    Attributes:
        fed: ``{name: place in the feed_dict}``, once :meth:`read_feeds` has been called.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.elements = graph.elements
        self.fed: dict[str, int] = {}
        self._bare: dict[Any, Op] = {}  # one op for each bare callable

    def find(self, fetch: Any) -> Element | AttachedLeaf | str:
        """Return what a leaf of the fetches refers to; a plain string means a feed of that name."""
        if isinstance(fetch, (Variable, Op)):
            if fetch.graph is not self.graph:
                raise ValueError(f"{fetch!r} belongs to another graph than this session's")
            return fetch
        if isinstance(fetch, str):
            return self.find_name(fetch)
        if hasattr(fetch, "_as_graph_element"):
            return self.find(fetch._as_graph_element())  # noqa: SLF001  # the protocol's name
        if callable(fetch):
            key = nest.key(fetch)
            if key not in self._bare:
                name = getattr(fetch, "__name__", type(fetch).__name__)
                self._bare[key] = Op(None, name, fetch)
            return self._bare[key]
        raise TypeError(
            f"{fetch!r} can't be fetched: a fetch is a name, a Variable, an Op, a callable, or a "
            f"list, tuple, dict or dataclass of these, got {type(fetch).__name__}"
        )

    def find_name(self, name: str) -> Element | AttachedLeaf | str:
        """Return what a name refers to; ``name:0``, TensorFlow's spelling, is the same name.

        Raises:
            ValueError: If the name is unknown; suggests the nearest names.
        """
        plain = _plain(name)
        for candidate in (name, plain):
            if candidate in self.elements:
                return self.elements[candidate]
            if candidate in self.fed:
                return candidate
        for end in (i for i in range(len(name) - 1, 0, -1) if name[i] == "/"):
            if name[:end] in self.graph.attached:
                return AttachedLeaf(name[:end], self.graph.attached[name[:end]], name[end + 1 :])
        raise ValueError(
            f"nothing is called {name!r}: a fetch is the name of an op, an output, a variable, an "
            f"input or attached state.{nearest(plain, self.elements)}"
        )

    def read_feeds(self, feeds: Sequence[Any], ops: list[Op]) -> None:
        """Note for each fed name its position in the feed_dict.

        Args:
            feeds: The keys of the feed_dict, in its order.
            ops: Bare callables of this run; their parameters can also be fed.

        Raises:
            TypeError: If a key is not a name, a variable or an op.
            ValueError: If a key is unknown, or two keys feed the same name.
        """
        parameters = {p.name for op in (*self.graph.ops, *ops) for p in op.parameters}
        for place, key in enumerate(feeds):
            while hasattr(key, "_as_graph_element"):
                key = key._as_graph_element()  # noqa: PLW2901, SLF001  # as for fetches
            if isinstance(key, (Variable, Op)):
                self.find(key)  # raises if it belongs to another graph
                name = key.name
            elif isinstance(key, str):
                known = parameters | set(self.elements)
                name = key if key in known else _plain(key)
                if name not in known:
                    leaf = any(name.startswith(f"{a}/") for a in self.graph.attached)
                    hint = (
                        " One leaf of attached state can't be fed; feed the whole."
                        if leaf
                        else nearest(name, known)
                    )
                    raise ValueError(f"nothing takes a feed called {key!r}.{hint}")
            else:
                raise TypeError(
                    f"the key of a feed must be a name, a Variable or an Op, got {key!r}"
                )
            if name in self.fed:
                raise ValueError(f"{name!r} is fed twice, by {feeds[self.fed[name]]!r} and {key!r}")
            self.fed[name] = place


def _plain(name: str) -> str:
    """Return ``name`` without the ``:0`` that TensorFlow's tensor names end in."""
    return name.removesuffix(":0")
