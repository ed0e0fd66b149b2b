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
OPEN = {
    "an array that can't be written into, as JAX's",
    "an array that grows",
    "a 0-d array that becomes a scalar",
    "an array that changes its dtype",
    "an array that becomes None",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(strict=True, reason="reported"))
        if name in OPEN
        else name
        for name in ENTRIES
    ],
)
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
