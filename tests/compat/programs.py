"""The program that the shim's tests run."""

import numpy as np

import runloop as rl


def standard():
    """A graph whose loss falls with the step: ``loss``, ``layer/w``, ``train``, the feed ``lr``."""
    graph = rl.Graph()
    rl.get_or_create_global_step(graph)
    graph.variable("layer/w", np.zeros((2, 3), np.float32))
    graph.variable("seen", np.float32(0), trainable=False)
    graph.op(lambda: np.float32(0.5), name="lr")
    graph.op(lambda global_step: np.float32(1 / (1 + global_step)), name="loss")
    graph.op(lambda global_step, lr: np.float32(lr * (global_step + 1)), name="metrics/scaled")
    graph.train_op(lambda seen: seen + np.float32(1), name="train", updates="seen")
    return graph


class Moment:
    """A stand-in for ``time.time``: moves when it is told to."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now
