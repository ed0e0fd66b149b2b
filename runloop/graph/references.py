"""Checks the references between ops: they exist, and they form no cycle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from runloop.graph.elements import Element, Op, Output, Variable
from runloop.messages import nearest

__all__ = ["check_cycles", "check_references"]


def check_references(elements: Mapping[str, Element], ops: Iterable[Op]) -> None:
    """Check that ``updates=`` names variables, ``after=`` names ops, and that there are no cycles.

    Raises:
        ValueError: If not; names the op, the reference and the nearest known names, or shows the
            cycle as a path.
    """
    for op in ops:
        for name in op.update_names:
            if not isinstance(elements.get(name), Variable):
                known = [n for n, e in elements.items() if isinstance(e, Variable)]
                raise ValueError(
                    f"op {op.name!r}: updates={name!r} is not a variable.{nearest(name, known)}"
                )
        for name in op.after:
            if not isinstance(elements.get(name), Op):
                known = [n for n, e in elements.items() if isinstance(e, Op)]
                raise ValueError(
                    f"op {op.name!r}: after={name!r} is not an op.{nearest(name, known)}"
                )
    check_cycles(elements, ops)


def _needed(elements: Mapping[str, Element], op: Op) -> Iterator[Op]:
    for name in (*(p.name for p in op.parameters), *op.after):
        found = elements.get(name)
        if isinstance(found, Op):
            yield found
        elif isinstance(found, Output):
            yield found.op


def check_cycles(elements: Mapping[str, Element], ops: Iterable[Op]) -> None:
    """Raise ``ValueError`` that shows the path if any of ``ops`` needs its own result."""
    done: set[Op] = set()
    for root in ops:
        # An explicit path instead of recursion: a chain may have thousands of ops.
        path = {} if root in done else {root: _needed(elements, root)}
        while path:
            op, rest = next(reversed(path.items()))
            for other in rest:
                if other in path:
                    names = [step.name for step in path]
                    loop = [*names[names.index(other.name) :], other.name]
                    raise ValueError(
                        f"ops depend on each other in a cycle: {' -> '.join(loop)} "
                        f"(each needs the next)"
                    )
                if other not in done:
                    path[other] = _needed(elements, other)
                    break
            else:
                done.add(op)
                del path[op]
