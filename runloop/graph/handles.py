"""Handles: the objects that stand for parts of a graph in hooks written for TensorFlow.

    graph.get_tensor_by_name("loss:0")       # .name "loss:0", .op.name "loss", a fetch and a feed

A handle names a part of a graph and holds no value. The graph makes one per part and kind and
returns the same object each time, so handles work as dictionary keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runloop.graph.elements import Attached, InputValue, Op, Output, Variable
from runloop.graph.tensor_types import DType, TensorShape
from runloop.nest import Leaf

__all__ = ["Handle", "Operation", "Tensor", "VariableHandle"]


class Handle(Leaf):
    """Base of handles: a name in a graph, as a fetch or a feed."""

    def __init__(self, graph: Any, key: str) -> None:
        self.graph = graph
        self._key = key

    @property
    def device(self) -> str:
        """Where it lives; always empty."""
        return ""

    def _as_graph_element(self) -> str:
        return self._key

    def _initial(self) -> Any:
        """Return the initial value, whose type and shape are the handle's; ``None`` for non-variables."""
        element = self.graph.elements.get(self._key)
        if not isinstance(element, Variable):
            return None
        return element.initial() if callable(element.initial) else element.initial

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"  # type: ignore[attr-defined]


class Operation(Handle):
    """An operation: ``name`` has no ``:0``.

    Attributes:
        graph: The graph that it belongs to.

    Follows ``tf.Operation`` of TensorFlow 2.21.
    """

    @property
    def name(self) -> str:
        """The name, as in the graph."""
        return self._key

    @property
    def type(self) -> str:
        """What it is: ``VarHandleOp``, ``Placeholder`` (an input, attached state) or ``PyFunc``."""
        element = self.graph.elements.get(self._key)
        if isinstance(element, Variable):
            return "VarHandleOp"
        return "Placeholder" if isinstance(element, (InputValue, Attached)) else "PyFunc"

    @property
    def outputs(self) -> list[Tensor]:
        """Its one tensor."""
        return [self.graph.get_tensor_by_name(f"{self._key}:0")]

    def values(self) -> tuple[Tensor, ...]:
        """Return :attr:`outputs` as a tuple."""
        return tuple(self.outputs)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that it reads. Feeds that are not in the graph are left out."""
        element = self.graph.elements.get(self._key)
        op = element.op if isinstance(element, Output) else element
        parameters = op.parameters if isinstance(op, Op) else ()
        names = (p.name for p in parameters if p.name in self.graph.elements)
        return tuple(self.graph.get_tensor_by_name(f"{name}:0") for name in names)

    def run(self, feed_dict: Mapping[Any, Any] | None = None, session: Any = None) -> None:
        """Run it in ``session``, which must be given.

        Raises:
            ValueError: If no session is given.
        """
        _needs(session, f"Operation.run of {self.name!r}").run(self, feed_dict)


class _Valued(Handle):
    """What tensors and variables share."""

    _dtype: DType | None = None
    _shape: TensorShape | None = None

    @property
    def name(self) -> str:
        """The name, ending in ``:0``."""
        return f"{self._key}:0"

    @property
    def op(self) -> Operation:
        """The operation that computes it."""
        found: Operation = self.graph.get_operation_by_name(self._key)
        return found

    @property
    def dtype(self) -> DType:
        """The element type; known for variables, else ``unknown``.

        If a function makes the initial value, it is called once for this.
        """
        self._learn()
        return self._dtype or DType("unknown")

    @property
    def shape(self) -> TensorShape:
        """The shape; known for variables and after :meth:`set_shape`."""
        self._learn()
        return self._shape or TensorShape(None)

    @property
    def ndim(self) -> int | None:
        """The number of dimensions, ``None`` if unknown."""
        return self.shape.ndims

    def get_shape(self) -> TensorShape:
        """Return :attr:`shape`."""
        return self.shape

    def set_shape(self, shape: Any) -> None:
        """Declare the shape; it is not checked."""
        self._learn()
        self._shape = TensorShape(shape)

    def eval(self, feed_dict: Mapping[Any, Any] | None = None, session: Any = None) -> Any:
        """Return the value in ``session``, which must be given.

        Raises:
            ValueError: If no session is given.
        """
        return _needs(session, f"eval of {self.name!r}").run(self, feed_dict)

    def _learn(self) -> None:
        if self._dtype is None:
            value = self._initial()
            self._dtype = DType("unknown") if value is None else DType.of(value)
            if value is not None:
                self._shape = TensorShape(getattr(value, "shape", None) or ())


class Tensor(_Valued):
    """A value in a graph: a fetch, and a key of feeds.

    Attributes:
        graph: The graph that it belongs to.

    Follows ``tf.Tensor`` of TensorFlow 2.21 in graph mode, without arithmetic.
    """

    @property
    def value_index(self) -> int:
        """Which output of its operation it is; always 0."""
        return 0


class VariableHandle(_Valued):
    """A variable of a graph.

    Attributes:
        graph: The graph that it belongs to.

    Follows ``tf.compat.v1.Variable`` of TensorFlow 2.21, without the methods that build graphs.
    """

    @property
    def trainable(self) -> bool:
        """Whether it is one of the trainable variables."""
        element = self.graph.elements[self._key]
        return bool(element.trainable)

    def read_value(self) -> Tensor:
        """Return the tensor of its value."""
        found: Tensor = self.graph.get_tensor_by_name(self.name)
        return found

    value = read_value

    def load(self, value: Any, session: Any = None) -> None:
        """Set the variable's value in ``session``, which must be given.

        Args:
            value: Of the variable's shape; converted to its type, and copied.
            session: A session of runloop, or one that wraps it (``raw_session()``).

        Raises:
            ValueError: If no session is given, or the shape differs.
        """
        import numpy as np  # the module itself needs no NumPy

        session = _needs(session, f"load of {self.name!r}")
        raw = getattr(session, "raw_session", None)
        target = raw() if callable(raw) else session
        old = target.state().variables[self._key]
        target.assign({self._key: np.array(value, dtype=getattr(old, "dtype", None))})


def _needs(session: Any, what: str) -> Any:
    if session is None:
        raise ValueError(f"{what} needs a session: give session=...")
    return session
