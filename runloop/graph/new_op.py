"""Making an op: its names are checked, and nothing is added to the graph here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from runloop.graph.elements import GLOBAL_STEP, Element, Op, Output

__all__ = ["new_op"]


def new_op(
    graph: Any,
    fn: Callable[..., Any],
    name: str | None,
    outputs: Iterable[str] | str | None,
    updates: Iterable[str] | str | None,
    after: Iterable[str | Op] | str | Op,
    increment: int | None,
) -> tuple[Op, dict[str, Element]]:
    """Make an op of ``graph``; the parameters are those of ``Graph.op`` and ``Graph.train_op``.

    Returns:
        The op, and the elements that it brings into the graph: itself and its outputs, by name.

    Raises:
        TypeError: If ``fn`` can't be called, or a name is not a string.
        ValueError: If a name is missing or a duplicate, or a train op would set ``global_step``
            itself.
    """
    if not callable(fn):
        raise TypeError(f"an op must be callable, got {fn!r}")
    name = name if name is not None else getattr(fn, "__name__", None)
    if name is None or name == "<lambda>":
        raise ValueError(f"{fn!r} has no name to use for the op: pass one with name=...")
    op = Op(
        graph,
        name,
        fn,
        outputs=_names(name, "outputs", outputs),
        updates=_names(name, "updates", updates),
        after=_op_names(graph, name, after),
        increment=increment,
    )
    elements = _elements(op)
    if increment is not None:
        _check_step(op, elements)
    return op, elements


def _elements(op: Op) -> dict[str, Element]:
    elements: dict[str, Element] = {op.name: op}
    for name in op.update_names:
        if name in op.member_names[len(op.update_names) :]:
            raise ValueError(f"op {op.name!r}: {name!r} is in both updates= and outputs=")
    if isinstance(op.outputs, str):
        if op.outputs != op.name:  # else the name of the op is the name of its value
            elements[op.outputs] = Output(op, None)
        return elements
    for index, output in enumerate(op.outputs or (), len(op.update_names)):
        if output in elements:
            raise ValueError(f"op {op.name!r}: an output can't have the name of its op")
        elements[output] = Output(op, index)
    return elements


def _names(op: str, option: str, given: Iterable[str] | str | None) -> tuple[str, ...] | str | None:
    if given is None or isinstance(given, str):
        return given
    names = tuple(given) if isinstance(given, Iterable) else (given,)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"op {op!r}: {option}= takes a name or a tuple of names, got {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"op {op!r}: duplicate name in {option}={names}")
    return names


def _op_names(graph: Any, name: str, after: Iterable[str | Op] | str | Op) -> tuple[str, ...]:
    ops = after if isinstance(after, Iterable) and not isinstance(after, str) else (after,)
    for other in ops:
        if not isinstance(other, (str, Op)):
            raise TypeError(f"op {name!r}: after= takes ops or their names, got {other!r}")
        if isinstance(other, Op) and other.graph is not graph:
            raise ValueError(f"op {name!r}: after={other!r} belongs to another graph")
    return tuple(other.name if isinstance(other, Op) else other for other in ops)


def _check_step(op: Op, elements: dict[str, Element]) -> None:
    if GLOBAL_STEP in op.update_names:
        raise ValueError(
            f"op {op.name!r} updates 'global_step', which a train op raises by itself: "
            f"take it out of updates=, or make it a plain op"
        )
    if GLOBAL_STEP in elements:
        raise ValueError(
            f"train op {op.name!r}: neither it nor an output can be called 'global_step': "
            f"that is the variable which it raises"
        )
