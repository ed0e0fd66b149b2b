"""Never run: what a user writes who has a strict type checker, for the type checker to accept."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import runloop as rl

Array = npt.NDArray[np.float64]

graph = rl.Graph()
w: rl.Variable = graph.variable("w", np.zeros(3))


@graph.op
def loss(w: Array) -> float:
    return float((w**2).sum())


@graph.train_op(updates="w", after=[loss])
def train(w: Array) -> Array:
    return w - 0.1 * w


called: rl.Op = graph.op(lambda w: w + 1, name="called")
decorated: tuple[rl.Op, rl.Op] = (loss, train)


class Stops(rl.SessionRunHook):
    """Other names for the parameters are fine; a narrower return type too."""

    def before_run(self, run_context: rl.RunContext) -> rl.RunArgs:
        return rl.RunArgs({"loss": loss, "step": rl.get_global_step()})

    def after_run(self, run_context: rl.RunContext, run_values: rl.RunValues) -> None:
        if run_values.results["loss"] < 0.01:
            run_context.request_stop()


class Writer:
    """Fits the protocol of summary writers without inheriting from it."""

    def add_scalar(self, tag: str, value: Any, step: int) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def after_loop(session: rl.Session) -> bool:
    return bool(session.run(w).any())


hooks: list[rl.SessionRunHook] = [
    Stops(),
    rl.StopAtStepHook(last_step=10),
    rl.LoggingTensorHook([loss, "global_step"], every_n_iter=10),
    rl.InMemoryEvaluatorHook(after_loop),
    rl.PreemptionHook(),
    rl.CheckpointSaverHook(Path("more"), save_steps=5, listeners=[rl.CheckpointSaverListener()]),
]
with rl.MonitoredTrainingSession(
    graph=graph, checkpoint_dir=Path("ckpt"), hooks=hooks, summary_writer=Writer()
) as session:
    while not session.should_stop():
        session.run(train, {w: np.ones(3), "called": 1})
newest: str | None = rl.latest_checkpoint(Path("ckpt"))

params = {"w": np.zeros(3)}
with rl.Loop(
    Path("loop"), {"params": params, "lr": 0.1}, save_steps=5, save_epochs=1, hooks=hooks
) as loop:
    for epoch in loop.epochs(3):
        number: int = epoch
        for rows in loop.steps(np.array_split(np.arange(10), 5)):
            params["w"] += rows.sum()
            loop.report(loss=float(params["w"].sum()), vector=params["w"])
        mean: float = loop.mean("loss")
    step: int = loop.global_step
    if not loop.should_stop():
        loop.save()
