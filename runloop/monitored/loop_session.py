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
        lacks: Whether a name was not reported when it was evaluated last.
    """

    lacks = False

    def __init__(self, session: LoopSession, requests: list[Any]) -> None:
        self.requests = requests
        # Where all are atoms, equal requests are the same; equal tuples need not be.
        self.exactly = None if all(map(nest.is_atom, requests)) else requests
        self._early: list[tuple[int, _Get]] = []
        self._late: list[tuple[int, _Get]] = []
        self._names: dict[int, str] = {}  # of reported values, by slot
        self._slots: dict[Any, int] = {}
        self._session = session
        self._pack = nest.packer(requests, self._slot)

    def _slot(self, leaf: Any) -> int:
        key = nest.key(leaf)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = len(self._slots)
            get, early, name = self._session.getter(leaf)
            (self._early if early else self._late).append((slot, get))
            if name is not None:
                self._names[slot] = name
        return slot

    def begin(self) -> list[Any]:
        """Take what is fetched from before the body: the step, and copies of leaves."""
        values = [None] * len(self._slots)
        for slot, get in self._early:
            values[slot] = get()
        return values

    def finish(self, values: list[Any], requests: list[Any]) -> list[Any]:
        """Add what is fetched after the body, and return the result of each request.

        A request with a name that was not reported gives a :class:`NotReportedError` object.
        """
        self.lacks = False
        for slot, get in self._late:
            value = values[slot] = get()
            if value is _MISSING:
                self.lacks = True
        results: list[Any] = self._pack(values, requests)
        if self.lacks:
            return [self._lack(r, values) or own for r, own in zip(requests, results, strict=True)]
        return results

    def _lack(self, request: Any, values: list[Any]) -> NotReportedError | None:
        for leaf in nest.leaves(request):
            slot = self._slots[nest.key(leaf)]
            if values[slot] is _MISSING:
                return NotReportedError(self._names.get(slot, "a parameter of a function"))
        return None


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

    def getter(self, leaf: Any) -> tuple[_Get, bool, str | None]:
        """Return how a leaf is fetched, whether before the body, and its name if it is reported.

        Raises:
            TypeError: If it can't be fetched.
            ValueError: If it belongs to another graph.
        """
        while hasattr(leaf, "_as_graph_element"):
            leaf = leaf._as_graph_element()  # noqa: SLF001  # the protocol's name
        if isinstance(leaf, Variable):
            self.graph_check(leaf)
            return (self._step, True, None) if leaf.name == GLOBAL_STEP else self._early(leaf)
        if isinstance(leaf, Op):
            self.graph_check(leaf)
            return partial(super().run, leaf), False, None
        if isinstance(leaf, _Reported):
            return self._take_scalars, False, None
        if isinstance(leaf, str):
            return self._named(leaf)
        if callable(leaf):
            return self._call(leaf), False, None
        raise TypeError(
            f"{leaf!r} can't be fetched: a fetch is a name, a Variable, an Op, a callable, or a "
            f"list, tuple, dict or dataclass of these, got {type(leaf).__name__}"
        )

    def graph_check(self, leaf: Any) -> None:
        """Raise if a variable or op belongs to another graph."""
        if leaf.graph is not self.graph:
            raise ValueError(f"{leaf!r} belongs to another graph than this session's")

    def _step(self) -> Any:
        store = self._store
        return store.values[store.step_index]

    def _early(self, leaf: Any) -> tuple[_Get, bool, str | None]:
        return partial(super().run, leaf), True, None

    def _named(self, name: str) -> tuple[_Get, bool, str | None]:
        plain = name.removesuffix(":0")
        if plain == GLOBAL_STEP:
            return self._step, True, None
        elements = self._graph.elements
        for candidate in (name, plain):
            element = elements.get(candidate)
            if element is None:
                continue
            if isinstance(element, Variable):
                return self._early(element)
            if isinstance(element, Attached):
                return partial(getattr, element, "obj"), False, None
            return partial(super().run, candidate), False, None
        owner = self._owner(plain)
        if owner is not None:
            return partial(self._leaf, owner, plain[len(owner) + 1 :]), True, None
        state, reports = self.loop_state, self.reports
        if plain in state:
            return partial(state.__getitem__, plain), False, None
        return (lambda: reports.get(plain, _MISSING)), False, plain

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

    def _call(self, fn: Callable[..., Any]) -> _Get:
        op = Op(None, getattr(fn, "__name__", type(fn).__name__), fn)
        getters = []
        for parameter in op.parameters:
            get, _, _ = self._named(parameter.name)
            getters.append((parameter, get))

        def call() -> Any:
            given: list[Any] = []
            named: dict[str, Any] = {}
            for parameter, get in getters:
                value = get()
                if value is _MISSING:
                    if parameter.default is REQUIRED:
                        return _MISSING
                    value = parameter.default
                if parameter.keyword_only:
                    named[parameter.name] = value
                else:
                    given.append(value)
            return fn(*given, **named)

        return call

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
