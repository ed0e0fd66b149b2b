"""What the tests of hooks, timers and writers stand on."""

import numpy as np

import runloop as rl


class FakeClock:
    """Time that moves when it is told to, and when somebody sleeps."""

    def __init__(self, now=0.0):
        self.now = now
        self.slept = []

    def advance(self, secs):
        self.now += secs

    def monotonic(self):
        return self.now

    def time(self):
        return 1_000_000.0 + self.now

    def sleep(self, secs):
        self.slept.append(secs)
        self.now += secs


class MemoryWriter:
    """A writer that remembers."""

    def __init__(self):
        self.scalars = []
        self.calls = []

    def add_scalar(self, tag, value, step):
        self.scalars.append((tag, value, step))

    def flush(self):
        self.calls.append("flush")

    def close(self):
        self.calls.append("close")


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
