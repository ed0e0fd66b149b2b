"""The plan of a run: made once for a pair of fetches and feed names, then executed many times.

A plan keeps all values of a run in one list: first the session's variables that it reads, then
constants, feeds, pulled inputs and results. The position of a value in the list is its *slot*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from runloop.clock import Clock
from runloop.graph.elements import Op, Variable
from runloop.messages import add_note, text_of
from runloop.nest import Packer
from runloop.plan.prepare import Prepare
from runloop.plan.values import SessionValues
from runloop.run import RunMetadata
from runloop.step_stats import OpStats, StepStats

__all__ = ["Commit", "Plan", "Step"]


class Step(NamedTuple):
    """One op of a plan: a function that calls it with the values, and the slot of its result."""

    call: Callable[[list[Any]], Any]
    slot: int
    unpack: Callable[[list[Any], Any], Any] | None  # stores the members of a result with names
    op: Op


class Commit(NamedTuple):
    """A variable and the slot of the value that replaces it."""

    variable: Variable
    slot: int
    who: str


class Plan:
    """Everything that a run needs.

    Args:
        reads: Indices of the variables in the first slots.
        blank: The list before a run: constants in their slots, ``None`` in all others.
        prepare: Called before the ops, in order: feeds, copies of fetched variables, pulls.
        steps: The ops in order.
        needs: For each step, the names of the ops that it waits for.
        commits: The variables to replace after the ops, and their new values.
        increment: By how much ``global_step`` grows.
        shown: Slots of results. A 0-d array in one of them is returned as a NumPy scalar.
        pack: Builds the results in the structure of the request.
        kept: The leaves of the fetches. A key may hold the ``id`` of one, so it must stay alive.
        variables: Names of the variables that ops see.
    """

    __slots__ = ("_kept", "_needs", "_parts", "_variables")

    def __init__(
        self,
        *,
        reads: Sequence[int],
        blank: list[Any],
        prepare: tuple[Prepare, ...],
        steps: Sequence[Step],
        needs: Sequence[tuple[str, ...]],
        commits: tuple[Commit, ...],
        increment: int,
        shown: tuple[int, ...],
        pack: Packer,
        kept: tuple[Any, ...],
        variables: frozenset[str],
    ) -> None:
        # Plain tuples: the loop over the ops unpacks one in 10 ns, a named tuple in 50 ns.
        plain: tuple[tuple[Any, ...], ...] = tuple(map(tuple, steps))
        read = itemgetter(*reads) if reads else None  # for one index, it returns the bare member
        head = slice(len(reads)) if len(reads) > 1 else None  # reading several needs the lock
        self._parts = (read, head, blank, prepare, plain, commits, increment, shown, pack)
        self._needs = needs
        self._variables = variables
        self._kept = kept

    def execute(
        self,
        store: SessionValues,
        fetches: Any,
        feed_values: Iterable[Any],
        trace: tuple[RunMetadata, Clock] | None,
    ) -> Any:
        """Run it once: prepare, then the ops, then all commits together, then the results.

        Args:
            store: The session's values; changed only if every op succeeded.
            fetches: The requested structure, equal to the one that the plan was made from.
            feed_values: As many as there are feeds, in their order.
            trace: Records the times of the ops in this metadata by this clock, unless ``None``.
        """
        # Unpacking one tuple takes 15 ns; nine attribute look-ups take 70 ns.
        read, head, blank, prepare, steps, commits, increment, shown, pack = self._parts
        values = blank.copy()
        if read is not None:
            if head is None:
                values[0] = read(store.views)
            else:
                with store.lock:
                    values[head] = read(store.views)
        for ready in prepare:
            ready(store, values, feed_values)
        if trace is not None:
            self._run_traced(steps, values, *trace)
        else:
            op = None
            try:
                for call, slot, unpack, op in steps:  # noqa: B007  # an error names the op
                    result = values[slot] = call(values)
                    if unpack is not None:
                        values[slot] = unpack(values, result)
            except Exception as exc:
                self._explain(exc, op)
                raise
        if commits:
            new = [(v.index, store.checked(v, values[slot], who)) for v, slot, who in commits]
            store.commit(new, increment)
        elif increment:
            store.advance(increment)
        for slot in shown:
            value = values[slot]
            if type(value) is np.ndarray and not value.ndim:
                values[slot] = value[()]
        return pack(values, fetches)

    def _explain(self, exc: Exception, op: Op | None) -> None:
        """Note on ``exc`` the op that raised it, and what to do if it wrote into a variable."""
        if op is None:
            return
        notes = [f"(raised in op {op.name!r})"]
        seen = [repr(p.name) for p in op.parameters if p.name in self._variables]
        if seen and isinstance(exc, (ValueError, TypeError)) and "read-only" in text_of(exc):
            notes.append(
                f"(op {op.name!r} sees the variables {', '.join(seen)} as read-only views: variables "
                f"are replaced, not written into. Return the new value and name the variable in "
                f"updates=, or use graph.attach() for arrays that are to be changed in place)"
            )
        for note in notes:
            add_note(exc, note)

    def _run_traced(
        self,
        steps: Sequence[tuple[Any, ...]],
        values: list[Any],
        metadata: RunMetadata,
        clock: Clock,
    ) -> None:
        stats: list[OpStats] = []
        metadata.step_stats = StepStats()
        origin, metadata.origin = metadata.origin, None
        if origin is None:
            origin = clock.monotonic()
        try:
            for (call, slot, unpack, op), inputs in zip(steps, self._needs, strict=True):
                begin = clock.monotonic()
                result = None
                try:
                    result = values[slot] = call(values)
                    if unpack is not None:
                        values[slot] = unpack(values, result)
                except Exception as exc:
                    self._explain(exc, op)
                    raise
                finally:
                    duration = clock.monotonic() - begin
                    size = sum(
                        getattr(array, "nbytes", 0)
                        for array in (result if isinstance(result, (tuple, list)) else (result,))
                    )
                    stats.append(
                        OpStats(op.name, (begin - origin) * 1e6, duration * 1e6, inputs, size)
                    )
        finally:
            metadata.step_stats = StepStats(stats)
