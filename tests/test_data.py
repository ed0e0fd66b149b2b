import json
from itertools import chain
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runloop as rl
from runloop.data import Batches


def taken(batches, count):
    return [next(batches).tolist() for _ in range(count)]


@pytest.mark.parametrize("shuffle", [True, False])
@given(samples=st.integers(1, 40), batch_size=st.integers(1, 50), epochs=st.integers(1, 3))
def test_every_epoch_shows_every_sample_once(samples, batch_size, epochs, shuffle):
    batches = Batches(np.arange(samples), batch_size, shuffle=shuffle, epochs=epochs)
    per_epoch = -(-samples // batch_size)
    shown = [batch.tolist() for batch in batches]
    assert len(shown) == epochs * per_epoch
    for epoch in range(epochs):
        this = shown[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(chain.from_iterable(this)) == list(range(samples))
        assert all(len(batch) == batch_size for batch in this[:-1])


def test_without_shuffle_the_order_is_that_of_the_arrays():
    assert taken(Batches(np.arange(5), 2, shuffle=False), 4) == [[0, 1], [2, 3], [4], [0, 1]]


def test_the_order_follows_from_the_seed_and_differs_from_epoch_to_epoch():
    one, same, other = (Batches(np.arange(50), 50, seed=s) for s in (1, 1, 2))
    first, second = taken(one, 2)
    assert taken(same, 2) == [first, second]
    assert first != second
    assert taken(other, 1) != [first]


def test_without_a_seed_each_has_an_order_of_its_own():
    one, other = (Batches(np.arange(50), 50, seed=None) for _ in range(2))
    assert taken(one, 1) != taken(other, 1)


class Pair(NamedTuple):
    x: object
    y: object


def test_a_batch_has_the_structure_of_the_arrays():
    x, y = np.arange(6).reshape(3, 2), np.array([5, 6, 7])
    for shuffle in (True, False):
        for arrays, parts in [
            ((x, y), lambda b: (type(b) is tuple, b[0], b[1])),
            ([x, y], lambda b: (type(b) is list, b[0], b[1])),
            ({"x": x, "y": y}, lambda b: (list(b) == ["x", "y"], b["x"], b["y"])),
            (Pair(x, y), lambda b: (type(b) is Pair, b.x, b.y)),
        ]:
            right, bx, by = parts(next(Batches(arrays, 2, shuffle=shuffle)))
            assert right
            assert bx.shape == (2, 2)
            assert np.array_equal(bx[:, 0] // 2 + 5, by)  # rows still belong together


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_batch_is_a_copy(shuffle):
    data = np.zeros(4)
    next(Batches(data, 4, shuffle=shuffle))[:] = 1
    assert not data.any()


def test_a_memory_map_is_read_batch_by_batch(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10))
    batches = Batches(np.load(tmp_path / "x.npy", mmap_mode="r"), 4, shuffle=False)
    assert taken(batches, 2) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_after_the_last_epoch_it_is_over_for_good():
    batches = Batches(np.arange(3), 2, epochs=1)
    assert len(list(batches)) == 2
    assert list(batches) == []
    restored = Batches(np.arange(3), 2, epochs=1)
    restored.load_state_dict(batches.state_dict())
    assert list(restored) == []
    longer = Batches(np.arange(3), 2, epochs=2)
    longer.load_state_dict(batches.state_dict())
    assert len(list(longer)) == 2


def test_epoch_counts_what_was_shown_whole():
    batches = Batches(np.arange(3), 2)
    seen = [batches.epoch]
    for _ in range(5):
        next(batches)
        seen.append(batches.epoch)
    assert seen == [0, 0, 1, 1, 2, 2]


@given(
    samples=st.integers(1, 30),
    batch_size=st.integers(1, 10),
    before=st.integers(0, 40),
    shuffle=st.booleans(),
    seed=st.one_of(st.none(), st.integers(0, 2**128)),
)
def test_restored_at_any_moment_it_gives_the_batches_that_would_have_come(
    samples, batch_size, before, shuffle, seed
):
    data = np.arange(samples)
    batches = Batches(data, batch_size, shuffle=shuffle, seed=seed)
    taken(batches, before)
    state = json.loads(json.dumps(batches.state_dict()))
    restored = Batches(data, batch_size, shuffle=shuffle, seed=7)
    taken(restored, 3)
    restored.load_state_dict(state)
    assert taken(restored, 12) == taken(batches, 12)


def test_as_an_input_it_is_attached_so_that_its_position_is_saved():
    batches = Batches((np.arange(4), np.arange(4) * 10), 2, shuffle=False, epochs=1)
    graph = rl.Graph()
    graph.input(("x", "y"), batches)
    assert graph.attached["x"] is batches
    with rl.Session(graph=graph) as session:
        assert [part.tolist() for part in session.run(["x", "y"])] == [[0, 1], [0, 10]]
        assert batches.state_dict()["position"] == 2
        session.run("y")
        with pytest.raises(rl.errors.OutOfRangeError):
            session.run("x")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (((), 1), ValueError, "^Batches needs at least one array, got none$"),
        (({}, 1), ValueError, "^Batches needs at least one array, got none$"),
        (
            (np.float32(1), 1),
            ValueError,
            "^Batches: array 0 has no first dimension to take samples of$",
        ),
        (
            ({"x": np.ones(3), "y": np.ones(4)}, 1),
            ValueError,
            r"^Batches: the arrays must be of one length, got \{'x': 3, 'y': 4\}$",
        ),
        (
            (np.ones((0, 5)), 1),
            ValueError,
            "^Batches needs at least one sample, got arrays of length 0$",
        ),
        ((np.ones(3), 0), ValueError, "^Batches: batch_size must be at least 1, got 0$"),
        ((np.ones(3), 1.5), TypeError, "^Batches: batch_size must be an integer, got 1.5$"),
    ],
)
def test_wrong_arrays_and_sizes_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        Batches(*arguments)


def test_wrong_epochs_and_seeds_are_refused():
    with pytest.raises(ValueError, match=r"^Batches: epochs must be at least 1, got 0$"):
        Batches(np.ones(3), 1, epochs=0)
    with pytest.raises(TypeError, match=r"^Batches: epochs must be an integer, got '2'$"):
        Batches(np.ones(3), 1, epochs="2")
    with pytest.raises(TypeError, match=r"^Batches: seed must be an integer or None, got 1.0$"):
        Batches(np.ones(3), 1, seed=1.0)
    with pytest.raises(ValueError, match=r"^Batches: seed must not be negative, got -1$"):
        Batches(np.ones(3), 1, seed=-1)


def test_a_state_of_other_data_is_refused_and_changes_nothing():
    batches = Batches(np.arange(4), 2)
    other = Batches(np.arange(5), 2)
    next(other)
    before = batches.state_dict()
    with pytest.raises(
        ValueError,
        match=r"^Batches: the state was saved with samples=5, these have samples=4: .*"
        r"Use the same data, or start without the saved state$",
    ):
        batches.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match=r"^Batches: the state was saved with shuffle=False"):
        batches.load_state_dict(before | {"shuffle": False})
    with pytest.raises(ValueError, match=r"^Batches: the state has no epoch, position$"):
        batches.load_state_dict({k: before[k] for k in ("samples", "seed", "shuffle")})
    with pytest.raises(
        ValueError, match=r"^Batches: position 5 in epoch 0 is invalid for 4 samples$"
    ):
        batches.load_state_dict(before | {"position": 5})
    assert batches.state_dict() == before
