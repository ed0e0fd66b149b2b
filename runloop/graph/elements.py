"""What a graph is made of: variables, ops and their outputs, inputs, attached state.

Plain classes, not named tuples: creating a named tuple class adds 0.2 ms to the import.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from runloop.nest import Leaf

__all__ = [
    "GLOBAL_STEP",
    "REQUIRED",
    "Attached",
    "AttachedLeaf",
    "Element",
    "Input",
    "InputValue",
    "Op",
    "Output",
    "Parameter",
    "Variable",
    "parameters",
]

GLOBAL_STEP = "global_step"
"""The name of the variable that counts the training steps."""

REQUIRED: Any = object()
"""The default of a parameter without a default."""


class Parameter:
    """One parameter of an op: its name, its default or ``REQUIRED``, whether keyword-only."""

    __slots__ = ("default", "keyword_only", "name")

    def __init__(self, name: str, default: Any, keyword_only: bool) -> None:
        self.name = name
        self.default = default
        self.keyword_only = keyword_only


def parameters(fn: Callable[..., Any], what: str) -> tuple[Parameter, ...]:
    """Return the parameters of ``fn`` that are filled in by name; ``*args`` and ``**kwargs`` are not.

    Raises:
        TypeError: If the signature can't be read, as with some functions written in C, or the
            function is async.
    """
    if inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(
            f"{what}: {fn!r} is async, and a run does not await; write a def that calls "
            f"asyncio.run(...)"
        )
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError) as exc:
        raise TypeError(
            f"{what}: the parameters of {fn!r} can't be read; wrap it in a lambda or a def"
        ) from exc
    skipped = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return tuple(
        Parameter(
            p.name,
            REQUIRED if p.default is p.empty else p.default,
            p.kind is p.KEYWORD_ONLY,
        )
        for p in signature.parameters.values()
        if p.kind not in skipped
    )


class Variable(Leaf):
    """A named value that each session owns; made by ``Graph.variable``.

    Attributes:
        graph: The graph that it belongs to.
        name: Its name in the graph and in checkpoints.
        trainable: Whether ``graph.trainable_variables`` lists it.
        validate: Whether updates and feeds must keep its shape and dtype.
        initial: The initial value, or the function that makes it.
    """

    def __init__(
        self, graph: Any, name: str, initial: Any, *, trainable: bool, validate: bool, index: int
    ) -> None:
        self.graph = graph
        self.name = name
        self.initial = initial
        self.trainable = trainable
        self.validate = validate
        self.index = index

    def __repr__(self) -> str:
        return f"<Variable {self.name!r}>"


class Op(Leaf):
    """A named plain function whose parameters a run fills in by name; made by ``Graph.op``.

    Calling it calls the function itself, with the arguments given.

    Attributes:
        graph: The graph that it belongs to; ``None`` for a bare callable's.
        name: Its name in the graph.
        fn: The function.
        parameters: What is filled in by name.
        outputs: Names of the members of its result: a tuple, a single string, or ``None``.
        updates: Names of the variables that its result replaces: likewise. With both, the result
            has the members of the updates first.
        after: Names of the ops that run before it whenever it runs.
        increment: By how much ``global_step`` grows after it; ``None`` for an op that does not train.
    """

    def __init__(
        self,
        graph: Any,
        name: str,
        fn: Callable[..., Any],
        *,
        outputs: tuple[str, ...] | str | None = None,
        updates: tuple[str, ...] | str | None = None,
        after: tuple[str, ...] = (),
        increment: int | None = None,
    ) -> None:
        self.graph = graph
        self.name = name
        self.fn = fn
        self.parameters = parameters(fn, f"op {name!r}")
        self.outputs = outputs
        self.updates = updates
        self.after = after
        self.increment = increment

    @property
    def mutates(self) -> bool:
        """Whether it updates variables or trains. Such ops run after the ready ones that do neither."""
        return self.updates is not None or self.increment is not None

    @property
    def update_names(self) -> tuple[str, ...]:
        """``updates`` as a tuple; empty without updates."""
        return _as_tuple(self.updates)

    @property
    def member_names(self) -> tuple[str, ...]:
        """The names of the members of the result: those of ``updates``, then of ``outputs``."""
        return self.update_names + _as_tuple(self.outputs)

    @property
    def many(self) -> bool:
        """Whether its result is a tuple whose members have names."""
        return self.has_both or isinstance(self.outputs, tuple) or isinstance(self.updates, tuple)

    @property
    def is_silent(self) -> bool:
        """Whether it updates variables without outputs; then it fetches as ``None``."""
        return self.updates is not None and self.outputs is None

    @property
    def has_both(self) -> bool:
        """Whether it has updates and outputs; then its value is that of its outputs alone."""
        return self.outputs is not None and self.updates is not None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Op {self.name!r}>"


def _as_tuple(names: tuple[str, ...] | str | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names or ()


class Output:
    """One named member of an op's result; with ``member=None``, the whole result."""

    __slots__ = ("member", "op")

    def __init__(self, op: Op, member: int | None) -> None:
        self.op = op
        self.member = member


class Input:
    """An iterable that feeds one or several names, with one pull per run.

    Attributes:
        names: The names.
        iterable: The iterable.
        single: Whether an item is the value of the one name, not a tuple or mapping of members.
        replay: Whether a restore pulls and drops the items that were used.
        pulled: How many items were pulled in all; counts for an iterator, which can't start over.
    """

    def __init__(
        self, names: tuple[str, ...], iterable: Iterable[Any], *, single: bool, replay: bool = False
    ) -> None:
        self.names = names
        self.iterable = iterable
        self.single = single
        self.replay = replay
        self.pulled = 0
        self.lock = threading.Lock()  # sessions that share the input pull one at a time

    def __repr__(self) -> str:
        return f"<Input {', '.join(self.names)}>"


class InputValue:
    """One name of an input: one member of each pulled item."""

    __slots__ = ("member", "source")

    def __init__(self, source: Input, member: int) -> None:
        self.source = source
        self.member = member


class Attached:
    """State that the session does not own."""

    __slots__ = ("name", "obj")

    def __init__(self, name: str, obj: Any) -> None:
        self.name = name
        self.obj = obj


class AttachedLeaf:
    """One array inside attached state."""

    __slots__ = ("name", "obj", "path")

    def __init__(self, name: str, obj: Any, path: str) -> None:
        self.name = name
        self.obj = obj
        self.path = path


Element: TypeAlias = Variable | Op | Output | InputValue | Attached
