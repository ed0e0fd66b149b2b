"""The state of generators: the seed sequence is in it, and what could break a draw is refused."""

import copy
import random

import numpy as np
import pytest

import runloop as rl
from runloop.errors import CheckpointError
from runloop.state.build import Builder
from runloop.state.changes import make_all
from runloop.state.pack import pack
from tests.state.test_state import GENERATORS, Memory, draw, give_back


def changed(generator, change):
    """The generator's node with something changed, given to another one of its kind."""
    tensors, node = pack("x", generator)
    tensors = {name: array.copy() for name, array in tensors.items()}
    node = copy.deepcopy(node)
    change(node["$object"][1], tensors)
    return tensors, node


def put(generator, tensors, node):
    builder = Builder(Memory(tensors))
    builder.value(node, generator)
    make_all(builder.states)


def test_children_do_not_repeat_after_a_restore():
    saved, current = np.random.default_rng(5), np.random.default_rng(6)
    seeds = current.bit_generator.seed_seq
    first = saved.spawn(2)
    give_back({"rng": saved}, {"rng": current})
    assert current.bit_generator.seed_seq is seeds
    for one, other in zip(saved.spawn(3), current.spawn(3), strict=True):
        assert one.random() == other.random()
        assert one.random() not in {child.random() for child in first}


def test_a_whole_seed_sequence_comes_back(tmp_path):
    seeds = np.random.SeedSequence([1, 2**70], spawn_key=(3, 4), pool_size=8)
    saved = np.random.Generator(np.random.PCG64(seeds))
    saved.spawn(7)
    current = np.random.default_rng(0)
    give_back(saved, current)
    assert current.bit_generator.seed_seq.state == seeds.state
    assert saved.spawn(1)[0].random() == current.spawn(1)[0].random()


def test_a_file_without_a_seed_sequence_still_loads():
    saved, current = np.random.default_rng(5), np.random.default_rng(6)
    current.spawn(2)
    draw(saved)
    tensors, node = changed(saved, lambda inner, _: inner.pop("seed_sequence"))
    put(current, tensors, node)
    assert draw(current) == draw(saved)
    assert current.bit_generator.seed_seq.n_children_spawned == 2


WRONG = {
    "pos": [-1, 625, 2**40, 1.5, "x", None, True],
    "buffer_pos": [-1, 5, 2**40, None],
    "has_uint32": [-1, 2, None],
    "uinteger": [-1, 2**32, None],
    "has_gauss": [2, None],
    "gauss": ["x", None, 1],
    "inc": [-1, 2**128, 1.5],
    "version": [2, "3", None],
    "n_children_spawned": [-1, 2**32, None],
    "pool_size": [0, 3, 2**40],
    "entropy": [-1, "x", {"a": 1}],
    "spawn_key": [[-1], 3, ["x"]],
    "key": [3, [1, 2], None],
    "state": [3, None],
    "counter": [[1, 2, 3, 4]],
    "words": [[1] * 625, None],
    "buffer": [None],
    "bit_generator": ["x" * 5, None, 3],
}


def fields(inner):
    """Each mapping and field in a node."""
    for key, value in list(inner.items()):
        yield inner, key
        if isinstance(value, dict) and not any(k.startswith("$") for k in value):
            yield from fields(value)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_crafted_state_is_refused_and_nothing_changes(name):
    generator = GENERATORS[name](1)
    draw(generator)
    tried = 0
    _, node = pack("x", generator)
    for index, (_, field) in enumerate(fields(node["$object"][1])):
        for value in WRONG.get(field, ()):
            if (field, value) in [("state", 3), ("gauss", None)] and name in {
                "PCG64", "PCG64DXSM", "random.Random",
            }:  # fmt: skip
                continue  # fine there

            def change(inner, _, index=index, value=value):
                mapping, key = list(fields(inner))[index]
                mapping[key] = value

            tensors, bad = changed(generator, change)
            here, twin = GENERATORS[name](2), GENERATORS[name](2)
            with pytest.raises((ValueError, CheckpointError)):
                put(here, tensors, bad)
            assert draw(here) == draw(twin)
            tried += 1
    assert tried > 4


@pytest.mark.parametrize("name", GENERATORS)
def test_arrays_of_another_size_or_dtype_are_refused(name):
    generator = GENERATORS[name](1)
    tensors, node = pack("x", generator)
    for tensor, array in tensors.items():
        for bad in (array[:-1], np.append(array, array[:1]), array.astype(float), array.astype(">u8"),
                    array.astype(np.int32), array.reshape(1, -1), array[:0]):  # fmt: skip
            if bad.dtype == array.dtype and bad.shape == array.shape:
                continue
            with pytest.raises(ValueError, match="must be uint"):
                put(GENERATORS[name](2), {**tensors, tensor: bad}, node)


def test_the_index_of_a_python_random_is_checked():
    generator = random.Random(1)
    tensors, node = changed(generator, lambda _, t: t["x/words"].__setitem__(-1, 625))
    with pytest.raises(ValueError, match="the last of the words must be at most 624"):
        put(random.Random(2), tensors, node)


def test_a_state_that_an_object_hands_on_is_checked_too(tmp_path):
    class Loader:
        def __init__(self, state=None):
            self.rng = np.random.Generator(np.random.MT19937(1))
            self.state = state

        def state_dict(self):
            return {"rng": self.state or self.rng.bit_generator.state}

        def load_state_dict(self, state):
            self.rng.bit_generator.state = state["rng"]

    bad = Loader().rng.bit_generator.state
    bad["state"]["pos"] = 10**6
    graph = rl.Graph()
    graph.attach("loader", Loader(bad))
    path = rl.Saver().save(rl.Session(graph=graph), tmp_path / "m")
    graph = rl.Graph()
    graph.attach("loader", Loader())
    with pytest.raises(CheckpointError, match="MT19937: pos must be an integer from 0 to 624"):
        rl.Saver().restore(rl.Session(graph=graph), path)


def test_a_key_with_a_slash_goes_by_the_documents_own_reference(tmp_path):
    def session(tree):
        graph = rl.Graph()
        graph.attach("p", tree)
        return rl.Session(graph=graph)

    path = rl.Saver().save(
        session({"a/b": np.ones(1), "a": {"b": np.full(1, 2.0)}}), tmp_path / "m"
    )
    tree = {"a": {"b": np.zeros(1)}, "a/b": np.zeros(1)}
    rl.Saver().restore(session(tree), path)
    assert tree["a/b"] == 1
    assert tree["a"]["b"] == 2
    with pytest.raises(rl.errors.CheckpointMismatchError, match="missing"):
        rl.Saver().restore(session({"a": {"c": np.zeros(1)}, "a/b": np.zeros(1)}), path)
