"""From names to a plan: who provides what, and in which order the ops run."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from runloop import nest
from runloop import plan as kept
from runloop.elements import (
    REQUIRED,
    Attached,
    AttachedLeaf,
    Element,
    Input,
    InputValue,
    Op,
    Output,
    Variable,
)
from runloop.graph import GLOBAL_STEP, Graph
from runloop.naming import nearest
from runloop.plan import Commit, Plan, Prepare, Step
from runloop.references import check_cycles, check_references

__all__ = ["check_fetches", "make_plan"]


def make_plan(graph: Graph, fetches: Any, feeds: Sequence[Any]) -> Plan:
    """Make the plan of a run.

    Args:
        graph: Where names are looked up.
        fetches: A nested structure of names, variables, ops and bare callables.
        feeds: The keys of the feed_dict, in its order.

    Raises:
        TypeError: If a leaf of ``fetches`` or a feed is of a kind that can't be one.
        ValueError: If a name is not known, a parameter is provided by nothing, two ops update
            one variable, or ops depend on each other in a cycle.
    """
    if not graph.finalized:
        check_references(graph.elements, graph.ops)
    return _Planner(graph).plan(fetches, feeds)


def check_fetches(graph: Graph, fetches: Any) -> None:
    """Raise what :func:`make_plan` would for a leaf of ``fetches`` that names nothing."""
    planner = _Planner(graph)
    parameters = (p.name for op in graph.ops for p in op.parameters)
    planner.fed = dict.fromkeys(parameters, 0)  # what may be fed may be fetched, too
    for leaf in nest.leaves(fetches):
        planner.find(leaf)


class _Planner:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.elements = graph.elements
        self.variables = {variable.name: variable for variable in graph.variables}
        self.bare: dict[Any, Op] = {}
        self.fed: dict[str, int] = {}  # name -> place in the feed_dict
        self.slots: dict[Any, int] = {}
        self.blank: list[Any] = []
        self.reads: list[Variable] = []

    # -- names ----------------------------------------------------------------------------------

    def find(self, fetch: Any) -> Element | AttachedLeaf | str:
        """Return what a leaf of the fetches means; a bare string is the name of a feed."""
        if isinstance(fetch, (Variable, Op)):
            if fetch.graph is not self.graph:
                raise ValueError(f"{fetch!r} belongs to another graph than this session's")
            return fetch
        if isinstance(fetch, str):
            return self.find_name(fetch)
        if hasattr(fetch, "_as_graph_element"):
            return self.find(fetch._as_graph_element())  # noqa: SLF001  # the protocol's name
        if callable(fetch):
            key = nest.key(fetch)
            if key not in self.bare:
                name = getattr(fetch, "__name__", type(fetch).__name__)
                self.bare[key] = Op(None, name, fetch)
            return self.bare[key]
        raise TypeError(
            f"{fetch!r} can't be fetched: a fetch is a name, a Variable, an Op, a callable, or a "
            f"list, tuple, dict or dataclass of these, got {type(fetch).__name__}"
        )

    def find_name(self, name: str) -> Element | AttachedLeaf | str:
        plain = _plain(name)
        for candidate in (name, plain):
            if candidate in self.elements:
                return self.elements[candidate]
            if candidate in self.fed:
                return candidate
        for end in (i for i in range(len(name) - 1, 0, -1) if name[i] == "/"):
            if name[:end] in self.graph.attached:
                return AttachedLeaf(name[:end], self.graph.attached[name[:end]], name[end + 1 :])
        raise ValueError(
            f"nothing is called {name!r}: a fetch is the name of an op, an output, a variable, an "
            f"input or attached state.{nearest(plain, self.elements)}"
        )

    def read_feeds(self, feeds: Sequence[Any], ops: list[Op]) -> None:
        parameters = {p.name for op in (*self.graph.ops, *ops) for p in op.parameters}
        for place, key in enumerate(feeds):
            while hasattr(key, "_as_graph_element"):
                key = key._as_graph_element()  # noqa: PLW2901, SLF001  # as for fetches
            if isinstance(key, (Variable, Op)):
                self.find(key)  # is it this graph's?
                name = key.name
            elif isinstance(key, str):
                known = parameters | set(self.elements)
                name = key if key in known else _plain(key)
                if name not in known:
                    leaf = any(name.startswith(f"{a}/") for a in self.graph.attached)
                    hint = (
                        " One leaf of attached state can't be fed; feed the whole."
                        if leaf
                        else nearest(name, known)
                    )
                    raise ValueError(f"nothing takes a feed called {key!r}.{hint}")
            else:
                raise TypeError(
                    f"the key of a feed must be a name, a Variable or an Op, got {key!r}"
                )
            if name in self.fed:
                raise ValueError(f"{name!r} is fed twice, by {feeds[self.fed[name]]!r} and {key!r}")
            self.fed[name] = place

    # -- order ----------------------------------------------------------------------------------

    def provider(self, name: str) -> Op | None:
        """Return the op that must run for ``name``, if any."""
        if name in self.fed:
            return None
        found = self.elements.get(name)
        op = found.op if isinstance(found, Output) else found
        return op if isinstance(op, Op) and op.name not in self.fed else None

    def needed(self, op: Op) -> list[Op]:
        names = [*(p.name for p in op.parameters), *op.after]
        return [found for found in map(self.provider, names) if found is not None]

    def order(self, roots: list[Op]) -> list[Op]:
        """Return all ops that must run: after what they need, readers first, then as fetched."""
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
        heapq.heapify(ready)
        ordered = []
        while ready:
            _, _, op = heapq.heappop(ready)
            ordered.append(op)
            for user in users.get(op, ()):
                needs[user].discard(op)
                if not needs[user]:
                    heapq.heappush(ready, (user.mutates, found[user], user))
        if len(ordered) < len(found):
            check_cycles(self.elements, found)
        return ordered

    # -- slots ----------------------------------------------------------------------------------

    def new_slots(self, *values: Any) -> int:
        self.blank.extend(values)
        return len(self.reads) + len(self.blank) - len(values)

    def slot_of(self, key: Any, make: Callable[[], int]) -> int:
        if key not in self.slots:
            self.slots[key] = make()
        return self.slots[key]

    def named_slot(self, name: str) -> int:
        if name in self.fed:
            return self.slots["feed", name]
        return self.element_slot(self.elements[name])

    def element_slot(self, element: Element) -> int:
        if isinstance(element, Variable):
            return self.slots[element]
        if isinstance(element, Op):
            if element.name in self.fed:
                return self.slots["feed", element.name]
            return self.slots[element]
        if isinstance(element, Output):
            whole = self.element_slot(element.op)
            return whole if element.member is None else self.members(element.op) + element.member
        if isinstance(element, InputValue):
            return self.pull(element.source) + element.member
        return self.slot_of(("attached", element.name), lambda: self.new_slots(element.obj))

    def members(self, op: Op) -> int:
        names = op.member_names
        return self.slot_of(("members", op), lambda: self.new_slots(*[None] * len(names)))

    def pull(self, source: Input) -> int:
        return self.slot_of(source, lambda: self.new_slots(*[None] * len(source.names)))

    def argument(self, op: Op, name: str, default: Any) -> int:
        if name in self.fed or name in self.elements:
            return self.named_slot(name)
        if default is REQUIRED:
            raise ValueError(
                f"op {op.name!r}: nothing provides its parameter {name!r}: no op, output, "
                f"variable, input or attached state has this name, and it is not fed. Feed it "
                f"({{{name!r}: value}}) or define it.{nearest(name, self.elements)}"
            )
        return self.slot_of(("default", op, name), lambda: self.new_slots(default))

    # -- the plan -------------------------------------------------------------------------------

    def plan(self, fetches: Any, feeds: Sequence[Any]) -> Plan:
        leaves = nest.leaves(fetches)
        bare = [leaf for leaf in leaves if not isinstance(leaf, (str, nest.Leaf))]
        bare_ops = [op for op in map(self._bare_op, bare) if op is not None]
        self.read_feeds(feeds, bare_ops)
        targets = [self.find(leaf) for leaf in leaves]
        order = self.order([op for op in map(self._target_op, targets) if op is not None])
        self._read_variables(order, targets)
        for name in self.fed:
            self.slots["feed", name] = self.new_slots(None)
        for op in order:
            self.slots[op] = self.new_slots(None)
        steps = tuple(self._step(op) for op in order)
        commits = tuple(self._commits(order))
        copies: list[Prepare] = []
        places = [self._target_slot(target, copies) for target in targets]
        fixed = {self.slots.get(self.elements.get(GLOBAL_STEP), -1)}  # an np.int64 as it is
        place = iter(places)
        return Plan(
            read=kept.getter([variable.index for variable in self.reads]),
            reads_many=len(self.reads) > 1,
            blank=self.blank,
            prepare=(*self._feeds(), *copies, *self._pulls()),
            steps=steps,
            needs=tuple(tuple(other.name for other in self.needed(op)) for op in order),
            commits=commits,
            increment=sum(op.increment or 0 for op in order),
            shown=tuple(sorted(set(places) - fixed)),
            pack=nest.packer(fetches, lambda _: next(place)),
            kept=tuple(leaves),
        )

    def _bare_op(self, leaf: Any) -> Op | None:
        found = None if leaf is None or hasattr(leaf, "_as_graph_element") else self.find(leaf)
        return found if isinstance(found, Op) else None

    def _target_op(self, target: Element | AttachedLeaf | str) -> Op | None:
        if isinstance(target, Output):
            name = self._output_name(target)
            return None if name in self.fed or target.op.name in self.fed else target.op
        if isinstance(target, Op):
            return None if target.graph is not None and target.name in self.fed else target
        return None

    def _output_name(self, output: Output) -> str:
        return output.op.member_names[output.member or 0]

    def _read_variables(self, order: list[Op], targets: list[Element | AttachedLeaf | str]) -> None:
        names = (p.name for op in order for p in op.parameters)
        wanted = [self.elements.get(name) for name in names]
        for element in (*wanted, *targets):
            if (
                isinstance(element, Variable)
                and element.name not in self.fed
                and element not in self.slots
            ):
                self.slots[element] = len(self.reads)
                self.reads.append(element)

    def _step(self, op: Op) -> Step:
        slots = [self.argument(op, p.name, p.default) for p in op.parameters]
        members = None
        if op.many:
            start = self.members(op)
            members = slice(start, start + len(op.member_names))
        return Step(_caller(op), kept.getter(slots), self.slots[op], members, op)

    def _commits(self, order: list[Op]) -> Iterator[Commit]:
        by: dict[str, Op] = {}
        for op in order:
            if op.increment is not None:
                by[GLOBAL_STEP] = op
        for op in order:
            for index, name in enumerate(op.update_names):
                if name in by:
                    raise ValueError(
                        f"ops {by[name].name!r} and {op.name!r} both update {name!r} in one run: "
                        f"fetch one of them, or make one op of both"
                    )
                by[name] = op
                slot = self.members(op) + index if op.many else self.slots[op]
                variable = self.variables[name]
                yield Commit(variable, slot, f"the update by op {op.name!r}")

    def _target_slot(self, target: Element | AttachedLeaf | str, copies: list[Prepare]) -> int:
        if isinstance(target, str):
            return self.slots["feed", target]
        if isinstance(target, AttachedLeaf):
            slot = self.new_slots(None)
            copies.append(kept.copy_leaf(slot, target))
            return slot
        if isinstance(target, (Variable, Attached)) and target.name in self.fed:
            return self.slots["feed", target.name]
        if isinstance(target, Variable):
            if target.name == GLOBAL_STEP:
                return self.slots[target]
            slot = self.new_slots(None)
            copies.append(kept.copy(slot, self.slots[target]))
            return slot
        if isinstance(target, Output) and self._output_name(target) in self.fed:
            return self.slots["feed", self._output_name(target)]
        if isinstance(target, InputValue) and target.source.names[target.member] in self.fed:
            return self.slots["feed", target.source.names[target.member]]
        if isinstance(target, Op) and target.updates is not None and target.name not in self.fed:
            return self.slot_of("none", lambda: self.new_slots(None))
        if isinstance(target, Op) and target.graph is None:
            return self.slots[target]
        return self.element_slot(target)

    def _feeds(self) -> Iterator[Prepare]:
        if self.fed:
            yield kept.feed([(self.slots["feed", n], self.variables.get(n)) for n in self.fed])
        for name in self.fed:
            op = self.elements.get(name)
            if isinstance(op, Op) and ("members", op) in self.slots:
                members = slice(self.members(op), self.members(op) + len(op.member_names))
                yield kept.feed_members(op, self.slots["feed", name], members)

    def _pulls(self) -> Iterator[Prepare]:
        for source, slot in self.slots.items():
            if isinstance(source, Input):
                yield kept.pull(source, slice(slot, slot + len(source.names)))


def _plain(name: str) -> str:
    """Return ``name`` without the ``:0`` that TensorFlow's tensor names end in."""
    return name.removesuffix(":0")


def _caller(op: Op) -> Callable[..., Any]:
    """Return a function that takes all of the op's arguments by position."""
    fn, names = op.fn, [p.name for p in op.parameters if p.keyword_only]
    if not names:
        return fn
    count = len(op.parameters) - len(names)
    return lambda *args: fn(*args[:count], **dict(zip(names, args[count:], strict=True)))
