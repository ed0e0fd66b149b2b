"""A training that is killed again and again: `python victim.py FOLDER STEPS [background]`.

Its data, its generators and a hook's state are in the checkpoints, and it is slow enough in its
saves to be killed in the middle of one. When it is done it prints a digest of all of its state.
"""

import hashlib
import random
import sys

import numpy as np

from runloop.checkpoint import Saver
from runloop.data import Batches
from runloop.graph import Graph
from runloop.hooks import CheckpointSaverHook, EarlyStoppingHook, StopAtStepHook
from runloop.monitored import MonitoredSession
from runloop.monitored.creators import ChiefSessionCreator
from runloop.monitored.scaffold import Scaffold


def main(folder, steps, *options):
    graph = Graph()
    data = np.random.default_rng(1).normal(size=(50, 64))
    rng, old, legacy = np.random.default_rng(2), random.Random(3), np.random.RandomState(4)
    params = {"slow": np.zeros((64, 64)), "history": [], "layers": [np.zeros(3)]}
    graph.variable("w", np.zeros((64, 512)))
    graph.input(("x",), Batches((data,), batch_size=7, seed=5))
    for name, obj in (("rng", rng), ("old", old), ("legacy", legacy), ("params", params)):
        graph.attach(name, obj)

    @graph.op(outputs="loss")
    def loss(x, w):
        return float(np.abs(x @ w).sum())

    @graph.train_op(updates="w")
    def train(x, w, loss, params):
        noise = rng.normal(size=w.shape) * old.random() + legacy.rand()
        params["slow"] += 1e-3 * (x.T @ x)
        params["layers"][0][:] += rng.random(3)
        params["history"] = [*params["history"][-20:], loss]
        return w + 0.01 * noise * np.tanh(x.sum())

    stopper = EarlyStoppingHook("loss", mode="min", patience_steps=10**6)
    saver = Saver(max_to_keep=3, background="background" in options)
    hooks = [
        CheckpointSaverHook(folder, save_steps=4, saver=saver),
        StopAtStepHook(last_step=int(steps)),
        stopper,
    ]
    creator = ChiefSessionCreator(Scaffold(), checkpoint_dir=folder, graph=graph)
    with MonitoredSession(creator, hooks, graph=graph) as session:
        if session.raw_session().run("global_step") < int(steps):
            while not session.should_stop():
                session.run(["train", "loss"])
        digest = hashlib.sha256(session.raw_session().run("w").tobytes())
    for array in (params["slow"], params["layers"][0], np.array(params["history"])):
        digest.update(array.tobytes())
    digest.update(repr((rng.random(), old.random(), legacy.rand())).encode())
    digest.update(repr(sorted(stopper.state_dict().items())).encode())
    print(digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
