"""After a restore, whatever was one object or shared memory still does, with the saved contents."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runloop.checkpoint import Saver
from runloop.errors import CheckpointMismatchError
from runloop.graph import Graph
from runloop.session import Session
from runloop.state.changes import same_value


def session_of(**attached):
    graph = Graph()
    for name, obj in attached.items():
        graph.attach(name, obj, constant=True)
    return Session(graph=graph)


class Box:
    """An object whose state is a tree with objects inside."""

    def __init__(self, content):
        self.content = content

    def state_dict(self):
        return {"content": self.content}

    def load_state_dict(self, state):
        self.content = state["content"]


def places(tree, path=()):
    """Everything in a tree, by its path."""
    yield path, tree
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from places(value, (*path, key))
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from places(value, (*path, index))
    elif isinstance(tree, Box):
        # What an object does with the arrays and lists of its state is its own affair.
        for inner, value in places(tree.content, (*path, "content")):
            if isinstance(value, (Box, np.random.Generator)):
                yield inner, value


def aliases(tree):
    """Which pairs of places hold one mutable object, and which share memory."""
    known = list(places(tree))
    same, shared = set(), set()
    for i, (one, a) in enumerate(known):
        for other, b in known[i + 1 :]:
            if a is b and isinstance(a, (dict, list, Box, np.ndarray, np.random.Generator)):
                same.add((one, other))
            if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.shares_memory(a, b):
                shared.add((one, other))
    return same, shared


@st.composite
def trees(draw):
    """State trees whose parts are drawn again and again from one pool."""
    base = np.arange(12.0)
    pool = [
        base,
        base[:4],
        base[2:6].reshape(2, 2),
        base[::3],
        base[::-1],
        base[6:].reshape(2, 3).T,
    ]
    pool += [np.zeros(3), np.arange(4), np.random.default_rng(0), Box([1]), Box({"r": pool[-1]})]
    rng = np.random.default_rng(1)
    pool += [rng, Box({"rng": rng, "n": 1}), "text", 5, None, 1.5, (1, "x")]
    for _ in range(draw(st.integers(1, 6))):
        parts = draw(st.lists(st.sampled_from(range(len(pool))), min_size=0, max_size=4))
        parts = [pool[i] for i in parts]
        kind = draw(st.sampled_from(["list", "dict", "tuple", "data"]))
        if kind == "list":
            pool.append(parts)
        elif kind == "dict":
            pool.append({f"k{i}": part for i, part in enumerate(parts)})
        elif kind == "tuple":
            pool.append(tuple(parts))
        else:
            pool.append([draw(st.integers(0, 9)), {"a": draw(st.integers(0, 9))}])
    return {f"r{i}": pool[i] for i in draw(st.lists(st.integers(0, len(pool) - 1), max_size=6))}


def disturb(tree, seen=None):
    """Change the contents of everything in place, as a training would."""
    seen = set() if seen is None else seen
    if id(tree) in seen:
        return
    seen.add(id(tree))
    if isinstance(tree, np.ndarray):
        if tree.flags.writeable:
            tree[...] = tree + 1
    elif isinstance(tree, np.random.Generator):
        tree.random()
        tree.spawn(1)
    elif isinstance(tree, Box):
        disturb(tree.content, seen)
    elif isinstance(tree, (dict, list, tuple)):
        for item in list(tree.values() if isinstance(tree, dict) else tree):
            disturb(item, seen)
        if isinstance(tree, list) and all(isinstance(i, int) for i in tree):
            tree.append(99)
        for key in list(tree) if isinstance(tree, dict) else ():
            if isinstance(tree[key], (int, str)) and not isinstance(tree[key], bool):
                tree[key] = "changed"


def contents(tree):
    """The contents as something that compares by value."""
    if isinstance(tree, Box):
        return ("box", contents(tree.content))
    if isinstance(tree, np.random.Generator):
        seeds = tree.bit_generator.seed_seq
        return (repr(tree.bit_generator.state), repr(seeds.state))
    if isinstance(tree, dict):
        return {key: contents(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(contents(value) for value in tree)
    return copy.deepcopy(tree)


@given(tree=trees())
@settings(max_examples=150, deadline=None)
def test_aliases_stay_aliases_with_the_saved_contents(tmp_path_factory, tree):
    folder = tmp_path_factory.mktemp("aliases")
    session = session_of(p=tree)
    saved, kept = contents(tree), aliases(tree)
    path = Saver().save(session, folder / "m")
    disturb(tree)
    Saver().restore(session, path)
    assert same_value(contents(tree), saved)
    assert aliases(tree) == kept


def test_flat_parameters_keep_their_views(tmp_path):
    v = np.arange(6.0)
    params = {"flat": v, "w": v[:4].reshape(2, 2), "b": v[4:]}
    session = session_of(p=params)
    path = Saver().save(session, tmp_path / "m")
    views = dict(params)
    v[:] = 9
    Saver().restore(session, path)
    assert all(params[name] is views[name] for name in views)
    assert v.tolist() == [0, 1, 2, 3, 4, 5]
    assert params["w"].base is v
    v[0] = 7
    assert params["w"][0, 0] == 7


def test_views_that_were_saved_different_come_apart_and_the_contents_come_out(tmp_path):
    saved = {"flat": np.arange(6.0), "w": np.full((2, 2), 8.0), "b": np.array([4.0, 5.0])}
    path = Saver().save(session_of(p=saved), tmp_path / "m")
    v = np.zeros(6)
    params = {"flat": v, "w": v[:4].reshape(2, 2), "b": v[4:]}
    tail = params["b"]
    with pytest.warns(UserWarning, match=r"m\.safetensors: p/w shared memory with p/flat, and"):
        Saver().restore(session_of(p=params), path)
    np.testing.assert_equal(params, saved)
    assert params["flat"] is v
    assert params["b"] is tail
    assert not np.shares_memory(params["w"], v)
    w = np.zeros(6)
    with pytest.raises(CheckpointMismatchError, match=r"p/1 can't be restored: .*saved different"):
        both = session_of(p=[np.arange(6.0), np.zeros(6)])
        path = Saver().save(both, tmp_path / "n")
        Saver().restore(session_of(p=(w, w[:])), path)
    assert w.tolist() == [0] * 6


def test_a_read_only_view_that_was_saved_different_comes_apart_and_says_so(tmp_path):
    saved = {"w": np.arange(3.0), "view": np.full((2, 3), 7.0)}
    path = Saver().save(session_of(p=saved), tmp_path / "m")
    w = np.zeros(3)
    params = {"w": w, "view": np.broadcast_to(w, (2, 3))}
    with pytest.warns(UserWarning, match="p/view shared memory with p/w, and"):
        Saver().restore(session_of(p=params), path)
    np.testing.assert_equal(params, saved)
    assert params["w"] is w


def test_a_read_only_view_shows_what_was_saved_and_stays(tmp_path):
    w = np.arange(3.0)
    view = np.broadcast_to(w, (2, 3))
    params = {"w": w, "view": view}
    session = session_of(p=params)
    path = Saver().save(session, tmp_path / "m")
    w[:] = 5
    Saver().restore(session, path)
    assert params["view"] is view
    assert view.tolist() == [[0, 1, 2]] * 2


def test_lists_and_dicts_held_elsewhere_are_refilled(tmp_path):
    state = {"history": [1, 2], "best": {"loss": 1.0, "at": [1, {"x": 2}]}, "w": np.zeros(1)}
    session = session_of(s=state)
    path = Saver().save(session, tmp_path / "m")
    history, best, at, x = (
        state["history"],
        state["best"],
        state["best"]["at"],
        state["best"]["at"][1],
    )
    history.append(3)
    best.update(loss=0.5, more=[1])
    at.clear()
    Saver().restore(session, path)
    assert state == {
        "history": [1, 2],
        "best": {"loss": 1.0, "at": [1, {"x": 2}]},
        "w": np.zeros(1),
    }
    assert state["history"] is history
    assert state["best"] is best
    assert best["at"] is at
    assert x == {"x": 2}


def test_one_immutable_value_in_two_places_is_one_again(tmp_path):
    text, pair = "x" * 50, (1, "y" * 50)
    state = {"a": text, "b": [text], "p": pair, "q": [pair]}
    session = session_of(s=state)
    path = Saver().save(session, tmp_path / "m")
    other, another = "z" * 50, (2, "z" * 50)
    state.update(a=other, p=another)
    state["b"][0], state["q"][0] = other, another
    Saver().restore(session, path)
    assert state == {"a": text, "b": [text], "p": pair, "q": [pair]}
    assert state["a"] is state["b"][0]
    assert state["p"] is state["q"][0]


def test_one_object_in_two_places_that_were_saved_different_is_refused_or_comes_apart(tmp_path):
    path = Saver().save(session_of(s={"a": [1], "b": [2], "n": 0}), tmp_path / "m")
    one = [0]
    state = {"a": one, "b": one, "n": 5}
    with pytest.warns(UserWarning, match="s: one list stood in two places, and two were"):
        Saver().restore(session_of(s=state), path)
    assert state == {"a": [1], "b": [2], "n": 0}
    rngs = {"a": np.random.default_rng(1), "b": np.random.default_rng(2)}
    path = Saver().save(session_of(s=rngs), tmp_path / "n")
    rng = np.random.default_rng(3)
    before = contents(rng)
    with pytest.raises(CheckpointMismatchError, match="two states were saved that differ"):
        Saver().restore(session_of(s={"a": rng, "b": rng}), path)
    assert contents(rng) == before
