"""From names to a plan: the slot of each value, and what is done in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from runloop import nest
from runloop.graph import GLOBAL_STEP, Graph
from runloop.graph.elements import (
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
from runloop.graph.references import check_references
from runloop.messages import nearest
from runloop.plan import prepare
from runloop.plan.dependencies import Dependencies, output_name
from runloop.plan.plan import Commit, Plan, Step
from runloop.plan.prepare import Prepare

__all__ = ["make_plan"]


def make_plan(graph: Graph, fetches: Any, feeds: Sequence[Any]) -> Plan:
    """Make the plan of a run.

    Args:
        graph: Where names are looked up.
        fetches: A nested structure of names, variables, ops and bare callables.
        feeds: The keys of the feed_dict, in its order.

    Raises:
        TypeError: If a leaf of ``fetches`` can't be fetched, or a feed can't be fed.
        ValueError: If a name is unknown, nothing provides a parameter, two ops update one
            variable, or ops depend on each other in a cycle.
    """
    if not graph.finalized:
        check_references(graph.elements, graph.ops)
    return _Planner(graph).plan(fetches, feeds)


class _Planner:
    def __init__(self, graph: Graph) -> None:
        self.dependencies = Dependencies(graph)
        self.elements = graph.elements
        self.fed = self.dependencies.fed
        self.variables = {variable.name: variable for variable in graph.variables}
        self.slots: dict[Any, int] = {}
        self.blank: list[Any] = []
        self.reads: list[Variable] = []

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
        targets = self.dependencies.targets(leaves, feeds)
        order = self.dependencies.order(self.dependencies.roots(targets))
        self._read_variables(order, targets)
        for name in self.fed:
            self.slots["feed", name] = self.new_slots(None)
        for op in order:
            self.slots[op] = self.new_slots(None)
        steps = tuple(self._step(op) for op in order)
        commits = tuple(self._commits(order))
        copies: list[Prepare] = []
        places = [self._target_slot(target, copies) for target in targets]
        fixed = {
            self.slots.get(self.variables.get(GLOBAL_STEP), -1)
        }  # already a scalar: an np.int64
        place = iter(places)
        return Plan(
            reads=[variable.index for variable in self.reads],
            blank=[None] * len(self.reads) + self.blank,
            prepare=(*self._feeds(), *copies, *self._pulls()),
            steps=steps,
            needs=tuple(
                tuple(other.name for other in self.dependencies.needed(op)) for op in order
            ),
            commits=commits,
            increment=sum(op.increment or 0 for op in order),
            shown=tuple(sorted(set(places) - fixed)),
            pack=nest.packer(fetches, lambda _: next(place)),
            kept=tuple(leaves),
            variables=frozenset([*(v.name for v in self.reads), *self.variables.keys() & self.fed]),
        )

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
        unpack = prepare.unpacker(op, self.members(op)) if op.many else None
        return Step(prepare.caller(_by_position(op), slots), self.slots[op], unpack, op)

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
                        f"fetch one of them, or merge them into one op"
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
            copies.append(prepare.copy_leaf(slot, target))
            return slot
        if isinstance(target, (Variable, Attached)) and target.name in self.fed:
            return self.slots["feed", target.name]
        if isinstance(target, Variable):
            if target.name == GLOBAL_STEP:
                return self.slots[target]
            slot = self.new_slots(None)
            copies.append(prepare.copy(slot, self.slots[target]))
            return slot
        if isinstance(target, Output) and output_name(target) in self.fed:
            return self.slots["feed", output_name(target)]
        if isinstance(target, InputValue) and target.source.names[target.member] in self.fed:
            return self.slots["feed", target.source.names[target.member]]
        if isinstance(target, Op) and target.is_silent and target.name not in self.fed:
            return self.slot_of("none", lambda: self.new_slots(None))
        if isinstance(target, Op) and target.graph is None:
            return self.slots[target]
        return self.element_slot(target)

    def _feeds(self) -> Iterator[Prepare]:
        if self.fed:
            yield prepare.feed([(self.slots["feed", n], self.variables.get(n)) for n in self.fed])
        for name in self.fed:
            op = self.elements.get(name)
            if isinstance(op, Op) and ("members", op) in self.slots:
                yield prepare.feed_members(op, self.slots["feed", name], self.members(op))

    def _pulls(self) -> Iterator[Prepare]:
        for source, slot in self.slots.items():
            if isinstance(source, Input):
                yield prepare.pull(source, slice(slot, slot + len(source.names)))


def _by_position(op: Op) -> Callable[..., Any]:
    """Return a function that takes all of the op's arguments by position."""
    fn, names = op.fn, [p.name for p in op.parameters if p.keyword_only]
    if not names:
        return fn
    count = len(op.parameters) - len(names)
    return lambda *args: fn(*args[:count], **dict(zip(names, args[count:], strict=True)))
