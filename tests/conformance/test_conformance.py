"""runloop tells the same stories as TensorFlow 2.21, line by line."""

import os
from collections import Counter
from functools import cache

import pytest

from . import generator, golden, suite
from .differences import DIFFERENCES
from .runloop_backend import RunloopBackend
from .story import tell

# The scenarios' data is a generator, as TensorFlow's iterators keep no position either.
pytestmark = pytest.mark.filterwarnings("ignore:input .* generator has no state:UserWarning")
BACKEND = RunloopBackend()
BLOCK = 25
# Thousands of small checkpoints are made durable: in memory that costs nothing.
MEMORY = "/dev/shm"
SCRATCH = MEMORY if os.access(MEMORY, os.W_OK) else None

WRITTEN = {case.name: case for case in suite.written()}


@cache
def random_programs():
    return list(suite.random())


@cache
def accepted():
    return golden.read_differences()


def mismatch(case):
    """A readable account of what is wrong with a scenario, empty if nothing is."""
    trace = tell(BACKEND, case.tell, SCRATCH)
    if not case.differences:
        return suite.diff(case.name, case.golden, trace, ("TensorFlow", "runloop"))
    return suite.diff(case.name, accepted()[case.name], trace, ("accepted", "runloop"))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_scenario_goes_as_in_tensorflow(name):
    problem = mismatch(WRITTEN[name])
    assert not problem, f"\n{problem}"


@pytest.mark.parametrize("start", range(0, generator.COUNT, BLOCK))
def test_random_programs_go_as_in_tensorflow(start):
    problems = [mismatch(case) for case in random_programs()[start : start + BLOCK]]
    problems = [problem for problem in problems if problem]
    assert not problems, f"{len(problems)} of {BLOCK} differ, the first:\n{problems[0]}"


def test_every_accepted_difference_is_explained_line_by_line():
    everything = {**WRITTEN, **{case.name: case for case in random_programs()}}
    touched = {name for name, case in everything.items() if case.differences}
    assert touched == set(accepted()), "accept again"
    for name, trace in accepted().items():
        case = everything[name]
        assert trace != case.golden, f"{name} differs no more: take it out of the list"
        lines = suite.unexplained(case, trace)
        assert not lines, f"{name}: no difference that is named explains {lines}"


def test_every_named_difference_shows_somewhere():
    for difference in DIFFERENCES:
        for start in difference.scenarios:
            assert any(name.startswith(start) for name in WRITTEN), f"{difference.name}: {start}"


def test_the_suite_is_as_large_as_it_says():
    assert len(WRITTEN) >= 150
    assert len(random_programs()) >= 1000
    # Nothing is compared with an empty story, and no two random programs are the same.
    assert all(case.golden for case in [*WRITTEN.values(), *random_programs()])
    descriptions = Counter(generator.checksum(generator.program(n)) for n in range(200))
    assert max(descriptions.values()) == 1
