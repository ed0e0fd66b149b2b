"""What one `run()` costs on top of the work itself, in microseconds.

    python benchmarks/dispatch.py              # two tables; about a minute
    python benchmarks/dispatch.py --quick

Everything is measured in one process, interleaved: each of many short rounds times every contender
once, so that a slow phase of the machine affects all of them. The tables show the median over the
rounds; the first table also shows the best round, which is closest to an idle machine.
pytorch-ignite and TensorFlow are included where they are installed.

Every contender calls the same function once per step, and minimal hooks: `after_run` hooks override
only `after_run`; `fetching` hooks fetch the global step in `before_run` and read it in `after_run`.
Ignite's handlers fetch nothing. A `Loop` calls the function in its body; with `report` it also
reports one number in each pass.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import islice

import runloop as rl

HOOKS = (0, 1, 5, 10)
SIZES = (1, 10, 100, 1000, 10_000)


def work() -> None:
    """The body of a step: it does nothing."""


class AfterRunHook(rl.SessionRunHook):
    def after_run(self, run_context, run_values):
        pass


class FetchingHook(rl.SessionRunHook):
    def begin(self):
        self.step = rl.get_global_step()

    def before_run(self, run_context):
        return rl.RunArgs(self.step)

    def after_run(self, run_context, run_values):
        self.seen = run_values.results


# -- contenders: each returns a function that makes `count` steps -----------------------------------


def bare(calls: int) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            work()
            for _ in range(calls):
                work()

    return run


def runloop_steps(hooks: list) -> Callable[[int], None]:
    graph = rl.Graph()
    train = graph.train_op(work, name="train")
    session = rl.MonitoredSession(hooks=hooks, graph=graph)

    def run(count: int) -> None:
        step = session.run
        for _ in range(count):
            step(train)

    return run


def loop_steps(hooks: list, *, report: bool = False) -> Callable[[int], None]:
    loop = rl.Loop(hooks=hooks)
    loop.__enter__()  # as long as the process
    steps = loop.steps()

    def run(count: int) -> None:
        for _ in islice(steps, count):
            work()

    def run_and_report(count: int) -> None:
        for _ in islice(steps, count):
            work()
            loop.report(loss=0.5)

    return run_and_report if report else run


def ignite_steps(count_hooks: int) -> Callable[[int], None]:
    from ignite.engine import Engine, Events

    engine = Engine(lambda _engine, _batch: work())
    for _ in range(count_hooks):
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _engine: work())

    def run(count: int) -> None:
        engine.run(range(count), max_epochs=1)

    return run


def tensorflow_steps(fetching: bool, count_hooks: int) -> Callable[[int], None]:
    import tensorflow as tf

    tf1 = tf.compat.v1

    class After(tf1.train.SessionRunHook):
        def after_run(self, run_context, run_values):
            pass

    class Fetching(tf1.train.SessionRunHook):
        def begin(self):
            self.step = tf1.train.get_global_step()

        def before_run(self, run_context):
            return tf1.train.SessionRunArgs(self.step)

        def after_run(self, run_context, run_values):
            self.seen = run_values.results

    graph = tf.Graph()
    with graph.as_default():
        train = tf1.assign_add(tf1.train.get_or_create_global_step(), 1).op
        kind = Fetching if fetching else After
        session = tf1.train.MonitoredSession(hooks=[kind() for _ in range(count_hooks)])

    def run(count: int) -> None:
        for _ in range(count):
            session.run(train)

    return run


def contenders() -> dict[str, Callable[[int], Callable[[int], None]]]:
    found = {
        "bare loop": bare,
        "runloop, after_run": lambda n: runloop_steps([AfterRunHook() for _ in range(n)]),
        "runloop, fetching": lambda n: runloop_steps([FetchingHook() for _ in range(n)]),
        "Loop, after_run": lambda n: loop_steps([AfterRunHook() for _ in range(n)]),
        "Loop, fetching": lambda n: loop_steps([FetchingHook() for _ in range(n)]),
        "Loop, fetching, report": lambda n: loop_steps(
            [FetchingHook() for _ in range(n)], report=True
        ),
    }
    try:
        import ignite  # noqa: F401

        found["ignite, fetching nothing"] = ignite_steps
    except ImportError:
        print("(pytorch-ignite is not installed)")
    try:
        import tensorflow  # noqa: F401, ICN001

        found["tensorflow, after_run"] = lambda n: tensorflow_steps(False, n)
        found["tensorflow, fetching"] = lambda n: tensorflow_steps(True, n)
    except ImportError:
        print("(TensorFlow is not installed)")
    return found


# -- measuring ------------------------------------------------------------------------------------


def measure(runs: dict[object, Callable[[int], None]], rounds: int, secs: float) -> dict:
    """Return the microseconds per step of each in each round, in turns of about `secs`."""
    counts = {}
    for key, run in runs.items():
        run(50)  # plans and caches
        begin = time.perf_counter()
        run(100)
        counts[key] = max(5, int(secs * 100 / (time.perf_counter() - begin)))
    times: dict = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            begin = time.perf_counter()
            run(counts[key])
            times[key].append((time.perf_counter() - begin) / counts[key] * 1e6)
    return times


def medians_of(times: dict) -> dict:
    return {key: statistics.median(values) for key, values in times.items()}


def hook_table(rounds: int, secs: float) -> None:
    made = contenders()
    runs = {(name, n): make(n) for name, make in made.items() for n in HOOKS}
    times = measure(runs, rounds, secs)
    best = {key: min(values) for key, values in times.items()}
    for title, shown in (("median", medians_of(times)), ("best", best)):
        print(f"\n{title} microseconds per run() with n hooks (times the bare loop)\n")
        print(f"{'':26}" + "".join(f"{n:>16}" for n in HOOKS) + f"{'first':>9}{'each more':>11}")
        for name in made:
            cells = [shown[name, n] for n in HOOKS]
            pairs = [(us, us / shown["bare loop", n]) for us, n in zip(cells, HOOKS, strict=True)]
            row = "".join(f"{us:9.2f} {f'({ratio:.0f}x)':>6}" for us, ratio in pairs)
            more = (cells[-1] - cells[1]) / (HOOKS[-1] - HOOKS[1])
            print(f"{name:26}{row}{cells[1] - cells[0]:9.2f}{more:11.2f}")


def flat_table(rounds: int, secs: float) -> None:
    run = runloop_steps([FetchingHook() for _ in range(5)])
    parts = {}
    for part in range(3):
        parts[part] = medians_of(measure({"steps": run}, rounds // 3, secs))["steps"]
    print("\nthe same session, early, later, last (5 fetching hooks): ", end="")
    print(", ".join(f"{us:.2f}" for us in parts.values()) + " us")


def chain(ops: int) -> Callable[[int], None]:
    graph = rl.Graph()
    graph.op(lambda: 0, name="op0")
    for i in range(1, ops):
        exec(f"def fn(op{i - 1}): return op{i - 1}", scope := {})  # noqa: S102  # parameters are names
        graph.op(scope["fn"], name=f"op{i}")
    session = rl.Session(graph=graph)
    last = f"op{ops - 1}"

    def run(count: int) -> None:
        for _ in range(count):
            session.run(last)

    return run


def many_variables(variables: int) -> Callable[[int], None]:
    graph = rl.Graph()
    for i in range(variables):
        graph.variable(f"v{i}", 0.0)
    graph.train_op(lambda v0: v0 and None, name="train")
    session = rl.Session(graph=graph)

    def run(count: int) -> None:
        for _ in range(count):
            session.run("train")

    return run


def size_table(rounds: int, secs: float) -> None:
    runs = {("ops", n): chain(n) for n in SIZES if n <= 1000}
    runs |= {("variables", n): many_variables(n) for n in SIZES}
    medians = medians_of(measure(runs, rounds, secs))
    print("\nSession.run() against the size of the graph, microseconds (per op)\n")
    print(f"{'':36}" + "".join(f"{n:>16}" for n in SIZES))
    cells = [(medians["ops", n], n) for n in SIZES if n <= 1000]
    row = "".join(f"{us:9.2f} {f'({us / n:.2f})':>6}" for us, n in cells)
    print(f"{'a chain of n ops':36}{row}")
    row = "".join(f"{medians['variables', n]:9.2f} {'':>6}" for n in SIZES)
    print(f"{'a train op, n variables in the graph':36}{row}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    quick = parser.parse_args().quick
    rounds, secs = (9, 0.005) if quick else (99, 0.005)
    hook_table(rounds, secs)
    flat_table(rounds, secs)
    size_table(rounds, secs)


if __name__ == "__main__":
    main()
