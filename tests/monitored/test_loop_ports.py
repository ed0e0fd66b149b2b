"""What ports of real loops found: each case is a state that a plain `for` loop has."""

from collections import namedtuple

import numpy as np
import pytest

import runloop as rl

Pair = namedtuple("Pair", "w b")  # noqa: PYI024  # as JAX programs have them


def read_only(array):
    array.flags.writeable = False
    return array


# (the state at the start, what a pass does to it); the comparison is by repr
ENTRIES = {
    "an array that each pass replaces": (
        lambda: {"w": np.zeros(2)},
        lambda state: state.update(w=state["w"] + 1),
    ),
    "an array that can't be written into, as JAX's": (
        lambda: {"w": read_only(np.zeros(2))},
        lambda state: state.update(w=read_only(state["w"] + 1)),
    ),
    "an array that grows": (
        lambda: {"losses": np.zeros(0)},
        lambda state: state.update(losses=np.append(state["losses"], 1.0)),
    ),
    "a 0-d array that becomes a scalar": (
        lambda: {"b": np.array(0.0)},
        lambda state: state.update(b=state["b"] + 1),
    ),
    "an array that changes its dtype": (
        lambda: {"w": np.zeros(2)},
        lambda state: state.update(w=(state["w"] + 1).astype(np.float32)),
    ),
    "an array that becomes None": (
        lambda: {"previous": np.zeros(2)},
        lambda state: state.update(previous=None),
    ),
    "an array that becomes a list": (
        lambda: {"history": np.zeros(2)},
        lambda state: state.update(history=[*state["history"], np.ones(3)]),
    ),
    "an array that goes": (
        lambda: {"n": 0, "warmup": np.zeros(2)},
        lambda state: state.pop("warmup", None),
    ),
    "an array that goes and comes back": (
        lambda: {"n": 0, "buffer": np.zeros(1)},
        lambda state: (
            state.update(n=state["n"] + 1),
            state.update(buffer=None if state["n"] % 3 else np.ones(state["n"])),
        ),
    ),
    "an array in a dict that grows": (
        lambda: {"net": {"w": np.zeros(1), "b": np.zeros(2)}},
        lambda state: state["net"].update(w=np.append(state["net"]["w"], 1.0)),
    ),
    "arrays that are added to a dict": (
        lambda: {"moments": {}, "net": {"w0": np.zeros(1)}},
        lambda state: (
            state["net"].update({f"w{len(state['net'])}": np.ones(2)}),
            state["moments"].update({f"w{len(state['net'])}": np.ones(2)}),
        ),
    ),
    "None that becomes an array": (
        lambda: {"previous": None},
        lambda state: state.update(previous=np.ones(2)),
    ),
    "a named tuple of arrays": (
        lambda: {"params": Pair(np.zeros(2), np.zeros(1))},
        lambda state: state.update(params=Pair(state["params"].w + 1, state["params"].b)),
    ),
    "a named tuple with None": (
        lambda: {"params": Pair(np.zeros(2), None)},
        lambda state: state.update(params=Pair(state["params"].w + 1, None)),
    ),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_that_a_pass_replaces_comes_back_after_a_restart(tmp_path, name):
    make, change = ENTRIES[name]

    def run(folder, stop_at=None):
        state = make()
        with rl.Loop(folder, state, save_steps=2) as loop:
            for step in loop.steps(6):
                change(state)
                if step == stop_at:
                    loop.request_stop()
        return repr(state)

    run(tmp_path / "interrupted", stop_at=3)
    assert run(tmp_path / "interrupted") == run(tmp_path / "straight")


@pytest.mark.parametrize("name", ENTRIES)
def test_such_an_entry_comes_back_in_every_epoch_and_life(tmp_path, name):
    make, change = ENTRIES[name]

    def run(folder, kill_in=None):
        state = make()
        with rl.Loop(folder, state, save_steps=1) as loop:
            for epoch in loop.epochs(2):
                change(state)
                for step in loop.steps(2):
                    if kill_in == 2 * epoch + step:
                        raise KeyboardInterrupt
                    change(state)
        return repr(state)

    for kill in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", kill)
    assert run(tmp_path / "killed") == run(tmp_path / "straight")


def test_an_array_that_this_program_begins_with_in_another_form_is_refused_by_name(tmp_path):
    def run(width, dtype=float):
        state = {"w": np.zeros(width, dtype)}
        with rl.Loop(tmp_path, state, save_steps=1) as loop:
            for _ in loop.steps(4):
                state["w"] += 1
                loop.request_stop()

    run(3)
    with pytest.raises(rl.errors.CheckpointMismatchError, match=r"w: expected .*\(4,\), found"):
        run(4)
    with pytest.raises(rl.errors.CheckpointMismatchError, match=r"w: expected float32"):
        run(3, np.float32)


def test_an_array_that_grows_is_refused_by_a_program_that_begins_it_in_another_form(tmp_path):
    def run(width):
        state = {"w": np.zeros(width)}
        with rl.Loop(tmp_path, state, save_steps=1) as loop:
            for _ in loop.steps(4):
                state["w"] = np.append(state["w"], 1.0)
                loop.request_stop()
        return state["w"].size

    assert run(0) == 1
    with pytest.raises(
        rl.errors.CheckpointMismatchError, match=r"w: expected .*\(3,\), found .*\(1,\)"
    ):
        run(3)
    assert run(0) == 2


def test_an_array_of_the_form_that_was_saved_is_restored_in_place(tmp_path):
    def run():
        w = np.zeros(2)
        state = {"w": w}
        with rl.Loop(tmp_path, state, save_steps=1) as loop:
            for _ in loop.steps(4):
                w += 1
                loop.request_stop()
        assert state["w"] is w
        return w.tolist()

    assert [run(), run()] == [[1.0, 1.0], [2.0, 2.0]]


@pytest.mark.parametrize(
    ("then", "now", "problem"),
    [
        ({"w": 1}, {"w": 1, "lr": 0.1}, r"missing in the file \(1\):\n  lr"),
        ({"w": 1, "lr": 0.1}, {"w": 1}, r"unexpected in the file \(1\):\n  lr"),
        ({"w": 1, "lr": 0.1}, {"w": 1, "rate": 0.1}, r"missing in the file \(1\):\n  rate"),
        ({"w": 1, "b": None}, {"w": 1}, r"unexpected in the file \(1\):\n  b"),
    ],
)
def test_a_number_that_only_one_program_starts_with_is_refused_by_name(
    tmp_path, then, now, problem
):
    def run(state):
        with rl.Loop(tmp_path, state, save_steps=1) as loop:
            for _ in loop.steps(4):
                loop.request_stop()
        return state

    run(then)
    with pytest.raises(rl.errors.CheckpointMismatchError, match=problem) as caught:
        run(now)
    assert "another folder" in caught.value.__notes__[0]
    assert "scaffold" not in caught.value.__notes__[0]
    assert run(then) == then


def test_numbers_that_passes_add_and_delete_come_and_go(tmp_path):
    def run(folder, stop=None):
        state = {"n": 0, "warmup": 1}
        with rl.Loop(folder, state, save_steps=1) as loop:
            for step in loop.steps(4):
                state.pop("warmup", None)
                state["best"] = state.get("best", 0) + 1
                if step == stop:
                    loop.request_stop()
        return state

    run(tmp_path / "stopped", 1)
    assert run(tmp_path / "stopped") == run(tmp_path / "straight") == {"n": 0, "best": 4}
