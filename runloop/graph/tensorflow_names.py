"""Look-ups in a graph by TensorFlow's names; they return handles."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeVar

from runloop.graph.elements import GLOBAL_STEP, Element, Op, Variable
from runloop.graph.handles import Handle, Operation, Tensor, VariableHandle
from runloop.messages import nearest

__all__ = ["SAVERS", "GraphDef", "GraphHandles", "NodeDef"]

_H = TypeVar("_H", bound="Handle")

_VARIABLES = "variables"
_TRAINABLE = "trainable_variables"
SAVERS = "savers"
"""The collection of a graph's savers."""


class NodeDef(NamedTuple):
    """One operation of a :class:`GraphDef`: its name, its type, the names of its inputs."""

    name: str
    op: str
    input: tuple[str, ...]


class GraphDef:
    """A description of a graph; ``str()`` is protobuf's text form.

    Attributes:
        node: One :class:`NodeDef` per operation.

    Follows ``tf.compat.v1.GraphDef`` of TensorFlow 2.21 in these fields.
    """

    def __init__(self, node: list[NodeDef]) -> None:
        self.node = node

    def __str__(self) -> str:
        lines = []
        for name, op, inputs in self.node:
            fields = [f"name: {name!r}", f"op: {op!r}", *(f"input: {i!r}" for i in inputs)]
            lines += ["node {", *(f"  {field}" for field in fields), "}"]
        return "".join(f"{line}\n" for line in lines).replace("'", '"')


class GraphHandles:
    """The methods of a graph that return handles, under TensorFlow's names.

    Follows ``tf.Graph`` of TensorFlow 2.21; its errors are of the same types.
    """

    _elements: dict[str, Element]
    _attached: dict[str, Any]
    _ops: list[Op]
    _variables: list[Variable]
    _collections: dict[Any, list[Any]]
    _finalized: bool

    def get_tensor_by_name(self, name: str) -> Tensor:
        """Return the handle of a value.

        Args:
            name: The name in the graph with ``:0`` after it.

        Raises:
            TypeError: If ``name`` is not a string.
            ValueError: If ``name`` has no ``:0``.
            KeyError: If the graph has nothing of this name.
        """
        found = self.as_graph_element(_checked(name), allow_operation=False)
        assert isinstance(found, Tensor)  # noqa: S101  # for the type checker
        return found

    def get_operation_by_name(self, name: str) -> Operation:
        """Return the handle of an operation.

        Args:
            name: The name in the graph.

        Raises:
            TypeError: If ``name`` is not a string.
            ValueError: If ``name`` is a tensor's (with ``:0``).
            KeyError: If the graph has nothing of this name.
        """
        found = self.as_graph_element(_checked(name), allow_tensor=False)
        assert isinstance(found, Operation)  # noqa: S101  # for the type checker
        return found

    def get_operations(self) -> list[Operation]:
        """Return handles of everything in the graph, in the order of its creation."""
        return [self._handle(Operation, name) for name in self._elements]

    def as_graph_element(
        self, obj: Any, allow_tensor: bool = True, allow_operation: bool = True
    ) -> Tensor | Operation:
        """Return the handle for ``obj``: a name, a handle, a variable or an op.

        Raises:
            TypeError: If it is none of these, or of a disallowed kind.
            ValueError: If it belongs to another graph, or the name is of a kind not allowed.
            KeyError: If the graph has nothing of this name.
        """
        if isinstance(obj, (Handle, Variable, Op)):
            owner: object = obj.graph
            if owner is not self:
                raise ValueError(f"{obj!r} is not an element of this graph")
            if isinstance(obj, (Operation, Op)) and allow_operation:
                return self._handle(Operation, str(obj.name))
            key: str = obj._key if isinstance(obj, Handle) else obj.name  # noqa: SLF001
            if not allow_tensor:
                raise TypeError(f"expected an operation, got {obj!r}; its .op is one")
            return self._handle(Tensor, key)
        if not isinstance(obj, str):
            raise TypeError(
                f"{obj!r} can't be turned into a part of a graph: expected a name or a handle, "
                f"got {type(obj).__name__}"
            )
        key, colon, index = obj.rpartition(":")
        if not colon:
            if not allow_operation:
                raise ValueError(f"{obj!r} names an operation, not a tensor; did you mean {obj}:0?")
            self._check(obj, f"{obj!r} names an operation that is not in the graph")
            return self._handle(Operation, obj)
        if not allow_tensor:
            raise ValueError(f"{obj!r} names a tensor, not an operation; did you mean {key}?")
        if not index.isdigit():
            raise ValueError(f"{obj!r} is not a tensor's name, which is '<name>:<output index>'")
        self._check(key, f"{obj!r} names a tensor that does not exist: there is no {key!r}")
        if int(index):
            raise KeyError(
                f"{obj!r} names a tensor that does not exist: {key!r} has one output, {key}:0"
            )
        return self._handle(Tensor, key)

    def as_graph_def(self, from_version: Any = None, add_shapes: bool = False) -> GraphDef:
        """Return a description of the graph: names, kinds and what reads what.

        Args:
            from_version: For TensorFlow's signature; ignored.
            add_shapes: For TensorFlow's signature; ignored.
        """
        return GraphDef(
            [
                NodeDef(op.name, op.type, tuple(tensor.op.name for tensor in op.inputs))
                for op in self.get_operations()
            ]
        )

    def _unsafe_unfinalize(self) -> None:
        """Undo ``finalize()``, under the name that hooks call to add to the graph late."""
        self._finalized = False

    def variable_handle(self, name: str) -> VariableHandle:
        """Return the handle of a variable.

        Raises:
            KeyError: If the graph has no variable of this name.
        """
        if not isinstance(self._elements.get(name), Variable):
            known = [variable.name for variable in self._variables]
            raise KeyError(f"there is no variable {name!r}.{nearest(name, known)}")
        return self._handle(VariableHandle, name)

    def _check(self, key: str, problem: str) -> None:
        if key in self._elements:
            return
        if any(key.startswith(f"{name}/") for name in self._attached):
            return
        if any(p.name == key for op in self._ops for p in op.parameters):
            return  # a feed, as a placeholder is
        raise KeyError(f"{problem}.{nearest(key, self._elements)}")

    def _handle(self, kind: type[_H], key: str) -> _H:
        cache: dict[Any, Any] = self.__dict__.setdefault("_handles", {})
        found: _H | None = cache.get((kind, key))
        # setdefault: threads that ask at the same time get the same object.
        return cache.setdefault((kind, key), kind(self, key)) if found is None else found

    # -- collections ----------------------------------------------------------------------------

    def get_collection(self, name: Any, scope: str | None = None) -> list[Any]:
        """Return a copy of the list under ``name``; empty for an unknown name.

        ``"variables"``, ``"trainable_variables"`` and ``"global_step"`` begin with handles of the
        graph's own variables.

        Args:
            name: The collection's name.
            scope: A regular expression that must match at the start of a member's name; members
                without a name are left out.
        """
        own = self._own(name) if name in (_VARIABLES, _TRAINABLE, GLOBAL_STEP) else []
        kept = set(map(id, own))
        added = [item for item in self._collections.get(name, ()) if id(item) not in kept]
        found = [*own, *added]
        if scope is None:
            return found
        matches = re.compile(scope).match
        return [item for item in found if hasattr(item, "name") and matches(item.name)]

    def clear_collection(self, name: Any) -> None:
        """Empty the list under ``name``."""
        self._collections.pop(name, None)

    def get_all_collection_keys(self) -> list[Any]:
        """Return the keys of all collections that are not empty."""
        return [key for key, items in self._collections.items() if items]

    def _own(self, key: str) -> list[VariableHandle]:
        return [
            self.variable_handle(variable.name)
            for variable in self._variables
            if key == _VARIABLES
            or (key == _TRAINABLE and variable.trainable)
            or (key == GLOBAL_STEP and variable.name == GLOBAL_STEP)
        ]


def _checked(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a name must be a string, got {name!r}")
    return name
