"""From the JSON of a checkpoint's document to values; ``state`` says what its nodes look like."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from runloop.state.dtypes import named

__all__ = ["TensorSource", "decode", "like", "references", "tag_of"]

_TAGS = {"$tensor", "$torch", "$bytes", "$scalar", "$float", "$complex", "$tuple", "$dict"}
_TAGS |= {"$object"}


class TensorSource(Protocol):
    """Where tensors come from: an open checkpoint."""

    def spec(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
        """Shape and dtype of a tensor, ``None`` if there is none of this name."""

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """A tensor as a new array, checked."""


def tag_of(node: Any) -> str | None:
    """Return the ``$`` key of a node that is no plain mapping."""
    if isinstance(node, dict) and len(node) == 1:
        key = next(iter(node))
        if isinstance(key, str) and key.startswith("$"):
            return key
    return None


def references(node: Any) -> Iterator[str]:
    """Yield the names of all tensors that a node stands for."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            tag = tag_of(item)
            if tag in ("$tensor", "$torch", "$bytes"):
                if isinstance(item[tag], str):
                    yield item[tag]
            else:
                stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def decode(node: Any, source: TensorSource) -> Any:
    """Build a new value from a node.

    Raises:
        ValueError: If the node is not what :func:`runloop.state.pack` makes.
        CheckpointError: If a tensor can't be read.
    """
    if isinstance(node, list):
        return [decode(item, source) for item in node]
    if not isinstance(node, dict):
        return node
    tag = tag_of(node)
    if tag is None:
        return {key: decode(item, source) for key, item in node.items()}
    value = node[tag]
    if tag not in _TAGS:
        raise ValueError(f"unknown kind of value {tag[:40]!r}; is it of a newer runloop?")
    try:
        if tag == "$tuple":
            return tuple(decode(item, source) for item in value)
        if tag == "$dict":
            return {decode(key, source): decode(item, source) for key, item in value}
        if tag == "$float":
            return struct.unpack(">d", bytes.fromhex(value))[0]
        if tag == "$complex":
            return complex(*(decode(part, source) for part in value))
        if tag == "$scalar":
            return np.frombuffer(bytes.fromhex(value[1]), named(value[0]), count=1)[0]
        if tag == "$object":
            return decode(value[1], source)
        array = source.read(value)
    except (TypeError, IndexError, KeyError, struct.error) as exc:
        raise ValueError(f"malformed value {tag} in the document: {exc}") from exc
    if tag == "$bytes":
        return array.tobytes()
    return _as_torch(array) if tag == "$torch" else array


def _as_torch(array: np.ndarray[Any, Any]) -> Any:
    try:
        import torch
    except ImportError as exc:
        raise ValueError("the checkpoint holds PyTorch's tensors: install torch") from exc
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def like(array: np.ndarray[Any, Any], current: Any) -> Any:
    """Return ``array`` as an array of the library that ``current`` is of."""
    if isinstance(current, np.ndarray) or np.isscalar(current):
        return array
    if hasattr(current, "detach"):
        return _as_torch(array).to(current.device)
    if hasattr(current, "__array_namespace__"):
        return current.__array_namespace__().asarray(array)
    return array
