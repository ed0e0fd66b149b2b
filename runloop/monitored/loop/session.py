"""The session of a loop: it knows the state, the reported values and the global step by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import is_
from typing import Any

import numpy as np

from runloop import nest
from runloop.graph import GLOBAL_STEP, Graph
from runloop.graph.elements import Attached, Op, Variable
from runloop.messages import nearest
from runloop.monitored.loop.plan import Get, PassPlan, Reported, plain_name
from runloop.monitored.loop.state import LoopState
from runloop.plan.arrays import copy_array
from runloop.plan.training_ops import LeftOut, left_out
from runloop.run import RunMetadata, RunOptions
from runloop.session import NotReportedError, Session, SessionState
from runloop.state import is_array, read_leaf

__all__ = ["LoopSession"]

_PLANS = 128
_ONE = np.int64(1)


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
            return leaf in elements or plain_name(leaf) in elements
        return not isinstance(leaf, Reported)

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
        if isinstance(leaf, Reported):
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

    def _early(self, leaf: Any) -> Get:
        return partial(super().run, leaf)

    def _find_name(self, name: str) -> tuple[str, Any]:
        plain = plain_name(name)
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
