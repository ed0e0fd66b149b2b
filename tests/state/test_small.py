"""The small state: everything but arrays, taken as JSON and put back in place."""

import collections
import json
import random

import numpy as np
import pytest

from runloop.errors import CheckpointFormatError, CheckpointMismatchError
from runloop.state import attributes
from runloop.state.small import put_small, take_small
from tests.state.test_state import GENERATORS, Loader, Pair, draw


class Bytes:
    def __init__(self, state):
        self.state = state

    def get_state(self):
        return self.state

    def set_state(self, state):
        if state == b"bad":
            raise ValueError("bad state")
        self.state = state


def taken(obj):
    return json.loads(json.dumps(take_small("state", obj), allow_nan=False))


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_are_small(name):
    here, twin = GENERATORS[name](1), GENERATORS[name](1)
    draw(here), draw(twin)
    node = taken({"rng": here})
    draw(here)
    put_small("state", {"rng": here}, node)
    assert draw(here) == draw(twin)


def test_everything_but_arrays_goes_back_in_place():
    history, slots, net = [1, 2.5, float("nan")], {"best": None}, type("Net", (), {})()
    net.w, net.step, net.names = np.zeros(2), 3, ["a"]
    state = {
        "w": np.zeros(3),
        "history": history,
        "slots": slots,
        "mixed": [np.zeros(1), 5, {"b": np.zeros(1), "c": 1}],
        "pair": Pair(1, (2, "x")),
        "queue": collections.deque([1, 2], 3),
        "loader": Loader(3),
        "bytes": Bytes(b"0"),
        "net": attributes(net),
        "key": {(1, 2): 3, 4: 5},
    }
    names, array = net.names, state["w"]
    node = taken(state)
    history.append(9)
    slots.update(best=np.ones(1), more=1)
    state["w"][:] = 7
    state["mixed"][1] = 6
    state["mixed"][2].update(c=2, d=3)
    state["pair"] = Pair(8, 9)
    state["queue"].extend([3, 4])
    state["loader"].position = 5
    state["bytes"].state = b"1"
    net.step, net.late, net.w = 8, "late", np.ones(2)
    net.names.append("b")
    state["key"].clear()
    state["added"] = 1
    put_small("state", state, node)
    assert "added" not in state
    assert history[:2] == [1, 2.5]
    assert len(history) == 3
    assert state["history"] is history
    assert slots == {"best": None}
    assert state["slots"] is slots
    assert state["w"] is array
    assert array.tolist() == [7, 7, 7]
    assert state["mixed"][1:] == [5, {"b": np.zeros(1), "c": 1}]
    assert state["pair"] == Pair(1, (2, "x"))
    assert type(state["pair"]) is Pair
    assert state["queue"] == collections.deque([1, 2])
    assert state["loader"].position == 5  # its state holds an array
    assert state["bytes"].state == b"0"
    assert (net.step, net.names) == (3, ["a"])
    assert net.names is names
    assert net.w.tolist() == [1, 1]
    assert not hasattr(net, "late")
    assert state["key"] == {(1, 2): 3, 4: 5}


def test_arrays_that_came_or_went_are_left_alone():
    state = {"a": np.zeros(1), "log": [np.zeros(1)], "n": 1}
    node = taken(state)
    del state["a"]
    state["b"] = np.ones(1)
    state["log"].append(np.ones(1))
    state["n"] = 2
    put_small("state", state, node)
    assert state == {"n": 1, "b": np.ones(1), "log": [np.zeros(1), np.ones(1)]}


def test_all_of_it_is_put_back_or_nothing():
    rng, box, state = random.Random(1), Bytes(b"bad"), {"n": 1}
    state.update(rng=rng, box=box)
    node = taken(state)
    box.state = b"ok"
    state["n"] = 2
    before = rng.getstate()
    rng.random()
    now = rng.getstate()
    assert before != now
    with pytest.raises(
        CheckpointFormatError, match="Bytes did not take the saved state: bad state"
    ):
        put_small("state", state, node)
    assert (state["n"], box.state, rng.getstate()) == (2, b"ok", now)


@pytest.mark.parametrize(
    "node",
    [{"$tuple": 3}, {"x": {"$tensor": "w"}}, {"$what": 1}, {"x": {"$array": ["f8", [1], ""]}}],
)
def test_a_node_that_is_malformed_is_an_error_that_names_the_state(node):
    with pytest.raises(CheckpointFormatError, match="the small state of state is malformed"):
        put_small("state", {"x": 1}, node)


def test_what_would_have_to_be_another_object_is_an_error():
    with pytest.raises(CheckpointMismatchError, match="state: a tuple can't be put back in place"):
        put_small("state", (1, 2), taken((1, 3)))
