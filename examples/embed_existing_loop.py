"""A plain NumPy loop, and the same loop with checkpoints, logging and restart.

`update` and `sample` are the code that was there before, and neither changes. The loop gets a `with`
around it and `loop.steps(...)` in its `for`: compare `before` and `after`. Both end in the same
weights, bit for bit.
"""

import tempfile

import numpy as np

import runloop as rl

TRUTH = np.array([2.0, -3.0, 0.5])


def sample(rng):
    """A batch of noisy observations of a linear function."""
    x = rng.normal(size=(32, 3))
    return x, x @ TRUTH + 1.0 + 0.1 * rng.normal(size=32)


def update(params, x, y):
    """One step of gradient descent, in place; returns the loss before it."""
    error = x @ params["w"] + params["b"] - y
    params["w"] -= 0.1 * x.T @ error / len(y)
    params["b"] -= 0.1 * error.mean()
    return (error**2).mean()


def before(steps):
    params = {"w": np.zeros(3), "b": np.zeros(())}
    rng = np.random.default_rng(0)

    for step in range(steps):
        x, y = sample(rng)
        loss = update(params, x, y)
        if step % 100 == 0:
            print(f"loss = {loss:.4f}, step = {step}")
    return params


def after(steps, folder):
    params = {"w": np.zeros(3), "b": np.zeros(())}
    rng = np.random.default_rng(0)

    hooks = [rl.LoggingTensorHook(["loss"], every_n_iter=100)]
    with rl.Loop(folder, {"params": params, "rng": rng}, hooks=hooks) as loop:
        for _step in loop.steps(steps):
            x, y = sample(rng)
            loop.report(loss=update(params, x, y))
    return params


def main():
    plain = before(500)
    with tempfile.TemporaryDirectory() as folder:
        after(200, folder)  # a first process, which ends after 200 steps ...
        resumed = after(500, folder)  # ... and a second one, which continues from there
    print("before", plain["w"], plain["b"])
    print("after ", resumed["w"], resumed["b"])
    print("same bits:", all(plain[name].tobytes() == resumed[name].tobytes() for name in plain))


if __name__ == "__main__":
    main()
