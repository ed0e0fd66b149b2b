"""The steps of a plan: functions that call an op, store a feed, copy a value or pull an input.

Each is built once per plan, with its slots filled in. A run then calls it without looking anything
up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from runloop.graph.elements import AttachedLeaf, Input, Op, Variable
from runloop.plan.arrays import copy_array, read_only
from runloop.plan.values import SessionValues
from runloop.state import read_leaf

__all__ = [
    "Prepare",
    "caller",
    "copy",
    "copy_leaf",
    "feed",
    "feed_members",
    "pull",
    "unpacker",
]

Prepare: TypeAlias = Callable[[SessionValues, list[Any], Iterable[Any]], None]


def caller(fn: Callable[..., Any], slots: Sequence[int]) -> Callable[[list[Any]], Any]:
    """Return a function of a list that calls ``fn`` with the list's members at ``slots``."""
    # Spelled out for up to two arguments: building a tuple and unpacking it costs 40 to 70 ns.
    if not slots:
        return lambda _: fn()
    if len(slots) == 1:
        (first,) = slots
        return lambda values: fn(values[first])
    if len(slots) == 2:
        first, second = slots
        return lambda values: fn(values[first], values[second])
    arguments = itemgetter(*slots)
    return lambda values: fn(*arguments(values))


def feed(slots: Sequence[tuple[int, Variable | None]]) -> Prepare:
    """Return a function that stores fed values in their slots; those for variables are checked."""

    def ready(store: SessionValues, values: list[Any], feed_values: Iterable[Any]) -> None:
        for (slot, variable), value in zip(slots, feed_values, strict=True):
            if variable is not None:  # a fed variable is as read-only as the session's own
                value = read_only(store.checked(variable, value, "the feed"))  # noqa: PLW2901
            values[slot] = value

    return ready


def feed_members(op: Op, origin: int, start: int) -> Prepare:
    """Return a function that stores the members of a fed value in their slots.

    The value of an op with updates and outputs is that of its outputs, also where it is fed.
    """
    skipped = len(op.update_names) if op.has_both else 0
    names = op.member_names[skipped:]
    members = slice(start + skipped, start + skipped + len(names))
    bare = op.has_both and isinstance(op.outputs, str)

    def ready(_: SessionValues, values: list[Any], __: Iterable[Any]) -> None:
        value = (values[origin],) if bare else values[origin]
        values[members] = _checked_members(op, value, len(names))

    return ready


def copy(slot: int, origin: int) -> Prepare:
    """Return a function that copies a fetched variable: the copy is the caller's to keep."""

    def ready(_: SessionValues, values: list[Any], __: Iterable[Any]) -> None:
        values[slot] = copy_array(values[origin])

    return ready


def copy_leaf(slot: int, leaf: AttachedLeaf) -> Prepare:
    """Return a function that copies a fetched array of attached state."""

    def ready(_: SessionValues, values: list[Any], __: Iterable[Any]) -> None:
        values[slot] = copy_array(read_leaf(leaf.name, leaf.obj, leaf.path))

    return ready


def pull(source: Input, members: slice) -> Prepare:
    """Return a function that pulls an input and stores its members in their slots."""

    def ready(store: SessionValues, values: list[Any], _: Iterable[Any]) -> None:
        values[members] = store.pull(source)

    return ready


def unpacker(op: Op, start: int) -> Callable[[list[Any], Any], Any]:
    """Return a function of the values and an op's result that stores the result's members.

    It returns the value that the op has for others: the whole result, of an op with updates and
    outputs that of the outputs.

    Raises:
        ValueError: If the result is not a tuple with one member per name.
    """
    count = len(op.member_names)
    members = slice(start, start + count)

    def unpack(values: list[Any], result: Any) -> Any:
        values[members] = _checked_members(op, result, count)
        return result

    def unpack_both(values: list[Any], result: Any) -> Any:
        values[members] = _checked_members(op, result, count)
        return result[-1] if isinstance(op.outputs, str) else tuple(result[len(op.update_names) :])

    return unpack_both if op.has_both else unpack


def _checked_members(op: Op, result: Any, count: int) -> Sequence[Any]:
    """Return ``result`` if it is a tuple with ``count`` members.

    Raises:
        ValueError: If it is not; names the op and what it returned.
    """
    if isinstance(result, (tuple, list)) and len(result) == count:
        return result
    got = f"{len(result)} members" if isinstance(result, (tuple, list)) else repr(type(result))
    if op.has_both and count == len(op.member_names):
        raise ValueError(
            f"op {op.name!r}: updates={op.updates!r} and outputs={op.outputs!r} ask for one flat "
            f"tuple of {count}, ({', '.join(op.member_names)}); it returned {got}"
        )
    option, names = ("updates", op.updates) if op.outputs is None else ("outputs", op.outputs)
    raise ValueError(
        f"op {op.name!r}: {option}={names!r} asks for a tuple of {count}, it returned {got}; "
        f"a bare value goes with a single string: {option}='name'"
    )
