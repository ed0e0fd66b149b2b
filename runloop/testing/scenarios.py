"""Small programs that show the lifecycle; ``python -m runloop lifecycle`` runs them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

from runloop.errors import AbortedError
from runloop.graph import Graph
from runloop.hooks import CheckpointSaverHook, StopAtStepHook
from runloop.hooks.base import SessionRunHook
from runloop.monitored import MonitoredSession
from runloop.monitored.creators import ChiefSessionCreator
from runloop.run import RunArgs, RunContext, RunValues
from runloop.testing.clock import FakeClock
from runloop.testing.recorder.recorder import LifecycleRecorder

__all__ = [
    "SCENARIOS",
    "CountRuns",
    "FeedRate",
    "FeedWarmup",
    "Scenario",
    "SetUp",
    "WatchLoss",
    "play",
]


class Scenario(NamedTuple):
    """A program that shows one thing.

    Attributes:
        title: What it shows, in a sentence.
        run: Runs the program, with a folder for checkpoints.
    """

    title: str
    run: Callable[[str], None]


def play(name: str) -> LifecycleRecorder:
    """Run the scenario ``name`` with a fake clock and return the recorder.

    Raises:
        KeyError: If ``name`` is not in :data:`SCENARIOS`.
    """
    scenario = SCENARIOS[name]
    recorder = LifecycleRecorder()
    with tempfile.TemporaryDirectory() as folder, FakeClock(per_read=0.001).use(), recorder:
        scenario.run(folder)
    return recorder


# -- hooks ---------------------------------------------------------------------------------------


class WatchLoss(SessionRunHook):
    """Fetches the loss with each run."""

    def before_run(self, run_context: RunContext) -> RunArgs:
        """Ask for it."""
        return RunArgs("loss")

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Get it."""

    def end(self, session: Any) -> None:
        """Be told of a normal end."""


class CountRuns(SessionRunHook):
    """Counts runs; the count is in every checkpoint."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        """Return the count."""
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved count."""
        self.count = state["count"]

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Count."""
        self.count += 1


class SetUp(SessionRunHook):
    """Overrides two methods; the others are never called."""

    def begin(self) -> None:
        """Do nothing."""

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Do nothing."""


class FeedRate(SessionRunHook):
    """Feeds a learning rate."""

    def before_run(self, run_context: RunContext) -> RunArgs:
        """Feed it."""
        return RunArgs(None, {"rate": 0.1})


class FeedWarmup(SessionRunHook):
    """Feeds the learning rate too: a conflict."""

    def before_run(self, run_context: RunContext) -> RunArgs:
        """Feed it."""
        return RunArgs(None, {"rate": 0.01})


# -- programs ------------------------------------------------------------------------------------


def _graph(*, batches: int | None = None, fails: dict[int, Exception] | None = None) -> Graph:
    """Return a graph; ``fails`` maps steps to what ``train`` raises there, once."""
    failures = dict(fails or {})

    def work(step: int) -> None:
        if step in failures:
            raise failures.pop(step)

    def train(global_step: Any, rate: float = 0.5) -> None:  # noqa: ARG001  # it can be fed
        work(int(global_step))

    def train_on_batch(global_step: Any, batch: Any) -> None:  # noqa: ARG001  # it is pulled
        work(int(global_step))

    graph = Graph()
    if batches is not None:
        graph.input("batch", range(batches))
    graph.op(lambda global_step: 1.0 / (1 + int(global_step)), name="loss")
    graph.train_op(train if batches is None else train_on_batch, name="train")
    return graph


def _loop(hooks: list[Any], *, graph: Graph | None = None, folder: str | None = None) -> None:
    graph = graph or _graph()
    creator = ChiefSessionCreator(checkpoint_dir=folder, graph=graph)
    with MonitoredSession(creator, hooks, graph=graph) as session:
        while not session.should_stop():
            session.run("train")


def _normal(_: str) -> None:
    with MonitoredSession(hooks=[SetUp(), WatchLoss()], graph=_graph()) as session:
        session.run("train")
        session.run("train")


def _stop(_: str) -> None:
    _loop([WatchLoss(), StopAtStepHook(last_step=2)])


def _out_of_data(_: str) -> None:
    _loop([WatchLoss()], graph=_graph(batches=2))


def _error(_: str) -> None:
    try:
        _loop([WatchLoss()], graph=_graph(fails={1: ValueError("the model has a bug")}))
    except ValueError:
        return


def _abort_and_recover(folder: str) -> None:
    saver = CheckpointSaverHook(folder, save_steps=1)
    graph = _graph(fails={1: AbortedError("the worker was preempted")})
    _loop([saver, StopAtStepHook(last_step=2)], graph=graph, folder=folder)


def _restart(folder: str) -> None:
    def hooks() -> list[Any]:
        saver = CheckpointSaverHook(folder, save_steps=1)
        return [saver, CountRuns(), StopAtStepHook(last_step=2)]

    graph = _graph()
    creator = ChiefSessionCreator(checkpoint_dir=folder, graph=graph)
    try:
        with MonitoredSession(creator, hooks(), graph=graph) as session:
            session.run("train")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    _loop(hooks(), folder=folder)


def _feed_conflict(_: str) -> None:
    try:
        _loop([FeedRate(), FeedWarmup()])
    except RuntimeError:
        return


SCENARIOS: dict[str, Scenario] = {
    "normal": Scenario("Two runs with two hooks, then a normal end.", _normal),
    "stop": Scenario("A hook requests a stop; the loop learns it from should_stop().", _stop),
    "out-of-data": Scenario("The input is exhausted, which is a normal end.", _out_of_data),
    "error": Scenario("An op fails: after_run and end are skipped, the error is raised.", _error),
    "abort-and-recover": Scenario(
        "The session is lost in a run: a new one is created from the checkpoint, and the run is "
        "repeated.",
        _abort_and_recover,
    ),
    "restart": Scenario(
        "A process is interrupted; the next one resumes from its checkpoint, with the hooks' state.",
        _restart,
    ),
    "feed-conflict": Scenario(
        "Two hooks feed the same tensor: an error before anything runs.", _feed_conflict
    ),
}
