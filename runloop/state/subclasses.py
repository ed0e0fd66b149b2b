"""Subclasses of dict, list and tuple: what the document says of them, and how one is made again."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Mapping
from typing import Any

from runloop.messages import text_of

__all__ = [
    "about",
    "can_be_made",
    "is_known",
    "make",
    "replace_members",
    "what_only_the_program_makes",
]

# Factories that a document may name. Others can't be stored: a restore keeps that of the
# ``defaultdict`` that is there.
_FACTORIES = {f.__name__: f for f in (int, float, list, dict, str, tuple, bool, complex, set)}


def about(value: Any) -> tuple[str, Any]:
    """Return what the document says of a container that is not exactly a dict, list or tuple."""
    cls = type(value)
    if cls is defaultdict:
        factory = value.default_factory
        if factory is None:
            return "defaultdict", ""
        known = _FACTORIES.get(getattr(factory, "__name__", "")) is factory
        return "defaultdict", factory.__name__ if known else None
    if cls is deque:
        return "deque", value.maxlen
    fields = getattr(cls, "_fields", None)
    return cls.__name__, list(fields) if isinstance(fields, tuple) else None


def is_known(value: Any) -> bool:
    """Whether a container of this type can be made again from the document alone."""
    if type(value) is defaultdict:
        return about(value)[1] is not None
    return type(value) in {Counter, OrderedDict, deque} or hasattr(value, "_fields")


def can_be_made(name: Any, info: Any, *, is_tuple: bool) -> bool:
    """Whether :func:`make` gives exactly what was saved; a named tuple's class is the program's."""
    if name == "defaultdict":
        return isinstance(info, str)
    return not is_tuple and name in {"Counter", "OrderedDict", "deque", "bytearray"}


def make(name: Any, info: Any, value: Any) -> Any:
    """Make a container from what :func:`about` said of it and its plain members.

    Raises:
        ValueError: If only the program can make one; says which.
    """
    if isinstance(value, dict):
        if name == "Counter":
            made: Counter[Any] = Counter()
            dict.update(made, value)
            return made
        if name == "OrderedDict":
            return OrderedDict(value)
        if name == "defaultdict" and (info == "" or (isinstance(info, str) and info in _FACTORIES)):
            return defaultdict(_FACTORIES.get(info), value)
    elif isinstance(value, list) and name == "deque":
        if info is not None and (type(info) is not int or not len(value) <= info < 2**62):
            raise ValueError(f"a deque can't have {len(value)} members and maxlen {info!r:.40}")
        return deque(value, info)
    elif isinstance(value, bytes) and name == "bytearray":
        return bytearray(value)
    elif isinstance(value, tuple) and isinstance(info, list) and isinstance(name, str):
        # Not typing's: this one checks that the fields are names and nothing else.
        return namedtuple(name, info)(*value)  # noqa: PYI024 # see above
    raise ValueError(f"the checkpoint holds {what_only_the_program_makes(name)}")


def what_only_the_program_makes(name: Any) -> str:
    """Return the words for a type that a document can't make, and what to do."""
    return (
        f"a {name!r:.80}, which only the program can make: put one where it belongs before the "
        f"restore"
    )


def replace_members(current: Any, value: Any) -> Any:
    """Return a container of ``current``'s own type with other members.

    Args:
        current: A tuple, named tuple, list, deque or mapping.
        value: A plain tuple, list or dict.

    Raises:
        ValueError: If the type does not take them.
    """
    cls = type(current)
    if cls in {tuple, list, dict}:
        return value
    try:
        if cls is deque:
            return deque(value, current.maxlen)
        if cls is defaultdict:
            return defaultdict(current.default_factory, value)
        if cls is Counter:
            return make("Counter", None, value)
        fields = getattr(cls, "_fields", None)
        if isinstance(current, tuple) and fields is not None:
            if len(fields) != len(value):
                raise ValueError(f"it has {len(fields)} fields, and {len(value)} were saved")
            return cls._make(value) if hasattr(cls, "_make") else cls(*value)
        if isinstance(current, Mapping) or isinstance(value, (list, tuple)):
            return cls(value)
    except (TypeError, ValueError) as exc:
        raise ValueError(
            f"a {cls.__name__} can't be made from what was saved: {text_of(exc)}"
        ) from exc
    raise ValueError(f"a {cls.__name__} can't be made from a {type(value).__name__}")
