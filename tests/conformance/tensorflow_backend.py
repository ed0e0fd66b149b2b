"""The back end that records: ``tf.compat.v1.train`` in graph mode.

Only ``python -m tests.conformance.record`` imports this module. Inside its process it replaces
``time`` in the modules that read it, and ``Session.run``, so that what an op of a program raises
comes out as the class that the script says (TensorFlow knows only a few of Python's classes).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.training import (
    basic_session_run_hooks,
    coordinator,
    saver,
    session_manager,
    training_util,
)

from .interface import Backend, FakeClock, Program, Script, Spec
from .trace import Trace

tf.disable_eager_execution()

_ERRORS = {
    "Aborted": tf.errors.AbortedError,
    "Unavailable": tf.errors.UnavailableError,
    "OutOfRange": tf.errors.OutOfRangeError,
    "Deadline": tf.errors.DeadlineExceededError,
}
_PLAIN = {
    "StopIteration": StopIteration,
    "ValueError": ValueError,
    "KeyError": KeyError,
    "RuntimeError": RuntimeError,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
}


class _Pending:
    """What an op has just raised, on its way through TensorFlow's kernels."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        run = tf.Session.run

        def run_and_translate(session: Any, *args: Any, **kwargs: Any) -> Any:
            self.error = None
            try:
                return run(session, *args, **kwargs)
            except tf.errors.OpError as error:
                if self.error is None:
                    raise
                raise self.error from error

        tf.Session.run = run_and_translate

    def watched(self, function: Any) -> Any:
        def call() -> Any:
            try:
                return function()
            except BaseException as error:
                self.error = error
                raise RuntimeError("see the pending error") from error

        return call


class TensorFlowProgram(Program):
    """A graph whose ops are Python functions, read and run one after another."""

    def __init__(self, backend: "TensorFlowBackend", spec: Spec, script: Script) -> None:
        self._graph = tf.Graph()
        self._default: Any = None
        self._handles: dict[str, Any] = {}
        self._backend = backend
        self._script = script
        with self._graph.as_default():
            self._build(spec)

    def _build(self, spec: Spec) -> None:
        handles = self._handles
        variables = {}
        for name, initial in spec.variables.items():
            variables[name] = tf.Variable(initial, name=name, dtype=tf.float64, use_resource=True)
            handles[name] = tf.identity(variables[name].read_value(), name=f"{name}_read")
        if spec.increment is not None:
            step = tf.train.get_or_create_global_step()
            handles["global_step"] = training_util._get_or_create_global_step_read()
        for name in spec.data:
            elements = self._script.elements(name)
            handles[name] = self._op(name, lambda e=elements: self._pull(e), [])
        for name, (feed, default) in spec.echoes.items():
            handles[feed] = tf.placeholder_with_default(np.float64(default), [], name=feed)
            handles[name] = tf.identity(handles[feed], name=name)
        for name in self._in_order(spec):
            first = [handles[n] for n in spec.needs.get(name, [])]
            handles[name] = self._op(name, lambda n=name: self._value(n), first, spec.values[name])
        for tag, name in spec.summaries.items():
            tf.summary.scalar(tag, handles[name])
        if spec.increment is not None:
            # Every read of a variable that a hook may ask for comes before the change.
            before = [handles[n] for n in [*spec.needs.get("train", []), *spec.variables]]
            mark = self._op("train_mark", lambda: self._value("train"), before)
            with tf.control_dependencies([mark, handles["global_step"]]):
                updates = [tf.assign_add(variables[n], a).op for n, a in spec.adds.items()]
            with tf.control_dependencies([*updates, mark]):
                updates.append(tf.assign_add(step, spec.increment).op)
            handles["train"] = tf.group(*updates, name="train")

    def _in_order(self, spec: Spec) -> Iterator[str]:
        left = list(spec.values)
        while left:
            ready = [n for n in left if not set(spec.needs.get(n, [])) & set(left)]
            yield ready[0]
            left.remove(ready[0])

    def _op(self, name: str, function: Any, first: list[Any], values: Any = None) -> Any:
        text = bool(values) and isinstance(values[0], list)
        with tf.control_dependencies(first):
            kind = tf.string if text else tf.float64
            result = tf.py_func(self._backend.pending.watched(function), [], kind)
            vector = text or (bool(values) and isinstance(values[0], tuple))
            result.set_shape([None] if vector else [])
            return tf.identity(result, name=name)

    def _value(self, name: str) -> Any:
        value = self._script.evaluate(name)
        if isinstance(value, list):
            return np.array([v.encode() for v in value], dtype=object)
        return np.asarray(0.0 if value is None else value, np.float64)

    def _pull(self, elements: Iterator[float]) -> Any:
        try:
            return np.float64(next(elements))
        except StopIteration:
            raise tf.errors.OutOfRangeError(None, None, "end of the data") from None

    def handle(self, name: str) -> Any:
        return self._handles[name]

    def name_of(self, handle: Any) -> str | None:
        for name, known in self._handles.items():
            if known is handle:
                return name
        if isinstance(handle, tf.Tensor | tf.Operation):
            return str(handle.name).partition(":")[0]
        return None

    def graph_is_finalized(self) -> bool:
        return bool(self._graph.finalized)

    def finalize_graph(self) -> None:
        self._graph.finalize()

    def add_variable(self, name: str, initial: float) -> None:
        variable = tf.Variable(initial, name=name, dtype=tf.float64, use_resource=True)
        self._handles[name] = tf.identity(variable.read_value())

    def __enter__(self) -> Self:
        self._default = self._graph.as_default()
        self._default.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._default.__exit__(*exc)
        tf.summary.FileWriterCache.clear()


class _Writer:
    """A summary writer that writes into a trace; session logs and graphs have no place in it."""

    def __init__(self, trace: Trace, flushes: bool) -> None:
        self._trace = trace
        self._flushes = flushes
        self._pending = False

    def add_summary(self, summary: Any, step: int) -> None:
        if isinstance(summary, bytes):
            summary = tf.Summary.FromString(summary)
        for value in summary.value:
            self._trace.add(f"scalar {value.tag} = {value.simple_value:.6g} @ {int(step)}")
            self._pending = True

    def flush(self) -> None:
        if self._pending and self._flushes:
            self._trace.add("writer flushed")
        self._pending = False

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class TensorFlowBackend(Backend):
    """TensorFlow as it is."""

    name = "tensorflow"
    version = tf.__version__
    logger = "tensorflow"

    def __init__(self) -> None:
        self.pending = _Pending()

        class Train:
            NeverTriggerTimer = basic_session_run_hooks.NeverTriggerTimer

            def __getattr__(self, name: str) -> Any:
                return getattr(tf.train, name)

        self.train = Train()

    def build(self, spec: Spec, script: Script) -> Program:
        return TensorFlowProgram(self, spec, script)

    def error(self, family: str, text: str) -> BaseException:
        if family in _ERRORS:
            return _ERRORS[family](None, None, text)
        return _PLAIN[family](text)

    def family(self, error: BaseException) -> str:
        for name, kind in _ERRORS.items():
            if isinstance(error, kind):
                return name
        return type(error).__name__

    @contextmanager
    def using(self, clock: FakeClock) -> Iterator[None]:
        modules = [basic_session_run_hooks, coordinator, session_manager, saver]
        before = [m.time for m in modules]
        for module in modules:
            module.time = clock
        try:
            yield
        finally:
            for module, real in zip(modules, before, strict=True):
                module.time = real

    def checkpoints(self, path: str) -> list[str]:
        found = [p.stem for p in Path(path).glob("*.index")]
        return sorted(found, key=lambda n: int(n.rpartition("-")[2]))

    def listed(self, path: str) -> list[str]:
        state = tf.train.get_checkpoint_state(path)
        return [] if state is None else [Path(p).name for p in state.all_model_checkpoint_paths]

    def scalars(self, path: str) -> list[tuple[int, str, float]]:
        tf.summary.FileWriterCache.clear()
        found = []
        for file in sorted(Path(path).glob("*tfevents*")):
            for event in tf.train.summary_iterator(str(file)):
                found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        return found

    def writer(self, trace: Trace, *, flushes: bool = False) -> Any:
        return _Writer(trace, flushes)

    def summary_op(self, program: Program, tags: Mapping[str, str]) -> Any:
        return tf.summary.merge([tf.summary.scalar(t, program.handle(n)) for t, n in tags.items()])

    def options(self, **fields: int) -> Any:
        return tf.RunOptions(**fields)

    def was_traced(self, run_metadata: Any) -> bool:
        return bool(run_metadata.step_stats.dev_stats)

    def hooks_of(self, session: Any) -> Sequence[Any]:
        return session._hooks

    def init_op(self, program: Program, name: str) -> Any:
        return tf.group(program.handle(name), tf.global_variables_initializer())

    def assign_op(self, program: Program, variable: str, feed: str) -> Any:
        (target,) = [v for v in tf.global_variables() if v.op.name == variable]
        return tf.assign(target, program.handle(feed)).op
