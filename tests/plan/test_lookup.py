"""Checking the names of a request before its feeds are known: the same answers as a run gives."""

import numpy as np
import pytest

from runloop.graph import Graph
from runloop.session import Session
from tests.checks import fails


def program():
    graph = Graph()
    graph.variable("w", 1.0)
    graph.attach("params", {"b": np.zeros(1)})
    graph.input(("x", "y"), [])
    graph.op(lambda w, fed: (w, fed), name="pair", outputs=("first", "second"))
    return graph


@pytest.mark.parametrize(
    "fetches",
    [
        "w",
        "w:0",
        "x",
        "pair",
        "second:0",
        "params",
        "params/b",
        "params/not/there",  # what there is below attached state is known when it runs
        "fed",  # may be fed, and so be fetched
        lambda anything: anything,
        [],
        {"a": ["w", ("pair",)]},
    ],
)
def test_what_can_be_fetched_passes(fetches):
    session = Session(graph=program())
    assert session.check_request(fetches, names_only=True) is None


def test_variables_and_ops_pass_as_objects():
    graph = program()
    fetches = [graph.variables[0], graph.ops[0]]
    Session(graph=graph).check_request(fetches, names_only=True)


@pytest.mark.parametrize(
    "fetches", ["ww", ["w", "zzz"], None, [3], {"a": {"w"}}, "w/b", Graph().variable("w", 1.0)]
)
def test_what_cant_be_fetched_raises_what_the_run_would(fetches):
    session = Session(graph=program())
    with pytest.raises((TypeError, ValueError)) as info:
        session.run(fetches)
    with fails(type(info.value), str(info.value)):
        session.check_request(fetches, names_only=True)
