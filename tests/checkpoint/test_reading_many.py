"""Restores of many and of large tensors: few calls of the system, every checksum, all or nothing."""

import os

import numpy as np
import pytest

from runloop.checkpoint import CheckpointReader, Saver
from runloop.errors import CheckpointCorruptError, CheckpointFormatError, CheckpointReadError
from runloop.graph import Graph
from runloop.session import Session
from runloop.state.changes import same_value

ml_dtypes = pytest.importorskip("ml_dtypes")
LARGE = (700, 300)  # of float64: several pieces, and several swaps


def session_of(state):
    graph = Graph()
    graph.attach("p", state, constant=True)
    return Session(graph=graph)


def arrays(fill):
    """Small and large, of every way to lie in memory."""
    rng = np.random.default_rng(fill)
    large = rng.random(LARGE)
    return {
        **{f"small{i}": rng.random(i % 4) for i in range(40)},
        "scalar": np.array(rng.random()),
        "date": np.array([fill, 2], "datetime64[s]"),
        "bfloat16": np.full(3, fill, ml_dtypes.bfloat16),
        "big": rng.random(5).astype(">f8"),
        "fortran": np.asfortranarray(rng.random((3, 4))),
        "large": large,
        "large fortran": np.asfortranarray(rng.random(LARGE)),
        "large strided": rng.random((LARGE[0], 2 * LARGE[1]))[:, ::2],
        "large big": rng.random(LARGE).astype(">f8"),
        "one row": rng.random((1, 300_000)),
        "last": rng.random(3),
    }


def copies(state):
    return {name: array.copy() for name, array in state.items()}


@pytest.fixture
def path(tmp_path):
    return Saver().save(session_of(arrays(1)), tmp_path / "m")


@pytest.mark.parametrize("most", [1, 7, 100, 10**9])
def test_short_reads_are_completed(path, monkeypatch, most):
    real = os.preadv

    def short(fd, views, offset):
        left, cut = most * (1 + offset % 5000), []  # at least a few bytes, not always as many
        for view in views:
            cut.append(np.asarray(view).reshape(-1).view(np.uint8)[:left])
            left -= len(cut[-1])
        return real(fd, cut, offset)

    state = arrays(2)
    held = dict(state)
    monkeypatch.setattr(os, "preadv", short)
    Saver().restore(session_of(state), path)
    assert same_value(copies(state), copies(arrays(1)))
    assert all(state[name] is held[name] for name in held)


def test_small_neighbours_are_read_together(tmp_path, monkeypatch):
    state = {f"w{i}": np.full(3, float(i)) for i in range(3000)}
    session = session_of(state)
    path = Saver().save(session, tmp_path / "m")
    for array in state.values():
        array[:] = -1
    calls = []
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *args: calls.append(1) or real(*args))
    Saver().restore(session, path)
    assert len(calls) <= 6  # two for the header, and at most 1,024 pieces at once
    assert all((array == i).all() for i, array in enumerate(state.values()))


NAMES = ["small3", "small39", "scalar", "date", "big", "large", "large fortran", "large big", "one row", "last"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", [0, -1])
def test_a_flipped_bit_is_found_and_nothing_is_touched(path, name, where):
    with CheckpointReader(path) as reader:
        stored = reader.stored[f"p/{name}"]
        at = reader.data_start + (stored.start if where == 0 else stored.end - 1)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    state = arrays(2)
    with pytest.raises(CheckpointCorruptError, match=f"tensor 'p/{name}' is damaged"):
        Saver().restore(session_of(state), path)
    assert same_value(copies(state), copies(arrays(2)))


def test_the_first_read_that_fails_ends_it_and_nothing_is_touched(path, monkeypatch):
    failed = 0
    real = os.preadv
    for at in range(100):
        calls = iter(range(1000))

        def failing(*args, at=at, calls=calls):
            if next(calls) == at:
                raise OSError(5, "Input/output error")
            return real(*args)

        state = arrays(2)
        monkeypatch.setattr(os, "preadv", failing)
        try:
            Saver().restore(session_of(state), path)
        except CheckpointReadError:
            failed += 1
            assert same_value(copies(state), copies(arrays(2)))
        else:
            break
    assert failed > 10


class Refuses:
    def state_dict(self):
        return {"n": 1}

    def load_state_dict(self, state):
        if state["n"] == 1:
            raise ValueError("no")


def test_what_was_filled_and_swapped_is_put_back(tmp_path):
    saved = session_of(arrays(1))
    saved.add_companions({"hook": Refuses()})
    path = Saver().save(saved, tmp_path / "m")
    state = arrays(2)
    session = session_of(state)
    Saver().restore(session, path)
    assert same_value(copies(state), copies(arrays(1)))
    with pytest.raises(CheckpointFormatError, match="Refuses did not take the saved state: no"):
        session.add_companions({"hook": Refuses()})
    assert same_value(copies(state), copies(arrays(2)))
