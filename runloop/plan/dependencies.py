"""What a request depends on: which op provides each value, and the order in which ops run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from runloop import nest
from runloop.graph import Graph
from runloop.graph.elements import AttachedLeaf, Element, Op, Output
from runloop.plan.lookup import Lookup

__all__ = ["Dependencies", "output_name"]


class Dependencies:
    """The dependencies of one request.

    Args:
        graph: Where names are looked up.

    Attributes:
        fed: The names that are fed, once :meth:`targets` has read the feeds.
    """

    def __init__(self, graph: Graph) -> None:
        self._elements = graph.elements
        self._lookup = Lookup(graph)
        self.fed = self._lookup.fed
        self._needed: dict[Op, list[Op]] = {}

    def targets(
        self, leaves: Sequence[Any], feeds: Sequence[Any]
    ) -> list[Element | AttachedLeaf | str]:
        """Read the feeds, then return what each leaf refers to."""
        bare = [leaf for leaf in leaves if not isinstance(leaf, (str, nest.Leaf))]
        bare_ops = [op for op in map(self._bare_op, bare) if op is not None]
        self._lookup.read_feeds(feeds, bare_ops)
        return [self._lookup.find(leaf) for leaf in leaves]

    def _bare_op(self, leaf: Any) -> Op | None:
        found = (
            None if leaf is None or hasattr(leaf, "_as_graph_element") else self._lookup.find(leaf)
        )
        return found if isinstance(found, Op) else None

    def _target_op(self, target: Element | AttachedLeaf | str) -> Op | None:
        if isinstance(target, Output):
            name = output_name(target)
            return None if name in self.fed or target.op.name in self.fed else target.op
        if isinstance(target, Op):
            return None if target.graph is not None and target.name in self.fed else target
        return None

    def _provider(self, name: str) -> Op | None:
        """Return the op that must run to provide ``name``, if any."""
        if name in self.fed:
            return None
        found = self._elements.get(name)
        op = found.op if isinstance(found, Output) else found
        return op if isinstance(op, Op) and op.name not in self.fed else None

    def needed(self, op: Op) -> list[Op]:
        """Return the ops that must run right before ``op``; looked up once."""
        known = self._needed.get(op)
        if known is None:
            names = [*(p.name for p in op.parameters), *op.after]
            known = [found for found in map(self._provider, names) if found is not None]
            self._needed[op] = known
        return known

    def order(self, roots: list[Op]) -> list[Op]:
        """Return the ops to run: each after the ops it needs, readers first, then as fetched."""
        found: dict[Op, int] = {}
        needs: dict[Op, set[Op]] = {}
        users: dict[Op, list[Op]] = {}
        for root in roots:
            stack = [root]
            while stack:
                op = stack.pop()
                if op in found:
                    continue
                found[op] = len(found)
                needed = self.needed(op)
                needs[op] = set(needed)
                for other in needs[op]:
                    users.setdefault(other, []).append(op)
                stack.extend(reversed(needed))
        ready = [(op.mutates, rank, op) for op, rank in found.items() if not needs[op]]
        import heapq  # imported with the first plan, not with runloop

        heapq.heapify(ready)
        ordered = []
        while ready:
            _, _, op = heapq.heappop(ready)
            ordered.append(op)
            for user in users.get(op, ()):
                needs[user].discard(op)
                if not needs[user]:
                    heapq.heappush(ready, (user.mutates, found[user], user))
        return ordered  # complete, since references were checked for cycles before

    def closure(self, roots: Iterable[Op]) -> dict[Op, None]:
        """Return ``roots`` and all ops that they depend on."""
        found: dict[Op, None] = {}
        stack = list(roots)
        while stack:
            op = stack.pop()
            if op not in found:
                found[op] = None
                stack.extend(self.needed(op))
        return found

    def roots(self, targets: Iterable[Element | AttachedLeaf | str]) -> list[Op]:
        """Return the ops that must run for ``targets`` themselves."""
        return [op for op in map(self._target_op, targets) if op is not None]

    def mutating(self, roots: Iterable[Op]) -> set[Op]:
        """Return the ops that update or train among ``roots`` and what they depend on."""
        return {op for op in self.closure(roots) if op.mutates}


def output_name(output: Output) -> str:
    """Return the name of an op's output."""
    return output.op.member_names[-1 if output.member is None else output.member]
