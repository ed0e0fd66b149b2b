"""From the JSON of a checkpoint's document to values; ``pack`` says what its nodes look like.

Anybody may have written a document. Of every content a :class:`Decoder` either builds a
value or raises ``ValueError`` (a tensor that can't be read: ``CheckpointError``).
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from math import copysign, prod
from typing import Any, Protocol

import numpy as np

from runloop.messages import text_of
from runloop.state import subclasses
from runloop.state.arrays import as_jax, as_key, as_torch, like
from runloop.state.dtypes import named
from runloop.state.generators import check_bit_generator
from runloop.state.kinds import is_container

__all__ = [
    "ABSENT",
    "Decoder",
    "TensorSource",
    "check_form",
    "decode",
    "keyed",
    "reference_of",
    "references",
    "same_plain",
    "tag_of",
]

_WITH_TENSOR = frozenset({"$tensor", "$torch", "$jax", "$bytes"})
# Integers can be chosen so that all have one hash, and a dict of them takes quadratic time.
# Honest keys hardly ever share one.
_MOST_WITH_ONE_HASH = 50


class _Absent:
    """Stands for a node or a value that is not there."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()


class TensorSource(Protocol):
    """Where tensors come from: an open checkpoint."""

    def spec(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
        """Shape and dtype of a tensor, ``None`` without one of this name."""

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """A tensor as a new array, checked."""


def tag_of(node: Any) -> str | None:
    """Return the ``$`` key of a node that is not a plain mapping."""
    if type(node) is dict and len(node) == 1:
        (key,) = node
        if isinstance(key, str) and key[:1] == "$":
            return key
    return None


def reference_of(node: Any) -> str | None:
    """Return the name of the tensor that a node stands for, ``None`` if it is another node."""
    if type(node) is not dict or len(node) != 1:
        return None
    tag, given = next(iter(node.items()))
    if tag in _WITH_TENSOR:
        return given if isinstance(given, str) else None
    if tag == "$key" and isinstance(given, list) and len(given) == 2:
        name = given[1]
        return name if isinstance(name, str) else None
    return None


def references(node: Any) -> Iterator[str]:
    """Yield the names of all tensors that a node stands for."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            name = reference_of(item)
            if name is not None:
                yield name
            else:
                stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def check_form(node: Any) -> None:
    """Check that the parts of a node are of the types that their tags ask for.

    Whoever walks nodes may rely on it; what the parts say is checked when they are decoded.

    Raises:
        ValueError: If one is not; names its tag.
    """
    stack = [node]
    while stack:
        item = stack.pop()
        if type(item) is list:
            stack.extend(item)
            continue
        if type(item) is not dict:
            continue
        tag = tag_of(item)
        if tag is None:
            stack.extend(item.values())
            continue
        given = item[tag]
        if not _FORMS.get(tag, _is_anything)(given):
            raise ValueError(f"malformed value {tag:.40} in the document: got {given!r:.60}")
        if tag == "$dict":
            stack.extend(part for pair in given for part in pair)
        elif tag in {"$tuple", "$as", "$object"}:
            stack.extend(given)


def _is_text(given: Any) -> bool:
    return isinstance(given, str)


def _is_list(given: Any) -> bool:
    return type(given) is list


def _is_anything(given: Any) -> bool:
    del given
    return True


def _is_pairs(given: Any) -> bool:
    return type(given) is list and all(type(pair) is list and len(pair) == 2 for pair in given)


def _begins_with_text(count: int) -> Callable[[Any], bool]:
    def check(given: Any) -> bool:
        return type(given) is list and len(given) == count and isinstance(given[0], str)

    return check


_FORMS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("$tensor", "$torch", "$jax", "$bytes", "$float", "$int", "$hex"), _is_text),
    "$tuple": _is_list,
    "$dict": _is_pairs,
    "$as": _begins_with_text(3),
    "$object": _begins_with_text(2),
    "$key": _begins_with_text(2),
    "$scalar": _begins_with_text(2),
    "$array": _begins_with_text(3),
}


def decode(node: Any, source: TensorSource) -> Any:
    """Build a new value from a node.

    Raises:
        ValueError: If the node is not what :func:`runloop.state.pack` makes.
        CheckpointError: If a tensor can't be read.
    """
    return Decoder(source).value(node)


class Decoder:
    """Builds values from nodes, of the types of the values that are there now.

    Args:
        source: Where tensors come from.
    """

    def __init__(self, source: TensorSource) -> None:
        self.source = source
        self._tags: dict[str, Callable[[Any, Any], Any]] = {
            "$tensor": lambda name, live: like(self._read(name), live),
            "$torch": lambda name, live: self._array(as_torch, name, live),
            "$jax": lambda name, live: self._array(as_jax, name, live),
            "$key": self._key,
            "$bytes": lambda name, _: self._read(name).tobytes(),
            "$hex": lambda text, _: bytes.fromhex(text),
            "$scalar": self._scalar,
            "$float": lambda text, _: struct.unpack(">d", bytes.fromhex(text))[0],
            "$int": lambda text, _: _integer(text),
            "$complex": self._complex,
            "$tuple": self._tuple,
            "$dict": self._pairs,
            "$as": self._as,
            "$object": self._object,
            "$array": lambda given, _: _small_array(given),
        }

    def value(self, node: Any, live: Any = ABSENT) -> Any:
        """Return the value of a node, for the place where ``live`` is now.

        Raises:
            ValueError: If the node is not what :func:`runloop.state.pack` makes.
            CheckpointError: If a tensor can't be read.
        """
        if type(node) is list:
            return self._list(node, live)
        if type(node) is not dict:
            return self.plain(node, live)
        tag = tag_of(node)
        if tag is None:
            return self._mapping(node.items(), live)
        make = self._tags.get(tag)
        if make is None:
            raise ValueError(f"unknown kind of value {tag[:40]!r}; is it of a newer runloop?")
        try:
            return make(node[tag], live)
        except (
            TypeError,
            IndexError,
            KeyError,
            AttributeError,
            OverflowError,
            struct.error,
        ) as exc:
            raise ValueError(f"malformed value {tag} in the document: {text_of(exc)}") from exc

    # -- what a subclass may do otherwise ---------------------------------------------------------

    def plain(self, value: Any, live: Any) -> Any:
        """Return a value of JSON's own for the place where ``live`` is."""
        if isinstance(live, Enum) and type(live) is not type(value):
            try:
                return type(live)(value)
            except ValueError:
                return value
        return value

    def keep(self, live: Any, value: Any) -> Any:
        """Return a list, tuple or dict as it goes to the place where the container ``live`` is."""
        try:
            return subclasses.replace_members(live, value)
        except ValueError:
            if isinstance(value, tuple):
                raise
            return value

    def object(self, kind: str, node: Any, live: Any) -> Any:
        """Return the state of an object for the place where ``live`` is."""
        del kind, live
        return self.value(node)

    # -- the nodes --------------------------------------------------------------------------------

    def _list(self, nodes: list[Any], live: Any) -> Any:
        kept = live if is_container(live) and not isinstance(live, (Mapping, tuple)) else ABSENT
        items = self.members(nodes, kept)
        return items if kept is ABSENT else self.keep(kept, items)

    def _tuple(self, nodes: Any, live: Any) -> Any:
        if type(nodes) is not list:
            raise TypeError(f"expected a list, got {nodes!r:.40}")
        kept = live if isinstance(live, tuple) else ABSENT
        items = tuple(self.members(nodes, kept))
        return items if kept is ABSENT else self.keep(kept, items)

    def members(self, nodes: Iterable[Any], live: Any) -> list[Any]:
        """Return the values of the nodes of a sequence."""
        if live is ABSENT:
            return [self.value(node) for node in nodes]
        there = [*live]
        return [
            self.value(node, there[i] if i < len(there) else ABSENT) for i, node in enumerate(nodes)
        ]

    def _mapping(self, pairs: Iterable[tuple[Any, Any]], live: Any) -> Any:
        kept = live if isinstance(live, Mapping) else ABSENT
        there = {} if kept is ABSENT else kept
        made = {key: self.value(node, there.get(key, ABSENT)) for key, node in keyed(pairs).items()}
        _check_if_generator(made)
        return made if kept is ABSENT else self.keep(kept, made)

    def _pairs(self, pairs: Any, live: Any) -> Any:
        parts = [_parts(pair, 2) for pair in pairs]
        return self._mapping([(self.value(key), node) for key, node in parts], live)

    def _as(self, given: Any, live: Any) -> Any:
        name, info, node = _parts(given, 3)
        if is_container(live) and _same_family(live, node):
            return self.value(node, live)
        return subclasses.make(name, info, self.value(node))

    def _object(self, given: Any, live: Any) -> Any:
        kind, node = _parts(given, 2)
        if not isinstance(kind, str):
            raise TypeError(f"expected the name of a kind, got {kind!r:.40}")
        return self.object(kind, node, live)

    def _read(self, name: Any) -> np.ndarray[Any, Any]:
        if not isinstance(name, str):
            raise TypeError(f"expected the name of a tensor, got {name!r:.40}")
        return self.source.read(name)

    def _array(self, make: Callable[[Any], Any], name: Any, live: Any) -> Any:
        array = self._read(name)
        library = make.__name__.removeprefix("as_")
        if type(live).__module__.startswith(library) and hasattr(live, "dtype"):
            return like(array, live)
        return make(array)

    def _key(self, given: Any, live: Any) -> Any:
        implementation, name = _parts(given, 2)
        del live
        return as_key(self._read(name), str(implementation))

    def _scalar(self, given: Any, live: Any) -> Any:
        logical, digits = _parts(given, 2)
        if not isinstance(logical, str):
            raise TypeError(f"expected the name of a dtype, got {logical!r:.40}")
        made = np.frombuffer(bytes.fromhex(digits), named(logical), count=1)[0]
        return live if type(live) is type(made) and live.tobytes() == made.tobytes() else made

    def _complex(self, given: Any, live: Any) -> complex:
        del live
        real, imag = (self.value(part) for part in _parts(given, 2))
        return complex(real, imag)


def keyed(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return ``dict(pairs)``, in linear time for all keys.

    Raises:
        TypeError: If a key has no hash.
        ValueError: If there is a duplicate key, or more than 50 keys have one hash.
    """
    pairs = [*pairs]
    if any(type(key) is not str for key, _ in pairs):  # nobody can choose the hash of a string
        (_, most), *_ = Counter([hash(key) for key, _ in pairs]).most_common(1)
        if most > _MOST_WITH_ONE_HASH:
            raise ValueError(
                f"{most} keys of one mapping have the same hash, and at most "
                f"{_MOST_WITH_ONE_HASH} may"
            )
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a mapping in the document has a duplicate key")
    return made


def _parts(given: Any, count: int) -> list[Any]:
    if type(given) is not list or len(given) != count:
        raise TypeError(f"expected {count} parts, got {given!r:.40}")
    return given


def _integer(text: Any) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"-?0x[0-9a-f]+", text):
        raise TypeError(f"expected hexadecimal digits, got {text!r:.40}")
    return int(text, 16)


def _small_array(given: Any) -> np.ndarray[Any, Any]:
    logical, shape, digits = _parts(given, 3)
    if not isinstance(logical, str):
        raise TypeError(f"expected the name of a dtype, got {logical!r:.40}")
    dtype = named(logical)
    raw = bytes.fromhex(digits)
    if any(type(n) is not int or n < 0 for n in shape) or prod(shape) * dtype.itemsize != len(raw):
        raise TypeError(f"{len(raw)} bytes are not {dtype} {shape!r:.60}")
    return np.frombuffer(raw, dtype).reshape(shape).copy()


def _same_family(live: Any, node: Any) -> bool:
    """Whether a container could hold what a node stands for."""
    if isinstance(node, list):
        return not isinstance(live, (Mapping, tuple))
    tag = tag_of(node)
    return isinstance(live, tuple if tag == "$tuple" else Mapping)


def _check_if_generator(made: dict[Any, Any]) -> None:
    """Check what an object will hand to a generator of NumPy: its setters check nothing."""
    if isinstance(made.get("bit_generator"), str) and isinstance(made.get("state"), dict):
        check_bit_generator(made)


def same_plain(one: Any, other: Any) -> bool:
    """Whether two plain values are of one type and the same, zeros with their sign."""
    if type(one) is not type(other) or one != other:
        return False
    return type(one) is not float or copysign(1, one) == copysign(1, other)
