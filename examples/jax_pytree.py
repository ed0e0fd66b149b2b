"""A JAX training loop: parameters and optimizer state are pytrees, saved and restored as they are.

The parameters are a named tuple, optax's state consists of named tuples and tuples, and each step
makes new ones. That is why they are entries of a dict: the loop reads them when it saves and assigns
them when it restores, and every leaf comes back as a JAX array of its dtype. Needs JAX and optax,
which runloop itself does not.
"""

import tempfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import runloop as rl


class Params(NamedTuple):
    hidden: tuple  # weights and biases
    output: tuple


def initial_params(key):
    one, two = jax.random.split(key)
    return Params(
        hidden=(jax.random.normal(one, (1, 32)), jnp.zeros(32)),
        output=(jax.random.normal(two, (32, 1)) / 32**0.5, jnp.zeros(1)),
    )


def loss_of(params, x, y):
    hidden = jnp.tanh(x @ params.hidden[0] + params.hidden[1])
    return ((hidden @ params.output[0] + params.output[1] - y) ** 2).mean()


OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01))


@jax.jit
def update(params, opt_state, key, x, y):
    key, noise = jax.random.split(key)
    y = y + 0.01 * jax.random.normal(noise, y.shape)
    loss, grads = jax.value_and_grad(loss_of)(params, x, y)
    updates, opt_state = OPTIMIZER.update(grads, opt_state)
    return optax.apply_updates(params, updates), opt_state, key, loss


def train(steps, folder):
    """Fits a noisy sine; returns the parameters."""
    params = initial_params(jax.random.key(0))
    x = np.linspace(-3.0, 3.0, 512, dtype=np.float32)[:, None]
    batches = rl.Batches((x, np.sin(x)), 64, seed=0)
    train = {"params": params, "opt_state": OPTIMIZER.init(params), "key": jax.random.key(1)}

    with rl.Loop(folder, {"train": train, "batches": batches}, save_steps=100) as loop:
        for _step in loop.steps(steps):
            x, y = next(batches)
            train["params"], train["opt_state"], train["key"], loss = update(**train, x=x, y=y)
            loop.report(loss=loss)
        print(f"step {loop.global_step}, mean loss {loop.mean('loss'):.5f}")
    return train["params"]


def main():
    with tempfile.TemporaryDirectory() as folder:
        train(200, folder)
        resumed = train(400, folder)
    with tempfile.TemporaryDirectory() as folder:
        straight = train(400, folder)
    same = jax.tree.map(lambda one, other: bool((one == other).all()), resumed, straight)
    print("same bits:", jax.tree.all(same))


if __name__ == "__main__":
    main()
