"""``tf.nest``: nested lists, tuples, named tuples and dictionaries, taken apart and put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = [
    "assert_same_structure",
    "flatten",
    "is_nested",
    "map_structure",
    "pack_sequence_as",
]


def is_nested(structure: Any) -> bool:
    """Return whether this is a list, tuple, named tuple or dictionary.

    Follows ``tf.nest.is_nested`` of TensorFlow 2.21.
    """
    return isinstance(structure, (list, tuple, Mapping))


def flatten(structure: Any, expand_composites: bool = False) -> list[Any]:
    """Return the leaves in order; a dictionary's values in the order of its sorted keys.

    Args:
        structure: A nesting, or a single leaf.
        expand_composites: For TensorFlow's signature; ignored.

    Raises:
        TypeError: If the keys of a dictionary can't be sorted.

    Follows ``tf.nest.flatten`` of TensorFlow 2.21.
    """
    del expand_composites
    return list(_leaves(structure))


def _leaves(structure: Any) -> Iterator[Any]:
    if is_nested(structure):
        for member in _members(structure):
            yield from _leaves(member)
    else:
        yield structure


def _members(structure: Any) -> list[Any]:
    if isinstance(structure, Mapping):
        return [structure[key] for key in sorted(structure)]
    return list(structure)


def pack_sequence_as(structure: Any, flat_sequence: Any, expand_composites: bool = False) -> Any:
    """Return a nesting like ``structure`` with the leaves of ``flat_sequence``.

    Args:
        structure: A nesting, or a single leaf.
        flat_sequence: As many leaves, in the order of :func:`flatten`.
        expand_composites: For TensorFlow's signature; ignored.

    Raises:
        TypeError: If ``flat_sequence`` is not a list or tuple.
        ValueError: If the numbers of leaves differ.

    Follows ``tf.nest.pack_sequence_as`` of TensorFlow 2.21.
    """
    del expand_composites
    if not isinstance(flat_sequence, (list, tuple)):
        raise TypeError(f"pack_sequence_as takes a list of leaves, got {flat_sequence!r:.80}")
    wanted = len(flatten(structure))
    if wanted != len(flat_sequence):
        raise ValueError(
            f"Could not pack sequence. Structure had {wanted} atoms, but flat_sequence had "
            f"{len(flat_sequence)} items.  Structure: {structure!r}, flat_sequence: "
            f"{flat_sequence!r}."
        )
    leaves = iter(flat_sequence)
    return _packed(structure, leaves)


def _packed(structure: Any, leaves: Iterator[Any]) -> Any:
    if not is_nested(structure):
        return next(leaves)
    if isinstance(structure, Mapping):
        packed = {key: _packed(structure[key], leaves) for key in sorted(structure)}
        kind: Any = type(structure)
        return kind((key, packed[key]) for key in structure)
    members = [_packed(member, leaves) for member in structure]
    return type(structure)(*members) if hasattr(structure, "_fields") else type(structure)(members)


def assert_same_structure(
    nest1: Any, nest2: Any, check_types: bool = True, expand_composites: bool = False
) -> None:
    """Check that two nestings have the same structure; leaves may differ.

    Args:
        nest1: A nesting, or a single leaf.
        nest2: Another one.
        check_types: Whether a list and a tuple count as different.
        expand_composites: For TensorFlow's signature; ignored.

    Raises:
        TypeError: If the types of two nestings differ.
        ValueError: If their sizes or keys differ, or one of them is a leaf.

    Follows ``tf.nest.assert_same_structure`` of TensorFlow 2.21 with runloop's own words.
    """
    del expand_composites
    where = f"the two structures differ: {nest1!r:.200} and {nest2!r:.200}"
    if is_nested(nest1) != is_nested(nest2):
        raise ValueError(where)
    if not is_nested(nest1):
        return
    both_mappings = isinstance(nest1, Mapping) and isinstance(nest2, Mapping)
    if check_types and type(nest1) is not type(nest2) and not both_mappings:
        raise TypeError(f"{where}: {type(nest1).__name__} and {type(nest2).__name__}")
    if len(nest1) != len(nest2) or (both_mappings and set(nest1) != set(nest2)):
        raise ValueError(where)
    for one, other in zip(_members(nest1), _members(nest2), strict=True):
        assert_same_structure(one, other, check_types)


def map_structure(func: Callable[..., Any], *structure: Any, **kwargs: Any) -> Any:
    """Return a nesting with ``func`` of the leaves at the same place of all ``structure``.

    Args:
        func: Called with one leaf of each structure.
        *structure: Nestings of the same structure.
        **kwargs: ``check_types``, as in :func:`assert_same_structure`; ``expand_composites`` is
            ignored.

    Raises:
        TypeError: If ``func`` can't be called, or the types of the structures differ.
        ValueError: If no structure is given, or the structures differ.

    Follows ``tf.nest.map_structure`` of TensorFlow 2.21.
    """
    if not callable(func):
        raise TypeError(f"func must be callable, got: {func!r}")
    if not structure:
        raise ValueError("Must provide at least one structure")
    for other in structure[1:]:
        assert_same_structure(structure[0], other, kwargs.get("check_types", True))
    rows = zip(*map(flatten, structure), strict=True)
    return pack_sequence_as(structure[0], [func(*row) for row in rows])
