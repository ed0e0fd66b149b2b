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
from collections.abc import Mapping
from typing import Any

import numpy as np

from runloop.state.dtypes import storage_of
from runloop.state.kinds import is_array, kind_of, state_of

__all__ = ["MAX_DEPTH", "float_node", "pack", "to_numpy"]

#: Deeper nesting is refused: a reader's JSON parser must be able to follow.
MAX_DEPTH = 100


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
    if callable(getattr(value, "detach", None)) and callable(getattr(value, "cpu", None)):
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
