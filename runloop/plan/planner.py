"""From names to a plan: which op provides each value, and the order in which the ops run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

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
from runloop.graph.handles import Operation
from runloop.graph.references import check_references
from runloop.messages import nearest
from runloop.plan import prepare
from runloop.plan.lookup import Lookup
from runloop.plan.plan import Commit, Plan, Step
from runloop.plan.prepare import Prepare

__all__ = ["LeftOut", "check_evaluates", "left_out", "make_plan"]


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
    return _Planner(graph).left_out(fetches, feeds)


def check_evaluates(graph: Graph, fetches: Any, feeds: Sequence[Any]) -> None:
    """Check that a run of ``fetches`` changes nothing and takes nothing from an input.

    Raises:
        TypeError: If something can't be fetched or fed.
        ValueError: If a name is unknown, an op that updates or trains would run, or a needed input
            is not fed; names the op or the input.
    """
    _Planner(graph).check_evaluates(fetches, feeds)


class _Planner:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.lookup = Lookup(graph)
        self.elements = graph.elements
        self.fed = self.lookup.fed
        self.variables = {variable.name: variable for variable in graph.variables}
        self.slots: dict[Any, int] = {}
        self.blank: list[Any] = []
        self.reads: list[Variable] = []
        self._needed: dict[Op, list[Op]] = {}

    # -- order ----------------------------------------------------------------------------------

    def provider(self, name: str) -> Op | None:
        """Return the op that must run to provide ``name``, if any."""
        if name in self.fed:
            return None
        found = self.elements.get(name)
        op = found.op if isinstance(found, Output) else found
        return op if isinstance(op, Op) and op.name not in self.fed else None

    def needed(self, op: Op) -> list[Op]:
        """Return the ops that must run right before ``op``; looked up once."""
        known = self._needed.get(op)
        if known is None:
            names = [*(p.name for p in op.parameters), *op.after]
            known = [found for found in map(self.provider, names) if found is not None]
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

    # -- what is refused or left out ------------------------------------------------------------

    def left_out(self, fetches: Sequence[Any], feeds: Sequence[Any]) -> tuple[LeftOut, ...]:
        requests = [nest.leaves(request) for request in fetches]
        targets = self.targets([leaf for request in requests for leaf in request], feeds)
        if not any(op.mutates for op in self.graph.ops):
            return ()  # a bare callable does not update or train
        found = iter(targets)
        own, *others = [[(leaf, next(found)) for leaf in request] for request in requests]
        run = self.mutating(self.roots(target for _, target in own))
        wanted = dict(enumerate(others, 1))
        result: dict[int, LeftOut] = {}
        while True:
            leaves = [pair for request in wanted.values() for pair in request]
            named = [op for leaf, op in leaves if isinstance(op, Op) and _names_op(leaf, op)]
            allowed = run | self.mutating(
                op for op in named if op.mutates and op in self.roots([op])
            )
            causes = self._causes(self.roots(target for _, target in leaves), allowed)
            dropped = [
                LeftOut(position, leaf, causes[root].name)
                for position, request in wanted.items()
                for leaf, target in request
                for root in self.roots([target])
                if root in causes
            ]
            if not dropped:
                return tuple(result[position] for position in sorted(result))
            for request in dropped:
                result.setdefault(request.position, request)
                # What this hook named is not named any more, so look again.
                wanted.pop(request.position, None)

    def _causes(self, roots: list[Op], allowed: set[Op]) -> dict[Op, Op]:
        """Return each op that depends on one that may not run, with the latter; in linear time."""
        ops = self.closure(roots)
        causes = {op: op for op in ops if op.mutates and op not in allowed}
        if causes:
            users: dict[Op, list[Op]] = {}
            for op in ops:
                for other in self.needed(op):
                    users.setdefault(other, []).append(op)
            queue = list(causes)
            for op in queue:
                for user in users.get(op, ()):
                    if user not in causes:
                        causes[user] = causes[op]
                        queue.append(user)
        return causes

    def check_evaluates(self, fetches: Any, feeds: Sequence[Any]) -> None:
        leaves = nest.leaves(fetches)
        targets = self.targets(leaves, feeds)
        roots = self.roots(targets)
        if causes := self._causes(roots, set()):
            leaf, op = next(
                (leaf, causes[root])
                for leaf, target in zip(leaves, targets, strict=True)
                for root in self.roots([target])
                if root in causes
            )
            raise ValueError(
                f"evaluate: {leaf!r} would run op {op.name!r}, which updates variables or "
                f"trains; call run() for that, or fetch something that does not depend on it"
            )
        names = (p.name for op in self.closure(roots) for p in op.parameters)
        for element in (*targets, *map(self.elements.get, names)):
            if isinstance(element, InputValue):
                name = element.source.names[element.member]
                if name not in self.fed:
                    raise ValueError(
                        f"evaluate: input {name!r} is not fed, and evaluating uses up no batch; "
                        f"feed it: evaluate(fetches, {{{name!r}: value}})"
                    )

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
        targets = self.targets(leaves, feeds)
        order = self.order(self.roots(targets))
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
            needs=tuple(tuple(other.name for other in self.needed(op)) for op in order),
            commits=commits,
            increment=sum(op.increment or 0 for op in order),
            shown=tuple(sorted(set(places) - fixed)),
            pack=nest.packer(fetches, lambda _: next(place)),
            kept=tuple(leaves),
            variables=frozenset([*(v.name for v in self.reads), *self.variables.keys() & self.fed]),
        )

    def targets(
        self, leaves: Sequence[Any], feeds: Sequence[Any]
    ) -> list[Element | AttachedLeaf | str]:
        """Read the feeds, then return what each leaf refers to."""
        bare = [leaf for leaf in leaves if not isinstance(leaf, (str, nest.Leaf))]
        bare_ops = [op for op in map(self._bare_op, bare) if op is not None]
        self.lookup.read_feeds(feeds, bare_ops)
        return [self.lookup.find(leaf) for leaf in leaves]

    def _bare_op(self, leaf: Any) -> Op | None:
        found = (
            None if leaf is None or hasattr(leaf, "_as_graph_element") else self.lookup.find(leaf)
        )
        return found if isinstance(found, Op) else None

    def _target_op(self, target: Element | AttachedLeaf | str) -> Op | None:
        if isinstance(target, Output):
            name = self._output_name(target)
            return None if name in self.fed or target.op.name in self.fed else target.op
        if isinstance(target, Op):
            return None if target.graph is not None and target.name in self.fed else target
        return None

    def _output_name(self, output: Output) -> str:
        return output.op.member_names[-1 if output.member is None else output.member]

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
        if isinstance(target, Output) and self._output_name(target) in self.fed:
            return self.slots["feed", self._output_name(target)]
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


def _names_op(leaf: Any, op: Op) -> bool:
    """Return whether a leaf names the op itself, where its single output may have the same name."""
    return op.outputs != op.name or isinstance(leaf, (Op, Operation))
