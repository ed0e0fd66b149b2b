"""The graph: what can be run, by name. Nothing runs here; see :mod:`runloop.session`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TypeAlias, TypedDict, Unpack, overload

import numpy as np

from runloop.graph.elements import (
    GLOBAL_STEP,
    Attached,
    Element,
    Input,
    InputValue,
    Op,
    Output,
    Variable,
)
from runloop.graph.references import check_references
from runloop.graph.tensorflow_names import GraphHandles
from runloop.messages import caller_site
from runloop.state import check_attachable, is_stateful

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

    A graph holds no values of its own. Names are shared by all kinds: each is used once.

    Attributes:
        version: Grows with every change, so that whoever derived something sees it is stale.
        lock: Held by whoever looks for something here and adds it if it is missing, so that
            threads which make sessions of one graph do not add it twice.

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
        self._attached: dict[str, Any] = {}
        self._summaries: dict[str, Any] = {}
        self._collections: dict[Any, list[Any]] = {}
        self._finalized = False
        self.version = 0
        self.lock = threading.RLock()

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
            TypeError: If ``global_step`` is to begin with something else than an integer scalar.
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

    def attach(self, name: str, obj: Any) -> None:
        """Attach state that lives outside: injected into ops as it is, saved and restored in place.

        Args:
            name: What ops' parameters and checkpoints call it.
            obj: A nested mapping or list of arrays, a ``numpy.random.Generator`` or
                ``RandomState``, a ``random.Random``, or any object with
                ``state_dict()``/``load_state_dict()`` or ``get_state()``/``set_state()``.

        Raises:
            TypeError: If ``obj`` is none of these.
            ValueError: If the name is in use.
            RuntimeError: If the graph is finalized.
        """
        check_attachable(name, obj)
        self._add({name: Attached(name, obj)})
        self._attached[name] = obj

    def input(self, names: str | Iterable[str], iterable: Iterable[Any]) -> None:
        """Add values that come from outside, one pull for each run that needs any of them.

        Args:
            names: One name for what a pull gives, or several for the members of a tuple.
            iterable: Each session iterates it anew; when it ends, the run raises
                ``OutOfRangeError``. If it has state, it is attached under the first name, so
                that its position is in the checkpoints.

        Raises:
            TypeError: If ``iterable`` can't be iterated.
            ValueError: If there is no name, or one is there twice or in use.
            RuntimeError: If the graph is finalized.
        """
        single = isinstance(names, str)
        given: Any = names
        every = tuple(given) if isinstance(given, Iterable) and not single else (given,)
        if not every:
            raise ValueError("graph.input needs at least one name, got none")
        if len(set(every)) < len(every):
            raise ValueError(f"graph.input: a name is there twice in {every}")
        if not hasattr(iterable, "__iter__"):
            raise TypeError(
                f"input {every[0]!r}: expected an iterable, got {iterable!r}; call it if it is "
                f"a generator function"
            )
        source = Input(every, iterable, single=single)
        self._add({name: InputValue(source, i) for i, name in enumerate(every)})
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
        """Add a function as an op, as a call or as a decorator; returns the :class:`Op`.

        Args:
            fn: The function. Each parameter is filled in by its name: with an op's result or
                one of its outputs, a variable, an input, attached state, else a feed. A
                parameter with a default may be fed and need not be.
            name: The op's name; the function's by default.
            outputs: Names for the members of the tuple that it returns, or one name for the
                value that it returns.
            updates: Names of the variables that the returned values replace after the run,
                in a tuple likewise; such an op fetches as ``None``. Arrays are taken over
                without a copy: don't write into them later.
            after: Ops, or their names, that must run first.

        Raises:
            TypeError: If ``fn`` can't be called or its parameters can't be read, or something
                that is no name stands for one.
            ValueError: If a name is in use, missing or there twice, or both outputs and updates
                are given.
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

        Makes ``global_step`` if there is none. Everything else is as for :meth:`op`.

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
        if not callable(fn):
            raise TypeError(f"an op must be callable, got {fn!r}")
        name = name if name is not None else getattr(fn, "__name__", None)
        if name is None or name == "<lambda>":
            raise ValueError(f"{fn!r} has no name of its own: give one with name=...")
        if outputs is not None and updates is not None:
            raise ValueError(
                f"op {name!r} has both outputs= and updates=: an op either returns named values "
                f"or replaces variables; make two ops of it"
            )
        op = Op(
            self,
            name,
            fn,
            outputs=_names(name, "outputs", outputs),
            updates=_names(name, "updates", updates),
            after=self._op_names(name, after),
            increment=increment,
        )
        new: dict[str, Element] = {name: op}
        if isinstance(op.outputs, str):
            if op.outputs != name:  # a single output of the op's own name is the op's value
                new[op.outputs] = Output(op, None)
        else:
            for index, output in enumerate(op.outputs or ()):
                if output in new:
                    raise ValueError(f"op {name!r}: the name {output!r} is there twice")
                new[output] = Output(op, index)
        if increment is not None:
            self._check_open()
            self._check_new(new)
            self._check_train(op, new)
            get_or_create_global_step(self)
        self._add(new)
        self._ops.append(op)
        return op

    def _op_names(self, name: str, after: Iterable[str | Op] | str | Op) -> tuple[str, ...]:
        ops = after if isinstance(after, Iterable) and not isinstance(after, str) else (after,)
        for other in ops:
            if not isinstance(other, (str, Op)):
                raise TypeError(f"op {name!r}: after= takes ops or their names, got {other!r}")
            if isinstance(other, Op) and other.graph is not self:
                raise ValueError(f"op {name!r}: after={other!r} belongs to another graph")
        return tuple(other.name if isinstance(other, Op) else other for other in ops)

    def _check_train(self, op: Op, new: Mapping[str, Element]) -> None:
        updates = (op.updates,) if isinstance(op.updates, str) else op.updates or ()
        if GLOBAL_STEP in updates:
            raise ValueError(
                f"op {op.name!r} updates 'global_step', which a train op raises by itself: "
                f"take it out of updates=, or make it a plain op"
            )
        if GLOBAL_STEP in new:
            raise ValueError(
                f"train op {op.name!r}: neither it nor an output can be called 'global_step': "
                f"that is the variable which it raises"
            )

    def summary(self, tag: str, fetch: Any) -> None:
        """Register a scalar to be saved: ``SummarySaverHook`` writes ``fetch`` under ``tag``.

        Raises:
            ValueError: If the tag is in use.
            RuntimeError: If the graph is finalized.
        """
        self._check_open()
        if tag in self._summaries:
            raise ValueError(f"summary {tag!r} is defined already, as {self._summaries[tag]!r}")
        self._summaries[tag] = fetch
        self.version += 1

    def _check_open(self) -> None:
        if self._finalized:
            error = RuntimeError("Graph is finalized and cannot be modified.")
            # A note, so that the message itself stays TensorFlow's.
            error.add_note(
                "A monitored session finalizes its graph until it is closed: add to the graph "
                "before the session is made, or in a hook's begin()."
            )
            raise error

    def _check_new(self, names: Iterable[str]) -> None:
        for name in names:
            if not isinstance(name, str) or not name:
                raise ValueError(f"a name must be a string that is not empty, got {name!r}")
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
        """All variables, in the order in which they were made."""
        return tuple(self._variables)

    @property
    def trainable_variables(self) -> tuple[Variable, ...]:
        """The variables made with ``trainable=True`` (the default)."""
        return tuple(v for v in self._variables if v.trainable)

    @property
    def ops(self) -> tuple[Op, ...]:
        """All ops, in the order in which they were made."""
        return tuple(self._ops)

    @property
    def attached(self) -> Mapping[str, Any]:
        """All attached state by name, stateful inputs among it (read only)."""
        return MappingProxyType(self._attached)

    @property
    def summaries(self) -> Mapping[str, Any]:
        """What :meth:`summary` registered: ``{tag: fetch}`` (read only)."""
        return MappingProxyType(self._summaries)

    @property
    def elements(self) -> Mapping[str, Element]:
        """Everything that has a name (read only)."""
        return MappingProxyType(self._elements)

    def __repr__(self) -> str:
        return f"<Graph: {len(self._variables)} variables, {len(self._ops)} ops>"

    # -- collections ----------------------------------------------------------------------------

    def add_to_collection(self, name: Any, value: Any) -> None:
        """Append ``value`` to the list kept under ``name``. As in TensorFlow, the graph is to be open.

        Raises:
            RuntimeError: If the graph is finalized.
        """
        self._check_open()
        self._collections.setdefault(name, []).append(value)

    def get_collection_ref(self, name: Any) -> list[Any]:
        """Return the very list kept under ``name``, made if there is none."""
        return self._collections.setdefault(name, [])

    # -- finalizing -----------------------------------------------------------------------------

    @property
    def finalized(self) -> bool:
        """Whether adding is refused."""
        return self._finalized

    def finalize(self) -> None:
        """Check all references between ops, then refuse every further change.

        Raises:
            ValueError: If ``updates=`` or ``after=`` names something that is not there or of
                another kind, or if ops depend on each other in a cycle.
        """
        if not self._finalized:
            check_references(self._elements, self._ops)
            self._finalized = True

    def reopen(self) -> None:
        """Undo :meth:`finalize`. A monitored session does so when it is closed."""
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
    """Return the variable ``global_step`` of ``graph`` (the default graph), ``None`` without one.

    Raises:
        TypeError: If the name belongs to something else than a variable.

    Follows ``tf.train.get_global_step`` of TensorFlow 2.21.
    """
    found = (graph or get_default_graph()).elements.get(GLOBAL_STEP)
    if found is None or isinstance(found, Variable):
        return found
    raise TypeError(f"'global_step' must be a variable, it is {found!r}")


def get_or_create_global_step(graph: Graph | None = None) -> Variable:
    """Return the variable ``global_step`` (``int64``, shape ``()``), made at 0 if there is none.

    Raises:
        TypeError: If the name belongs to something else than a variable.
        RuntimeError: If there is none and the graph is finalized.

    Follows ``tf.train.get_or_create_global_step`` of TensorFlow 2.21.
    """
    graph = graph or get_default_graph()
    with graph.lock:
        return get_global_step(graph) or graph.variable(GLOBAL_STEP, 0, trainable=False)


def step_value(value: Any) -> np.int64:
    """Return ``value`` as what ``global_step`` holds.

    Raises:
        TypeError: If it is not an integer scalar.
    """
    array = np.asarray(value)
    if array.shape or array.dtype.kind not in "iu":
        raise TypeError(f"'global_step' must be an integer scalar, got {value!r}")
    return np.int64(array)


def _names(op: str, option: str, given: Iterable[str] | str | None) -> tuple[str, ...] | str | None:
    if given is None or isinstance(given, str):
        return given
    names = tuple(given) if isinstance(given, Iterable) else (given,)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"op {op!r}: {option}= takes a name or a tuple of names, got {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"op {op!r}: a name is there twice in {option}={names}")
    return names
