"""What a back end provides, and what a program is made of.

A program is described by plain data, so that a random one can be written down as JSON:

    values      {name: [v0, v1, ...]}: an op whose n-th evaluation gives the n-th value, and the
                last one from then on. A list of strings as a value makes an op that gives names, a
                tuple of numbers one that gives arrays.
    data        {name: n}: an input of n elements 0.0, 1.0, ...; then it is exhausted
    variables   {name: initial value}
    echoes      {op: (feed, default)}: an op that gives back what is fed, else the default
    needs       {op: [ops that run first]}
    errors      {op: {n: (family, text)}}: what the n-th evaluation (from 1) raises
    adds        {variable: amount} that the train op adds
    increment   what the train op adds to the global step; None for a program without one
    summaries   {tag: op}: the program's default summaries
    alone       ops whose place among the others counts: each is written on a line of its own

Ops count their evaluations over the life of the process, not of a session: what an op does after a
recovery follows from how often it ran before. Ops that may fail stand in one chain (``needs``), so
that what ran before a failure is the same everywhere.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from .trace import Trace

FAMILIES = ("Aborted", "Unavailable", "OutOfRange", "StopIteration", "ValueError", "KeyError")


@dataclass
class Spec:
    """A program as plain data; the module docstring tells what each field means."""

    values: dict[str, list[Any]] = field(default_factory=lambda: {"loss": [1.0, 0.5, 0.25]})
    data: dict[str, int] = field(default_factory=dict)
    variables: dict[str, float] = field(default_factory=lambda: {"w": 0.0})
    echoes: dict[str, tuple[str, float]] = field(default_factory=dict)
    needs: dict[str, list[str]] = field(default_factory=lambda: {"train": ["loss"]})
    errors: dict[str, dict[int, tuple[str, str]]] = field(default_factory=dict)
    adds: dict[str, float] = field(default_factory=lambda: {"w": 1.0})
    increment: int | None = 1
    summaries: dict[str, str] = field(default_factory=dict)
    alone: list[str] = field(default_factory=list)


class Script:
    """What the ops of a program do when they are evaluated, whoever evaluates them."""

    def __init__(self, spec: Spec, trace: Trace, error: Callable[[str, str], BaseException]):
        self._spec = spec
        self._trace = trace
        self._error = error
        self._count: dict[str, int] = {}

    def evaluate(self, name: str) -> Any:
        """Count, write down, and give the value or raise what the script says."""
        count = self._count[name] = self._count.get(name, 0) + 1
        self._trace.ran(name, alone=name in self._spec.alone)
        error = self._spec.errors.get(name, {}).get(count)
        if error is not None:
            raise self._error(*error)
        values = self._spec.values.get(name)
        return None if values is None else values[min(count, len(values)) - 1]

    def elements(self, name: str) -> Iterator[float]:
        """The elements of an input, one a pull."""
        for n in range(self._spec.data[name]):
            self.evaluate(name)
            yield float(n)


class FakeClock:
    """A clock that moves only when it is told to, or slept on.

    Its ``time()`` lies after the times that the file system gives to files: TensorFlow compares
    the two.
    """

    EPOCH = 2_000_000_000.0

    def __init__(self) -> None:
        self.now = 1000.0
        self.on_sleep: Callable[[float], None] = lambda _: None

    def time(self) -> float:
        return self.EPOCH + self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, secs: float) -> None:
        self.now += secs
        self.on_sleep(secs)

    def advance(self, secs: float) -> None:
        self.now += secs


class Program(ABC):
    """A built program. As a context manager it makes its graph the default graph."""

    @abstractmethod
    def handle(self, name: str) -> Any:
        """What a run fetches or feeds under ``name`` (``train`` and ``global_step`` included)."""

    @abstractmethod
    def name_of(self, handle: Any) -> str | None:
        """The name of a handle, None for anything else."""

    @abstractmethod
    def graph_is_finalized(self) -> bool: ...

    @abstractmethod
    def finalize_graph(self) -> None: ...

    @abstractmethod
    def add_variable(self, name: str, initial: float) -> None:
        """Add to the graph late, as a hook may in ``begin``."""

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, *exc: object) -> None: ...

    def resolve(self, fetches: Any) -> Any:
        """Replace every name in a structure of names by its handle."""
        if isinstance(fetches, str):
            return self.handle(fetches)
        if isinstance(fetches, Mapping):
            return {k: self.resolve(v) for k, v in fetches.items()}
        if isinstance(fetches, tuple) and hasattr(fetches, "_fields"):
            return type(fetches)(*(self.resolve(f) for f in fetches))
        if isinstance(fetches, list | tuple):
            return type(fetches)(self.resolve(f) for f in fetches)
        return fetches

    def feed(self, feeds: Mapping[str, Any] | None) -> dict[Any, Any] | None:
        """Replace the names in a feed by handles."""
        return None if feeds is None else {self.handle(k): v for k, v in feeds.items()}


class Backend(ABC):
    """One of the two libraries, behind the few things that they spell differently.

    ``train`` is a namespace with the classes of the lifecycle under TensorFlow's names: sessions,
    hooks, timers, ``Scaffold``, ``Saver``, ``Coordinator``, ``SessionRunArgs`` and so on.
    """

    name: str
    version: str
    train: Any
    logger: str

    @abstractmethod
    def build(self, spec: Spec, script: Script) -> Program: ...

    @abstractmethod
    def error(self, family: str, text: str) -> BaseException: ...

    @abstractmethod
    def family(self, error: BaseException) -> str: ...

    @abstractmethod
    def using(self, clock: FakeClock) -> Any:
        """A context manager: everything inside reads the time from ``clock``."""

    @abstractmethod
    def checkpoints(self, path: str) -> list[str]:
        """The names of the checkpoints whose data is in the folder ``path``, in order of step."""

    @abstractmethod
    def listed(self, path: str) -> list[str]:
        """The names of the checkpoints that the folder's state file lists, in its order."""

    @abstractmethod
    def scalars(self, path: str) -> list[tuple[int, str, float]]:
        """The scalars (step, tag, value) that were written into the folder, in order."""

    @abstractmethod
    def writer(self, trace: Trace, *, flushes: bool = False) -> Any:
        """A summary writer that writes into the trace, ``flushes`` only if that is asked for.

        A flush is written down only if there is something that was not flushed before.
        """

    @abstractmethod
    def summary_op(self, program: Program, tags: Mapping[str, str]) -> Any:
        """What ``SummarySaverHook(summary_op=)`` takes to save ops under tags."""

    @abstractmethod
    def options(self, **fields: int) -> Any: ...

    @abstractmethod
    def was_traced(self, run_metadata: Any) -> bool: ...

    @abstractmethod
    def hooks_of(self, session: Any) -> Sequence[Any]: ...

    @abstractmethod
    def init_op(self, program: Program, name: str) -> Any:
        """An op that evaluates ``name`` and leaves the variables at their initial values."""

    @abstractmethod
    def assign_op(self, program: Program, variable: str, feed: str) -> Any:
        """An op that sets a variable to what is fed; to be made before the graph is finalized."""

    @contextmanager
    def logging_to(self, trace: Trace) -> Iterator[None]:
        """Write the library's log into the trace."""

        class Into(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                trace.log(record.getMessage())

        logger = logging.getLogger(self.logger)
        handlers, level, propagate = logger.handlers, logger.level, logger.propagate
        logger.handlers, logger.propagate = [Into()], False
        logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
