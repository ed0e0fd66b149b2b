"""How the fetches of one pass are evaluated: some before the body, the others after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from runloop import nest
from runloop.graph.elements import REQUIRED, Op
from runloop.plan.training_ops import LeftOut
from runloop.session import NotReportedError

__all__ = ["REPORTED", "Get", "Names", "PassPlan", "Reported", "plain_name"]

_MISSING: Any = object()
Get = Callable[[], Any]


class Reported(nest.Leaf):
    """A fetch: the scalars reported in passes since they were fetched last, by name."""

    name = "reported"


REPORTED = Reported()


class Names(Protocol):
    """Knows what the names of fetches mean.

    Attributes:
        reports: The last value of each reported name.
    """

    reports: dict[str, Any]

    def refused(self, requests: list[Any]) -> tuple[LeftOut, ...]:
        """Return the requests that would train or update, and name no op that does."""

    def run_graph(self, fetches: list[Any]) -> list[Any]:
        """Run ops of the graph, each once."""

    def find(self, leaf: Any) -> tuple[str, Any]:
        """Return when and how a leaf of a fetch is evaluated."""


class PassPlan:
    """How the requests of one pass are evaluated.

    Args:
        session: Knows the names.
        requests: What each hook asks for; kept, since a plan may be found by their ids.

    Attributes:
        refused: The requests that would train or update, and name no op that does; the caller's own
            would be at position 0.
        lacks: Whether a name was not reported when it was evaluated last.
    """

    lacks = False

    def __init__(self, session: Names, requests: list[Any]) -> None:
        self.requests = requests
        # Where all are atoms, equal requests are the same; equal tuples need not be.
        self.exactly = None if all(map(nest.is_atom, requests)) else requests
        self.refused = session.refused(requests)
        self._early: list[tuple[int, Get]] = []
        self._late: list[tuple[int, Get]] = []
        self._reported: list[tuple[int, str]] = []
        self._ops: list[tuple[int, Any]] = []
        self._calls: dict[int, tuple[Op, list[int]]] = {}
        self._slots: dict[Any, int] = {}
        self._session = session
        self._reports = session.reports
        self._pack = nest.packer(requests, self._slot)
        self._is_simple = not (self._late or self._reported or self._ops or self._calls)

    def _slot(self, leaf: Any) -> int:
        key = nest.key(leaf)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = len(self._slots)
            kind, what = self._session.find(leaf)
            if kind == "call":
                self._calls[slot] = (what, [self._slot(p.name) for p in what.parameters])
            else:
                getattr(self, kind).append((slot, what))
        return slot

    def begin(self) -> list[Any]:
        """Take what is fetched from before the body: the step, and copies of leaves."""
        values = [None] * len(self._slots)
        for slot, get in self._early:
            values[slot] = get()
        return values

    def finish(self, values: list[Any], requests: list[Any]) -> list[Any]:
        """Add what is fetched after the body, and return the result of each request.

        A request with a name that was not reported gives a :class:`NotReportedError` object, and
        ops that only such requests ask for do not run.
        """
        self.lacks = False
        if self._is_simple:
            return self._pack(values, requests)  # type: ignore[no-any-return]  # packs a list
        for slot, name in self._reported:
            value = values[slot] = self._reports.get(name, _MISSING)
            if value is _MISSING:
                self.lacks = True
        for slot, get in self._late:
            values[slot] = get()
        lacking: list[NotReportedError | None] = []
        if self.lacks:
            lacking = [self._lack(request, values) for request in requests]
            self.lacks = any(lacking)  # else only parameters with a default are lacking
        if self._ops or self._calls:
            kept = None
            if self.lacks:
                asked = zip(requests, lacking, strict=True)
                kept = {s for r, lack in asked if lack is None for s in self._slots_of(r)}
            self._run(values, kept)
        results: list[Any] = self._pack(values, requests)
        if self.lacks:
            return [lack or own for lack, own in zip(lacking, results, strict=True)]
        return results

    def _run(self, values: list[Any], kept: set[int] | None) -> None:
        """Run the ops, all in one run of the graph, then the functions."""
        ops = [pair for pair in self._ops if kept is None or pair[0] in kept]
        if ops:
            results = self._session.run_graph([leaf for _, leaf in ops])
            for (slot, _), value in zip(ops, results, strict=True):
                values[slot] = value
        for slot, (op, given) in self._calls.items():
            if kept is None or slot in kept:
                values[slot] = _call(op, [values[place] for place in given])

    def _slots_of(self, request: Any) -> list[int]:
        slots = [self._slots[nest.key(leaf)] for leaf in nest.leaves(request)]
        return [*slots, *(place for slot in slots for place in self._calls.get(slot, ((), ()))[1])]

    def _lack(self, request: Any, values: list[Any]) -> NotReportedError | None:
        for leaf in nest.leaves(request):
            slot = self._slots[nest.key(leaf)]
            if values[slot] is _MISSING:
                return NotReportedError(plain_name(leaf))
            if slot in self._calls:
                op, given = self._calls[slot]
                for parameter, place in zip(op.parameters, given, strict=True):
                    if values[place] is _MISSING and parameter.default is REQUIRED:
                        return NotReportedError(parameter.name)
        return None


def plain_name(name: Any) -> str:
    """Return a name without TensorFlow's ":0"."""
    return str(name).removesuffix(":0")


def _call(op: Op, values: list[Any]) -> Any:
    given: list[Any] = []
    named: dict[str, Any] = {}
    for parameter, value in zip(op.parameters, values, strict=True):
        own = parameter.default if value is _MISSING else value
        if parameter.keyword_only:
            named[parameter.name] = own
        else:
            given.append(own)
    return op.fn(*given, **named)
