"""Random programs, killed and stopped at random: all lives together end as an undisturbed run."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.monitored.loop_programs import KilledError, Life, make_program

LIVES = 8


def check(seed, folder):
    """Run one random program through several lives, then once more."""
    rng = random.Random(seed)
    program = make_program(rng)
    undisturbed = Life()
    wanted = undisturbed.run(program, None)
    for life in range(LIVES):
        kill = stop = None
        at = rng.randrange(1, undisturbed.ticks + 2)
        if life < LIVES - 2:
            kill, stop = rng.choice(((at, None), (at, None), (None, at), (None, None)))
        last = Life(kill, stop)
        try:
            found = last.run(program, folder)
        except KilledError:
            continue
    assert found == wanted
    assert Life().run(program, folder)["state"] == wanted["state"]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_all_lives_together_end_as_an_undisturbed_run(seed, tmp_path_factory):
    check(seed, tmp_path_factory.mktemp("loop"))


@pytest.mark.long
def test_all_lives_of_many_programs_end_as_undisturbed_runs(tmp_path):
    for seed in range(2500):  # each with up to nine lives: 20,000 runs
        check(seed, tmp_path / str(seed))
