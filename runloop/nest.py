"""Nested structures of fetches: lists, tuples, named tuples, mappings and dataclasses.

Anything else is a leaf. :func:`packer` builds a result in the structure of the request, with the
same types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeAlias

__all__ = [
    "Leaf",
    "Packer",
    "children",
    "is_atom",
    "key",
    "leaves",
    "never_changes",
    "packer",
    "rebuild",
]

_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)

Packer: TypeAlias = Callable[[Sequence[Any], Any], Any]


class Leaf:
    """Base of objects that are leaves, and equal only to themselves."""


def _field_names(structure: Any) -> list[str] | None:
    """Return the names of a dataclass instance's fields, or ``None`` if it is not one."""
    if not hasattr(type(structure), "__dataclass_fields__"):
        return None
    import dataclasses  # already imported if there is an instance

    return [field.name for field in dataclasses.fields(structure)]


def children(structure: Any) -> list[Any] | None:
    """Return the members of a list, tuple, mapping or dataclass in order; ``None`` for a leaf."""
    if isinstance(structure, (list, tuple)):
        return list(structure)
    if isinstance(structure, Mapping):
        return list(structure.values())
    if isinstance(structure, Leaf):
        return None
    names = _field_names(structure)
    return None if names is None else [getattr(structure, name) for name in names]


def leaves(structure: Any) -> list[Any]:
    """Return all leaves, depth first, in order."""
    found = children(structure)
    if found is None:
        return [structure]
    return [leaf for child in found for leaf in leaves(child)]


def rebuild(structure: Any, values: Sequence[Any]) -> Any:
    """Return a structure of the type and keys of ``structure`` with other members.

    Args:
        structure: A list, tuple, named tuple, mapping or dataclass instance (not changed).
        values: As many members as :func:`children` returns.

    Subclasses are kept: a ``defaultdict`` keeps its factory, a frozen dataclass stays frozen.
    """
    kind = type(structure)
    if kind is list:
        return list(values)
    if kind is tuple:
        return tuple(values)
    if kind is dict:
        return dict(zip(structure, values, strict=True))
    if isinstance(structure, tuple):
        make = getattr(kind, "_make", kind)  # a named tuple's constructor takes members one by one
        return make(values)
    import copy  # needed only for these kinds

    if isinstance(structure, list):
        result: Any = copy.copy(structure)
        result[:] = values
        return result
    if isinstance(structure, dict):
        result = copy.copy(structure)
        for name, value in zip(structure, values, strict=True):
            result[name] = value
        return result
    if isinstance(structure, Mapping):
        make = kind
        return make(dict(zip(structure, values, strict=True)))
    result = copy.copy(structure)
    for name, value in zip(_field_names(structure) or (), values, strict=True):
        object.__setattr__(result, name, value)  # works for frozen dataclasses too
    return result


def is_atom(structure: Any) -> bool:
    """Return whether it is an immutable leaf, which is its own :func:`key`."""
    kind = type(structure)
    return kind is str or issubclass(kind, (Leaf, *_FUNCTIONS))


def never_changes(structure: Any) -> bool:
    """Return whether it is an atom or a tuple of such: the same object is always the same fetch."""
    return is_atom(structure) or (type(structure) is tuple and all(map(never_changes, structure)))


def key(structure: Any) -> Any:
    """Return a hashable that tells this structure from others: equal keys mean equal shape, types and leaves.

    Strings, functions and :class:`Leaf` objects are their own keys. Other leaves are known by their
    ``id``, so the owner of a key must keep them alive.
    """
    if is_atom(structure):
        return structure
    kind = type(structure)
    if kind is list or kind is tuple:
        return (kind, *map(key, structure))
    if kind is dict:
        return (dict, tuple(structure), *map(key, structure.values()))
    members = children(structure)
    if members is None:
        return (kind, id(structure))
    names = tuple(structure) if isinstance(structure, Mapping) else ()
    return (kind, names, *map(key, members))


def packer(structure: Any, slot: Callable[[Any], int]) -> Packer:
    """Compile ``structure`` into a function that builds a result from a list of values.

    Args:
        structure: A nested structure.
        slot: Called once for each leaf, in order; returns the leaf's index in the values.

    Returns:
        ``pack(values, structure)``. The caller passes the structure again: what is not part of
        :func:`key` (a ``defaultdict``'s factory) is taken from there.
    """
    members = children(structure)
    if members is None:
        place = slot(structure)
        return lambda values, _: values[place]
    kind = type(structure)
    if kind in {list, tuple} and members and all(children(m) is None for m in members):
        places = [slot(member) for member in members]
        if len(places) == 1:
            place = places[0]
            if kind is list:
                return lambda values, _: [values[place]]
            return lambda values, _: (values[place],)
        if len(places) == 2 and kind is list:  # the caller's fetch and one hook's
            first, second = places
            return lambda values, _: [values[first], values[second]]
        pick = itemgetter(*places)
        if kind is list:
            return lambda values, _: list(pick(values))
        return lambda values, _: pick(values)
    packers = [packer(member, slot) for member in members]
    if kind is list:
        return lambda values, now: [p(values, m) for p, m in zip(packers, now, strict=True)]
    return lambda values, now: rebuild(
        now, [p(values, m) for p, m in zip(packers, children(now) or (), strict=True)]
    )
