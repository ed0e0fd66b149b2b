"""Small programs whose state says at which step it is."""

import numpy as np

from runloop.graph import Graph, get_or_create_global_step
from runloop.session import Session


def make_session(step=0, size=8):
    """A session with one variable and one attached array, both full of `step`."""
    graph = Graph()
    params = {"b": np.full(3, step, np.float32)}
    with graph.as_default():
        graph.variable("w", np.full(size, float(step)))
        get_or_create_global_step()
        graph.attach("params", params, constant=True)  # tests save twice what did not change
    session = Session(graph=graph)
    session.assign({"global_step": np.int64(step)})
    return session


def set_step(session, step):
    """Bring the state to a step."""
    state = session.state()
    session.assign({"w": np.full_like(state.variables["w"], step), "global_step": np.int64(step)})
    state.attached["params"]["b"][:] = step


def step_of(session):
    """The step that the whole state is at; raises if its parts are of different steps."""
    state = session.state()
    step = int(state.variables["global_step"])
    assert (state.variables["w"] == step).all(), state
    assert (state.attached["params"]["b"] == step).all(), state
    return step
