"""The graph: what can be run, by name. Nothing runs here; see :mod:`runloop.session`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TypeAlias, TypedDict, Unpack, overload

import numpy as np

from runloop.contexts import contextmanager
from runloop.graph.elements import (
    GLOBAL_STEP,
    Attached,
    Element,
    Input,
    InputValue,
    Op,
    Variable,
)
from runloop.graph.new_op import new_op
from runloop.graph.references import check_references
from runloop.graph.tensorflow_names import GraphHandles
from runloop.messages import caller_site
from runloop.state import Attributes, check_attachable, is_stateful
from runloop.state.drift import Watch

__all__ = [
    "Graph",
    "get_default_graph",
    "get_global_step",
    "get_or_create_global_step",
    "step_value",
]

_Function: TypeAlias = Callable[..., Any]


class _OpOptions(TypedDict, total=False):
    """What :meth:`Graph.op` takes by keyword."""

    name: str | None
    outputs: Iterable[str] | str | None
    updates: Iterable[str] | str | None
    after: Iterable[str | Op] | str | Op


class _TrainOptions(_OpOptions, total=False):
    """What :meth:`Graph.train_op` takes by keyword."""

    increment: int


class Graph(GraphHandles):
    """Named variables, ops, inputs and attached state: the program that sessions run.

    A graph holds no values; sessions do. All kinds share one namespace: each name is used once.

    Attributes:
        version: Grows with every change. Sessions compare it to notice that their plans are
            stale.
        watch: Remembers the form of the attached state, for the warnings of a save.
        lock: Hold it to look something up and add it if it is missing, so that two threads
            that make sessions of one graph do not both add it.

    Example::

        graph = Graph()
        graph.variable("w", np.zeros(3))


        @graph.train_op(updates="w")
        def train(w, x):
            return w - 0.1 * x
    """

    def __init__(self) -> None:
        self._elements: dict[str, Element] = {}
        self._sites: dict[str, str] = {}
        self._variables: list[Variable] = []
        self._ops: list[Op] = []
        self._inputs: list[Input] = []
        self._attached: dict[str, Any] = {}
        self._constant: set[str] = set()
        self._summaries: dict[str, Any] = {}
        self._collections: dict[Any, list[Any]] = {}
        self._finalized = False
        self.version = 0
        self.lock = threading.RLock()
        self.watch = Watch()

    # -- adding ---------------------------------------------------------------------------------

    def variable(
        self, name: str, initial: Any, *, trainable: bool = True, validate: bool = True
    ) -> Variable:
        """Add a variable.

        Args:
            name: Its name, in ops' parameters, fetches, feeds and checkpoints.
            initial: Its first value (any array type; numbers and lists become NumPy arrays), or
                a function without parameters that makes it. Each session copies it or calls it.
            trainable: Whether ``trainable_variables`` lists it.
            validate: Whether what replaces it must have the same shape and dtype.

        Returns:
            The variable: a fetch, and a key of feeds.

        Raises:
            ValueError: If the name is in use.
            TypeError: If the initial value of ``global_step`` is not an integer scalar.
            RuntimeError: If the graph is finalized.
        """
        if name == GLOBAL_STEP and not callable(initial):
            initial = step_value(initial)
        variable = Variable(
            self,
            name,
            initial,
            trainable=trainable,
            validate=validate,
            index=len(self._variables),
        )
        self._add({name: variable})
        self._variables.append(variable)
        return variable

    def attach(self, name: str, obj: Any, *, constant: bool = False) -> None:
        """Attach state that the session does not own. Ops get the object itself.

        It is saved with every checkpoint and restored in place.

        Args:
            name: Its name in ops' parameters, fetches and checkpoints.
            obj: A nested mapping or list of arrays, a ``numpy.random.Generator`` or
                ``RandomState``, a ``random.Random``, or any object with
                ``state_dict()``/``load_state_dict()`` or ``get_state()``/``set_state()``; or
                :func:`runloop.attributes` of any other object. A bare array, tuple or named tuple
                can be attached if nothing in it has to be rebound by a restore.
            constant: Whether its arrays are meant to stay as they are. Otherwise a save warns if
                none of them changed since the save before, while the step grew.

        Raises:
            TypeError: If ``obj`` is none of these.
            ValueError: If the name is in use.
            RuntimeError: If the graph is finalized.
        """
        check_attachable(name, obj)
        self._add({name: Attached(name, obj.target if isinstance(obj, Attributes) else obj)})
        self._attached[name] = obj
        if constant:
            self._constant.add(name)

    def input(
        self, names: str | Iterable[str], iterable: Iterable[Any], *, replay: bool = False
    ) -> None:
        """Add values that an iterable supplies, with one pull per run that needs any of them.

        Args:
            names: One name for each item, or several names for the members of each item: in the
                order of a tuple, or by key of a mapping.
            iterable: Each session calls ``iter()`` on it. Once it is exhausted, a run that needs
                it raises ``OutOfRangeError``. If it has state, it is attached under the first
                name, so that its position is in the checkpoints. So is the position in a plain
                sequence (a list, a range, an array). Any other iterable starts over after a
                restore; a session that saves warns of it.
            replay: Keep the position of an iterable without state by replaying: a restore pulls
                and drops as many items as were used, before it restores the other state. What
                the iterable draws from attached generators meanwhile is undone by that.

        Raises:
            TypeError: If ``iterable`` can't be iterated.
            ValueError: If no name is given, a name is a duplicate or in use, or ``replay`` is
                asked of an iterable with state.
            RuntimeError: If the graph is finalized.
        """
        single = isinstance(names, str)
        given: Any = names
        every = tuple(given) if isinstance(given, Iterable) and not single else (given,)
        if not every:
            raise ValueError("graph.input needs at least one name, got none")
        if len(set(every)) < len(every):
            raise ValueError(f"graph.input: duplicate name in {every}")
        if not hasattr(iterable, "__iter__"):
            raise TypeError(
                f"input {every[0]!r}: expected an iterable, got {iterable!r}; call it if it is "
                f"a generator function"
            )
        if replay and is_stateful(iterable):
            raise ValueError(
                f"input {every[0]!r}: {type(iterable).__name__} has state, so its position is "
                f"restored without replay=True"
            )
        source = Input(every, iterable, single=single, replay=replay)
        self._add({name: InputValue(source, i) for i, name in enumerate(every)})
        self._inputs.append(source)
        if is_stateful(iterable):
            self._attached[every[0]] = iterable

    @overload
    def op(self, fn: _Function, **options: Unpack[_OpOptions]) -> Op: ...

    @overload
    def op(self, fn: None = None, **options: Unpack[_OpOptions]) -> Callable[[_Function], Op]: ...

    def op(
        self,
        fn: _Function | None = None,
        *,
        name: str | None = None,
        outputs: Iterable[str] | str | None = None,
        updates: Iterable[str] | str | None = None,
        after: Iterable[str | Op] | str | Op = (),
    ) -> Op | Callable[[_Function], Op]:
        """Add a function as an op. Use it as a call or as a decorator; it returns the :class:`Op`.

        Args:
            fn: The function. Each parameter is filled in by its name: with an op's result or
                one of its outputs, a variable, an input, attached state, else a feed. A
                parameter with a default may be fed and need not be.
            name: The op's name; the function's by default.
            outputs: A tuple of names for the members of the tuple that ``fn`` returns, or a
                single string for the value that it returns.
            updates: Names of the variables that the returned values replace after the run, a
                tuple or a single string likewise. An op without outputs then fetches as
                ``None``. With both, ``fn`` returns one flat tuple, the updates' members first
                and the outputs' after them (``return w, b, loss``), and the op fetches as its
                outputs. The session keeps the returned arrays without a copy: don't write into
                them later.
            after: Ops, or their names, that must run first.

        Raises:
            TypeError: If ``fn`` can't be called or its parameters can't be read, or something
                other than a name is given as one.
            ValueError: If a name is in use, missing or a duplicate.
            RuntimeError: If the graph is finalized.
        """

        def add(fn: _Function) -> Op:
            return self._add_op(fn, name, outputs, updates, after, None)

        return add if fn is None else add(fn)

    @overload
    def train_op(self, fn: _Function, **options: Unpack[_TrainOptions]) -> Op: ...

    @overload
    def train_op(
        self, fn: None = None, **options: Unpack[_TrainOptions]
    ) -> Callable[[_Function], Op]: ...

    def train_op(
        self,
        fn: _Function | None = None,
        *,
        name: str | None = None,
        outputs: Iterable[str] | str | None = None,
        updates: Iterable[str] | str | None = None,
        after: Iterable[str | Op] | str | Op = (),
        increment: int = 1,
    ) -> Op | Callable[[_Function], Op]:
        """Add an op after whose success ``global_step`` grows by ``increment``.

        Makes ``global_step`` if the graph lacks it. Everything else is as for :meth:`op`.

        Raises:
            TypeError: If ``increment`` is not an ``int``, or ``global_step`` is not a variable;
                and what :meth:`op` raises.
        """
        if not isinstance(increment, (int, np.integer)) or isinstance(increment, bool):
            raise TypeError(f"train_op: increment must be an int, got {increment!r}")

        def add(fn: _Function) -> Op:
            return self._add_op(fn, name, outputs, updates, after, int(increment))

        return add if fn is None else add(fn)

    def _add_op(
        self,
        fn: _Function,
        name: str | None,
        outputs: Iterable[str] | str | None,
        updates: Iterable[str] | str | None,
        after: Iterable[str | Op] | str | Op,
        increment: int | None,
    ) -> Op:
        op, new = new_op(self, fn, name, outputs, updates, after, increment)
        if increment is not None:  # first check everything: a refused op must not leave a step
            self._check_open()
            self._check_new(new)
            get_or_create_global_step(self)
        self._add(new)
        self._ops.append(op)
        return op

    def summary(self, tag: str, fetch: Any) -> None:
        """Register a scalar to be saved: ``SummarySaverHook`` writes ``fetch`` under ``tag``.

        Raises:
            ValueError: If the tag is in use.
            RuntimeError: If the graph is finalized.
        """
        self._check_open()
        if tag in self._summaries:
            raise ValueError(f"summary {tag!r} is already defined, as {self._summaries[tag]!r}")
        self._summaries[tag] = fetch
        self.version += 1

    def _check_open(self) -> None:
        if self._finalized:
            error = RuntimeError("Graph is finalized and cannot be modified.")
            # In a note, so that the message itself stays TensorFlow's.
            error.add_note(
                "A monitored session finalizes its graph until it is closed: add to the graph "
                "before the session is made, or in a hook's begin()."
            )
            raise error

    def _check_new(self, names: Iterable[str]) -> None:
        for name in names:
            if not isinstance(name, str) or not name:
                raise ValueError(f"a name must be a non-empty string, got {name!r}")
            if name.endswith(":0"):
                raise ValueError(f"{name!r}: a name can't end in ':0', TensorFlow's output suffix")
            if name in self._elements:
                raise ValueError(
                    f"the name {name!r} is in use: it was first defined at {self._sites[name]}"
                )

    def _add(self, new: Mapping[str, Element]) -> None:
        self._check_open()
        self._check_new(new)
        site = caller_site()
        self._elements.update(new)
        self._sites.update(dict.fromkeys(new, site))
        self.version += 1

    # -- looking --------------------------------------------------------------------------------

    @property
    def variables(self) -> tuple[Variable, ...]:
        """All variables, in the order of their creation."""
        return tuple(self._variables)

    @property
    def trainable_variables(self) -> tuple[Variable, ...]:
        """The variables made with ``trainable=True`` (the default)."""
        return tuple(v for v in self._variables if v.trainable)

    @property
    def ops(self) -> tuple[Op, ...]:
        """All ops, in the order of their creation."""
        return tuple(self._ops)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All inputs, in the order of their creation."""
        return tuple(self._inputs)

    @property
    def attached(self) -> Mapping[str, Any]:
        """All attached state by name, including inputs that have state (read only)."""
        return MappingProxyType(self._attached)

    @property
    def constant(self) -> AbstractSet[str]:
        """Names of attached state that is meant to stay as it is (read only)."""
        return self._constant

    @property
    def summaries(self) -> Mapping[str, Any]:
        """The summaries registered by :meth:`summary`: ``{tag: fetch}`` (read only)."""
        return MappingProxyType(self._summaries)

    @property
    def elements(self) -> Mapping[str, Element]:
        """Everything in the graph by name (read only)."""
        return MappingProxyType(self._elements)

    def __repr__(self) -> str:
        return f"<Graph: {len(self._variables)} variables, {len(self._ops)} ops>"

    # -- collections ----------------------------------------------------------------------------

    def add_to_collection(self, name: Any, value: Any) -> None:
        """Append ``value`` to the list under ``name``. As in TensorFlow, the graph must not be final.

        Raises:
            RuntimeError: If the graph is finalized.
        """
        self._check_open()
        self._collections.setdefault(name, []).append(value)

    def get_collection_ref(self, name: Any) -> list[Any]:
        """Return the list under ``name`` itself, not a copy; an empty one is made if needed."""
        return self._collections.setdefault(name, [])

    # -- finalizing -----------------------------------------------------------------------------

    @property
    def finalized(self) -> bool:
        """Whether the graph refuses additions."""
        return self._finalized

    def finalize(self) -> None:
        """Check all references between ops, then refuse further additions.

        Raises:
            ValueError: If ``updates=`` names something other than a variable, ``after=``
                something other than an op, or if ops depend on each other in a cycle.
        """
        if not self._finalized:
            check_references(self._elements, self._ops)
            self._finalized = True

    def reopen(self) -> None:
        """Undo :meth:`finalize`. A monitored session calls it when it is closed."""
        self._finalized = False

    @contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Make this the default graph of the context inside the ``with`` block."""
        token = _default.set(self)
        try:
            yield self
        finally:
            _default.reset(token)


_default: ContextVar[Graph | None] = ContextVar("runloop_default_graph", default=None)


def get_default_graph() -> Graph:
    """Return the graph of the innermost ``as_default()``, else one made for this context."""
    graph = _default.get()
    if graph is None:
        graph = Graph()
        _default.set(graph)
    return graph


def get_global_step(graph: Graph | None = None) -> Variable | None:
    """Return the variable ``global_step`` of ``graph`` or the default graph, ``None`` if it lacks one.

    Raises:
        TypeError: If ``global_step`` is the name of something other than a variable.

    Follows ``tf.train.get_global_step`` of TensorFlow 2.21.
    """
    found = (graph or get_default_graph()).elements.get(GLOBAL_STEP)
    if found is None or isinstance(found, Variable):
        return found
    raise TypeError(f"'global_step' must be a variable, it is {found!r}")


def get_or_create_global_step(graph: Graph | None = None) -> Variable:
    """Return the variable ``global_step`` (``int64``, shape ``()``); it is made at 0 if needed.

    Raises:
        TypeError: If ``global_step`` is the name of something other than a variable.
        RuntimeError: If the variable would have to be made in a finalized graph.

    Follows ``tf.train.get_or_create_global_step`` of TensorFlow 2.21.
    """
    graph = graph or get_default_graph()
    with graph.lock:
        return get_global_step(graph) or graph.variable(GLOBAL_STEP, 0, trainable=False)


def step_value(value: Any) -> np.int64:
    """Return ``value`` as an ``np.int64``, the type that ``global_step`` has.

    Raises:
        TypeError: If it is not an integer scalar.
    """
    array = np.asarray(value)
    if array.shape or array.dtype.kind not in "iu":
        raise TypeError(f"'global_step' must be an integer scalar, got {value!r}")
    return np.int64(array)
