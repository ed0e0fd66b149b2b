"""Nested loops with everything that usually goes with them, restartable at any moment.

Epochs and steps, an evaluation after each epoch, a learning rate that decays, early stopping, and a
model whose methods assign new arrays to its attributes. The loop is written as it would be without
runloop; only `loop.epochs`, `loop.steps` and `loop.report` are new.
"""

import itertools
import tempfile

import numpy as np

import runloop as rl


class Network:
    """Two layers; `step` does not change the arrays in place but replaces them."""

    def __init__(self, sizes, seed):
        rng = np.random.default_rng(seed)
        self.sizes = sizes
        self.weights = [
            rng.normal(0, rows**-0.5, (rows, columns))
            for rows, columns in itertools.pairwise(sizes)
        ]
        self.biases = [np.zeros(columns) for columns in sizes[1:]]

    def forward(self, x):
        hidden = np.tanh(x @ self.weights[0] + self.biases[0])
        return hidden, hidden @ self.weights[1] + self.biases[1]

    def step(self, x, y, rate):
        hidden, predicted = self.forward(x)
        error = 2 * (predicted - y) / len(x)
        inner = (error @ self.weights[1].T) * (1 - hidden**2)
        slopes = x.T @ inner, hidden.T @ error
        self.weights = [w - rate * s for w, s in zip(self.weights, slopes, strict=True)]
        self.biases = [
            b - rate * e.sum(0) for b, e in zip(self.biases, (inner, error), strict=True)
        ]
        return ((predicted - y) ** 2).mean()

    def loss(self, x, y):
        return ((self.forward(x)[1] - y) ** 2).mean()


def data(rng, count):
    """Noisy samples of a sine."""
    x = rng.uniform(-3, 3, (count, 1))
    return x, np.sin(x) + 0.1 * rng.normal(size=(count, 1))


def train(folder, most_epochs, patience=3):
    """Returns the network and the best loss on the held-out samples."""
    rng = np.random.default_rng(0)
    x, y = data(rng, 512)
    held_out = data(rng, 128)
    net = Network((1, 16, 1), seed=1)
    state = {
        "net": rl.attributes(net, "weights biases"),  # by name, since `step` replaces them
        "rng": rng,
        "rate": 0.2,
        "best": np.inf,
        "since_best": 0,
    }

    with rl.Loop(folder, state, save_steps=10) as loop:
        for epoch in loop.epochs(most_epochs):
            order = rng.permutation(len(x))
            for rows in loop.steps(np.array_split(order, 16)):
                loop.report(loss=net.step(x[rows], y[rows], state["rate"]))

            held_out_loss = net.loss(*held_out)
            loop.report(held_out_loss=held_out_loss)
            print(f"epoch {epoch}: loss {loop.mean('loss'):.4f}, held out {held_out_loss:.4f}")
            state["rate"] *= 0.97
            state["since_best"] += 1
            if held_out_loss < state["best"]:
                state["best"], state["since_best"] = held_out_loss, 0
            if state["since_best"] == patience:
                break
    return net, state["best"]


def main():
    with tempfile.TemporaryDirectory() as folder:
        straight, best = train(folder, 40)
    with tempfile.TemporaryDirectory() as folder:
        train(folder, 5)
        resumed, _ = train(folder, 40)  # continues at epoch 5, and stops where the first one did
    pairs = zip(straight.weights, resumed.weights, strict=True)
    print(f"best {best:.4f}; same bits:", all(np.array_equal(a, b) for a, b in pairs))


if __name__ == "__main__":
    main()
