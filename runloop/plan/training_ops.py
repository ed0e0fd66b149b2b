"""Which requests may make an op train or update: a hook's only by its name, an evaluation's never."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from runloop import nest
from runloop.graph import Graph
from runloop.graph.elements import InputValue, Op
from runloop.graph.handles import Operation
from runloop.plan.dependencies import Dependencies

__all__ = ["LeftOut", "check_evaluates", "left_out"]


class LeftOut(NamedTuple):
    """A hook's request that a run leaves out, since it would make an op train or update.

    Attributes:
        position: The position of the request in the fetches; the caller's own is at 0.
        fetch: The leaf of the request that depends on the op.
        op: The name of the op.
    """

    position: int
    fetch: Any
    op: str


def left_out(graph: Graph, fetches: Sequence[Any], feeds: Sequence[Any]) -> tuple[LeftOut, ...]:
    """Return the hooks' requests that a run leaves out: only a named op may train or update.

    The caller's request runs all that it depends on. A hook's request may use every op that the
    caller's depends on, and it runs an op that updates or trains if it names that op. If it depends
    on another op that updates or trains, through one of its outputs or further away, it is left
    out, unless another hook names that op.

    Args:
        graph: Where names are looked up.
        fetches: The caller's request, then the hooks'.
        feeds: The keys of the feed_dict, in its order.

    Raises:
        TypeError: If something can't be fetched or fed.
        ValueError: If a name is unknown.
    """
    needs = Dependencies(graph)
    requests = [nest.leaves(request) for request in fetches]
    targets = needs.targets([leaf for request in requests for leaf in request], feeds)
    if not any(op.mutates for op in graph.ops):
        return ()  # a bare callable does not update or train
    found = iter(targets)
    own, *others = [[(leaf, next(found)) for leaf in request] for request in requests]
    run = needs.mutating(needs.roots(target for _, target in own))
    wanted = dict(enumerate(others, 1))
    result: dict[int, LeftOut] = {}
    while True:
        leaves = [pair for request in wanted.values() for pair in request]
        named = [op for leaf, op in leaves if isinstance(op, Op) and _names_op(leaf, op)]
        allowed = run | needs.mutating(op for op in named if op.mutates and op in needs.roots([op]))
        causes = _causes(needs, needs.roots(target for _, target in leaves), allowed)
        dropped = [
            LeftOut(position, leaf, causes[root].name)
            for position, request in wanted.items()
            for leaf, target in request
            for root in needs.roots([target])
            if root in causes
        ]
        if not dropped:
            return tuple(result[position] for position in sorted(result))
        for request in dropped:
            result.setdefault(request.position, request)
            # What this hook named is not named any more, so look again.
            wanted.pop(request.position, None)


def check_evaluates(graph: Graph, fetches: Any, feeds: Sequence[Any]) -> None:
    """Check that a run of ``fetches`` changes nothing and takes nothing from an input.

    Raises:
        TypeError: If something can't be fetched or fed.
        ValueError: If a name is unknown, an op that updates or trains would run, or a needed input
            is not fed; names the op or the input.
    """
    needs = Dependencies(graph)
    leaves = nest.leaves(fetches)
    targets = needs.targets(leaves, feeds)
    roots = needs.roots(targets)
    if causes := _causes(needs, roots, set()):
        leaf, op = next(
            (leaf, causes[root])
            for leaf, target in zip(leaves, targets, strict=True)
            for root in needs.roots([target])
            if root in causes
        )
        raise ValueError(
            f"evaluate: {leaf!r} would run op {op.name!r}, which updates variables or "
            f"trains; call run() for that, or fetch something that does not depend on it"
        )
    names = (p.name for op in needs.closure(roots) for p in op.parameters)
    for element in (*targets, *map(graph.elements.get, names)):
        if isinstance(element, InputValue):
            name = element.source.names[element.member]
            if name not in needs.fed:
                raise ValueError(
                    f"evaluate: input {name!r} is not fed, and evaluating uses up no batch; "
                    f"feed it: evaluate(fetches, {{{name!r}: value}})"
                )


def _causes(needs: Dependencies, roots: list[Op], allowed: set[Op]) -> dict[Op, Op]:
    """Return each op that depends on one that may not run, with the latter; in linear time."""
    ops = needs.closure(roots)
    causes = {op: op for op in ops if op.mutates and op not in allowed}
    if causes:
        users: dict[Op, list[Op]] = {}
        for op in ops:
            for other in needs.needed(op):
                users.setdefault(other, []).append(op)
        queue = list(causes)
        for op in queue:
            for user in users.get(op, ()):
                if user not in causes:
                    causes[user] = causes[op]
                    queue.append(user)
    return causes


def _names_op(leaf: Any, op: Op) -> bool:
    """Return whether a leaf names the op itself, where its single output may have the same name."""
    return op.outputs != op.name or isinstance(leaf, (Op, Operation))
