"""``Loop``: a ``for`` that exists already, restartable."""

import numpy as np
import pytest

import runloop as rl


class Killed(BaseException):
    """Stands for a kill: everything is dropped."""


def train(folder, kill=None):
    """Nested loops with generators, numbers and lists in their state; returns what they end in."""
    rng = np.random.default_rng(0)
    params = {"w": np.zeros(3)}
    state = {"params": params, "rng": rng, "lr": 0.1, "history": []}
    x = np.arange(12.0).reshape(12, 1) * np.ones(3)
    passes = 0
    with rl.Loop(folder, state, save_steps=3) as loop:
        for _ in loop.epochs(3):
            order = rng.permutation(12)
            for rows in loop.steps(np.array_split(order, 5)):
                params["w"] += x[rows].mean(0) * state["lr"] + rng.normal()
                loop.report(loss=params["w"].sum())
                passes += 1
                if passes == kill:
                    raise Killed
            state["lr"] *= 0.9
            state["history"].append(loop.mean("loss"))
    return params["w"].tolist(), state["lr"], state["history"], rng.random()


@pytest.mark.parametrize("kill", range(1, 16))
def test_killed_in_any_pass_it_ends_in_the_same_bits(tmp_path, kill):
    undisturbed = train(tmp_path / "undisturbed")
    with pytest.raises(Killed):
        train(tmp_path / "killed", kill)
    assert train(tmp_path / "killed") == undisturbed


def test_a_finished_run_started_again_runs_no_pass_and_changes_no_bit(tmp_path):
    done = train(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.glob("model.ckpt-*")}
    assert train(tmp_path, kill=1) == done
    assert {path: path.read_bytes() for path in tmp_path.glob("model.ckpt-*")} == files


def test_whatever_asks_for_the_step_gets_the_present_one(tmp_path):
    seen = []
    with rl.Loop(tmp_path, {"x": 0.0}, save_steps=1) as loop:
        step = loop.session.graph.variables[0]
        for _ in loop.steps(2):
            fetched = loop.session.run(step), loop.session.run("global_step")
            seen.append((*fetched, loop.global_step))
    assert seen == [(0, 0, 0), (1, 1, 1)]
    assert rl.latest_checkpoint(tmp_path).endswith("model.ckpt-2.safetensors")
