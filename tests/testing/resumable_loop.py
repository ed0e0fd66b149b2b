"""A program with a ``Loop`` that other processes run, too: a loop of epochs and batches."""

import numpy as np

import runloop as rl


def train(checkpoint_dir, hooks, *, forgets=False):
    """Train with batches, a generator and a number; ``forgets`` leaves the generator out."""
    rng = np.random.default_rng(0)
    weights = np.zeros(3)
    state = {"weights": weights, "rate": 0.5}
    if not forgets:
        state["rng"] = rng
    with rl.Loop(checkpoint_dir, state, save_steps=2, hooks=hooks) as loop:
        for _ in loop.epochs(4):
            order = rng.permutation(6)
            for rows in loop.steps(np.array_split(order, 3)):
                weights += state["rate"] * rows.sum() + rng.normal(size=3)
                loop.report(loss=weights.sum())
            state["rate"] *= 0.9
