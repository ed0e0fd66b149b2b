"""Programs that other processes run, too: they import nothing of the tests."""

import numpy as np

import runloop as rl


def program(checkpoint_dir, hooks, *, attach=True, every=2, train=None, more=()):
    graph = rl.Graph()
    rng = np.random.default_rng(0)
    graph.variable("w", np.zeros((3, 2)))
    graph.variable("flag", np.array(False))
    if attach:
        graph.attach("rng", rng)

    def step(w):
        return w + rng.normal(size=w.shape)

    graph.train_op(train or step, name="train", updates="w")
    with rl.MonitoredTrainingSession(
        graph=graph,
        checkpoint_dir=checkpoint_dir,
        save_checkpoint_steps=every,
        hooks=[*hooks, *more],
    ) as session:
        while not session.should_stop():
            session.run("train")


def exact(checkpoint_dir, hooks):
    stopper = rl.EarlyStoppingHook(lambda w: w.sum(), mode="max", patience_steps=100)
    program(checkpoint_dir, hooks, more=[stopper])


def ends_by_itself(checkpoint_dir, hooks):
    program(checkpoint_dir, [rl.StopAtStepHook(last_step=2), *hooks])
