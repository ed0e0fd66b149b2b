"""The session of a loop: it knows the state, the reported values and the global step by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from operator import is_
from typing import Any

import numpy as np

from runloop import nest
from runloop.graph import GLOBAL_STEP, Graph
from runloop.graph.elements import REQUIRED, Attached, Op, Variable
from runloop.messages import nearest
from runloop.monitored.creators import ChiefSessionCreator
from runloop.monitored.loop_state import LoopState
from runloop.monitored.scaffold import Scaffold
from runloop.plan.arrays import copy_array
from runloop.plan.training_ops import LeftOut, left_out
from runloop.run import RunMetadata, RunOptions
from runloop.session import NotReportedError, Session, SessionState
from runloop.state import is_array, read_leaf

__all__ = ["REPORTED", "LoopCreator", "LoopSession", "NotReportedError", "PassPlan"]

_PLANS = 128
_MISSING: Any = object()
_ONE = np.int64(1)
_Get = Callable[[], Any]


class _Reported(nest.Leaf):
    """A fetch: the scalars reported in passes since they were fetched last, by name."""

    name = "reported"


REPORTED = _Reported()


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

    def __init__(self, session: LoopSession, requests: list[Any]) -> None:
        self.requests = requests
        # Where all are atoms, equal requests are the same; equal tuples need not be.
        self.exactly = None if all(map(nest.is_atom, requests)) else requests
        self.refused = session.refused(requests)
        self._early: list[tuple[int, _Get]] = []
        self._late: list[tuple[int, _Get]] = []
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
                return NotReportedError(_plain(leaf))
            if slot in self._calls:
                op, given = self._calls[slot]
                for parameter, place in zip(op.parameters, given, strict=True):
                    if values[place] is _MISSING and parameter.default is REQUIRED:
                        return NotReportedError(parameter.name)
        return None


def _plain(name: Any) -> str:
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


class LoopSession(Session):
    """Runs the fetches of a loop's hooks.

    Beside what its graph has it knows the entries of the state (``"lr"``, the object itself),
    their leaves (``"params/w"``, a copy) and the last reported values.

    Args:
        graph: With the global step.
        state: The loop's state.

    Attributes:
        reports: The last value of each reported name.
        fresh_scalars: Names that were reported in passes since summaries were written.
        saving_waits: Whether this is not a moment at which a restart would be exact; hooks that
            save wait for one.
        again: Whether a restore that is under way is not the first: it leaves hooks alone.
    """

    def __init__(self, graph: Graph, state: LoopState) -> None:
        super().__init__("", graph)
        self.loop_state = state
        self.reports: dict[str, Any] = {}
        self.fresh_scalars: dict[str, None] = {}
        self.saving_waits = False
        self.again = False
        self._pass_plans: dict[Any, PassPlan] = {}

    # -- state ------------------------------------------------------------------------------------

    def state(self) -> SessionState:
        """Return what a checkpoint holds, with the state's entries as they are now."""
        found = super().state()
        companions = found.companions
        if self.again:
            companions = {"loop": companions["loop"]}
        return SessionState(
            found.variables,
            {**found.attached, **self.loop_state.attached()},
            companions,
            self.loop_state.entries(),
            self.loop_state,
        )

    def finish_restore(
        self, companion_states: Mapping[str, Any], undo: Callable[[], None] | None = None
    ) -> None:
        """Keep the states of companions that come later; only on the first restore."""
        super().finish_restore({} if self.again else companion_states, undo)

    @property
    def step(self) -> int:
        """The global step."""
        store = self._store
        return int(store.values[store.step_index])

    def advance(self) -> None:
        """Add 1 to the global step."""
        store = self._store
        index = store.step_index
        with store.lock:  # what a commit does with this one variable, in 200 ns less
            store.values[index] = store.views[index] = store.values[index] + _ONE

    # -- fetching ---------------------------------------------------------------------------------

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: RunOptions | None = None,
        run_metadata: RunMetadata | None = None,
    ) -> Any:
        """Return the present values of ``fetches``; ops of the graph run.

        Raises:
            ValueError: If a name is neither known nor reported so far.
            TypeError: If something can't be fetched.
            RuntimeError: If the session is closed.
        """
        kind = type(fetches)
        if kind is Variable or kind is Op or feed_dict:
            return super().run(fetches, feed_dict, options, run_metadata)
        self._check_open()
        requests = [fetches]
        plan = self.plan(requests)
        (result,) = plan.finish(plan.begin(), requests)
        if isinstance(result, NotReportedError):
            name = str(result)
            known = [*self.loop_state.names(), *self.reports]
            raise NotReportedError(
                f"nothing is called {name!r}: a fetch is global_step, a name that was reported, or "
                f"one of the state.{nearest(name, known)}"
            )
        return result

    def check_request(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        *,
        names_only: bool = False,
    ) -> None:
        """Raise if something can't be fetched; names may be unknown, they can be reported later."""
        del feed_dict, names_only
        PassPlan(self, [fetches])

    def plan(self, requests: list[Any]) -> PassPlan:
        """Return the plan of a list of requests; made once."""
        key: Any = tuple(requests)
        try:
            plan = self._pass_plans.get(key)
        except TypeError:  # one is a list or a dict
            plan = None
            key = nest.key(requests)
        if plan is not None and (plan.exactly is None or all(map(is_, requests, plan.exactly))):
            return plan
        if not all(map(nest.never_changes, requests)):
            key = nest.key(requests)
            plan = self._pass_plans.get(key)
            if plan is not None:
                return plan
        if len(self._pass_plans) >= _PLANS:
            self._pass_plans = {}
        plan = self._pass_plans[key] = PassPlan(self, [*requests])
        return plan

    def refused(self, requests: list[Any]) -> tuple[LeftOut, ...]:
        """Return the hooks' requests by which ops of the graph would train without being named."""
        graph = self.graph
        if not any(op.mutates for op in graph.ops):
            return ()
        of_graph = [list(filter(self._is_of_graph, nest.leaves(r))) for r in requests]
        return left_out(graph, [[], *of_graph], ())

    def _is_of_graph(self, leaf: Any) -> bool:
        if isinstance(leaf, str):
            elements = self.graph.elements
            return leaf in elements or _plain(leaf) in elements
        return not isinstance(leaf, _Reported)

    def run_graph(self, fetches: list[Any]) -> list[Any]:
        """Run ops of the graph."""
        results: list[Any] = super().run(fetches)
        return results

    def find(self, leaf: Any) -> tuple[str, Any]:
        """Return how a leaf is fetched, for a :class:`PassPlan`.

        Returns:
            ``("_early", get)``: before the body. ``("_late", get)``: after it. ``("_reported",
            name)``. ``("_ops", leaf)``: by a run of the graph. ``("call", op)``: by a call.

        Raises:
            TypeError: If it can't be fetched.
            ValueError: If it belongs to another graph.
        """
        given = leaf
        while hasattr(leaf, "_as_graph_element"):
            leaf = leaf._as_graph_element()  # noqa: SLF001  # the protocol's name
        if isinstance(leaf, (Variable, Op)) and leaf.graph is not self.graph:
            raise ValueError(f"{leaf!r} belongs to another graph than this session's")
        if isinstance(leaf, Variable):
            return "_early", self._step if leaf.name == GLOBAL_STEP else self._early(leaf)
        if isinstance(leaf, Op):
            return "_ops", given
        if isinstance(leaf, _Reported):
            return "_late", self._take_scalars
        if isinstance(leaf, str):
            return self._find_name(leaf)
        if callable(leaf):
            return "call", Op(None, getattr(leaf, "__name__", type(leaf).__name__), leaf)
        raise TypeError(
            f"{leaf!r} can't be fetched: a fetch is a name, a Variable, an Op, a callable, or a "
            f"list, tuple, dict or dataclass of these, got {type(leaf).__name__}"
        )

    def _step(self) -> Any:
        store = self._store
        return store.values[store.step_index]

    def _early(self, leaf: Any) -> _Get:
        return partial(super().run, leaf)

    def _find_name(self, name: str) -> tuple[str, Any]:
        plain = _plain(name)
        if plain == GLOBAL_STEP:
            return "_early", self._step
        elements = self._graph.elements
        for candidate in (name, plain):
            element = elements.get(candidate)
            if element is None:
                continue
            if isinstance(element, Variable):
                return "_early", self._early(element)
            if isinstance(element, Attached):
                return "_late", partial(getattr, element, "obj")
            return "_ops", candidate
        owner = self._owner(plain)
        if owner is not None:
            return "_early", partial(self._leaf, owner, plain[len(owner) + 1 :])
        state = self.loop_state
        if plain in state:
            return "_late", partial(state.__getitem__, plain)
        return "_reported", plain

    def _owner(self, name: str) -> str | None:
        for end in (i for i in range(len(name) - 1, 0, -1) if name[i] == "/"):
            if name[:end] in self.loop_state or name[:end] in self._graph.attached:
                return name[:end]
        return None

    def _leaf(self, owner: str, path: str) -> Any:
        state = self.loop_state
        obj = state[owner] if owner in state else self._graph.attached[owner]
        value = read_leaf(owner, obj, path)
        return copy_array(value) if is_array(value) else value

    def _take_scalars(self) -> dict[str, Any]:
        names, self.fresh_scalars = self.fresh_scalars, {}
        return {name: self.reports[name] for name in names}


class LoopCreator(ChiefSessionCreator):
    """Makes the session of a loop and restores it from the newest whole checkpoint.

    Args:
        state: The loop's state.
        positions: What rides along in checkpoints under the name ``loop``.
        checkpoint_dir: The folder, or ``None``.
        scaffold: With the saver.
    """

    _what_helps = (
        "to go on, begin with the state of the program that saved it; to start over, give the loop "
        "another folder"
    )

    def __init__(
        self,
        state: LoopState,
        positions: Any,
        checkpoint_dir: str | os.PathLike[str] | None,
        scaffold: Scaffold,
    ) -> None:
        super().__init__(scaffold, checkpoint_dir=checkpoint_dir, graph=state.graph)
        self._state = state
        self._positions = positions
        self.scaffold = scaffold

    def _new_session(self, graph: Graph) -> LoopSession:
        session = LoopSession(graph, self._state)
        session.reports = self._positions.reports
        self._positions.session = session
        session.add_companions({"loop": self._positions})
        return session

    def create_session(self) -> LoopSession:
        """Create the session and restore it; its positions are ready to be saved."""
        session = super().create_session()
        assert isinstance(session, LoopSession)  # noqa: S101  # made above
        self._positions.created()
        return session
