"""The plan of a run: made once for a pair of fetches and feed names, then executed many times.

A plan keeps all values of a run in one list. Its head is what is read from the session's
variables; then come constants, feeds, pulled inputs and results, each in its *slot*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from runloop.arrays import copy_array, scalar
from runloop.clock import Clock
from runloop.elements import Input, Op, Variable
from runloop.nest import Packer
from runloop.run import OpStats, RunMetadata
from runloop.state import read_leaf
from runloop.store import Store

__all__ = ["Commit", "Leaf", "Plan", "Step", "getter"]


class Step(NamedTuple):
    """One op of a plan: what is called, with which slots, and where the result goes."""

    fn: Callable[..., Any]
    arguments: Callable[[list[Any]], Iterable[Any]]
    slot: int
    members: slice | None  # where the members of a result go that must be a tuple
    op: Op


class Leaf(NamedTuple):
    """A fetch of one array inside attached state."""

    slot: int
    name: str
    obj: Any
    path: str


class Commit(NamedTuple):
    """A variable and the slot of the value that replaces it."""

    variable: Variable
    slot: int
    who: str


def getter(slots: Sequence[int]) -> Callable[[Any], Sequence[Any]]:
    """Return a fast function from a list to the sequence of its members at ``slots``."""
    if len(slots) > 1:
        return itemgetter(*slots)
    # itemgetter(i) would give a bare member; a slice gives a list of one, or of none.
    return itemgetter(slice(slots[0], slots[0] + 1) if slots else slice(0, 0))


class Plan(NamedTuple):
    """All that a run needs to know; see the fields' comments.

    ``execute`` follows the five points of a run: sources first, then the ops in order, then all
    commits together, then the results in the structure of the request.
    """

    read: Callable[[list[Any]], Sequence[Any]]  # variables' values -> head of the list
    blank: list[Any]  # the rest of it: constants, and room
    feeds: tuple[tuple[int, Variable | None], ...]  # in the order of the feed_dict
    fed_members: tuple[tuple[int, slice, Op], ...]  # results of ops that are fed whole
    leaves: tuple[Leaf, ...]
    copies: tuple[tuple[int, int], ...]  # (to, from): fetched variables
    pulls: tuple[tuple[Input, slice], ...]
    steps: tuple[Step, ...]
    needs: tuple[tuple[str, ...], ...]  # for each step, the names of the ops that it waits for
    commits: tuple[Commit, ...]
    increment: int
    scalars: tuple[int, ...]  # results that are shown: 0-d arrays become scalars
    pack: Packer
    kept: tuple[Any, ...]  # the leaves: those known by their id must stay alive

    def execute(
        self,
        store: Store,
        fetches: Any,
        feed_values: Iterable[Any],
        trace: tuple[RunMetadata, Clock] | None,
    ) -> Any:
        """Run it once and return the results.

        Args:
            store: The session's values; changed only if everything succeeded.
            fetches: The structure asked for, equal to the one that the plan was made from.
            feed_values: As many as there are feeds, in their order.
            trace: Where to record the times of the ops, and by which clock; ``None`` for not.
        """
        with store.lock:
            values = [*self.read(store.values), *self.blank]
        if self.feeds:
            for (slot, variable), value in zip(self.feeds, feed_values, strict=True):
                values[slot] = (
                    value if variable is None else store.checked(variable, value, "the feed")
                )
            for slot, members, op in self.fed_members:
                values[members] = _members(op, values[slot], members)
        for to, origin in self.copies:
            values[to] = copy_array(values[origin])
        for leaf in self.leaves:
            values[leaf.slot] = copy_array(read_leaf(leaf.name, leaf.obj, leaf.path))
        for source, members in self.pulls:
            values[members] = store.pull(source)
        if trace is None:
            _run(self.steps, values)
        else:
            _run_traced(self.steps, self.needs, values, *trace)
        if self.commits or self.increment:
            self._commit(store, values)
        for slot in self.scalars:
            values[slot] = scalar(values[slot])
        return self.pack(values, fetches)

    def _commit(self, store: Store, values: list[Any]) -> None:
        new = [(v.index, store.checked(v, values[slot], who)) for v, slot, who in self.commits]
        target = store.values
        with store.lock:
            for index, value in new:
                target[index] = value
            if self.increment:
                target[store.step_index] += self.increment


def _run(steps: tuple[Step, ...], values: list[Any]) -> None:
    op = None
    try:
        for fn, arguments, slot, members, op in steps:
            result = values[slot] = fn(*arguments(values))
            if members is not None:
                values[members] = _members(op, result, members)
    except Exception as exc:
        if op is not None and (note := f"(raised in op {op.name!r})") not in getattr(
            exc, "__notes__", ()
        ):
            exc.add_note(note)
        raise


def _run_traced(
    steps: tuple[Step, ...],
    needs: tuple[tuple[str, ...], ...],
    values: list[Any],
    metadata: RunMetadata,
    clock: Clock,
) -> None:
    stats: list[OpStats] = []
    metadata.step_stats = stats
    if metadata.start is None:
        metadata.start = clock.monotonic()
    for step, inputs in zip(steps, needs, strict=True):
        begin = clock.monotonic()
        try:
            _run((step,), values)
        finally:
            duration = clock.monotonic() - begin
            result = values[step.slot]
            size = sum(
                getattr(array, "nbytes", 0)
                for array in (result if isinstance(result, (tuple, list)) else (result,))
            )
            start = begin - metadata.start
            stats.append(OpStats(step.op.name, start * 1e6, duration * 1e6, inputs, size))


def _members(op: Op, result: Any, members: slice) -> Sequence[Any]:
    """Return ``result`` if it is a tuple with one member for each name, else say what is wrong."""
    count = members.stop - members.start
    if isinstance(result, (tuple, list)) and len(result) == count:
        return result
    option, names = ("outputs", op.outputs) if op.updates is None else ("updates", op.updates)
    got = f"{len(result)} members" if isinstance(result, (tuple, list)) else repr(type(result))
    raise ValueError(
        f"op {op.name!r}: {option}={names!r} asks for a tuple of {count}, it returned {got}; "
        f"a bare value goes with a single string: {option}='name'"
    )
