"""Arrays of a loop's state that never change: a mistake where the program rebinds them."""

import warnings

import numpy as np
import pytest

import runloop as rl


def passes(folder, state, body, count=3):
    """The texts of the warnings of a loop that saves at each step."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with rl.Loop(folder, state, save_steps=1) as loop:
            for _ in loop.steps(count):
                body()
    return [str(warning.message) for warning in caught]


class Module:
    """Stands for a module of a library: its state are arrays."""

    def __init__(self):
        self.w = np.zeros(2)

    def state_dict(self):
        return {"w": self.w.copy()}

    def load_state_dict(self, state):
        self.w = state["w"]

    def train(self):
        self.w = self.w + 1


def nothing():
    """A body that changes nothing."""


def increase(array):
    array += 1


def beside(kind):
    """What changes beside a data set, and a body that changes it."""
    if kind == "entry":
        w = np.zeros(2)
        return w, lambda: increase(w)
    if kind == "nested":
        params = {"w": np.zeros(2)}
        return params, lambda: increase(params["w"])
    module = Module()
    if kind == "attributes":
        return rl.attributes(module, "w"), module.train
    return (module if kind == "object" else {"module": module}), module.train


@pytest.mark.parametrize("kind", ["entry", "nested", "object", "object in a dict", "attributes"])
def test_a_data_set_beside_what_changes_is_not_warned_of(tmp_path, kind):
    other, body = beside(kind)
    state = {"x": np.zeros(3), "pair": (np.ones(2), np.ones(2)), "other": other}
    assert passes(tmp_path, state, body) == []


def test_entries_that_are_assigned_are_not_warned_of(tmp_path):
    state = {"x": np.zeros(3), "w": np.zeros(2)}

    def body():
        state["w"] = state["w"] + 1

    assert passes(tmp_path, state, body) == []


ADVICE = (
    "Was it rebound? What is saved is the object in the loop's state: change it in place, {how}, or "
    "put runloop.attributes(owner, names) into the state. Leave what never changes out of the state"
)


@pytest.mark.parametrize("more", [{}, {"rng": np.random.RandomState(0), "n": 1}])
def test_arrays_of_which_none_changes_are_warned_of_once(tmp_path, more):
    w = np.zeros(2)
    state = {"w": w, "b": np.zeros(1), **more}

    def body():
        nonlocal w
        w = w + 1  # the entry keeps the old one
        if more:
            more["rng"].normal()

    assert passes(tmp_path, state, body, 4) == [
        "state: none of its arrays (w, ...) changed between the saves at steps 0 and 1. "
        + ADVICE.format(how="assign to the entry (state['w'] = ...)")
    ]


def test_a_nested_entry_that_is_rebound_is_warned_of_whatever_else_changes(tmp_path):
    w = np.zeros(2)
    state = {"params": {"a": np.zeros(2)}, "w": w, "x": np.zeros(3)}
    assert passes(tmp_path, state, lambda: increase(w)) == [
        "state['params']: none of its arrays (params/a) changed between the saves at steps 0 and 1. "
        + ADVICE.format(how="assign to the entry (state['params'] = ...)")
    ]


def test_what_the_warning_advises_helps(tmp_path):
    state = {"params": {"a": np.zeros(2)}}

    def assign():
        state["params"] = {"a": state["params"]["a"] + 1}

    assert passes(tmp_path / "a", state, assign) == []
    assert passes(tmp_path / "b", {"n": 1}, nothing) == []


def test_a_single_object_is_warned_of_with_advice_for_it(tmp_path):
    assert passes(tmp_path, [np.zeros(2)], nothing) == [
        "state: none of its arrays (state/0) changed between the saves at steps 0 and 1. "
        + ADVICE.format(how="give the loop a dict as its state and assign to an entry")
    ]


def test_a_graph_keeps_the_advice_for_graphs(tmp_path):
    graph = rl.Graph()
    graph.attach("w", {"a": np.zeros(2)})
    (text,) = passes(tmp_path, graph, nothing)
    assert text.startswith("attached 'w': none of its arrays (w/a) changed")
    assert text.endswith("graph.attach('w', ..., constant=True) says that it is meant")
