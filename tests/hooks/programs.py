"""The small programs that the tests of hooks run."""

import numpy as np

import runloop as rl


def program(losses=(), increment=1):
    """Return a graph whose ``loss`` is ``losses[global_step]`` and whose ``train`` only counts."""
    graph = rl.Graph()

    @graph.op
    def loss(global_step):
        return losses[int(global_step)]

    @graph.train_op(increment=increment)
    def train():
        return None

    return graph


def drive(graph, hooks, runs=None, fetch="train", each=None):
    """Run ``fetch`` in a monitored session ``runs`` times, or until a stop; return the step."""
    count = 0
    with rl.MonitoredSession(hooks=hooks, graph=graph) as session:
        while not session.should_stop() and count != runs:
            session.run(fetch)
            count += 1
            if each is not None:
                each(session)
        step = session.raw_session().run("global_step")
    assert isinstance(step, np.int64)
    return step


def lines(caplog, logger):
    """Return the messages that a logger of ``runloop.hooks`` got."""
    name = f"runloop.hooks.{logger}"
    return [record.getMessage() for record in caplog.records if record.name == name]
