"""The session: runs fetches against a graph, and owns the values of its variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter, is_
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

from runloop import clock, nest
from runloop.graph import Graph, get_default_graph
from runloop.graph.elements import Op
from runloop.messages import nearest
from runloop.plan.lookup import check_fetches
from runloop.plan.plan import Plan
from runloop.plan.planner import make_plan
from runloop.plan.training_ops import LeftOut, check_evaluates, left_out
from runloop.plan.values import SessionValues
from runloop.run import (
    HooksWouldTrainError,
    MergedOptions,
    RunArgs,
    RunContext,
    RunMetadata,
    RunOptions,
    RunValues,
)
from runloop.state.changes import GiveState, make_all
from runloop.state.entries import Entries
from runloop.state.kinds import STATE_DICT

__all__ = [
    "NotReportedError",
    "RunArgs",
    "RunContext",
    "RunMetadata",
    "RunOptions",
    "RunValues",
    "Session",
    "SessionState",
]

_PLANS_PER_GENERATION = 128
_NO_VERSION = -1
_UNKNOWN: tuple[None, None] = (None, None)
_FULL_TRACE = RunOptions.FULL_TRACE  # saves 10 ns a run against the look-up on the class


class SessionState(NamedTuple):
    """The live state of a session at one moment: objects, not copies.

    Attributes:
        variables: ``{name: array}`` in the order of the graph; ``global_step`` is an ``np.int64``.
        attached: ``{name: object}``: attached state, and the session's positions in its inputs.
        companions: ``{name: object}``: hooks with state, which are saved along with the rest.
        entries: ``{name: (what it is called, how to assign it)}`` of those in ``attached`` that a
            loop's state holds; for messages.
        rebindable: Those of ``attached`` that a restore may replace in the mapping that holds them.
    """

    variables: dict[str, Any]
    attached: dict[str, Any]
    companions: dict[str, Any]
    entries: Mapping[str, tuple[str, str]] = MappingProxyType({})
    rebindable: Entries | None = None


class NotReportedError(ValueError):
    """A name is fetched that a program reports while it runs, and has not reported so far."""


class _Guard:
    """What hooks would train with a list of fetches, and its plan if they would."""

    __slots__ = ("kept", "plan", "requests")

    def __init__(self, requests: tuple[LeftOut, ...], kept: list[Any]) -> None:
        self.requests = requests
        self.kept = kept  # the key may hold their ids
        self.plan: Plan | None = None


class Session:
    """Runs a graph, and owns the values of its variables.

    Two sessions of one graph are independent. Several threads may run one session: each run reads
    its variables at one moment, and commits its updates at one moment.

    Args:
        target: For TensorFlow's signature; must be empty.
        graph: The graph; the default graph if ``None``. It may still grow.
        config: For TensorFlow's signature; ignored.

    Raises:
        TypeError: If ``target`` is not a string or ``graph`` not a :class:`Graph`.
        ValueError: If ``target`` is not empty: runloop runs in its own process only.

    Follows ``tf.compat.v1.Session`` of TensorFlow 2.21.
    """

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None) -> None:
        if not isinstance(target, str):
            raise TypeError(
                f"target (master), the first argument, must be a string, got {target!r}; "
                f"write graph=..."
            )
        if target:
            raise ValueError(
                f"target (master) must be '': a session runs in its own process, got {target!r}"
            )
        if graph is None:
            graph = get_default_graph()
        if not isinstance(graph, Graph):
            raise TypeError(f"graph must be a runloop.Graph, got {graph!r}")
        self._graph = graph
        self._store = SessionValues()
        self._clock = clock.current()
        self._closed = False
        self.restored_from: str | None = None  # the file, if the session's creator restored one
        self._version = graph.version
        self._plans: dict[Any, Plan] = {}
        self._old_plans: dict[Any, Plan] = {}
        self._lists: dict[tuple[Any, ...], tuple[Plan | None, tuple[Any, ...] | None]] = {}
        self._guards: dict[Any, _Guard] = {}
        self._companions: dict[str, Any] = {}
        self._pending: dict[str, Any] = {}
        self._undo_restore: Callable[[], None] | None = None
        self._store.grow(graph.variables)

    @property
    def graph(self) -> Graph:
        """The graph that the session runs."""
        return self._graph

    @property
    def global_step(self) -> int | None:
        """The current global step, without a run; ``None`` without one or once it is closed.

        It reads one value, however many variables there are.
        """
        store = self._store
        return None if store.step_index < 0 else int(store.values[store.step_index])

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: RunOptions | None = None,
        run_metadata: RunMetadata | None = None,
    ) -> Any:
        """Evaluate ``fetches`` together, each op at most once, then commit all updates.

        Args:
            fetches: A name, a ``Variable``, an ``Op``, a callable whose parameters are filled in
                by name, or any nesting of these in lists, tuples, named tuples, dicts and
                dataclasses.
            feed_dict: ``{name, Variable or Op: value}``: overrides values for this run.
            options: ``trace_level=RunOptions.FULL_TRACE`` records the times of the ops.
            run_metadata: Receives the recorded times.

        Returns:
            The values in the structure of ``fetches``. A variable is a copy of its value from
            before the run's updates. An op with ``updates=`` is ``None``. 0-d arrays become
            NumPy scalars.

        Raises:
            TypeError: If something can't be fetched (``None``, a number) or fed.
            ValueError: If a name is unknown, nothing provides a parameter, or a new value does not
                fit its variable.
            OutOfRangeError: If an input is exhausted.
            RuntimeError: If the session is closed.

        If it raises anything, an op's own error included, no variable has changed.
        """
        # This method and Plan.execute run at every step. A plan that is already made is found by one
        # look-up; the common forms of fetches are their own key, the others pay for nest.key.
        store = self._store  # before the check: another thread may close the session after it
        if self._version != self._graph.version:
            self._catch_up()
        kind = type(fetches)
        feed_values: Iterable[Any] = ()
        if feed_dict:
            if not isinstance(feed_dict, Mapping):
                raise TypeError(f"feed_dict must be a mapping, got {feed_dict!r}")
            key = (nest.key(fetches), tuple(feed_dict))
            feed_values = feed_dict.values()
            plan = self._plans.get(key)
        elif kind is list:
            # The dispatcher's form: the caller's fetches and the hooks'. If all are names,
            # variables and ops, the tuple of them is a key; with ten
            # hooks it takes 0.1 us, where nest.key takes 3 us.
            try:
                plan, exactly = self._lists.get(tuple(fetches), _UNKNOWN)
            except TypeError:  # an unhashable member, such as a nested list
                plan = exactly = None
            if plan is None or (exactly is not None and not all(map(is_, fetches, exactly))):
                key = nest.key(fetches)
                plan = self._plans.get(key)
        else:
            # A name or an op is its own key: saves the 70 ns of calling nest.key.
            key = fetches if kind is str or kind is Op else nest.key(fetches)
            plan = self._plans.get(key)
        if plan is None:
            plan = self._plan(key, fetches, feed_dict, options)
        if options is not None and options.trace_level >= _FULL_TRACE:
            if run_metadata is None:
                run_metadata = RunMetadata()
            return plan.execute(store, fetches, feed_values, (run_metadata, self._clock))
        if run_metadata is not None and run_metadata.step_stats:
            run_metadata.step_stats = RunMetadata.step_stats  # left from an earlier run
        return plan.execute(store, fetches, feed_values, None)

    def check_request(
        self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None, *, names_only: bool = False
    ) -> None:
        """Raise what :meth:`run` would raise for a request that can't be met; nothing is run.

        Args:
            fetches: As for :meth:`run`.
            feed_dict: As for :meth:`run`; only its keys matter.
            names_only: Check only that the names exist. For requests whose feeds are not known
                yet, such as those of a hook that fetches at the end.

        Raises:
            TypeError: If something can't be fetched or fed.
            ValueError: If a name is unknown, or nothing provides a parameter.
        """
        if names_only:
            check_fetches(self._graph, fetches)
        else:
            make_plan(self._graph, fetches, tuple(feed_dict or ()))

    def left_out(
        self, fetches: list[Any], feed_dict: Mapping[Any, Any] | None = None
    ) -> tuple[LeftOut, ...]:
        """Return the hooks' requests that a run leaves out, since they would train or update.

        Args:
            fetches: The caller's request, then the hooks'.
            feed_dict: As for :meth:`run`; only its keys matter.

        Raises:
            TypeError: If something can't be fetched or fed.
            ValueError: If a name is unknown.
        """
        if len(fetches) < 2:
            return ()
        key = (nest.key(fetches), tuple(feed_dict or ()))
        return self._guard(key, fetches, feed_dict).requests

    def evaluate(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Any:
        """Run ``fetches`` if that changes nothing.

        Ops that work in place on attached state are not recognised.

        Args:
            fetches: As for :meth:`run`.
            feed_dict: As for :meth:`run`; must feed each input that is needed.

        Raises:
            ValueError: If an op that updates or trains would run, or a needed input is not fed: an
                evaluation uses up no batch; and what :meth:`run` raises.
        """
        if feed_dict is not None and not isinstance(feed_dict, Mapping):
            raise TypeError(f"feed_dict must be a mapping, got {feed_dict!r}")
        self._check_open()
        check_evaluates(self._graph, fetches, tuple(feed_dict or ()))
        return self.run(fetches, feed_dict)

    def _plan(
        self,
        key: Any,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None,
        options: RunOptions | None,
    ) -> Plan:
        self._undo_restore = None  # it holds the former state, and this session is in use now
        plan = self._old_plans.pop(key, None)
        if plan is None and type(fetches) is list and len(fetches) > 1:
            # The same list may be one caller's, or a caller's and the hooks'. Where that makes a
            # difference the plan is kept in its guard, so that runs which find a plan need not ask.
            guard = self._guard(key, fetches, feed_dict)
            if guard.requests:
                if isinstance(options, MergedOptions):
                    raise HooksWouldTrainError(guard.requests)
                if guard.plan is None:
                    guard.plan = make_plan(self._graph, fetches, tuple(feed_dict or ()))
                return guard.plan
        if plan is None:
            plan = make_plan(self._graph, fetches, tuple(feed_dict or ()))
        # Two generations bound the cache, and a hit costs nothing extra (an LRU cache would move
        # its entry each time). When the young generation is full it becomes the old one; a plan
        # that is used again moves back to the young one.
        if len(self._plans) >= _PLANS_PER_GENERATION:
            self._old_plans = self._plans
            self._plans, self._lists = {}, {}
        self._plans[key] = plan
        if type(fetches) is list and not feed_dict and all(map(nest.never_changes, fetches)):
            # Equal atoms are identical. Equal tuples may differ: a named tuple equals a plain one.
            known = tuple(fetches)
            self._lists[known] = (plan, None if all(map(nest.is_atom, known)) else known)
        return plan

    def _guard(self, key: Any, fetches: list[Any], feed_dict: Mapping[Any, Any] | None) -> _Guard:
        guard = self._guards.get(key)
        if guard is None:
            requests = left_out(self._graph, fetches, tuple(feed_dict or ()))
            if len(self._guards) >= _PLANS_PER_GENERATION:
                self._guards = {}
            guard = self._guards[key] = _Guard(requests, nest.leaves(fetches))
        return guard

    def _catch_up(self) -> None:
        """Take over additions to the graph since the last run."""
        self._check_open()
        version = (
            self._graph.version
        )  # read first: what another thread adds now is for the next run
        self._store.grow(self._graph.variables)
        self._forget_plans()
        self._version = version
        if self._closed:  # by another thread, in between
            self._version = _NO_VERSION

    def _forget_plans(self) -> None:
        self._plans, self._old_plans, self._lists, self._guards = {}, {}, {}, {}

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("Attempted to use a closed Session.")

    # -- state ----------------------------------------------------------------------------------

    def state(self) -> SessionState:
        """Return everything that a checkpoint holds: live objects, all from one moment.

        Raises:
            RuntimeError: If the session is closed.
        """
        store = self._store
        self._check_open()
        store.grow(self._graph.variables)
        with store.lock:
            values = list(store.values)
        names = map(attrgetter("name"), self._graph.variables)
        return SessionState(
            dict(zip(names, values, strict=True)),
            # First the positions: a replay draws from generators that are restored after it.
            {**store.positions(self._graph.inputs), **self._graph.attached},
            dict(self._companions),
        )

    def assign(self, values: Mapping[str, Any]) -> None:
        """Replace variables by name: all of them, or none if one does not fit.

        Args:
            values: ``{name: array}`` of each variable's shape and dtype. The session keeps
                the arrays without a copy.

        Raises:
            ValueError: If a name is not a variable's, or shape or dtype differ.
            RuntimeError: If the session is closed.
        """
        self._check_open()
        self._store.grow(self._graph.variables)
        by_name = {variable.name: variable for variable in self._graph.variables}
        for name in values:
            if name not in by_name:
                raise ValueError(f"there is no variable {name!r}.{nearest(name, by_name)}")
        self._store.assign({by_name[n]: v for n, v in values.items()}, "the assigned value")

    def add_companions(self, companions: Mapping[str, Any]) -> None:
        """Save these objects, with ``state_dict()``/``load_state_dict()``, in checkpoints too.

        State that was restored under their names earlier is loaded into them now. If one of them
        does not take it, the whole restore is undone.

        Raises:
            CheckpointFormatError: If an object does not take its state; names it.
        """
        undo, self._undo_restore = self._undo_restore, None
        self._companions.update(companions)
        try:
            make_all(
                [
                    GiveState(f"hook {name!r}", companion, STATE_DICT, self._pending[name])
                    for name, companion in companions.items()
                    if name in self._pending
                ]
            )
        except BaseException:
            if undo is not None:
                undo()
            raise
        for name in companions:
            self._pending.pop(name, None)

    def finish_restore(
        self, companion_states: Mapping[str, Any], undo: Callable[[], None] | None = None
    ) -> None:
        """Finish a restore: inputs without a saved position call ``iter()`` again, companions load.

        A state whose companion was not added yet is kept for :meth:`add_companions`, and so is
        ``undo``, which undoes the restore if that companion does not take it.
        """
        self._store.forget_iterators()
        self._undo_restore = undo
        for name, state in companion_states.items():
            if name in self._companions:
                self._companions[name].load_state_dict(state)
            else:
                self._pending[name] = state

    # -- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Release the values. A later run raises ``RuntimeError``; a second close does nothing."""
        self._closed = True
        self._version = _NO_VERSION  # the next run compares the version anyway, and then raises
        self._forget_plans()
        self._store = SessionValues()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
