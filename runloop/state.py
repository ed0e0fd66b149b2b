"""How a state object becomes tensors and JSON: the outward half (``unpack`` is the way back).

A state object is what can be attached to a graph, or what rides along in checkpoints:

* a mapping or list of arrays, numbers, strings and ``None``, nested at will;
* ``numpy.random.Generator``, ``numpy.random.RandomState``, ``random.Random``;
* an object with ``state_dict()``/``load_state_dict(state)`` or ``get_state()``/``set_state(state)``.

:func:`pack` gives its arrays under the names ``name/path/to/leaf``, and the rest as JSON in which
an object with one key that begins with ``$`` stands for what JSON has no word for::

    {"$tensor": "params/w"}           an array, stored as a tensor of that name
    {"$torch": "model/w"}             the same, of PyTorch
    {"$bytes": "it"}                  bytes, stored as a tensor
    {"$scalar": ["float32", "0000803f"]}   a NumPy scalar, bit for bit
    {"$float": "7ff8000000000000"}    a float that JSON does not know: NaN, infinity
    {"$complex": [node, node]}        a complex number
    {"$tuple": [node, ...]}           a tuple
    {"$dict": [[node, node], ...]}    a mapping whose keys are not all plain strings
    {"$object": [kind, node]}         the state of an object; kind is one of ``KINDS``
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from runloop.dtypes import storage_of
from runloop.naming import nearest

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

#: How an object's state is taken and given back.
KINDS = ("Generator", "RandomState", "Random", "state_dict", "get_state")
#: Deeper nesting is refused: a reader's JSON parser must be able to follow.
MAX_DEPTH = 100

_WHAT_CAN = (
    "attach a mapping or list of arrays, a numpy.random.Generator or RandomState, a random.Random, "
    "or an object with state_dict() and load_state_dict(), or get_state() and set_state()"
)


def kind_of(obj: Any) -> str | None:
    """Return which of :data:`KINDS` an object with state of its own is, else ``None``."""
    if isinstance(obj, type):
        return None
    if isinstance(obj, np.random.Generator):
        return "Generator"
    if isinstance(obj, np.random.RandomState):
        return "RandomState"
    # Whoever uses the random module has imported it.
    random = sys.modules.get("random")
    if random is not None and isinstance(obj, random.Random):
        return "Random"
    if _has(obj, "state_dict") and _has(obj, "load_state_dict"):
        return "state_dict"
    if _has(obj, "get_state") and _has(obj, "set_state"):
        return "get_state"
    return None


def _has(obj: Any, method: str) -> bool:
    return callable(getattr(obj, method, None))


def is_stateful(obj: Any) -> bool:
    """Whether ``obj`` has a state of its own: one of :data:`KINDS`."""
    return kind_of(obj) is not None


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array, of NumPy or of another library, and no NumPy scalar."""
    if isinstance(value, np.ndarray):
        return True
    return (
        hasattr(value, "shape")
        and hasattr(value, "dtype")
        and hasattr(value, "__array__")
        and not isinstance(value, (np.generic, type))
    )


def check_attachable(name: str, obj: Any) -> None:
    """Refuse what can't be attached.

    Raises:
        TypeError: If ``obj`` is neither of what the module's docstring lists; says what is.
    """
    if isinstance(obj, (Mapping, list)) or is_array(obj) or is_stateful(obj):
        return
    raise TypeError(f"can't attach {name!r}: {type(obj).__name__} has no state; {_WHAT_CAN}")


def state_of(obj: Any, kind: str) -> Any:
    """Return the state of an object of ``kind`` as numbers, strings, arrays and trees of them."""
    if kind == "Generator":
        return obj.bit_generator.state
    if kind == "RandomState":
        # Not the tuple of old: that one has no place for the state of other bit generators.
        return obj.get_state(legacy=False)
    if kind == "Random":
        version, words, gauss = obj.getstate()
        return {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}
    return obj.state_dict() if kind == "state_dict" else obj.get_state()


def to_numpy(value: Any) -> np.ndarray[Any, Any]:
    """Return an array of whatever library as NumPy's own, without a copy where that is possible.

    Raises:
        TypeError: If it is a masked array that masks something, or PyTorch's ``bfloat16`` and
            ``ml_dtypes`` is not installed.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ndarray):
        if np.ma.is_masked(value):
            raise TypeError("it is a masked array; store its data and its mask, each for itself")
        return np.asarray(value)
    if _has(value, "detach") and _has(value, "cpu"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            try:
                from ml_dtypes import bfloat16
            except ImportError as exc:
                raise TypeError("a bfloat16 tensor needs the package ml_dtypes") from exc
            import torch

            bits: np.ndarray[Any, Any] = value.view(torch.int16).numpy()
            return bits.view(bfloat16)
    return np.asarray(value)


def read_leaf(name: str, obj: Any, path: str) -> Any:
    """Return what stands at ``path`` (``"path/to/leaf"``) below ``obj``, not copied.

    A key may itself have slashes in it. A sequence is entered by index.

    Raises:
        ValueError: If there is nothing; names the nearest leaf that there is.
    """
    found = list(_at(obj, path))
    if found:
        return found[0]
    known = [f"{name}/{leaf}" for leaf, _ in _leaves(obj, "")]
    full = f"{name}/{path}"
    raise ValueError(f"{full!r} is no leaf of attached {name!r}.{nearest(full, known)}")


def _children(obj: Any) -> Iterator[tuple[str, Any]]:
    kind = kind_of(obj)
    if kind is not None:
        obj = state_of(obj, kind)
    if isinstance(obj, Mapping):
        for key, value in obj.items():
            yield str(key), value
    elif isinstance(obj, (list, tuple)):
        for index, value in enumerate(obj):
            yield str(index), value


def _at(obj: Any, path: str) -> Iterator[Any]:
    for key, value in _children(obj):
        if key == path:
            yield value
        elif path.startswith(key + "/"):
            yield from _at(value, path[len(key) + 1 :])


def _leaves(obj: Any, path: str) -> Iterator[tuple[str, Any]]:
    for key, value in _children(obj):
        here = f"{path}/{key}" if path else key
        if isinstance(value, (Mapping, list, tuple)) or is_stateful(value):
            yield from _leaves(value, here)
        else:
            yield here, value


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
    packer = _Packer()
    return packer.tensors, packer.node(name, obj)


class _Packer:
    """One walk over one object."""

    def __init__(self) -> None:
        self.tensors: dict[str, Any] = {}
        self._above: list[int] = []

    def node(self, path: str, value: Any) -> Any:
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return float_node(value)
        if isinstance(value, np.generic):
            return self._scalar(path, value)
        if is_array(value):
            tag = "$torch" if type(value).__module__.partition(".")[0] == "torch" else "$tensor"
            return {tag: self._tensor(path, value)}
        if isinstance(value, (bytes, bytearray)):
            return {"$bytes": self._tensor(path, np.frombuffer(bytes(value), np.uint8))}
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
        kind = kind_of(value)
        if kind is not None:
            try:
                state = state_of(value, kind)
            except NotImplementedError as exc:
                raise TypeError(
                    f"{path} can't be stored: {type(value).__name__} has no state of its own"
                ) from exc
            return {"$object": [kind, self.node(path, state)]}
        if isinstance(value, Mapping):
            return self._mapping(path, value)
        if isinstance(value, (list, tuple)):
            nodes = [self.node(f"{path}/{i}", item) for i, item in enumerate(value)]
            return nodes if isinstance(value, list) else {"$tuple": nodes}
        if isinstance(value, (int, float, str)):
            # A subclass (an enum's member, numpy.str_) comes back as the plain value.
            for plain in (int, float, str):
                if isinstance(value, plain):
                    return self.node(path, plain(value))
        if isinstance(value, complex):
            return {"$complex": [float_node(value.real), float_node(value.imag)]}
        raise TypeError(
            f"{path} can't be stored: {type(value).__name__} is neither an array nor JSON; give "
            f"its owner state_dict() and load_state_dict()"
        )

    def _mapping(self, path: str, value: Mapping[Any, Any]) -> Any:
        pairs = []
        plain = True
        for key, item in value.items():
            if not isinstance(key, (str, int, float, bool, tuple, type(None))):
                raise TypeError(
                    f"{path} can't be stored: its key {key!r:.60} is no string, number or tuple"
                )
            plain = plain and type(key) is str and not key.startswith("$")
            node = self.node(f"{path}/{key}", item)
            pairs.append((key, node))
        if plain:
            return dict(pairs)
        return {"$dict": [[self.node(f"{path} (a key)", key), node] for key, node in pairs]}

    def _scalar(self, path: str, value: np.generic) -> Any:
        try:
            logical = storage_of(value.dtype).logical
        except TypeError as exc:
            if isinstance(value, (str, bytes)):
                return self.node(path, value.item())
            raise TypeError(f"{path} can't be stored: {exc}") from exc
        return {"$scalar": [logical, value.tobytes().hex()]}

    def _tensor(self, path: str, value: Any) -> str:
        try:
            array = to_numpy(value)
            storage_of(array.dtype)
        except TypeError as exc:
            raise TypeError(f"{path} can't be stored: {exc}") from exc
        # Two leaves can have one name only if a key has a slash in it; the order of the walk
        # decides, and it is the same when the state is restored.
        name, count = path, 1
        while name in self.tensors:
            count += 1
            name = f"{path}#{count}"
        self.tensors[name] = array
        return name


def float_node(value: float) -> Any:
    """Return the node of a ``float``; JSON has no NaN and no infinity."""
    if value - value == 0:
        return value
    return {"$float": struct.pack(">d", value).hex()}
