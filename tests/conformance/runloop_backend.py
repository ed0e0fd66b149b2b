"""The back end under test: runloop."""

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

import runloop as rl
from runloop import clock as clocks
from runloop import errors

from .interface import Backend, FakeClock, Program, Script, Spec
from .trace import Trace

_ERRORS = {
    "Aborted": errors.AbortedError,
    "Unavailable": errors.UnavailableError,
    "OutOfRange": errors.OutOfRangeError,
    "Deadline": TimeoutError,
}
_PLAIN = {
    "StopIteration": StopIteration,
    "ValueError": ValueError,
    "KeyError": KeyError,
    "RuntimeError": RuntimeError,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
}
_RENAMED = {
    "SessionRunArgs": "RunArgs",
    "SessionRunContext": "RunContext",
    "SessionRunValues": "RunValues",
}


class _Train:
    """runloop's names under TensorFlow's."""

    def __getattr__(self, name: str) -> Any:
        name = _RENAMED.get(name, name)
        return getattr(rl, name, None) or getattr(rl.hooks, name)


class _Function:
    """A function whose parameters are made up at run time."""

    def __init__(self, parameters: Mapping[str, Any], call: Callable[..., Any]) -> None:
        kind = inspect.Parameter.KEYWORD_ONLY
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(n, kind, default=d) for n, d in parameters.items()]
        )
        self._call = call

    def __call__(self, **given: Any) -> Any:
        return self._call(given)


_REQUIRED = inspect.Parameter.empty


def _value(scripted: Any) -> Any:
    return np.asarray(scripted) if isinstance(scripted, tuple) else scripted


class RunloopProgram(Program):
    """A graph with the ops that a spec describes."""

    def __init__(self, spec: Spec, script: Script) -> None:
        self._graph = rl.Graph()
        self._default: Any = None
        self._handles: dict[str, Any] = {}
        graph, handles = self._graph, self._handles
        for name, initial in spec.variables.items():
            handles[name] = graph.variable(name, np.float64(initial))
        for name in spec.data:
            graph.input(name, script.elements(name))
        for name, (feed, default) in spec.echoes.items():
            graph.op(_Function({feed: default}, lambda g, f=feed: g[f]), name=name)
        for name in spec.values:
            first = dict.fromkeys(spec.needs.get(name, []), _REQUIRED)
            graph.op(_Function(first, lambda _, n=name: _value(script.evaluate(n))), name=name)
        for tag, name in spec.summaries.items():
            graph.summary(tag, name)
        if spec.increment is not None:

            def train(given: Mapping[str, Any]) -> tuple[Any, ...]:
                script.evaluate("train")
                return tuple(given[name] + amount for name, amount in spec.adds.items())

            first = dict.fromkeys([*spec.needs.get("train", []), *spec.adds], _REQUIRED)
            handles["train"] = graph.train_op(
                _Function(first, train),
                name="train",
                updates=tuple(spec.adds),
                increment=spec.increment,
            )
            handles["global_step"] = rl.get_global_step(graph)

    def handle(self, name: str) -> Any:
        return self._handles.get(name, name)

    def name_of(self, handle: Any) -> str | None:
        return handle.name if isinstance(handle, rl.Variable | rl.Op) else None

    def graph_is_finalized(self) -> bool:
        return self._graph.finalized

    def finalize_graph(self) -> None:
        self._graph.finalize()

    def add_variable(self, name: str, initial: float) -> None:
        self._handles[name] = self._graph.variable(name, np.float64(initial))

    def add_assignment(self, variable: str, feed: str) -> Any:
        """An op that sets a variable to what is fed."""
        return self._graph.op(
            _Function({feed: _REQUIRED}, lambda given: np.float64(given[feed])),
            name=f"assign_{variable}",
            updates=variable,
        )

    def __enter__(self) -> Self:
        self._default = self._graph.as_default()
        self._default.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._default.__exit__(*exc)


class _Writer:
    """A summary writer that writes into a trace."""

    def __init__(self, trace: Trace, flushes: bool) -> None:
        self._trace = trace
        self._flushes = flushes
        self._pending = False

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        self._trace.add(f"scalar {tag} = {float(value):.6g} @ {int(step)}")
        self._pending = True

    def flush(self) -> None:
        if self._pending and self._flushes:
            self._trace.add("writer flushed")
        self._pending = False

    def close(self) -> None:
        self._trace.add("writer closed")


class RunloopBackend(Backend):
    """runloop as it is."""

    name = "runloop"
    version = "the one under test"
    logger = "runloop"
    train = _Train()

    def build(self, spec: Spec, script: Script) -> Program:
        return RunloopProgram(spec, script)

    def error(self, family: str, text: str) -> BaseException:
        if family in _ERRORS:
            return _ERRORS[family](None, None, text)
        return _PLAIN[family](text)

    def family(self, error: BaseException) -> str:
        for name, kind in _ERRORS.items():
            if isinstance(error, kind):
                return name
        if isinstance(error, errors.NanLossDuringTrainingError):
            return "NanLossDuringTrainingError"
        return next(k.__name__ for k in type(error).__mro__ if k.__module__ == "builtins")

    def using(self, clock: FakeClock) -> Any:
        return clocks.use(clock)

    def checkpoints(self, path: str) -> list[str]:
        end = ".safetensors"
        found = [e.name.removesuffix(end) for e in os.scandir(path) if e.name.endswith(end)]
        return sorted(found, key=lambda n: int(n.rpartition("-")[2]))

    def listed(self, path: str) -> list[str]:
        state = rl.get_checkpoint_state(path)
        paths = [] if state is None else state.all_model_checkpoint_paths
        return [Path(p).stem for p in paths]

    def scalars(self, path: str) -> list[tuple[int, str, float]]:
        file = Path(path, "metrics.jsonl")
        if not file.exists():
            return []
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return [(row["step"], row["tag"], float(row["value"])) for row in rows]

    def writer(self, trace: Trace, *, flushes: bool = False) -> Any:
        return _Writer(trace, flushes)

    def summary_op(self, program: Program, tags: Mapping[str, str]) -> Any:
        return {tag: program.handle(name) for tag, name in tags.items()}

    def options(self, **fields: int) -> Any:
        return rl.RunOptions(**fields)

    def was_traced(self, run_metadata: Any) -> bool:
        return bool(run_metadata.step_stats)

    def hooks_of(self, session: Any) -> Sequence[Any]:
        return session.hooks

    def init_op(self, program: Program, name: str) -> Any:
        return program.handle(name)

    def assign_op(self, program: Program, variable: str, feed: str) -> Any:
        assert isinstance(program, RunloopProgram)
        return program.add_assignment(variable, feed)
