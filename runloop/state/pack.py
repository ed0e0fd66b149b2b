"""How a state object becomes tensors and JSON; ``decode`` and ``matching`` are the way back.

A state object is what can be attached to a graph, or what goes into checkpoints beside it:

* a mapping or list of arrays, numbers, strings and ``None``, nested at will;
* ``numpy.random.Generator``, ``numpy.random.RandomState``, ``random.Random``;
* an object with ``state_dict()``/``load_state_dict(state)`` or ``get_state()``/``set_state(state)``;
* ``runloop.attributes(obj)``.

:func:`pack` gives its arrays under the names ``name/path/to/leaf``, and the rest as JSON in which
an object with one key that begins with ``$`` stands for what JSON has no word for::

    {"$tensor": "params/w"}           an array, stored as a tensor of that name
    {"$torch": "model/w"}             the same, of PyTorch
    {"$jax": "params/w"}              the same, of JAX
    {"$key": ["fry", "key"]}          a new-style key of JAX: its implementation, and its data
    {"$bytes": "it"}                  bytes, stored as a tensor
    {"$scalar": ["float32", "0000803f"]}   a NumPy scalar, bit for bit
    {"$float": "7ff8000000000000"}    a float that JSON does not know: NaN, infinity
    {"$int": "-0x1f"}                 an integer of more digits than every reader takes
    {"$complex": [node, node]}        a complex number
    {"$tuple": [node, ...]}           a tuple
    {"$dict": [[node, node], ...]}    a mapping whose keys are not all plain strings
    {"$as": [type, about, node]}      a subclass of one of these, see ``collections``
    {"$object": [kind, node]}         the state of an object; kind is a name in ``KINDS``
    {"$array": ["uint32", [2], "0100000002000000"]}   a small array, in small state only
    {"$hex": "6974"}                  bytes, in small state only
    {"$large": null}                  what small state leaves out
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from runloop.state.arrays import is_key, key_implementation, to_numpy
from runloop.state.attributes import Attributes
from runloop.state.decode import keyed
from runloop.state.dtypes import storage_of
from runloop.state.kinds import is_array, is_container, kind_of
from runloop.state.subclasses import about, is_known

__all__ = ["MAX_DEPTH", "Packer", "float_node", "pack"]

#: Deeper nesting is refused: a reader's JSON parser must be able to follow.
MAX_DEPTH = 100
# Python refuses to read integers of more than 4,300 digits, or of fewer where it is told so; 640 is
# the least that can be set. This many bits are below that.
_MAX_INT_BITS = 2100


def pack(name: str, obj: Any) -> tuple[dict[str, Any], Any]:
    """Take a state object apart.

    Args:
        name: What the names of its tensors begin with.
        obj: A state object, or any part of one.

    Returns:
        ``(tensors, node)``: ``{"name/path/to/leaf": numpy array}``, the live arrays and no
        copies, and the rest as JSON-able values.

    Raises:
        TypeError: If something can't be stored; names its path and what can be.
    """
    packer = Packer()
    return packer.tensors, packer.node(name, obj)


class Packer:
    """One walk over one object."""

    def __init__(self) -> None:
        self.tensors: dict[str, Any] = {}
        self._above: list[int] = []
        self._objects_above = 0

    def node(self, path: str, value: Any) -> Any:
        """Return the node of ``value``, and note its tensors."""
        if value is None or type(value) in (bool, str):
            return value
        if type(value) is int:
            return value if value.bit_length() <= _MAX_INT_BITS else {"$int": hex(value)}
        if type(value) is float:
            return float_node(value)
        if isinstance(value, np.generic):
            return self._scalar(path, value)
        if is_array(value):
            return self.array(path, value)
        if isinstance(value, (bytes, bytearray)):
            return self._bytes(path, value)
        if id(value) in self._above:
            raise TypeError(f"{path} can't be stored: it contains itself")
        if len(self._above) >= MAX_DEPTH:
            raise TypeError(f"{path} can't be stored: it is nested deeper than {MAX_DEPTH} levels")
        self._above.append(id(value))
        try:
            return self._inner(path, value)
        finally:
            self._above.pop()

    def _inner(self, path: str, value: Any) -> Any:
        if type(value) is Attributes:
            return {"$object": ["attributes", self.attributes(path, value)]}
        kind = kind_of(value)
        if kind is not None:
            try:
                state = kind.take(value)
            except NotImplementedError as exc:
                raise TypeError(
                    f"{path} can't be stored: {type(value).__name__} keeps no state"
                ) from exc
            return self.object(path, kind.name, state)
        if is_container(value):
            return self._container(path, value)
        # A member of an enum, and every other subclass, comes back as the plain value that it is:
        # asked from the base class, for a subclass may say something else of itself.
        if isinstance(value, int):
            return self.node(path, int.__int__(value))
        if isinstance(value, float):
            return float_node(float.__float__(value))
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, complex):
            real, imag = (part.__get__(value) for part in (_REAL, _IMAG))
            return {"$complex": [float_node(real), float_node(imag)]}
        raise TypeError(
            f"{path} can't be stored: {type(value).__name__} is neither an array nor JSON; give "
            f"its owner state_dict() and load_state_dict(), or attach runloop.attributes(owner)"
        )

    def object(self, path: str, kind: str, state: Any) -> Any:
        """Return the node of the state of an object."""
        self._objects_above += 1
        try:
            return {"$object": [kind, self.node(path, state)]}
        finally:
            self._objects_above -= 1

    def attributes(self, path: str, value: Attributes) -> dict[str, Any]:
        """Return the nodes of the attributes that can be stored."""
        nodes = {}
        for name, item in value.current().items():
            before = set(self.tensors) if value.names is None else set()
            try:
                nodes[name] = self.node(f"{path}/{name}", item)
            except TypeError:
                if value.names is not None:
                    raise
                for tensor in self.tensors.keys() - before:
                    del self.tensors[tensor]
        return nodes

    def _container(self, path: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            node = self._mapping(path, value)
            return node if type(value) is dict else self._as(path, value, node)
        nodes = [self.node(f"{path}/{i}", item) for i, item in enumerate(value)]
        if type(value) is list:
            return nodes
        if type(value) is tuple:
            return {"$tuple": nodes}
        return self._as(path, value, {"$tuple": nodes} if isinstance(value, tuple) else nodes)

    def _as(self, path: str, value: Any, node: Any) -> Any:
        """Return the node of a subclass of dict, list or tuple whose members are ``node``.

        What stands in a place is made again of the type of what is there then. The state of an
        object is made from the document alone.
        """
        if self._objects_above and not is_known(value):
            if type(value) is defaultdict:
                raise TypeError(
                    f"{path} can't be stored: the default_factory of this defaultdict is code; "
                    f"store dict(...) of it"
                )
            return node
        return {"$as": [*about(value), node]}

    def _mapping(self, path: str, value: Mapping[Any, Any]) -> Any:
        pairs = []
        plain = True
        for key, item in value.items():
            if not isinstance(key, (str, int, float, bool, tuple, type(None))):
                raise TypeError(
                    f"{path} can't be stored: its key {key!r:.60} is not a string, number or tuple"
                )
            plain = plain and type(key) is str and not key.startswith("$")
            node = self.node(f"{path}/{key}", item)
            pairs.append((key, node))
        if plain:
            return dict(pairs)
        try:
            keyed(pairs)
        except ValueError as exc:  # what can be saved can be restored
            raise TypeError(f"{path} can't be stored: {exc}") from exc
        return {"$dict": [[self.node(f"{path} (a key)", key), node] for key, node in pairs]}

    def _scalar(self, path: str, value: np.generic) -> Any:
        try:
            logical = storage_of(value.dtype).logical
        except TypeError as exc:
            if isinstance(value, (str, bytes)):
                return self.node(path, value.item())
            raise TypeError(f"{path} can't be stored: {exc}") from exc
        return {"$scalar": [logical, value.tobytes().hex()]}

    def array(self, path: str, value: Any) -> Any:
        """Return the node of an array."""
        library = type(value).__module__.partition(".")[0]
        if library == "torch":
            return {"$torch": self._tensor(path, value)}
        if library in {"jax", "jaxlib"}:
            if is_key(value):
                return {"$key": [key_implementation(value), self._tensor(path, value)]}
            return {"$jax": self._tensor(path, value)}
        return {"$tensor": self._tensor(path, value)}

    def _bytes(self, path: str, value: bytes | bytearray) -> Any:
        # Through the buffer: a subclass may say something else of itself.
        node = self.bytes(path, bytes(memoryview(value)))
        return {"$as": ["bytearray", None, node]} if isinstance(value, bytearray) else node

    def bytes(self, path: str, value: bytes) -> Any:
        """Return the node of bytes."""
        return {"$bytes": self._tensor(path, np.frombuffer(value, np.uint8))}

    def _tensor(self, path: str, value: Any) -> str:
        try:
            array = to_numpy(value)
            storage_of(array.dtype)
        except TypeError as exc:
            raise TypeError(f"{path} can't be stored: {exc}") from exc
        # Two leaves can have one name only if a key has a slash in it. The node says which is which.
        name, count = path, 1
        while name in self.tensors:
            count += 1
            name = f"{path}#{count}"
        self.tensors[name] = array
        return name


_REAL, _IMAG = complex.real, complex.imag


def float_node(value: float) -> Any:
    """Return the node of a ``float``; JSON has neither NaN nor infinity."""
    if value - value == 0:
        return value
    return {"$float": struct.pack(">d", value).hex()}
