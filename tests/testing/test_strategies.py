"""The strategies give what they say, all of it, and programs behave as their model foretells."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import runloop as rl
from runloop import nest
from runloop.testing import HookHarness, RecordingHook, strategies
from runloop.testing.programs import (
    PROGRAM_VARIABLES,
    OpSpec,
    build_program,
    needed_ops,
    run_model,
)


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    if isinstance(tree, (list, tuple)):
        return [leaf for value in tree for leaf in leaves(value)]
    return [tree]


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.array_trees())
def test_a_tree_of_arrays_can_be_attached(tree):
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves(tree))
    rl.Graph().attach("state", {"tree": tree})


@pytest.mark.parametrize(
    "wanted",
    [
        lambda a: a.ndim == 0,
        lambda a: a.size == 0,
        lambda a: a.dtype.byteorder == ">" and a.size,
        lambda a: a.size > 1 and a.flags.f_contiguous and not a.flags.c_contiguous,
        lambda a: any(stride < 0 for stride in a.strides),
        lambda a: a.dtype.kind == "M" and a.size,
        lambda a: a.dtype.kind == "c" and a.size,
        lambda a: a.dtype.name == "bfloat16" and a.size,
        lambda a: a.dtype.kind == "f" and np.isnan(a).any(),
    ],
    ids=["0-d", "empty", "big", "fortran", "reversed", "time", "complex", "bfloat16", "nan"],
)
def test_every_kind_of_array_occurs(wanted):
    quiet = settings(
        max_examples=5000,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],
    )
    find(strategies.arrays(), wanted, settings=quiet)


@settings(max_examples=50, deadline=None)
@given(strategies.fetch_structures())
def test_fetches_of_a_harness_by_default(fetches):
    harness = HookHarness(RecordingHook(asks=fetches))
    harness.run()
    (seen,) = harness.fetches
    assert seen is fetches


@settings(max_examples=50, deadline=None)
@given(strategies.fetch_structures(st.sampled_from(["w", "loss"])))
def test_a_structure_of_fetches_can_be_fetched(structure):
    graph = rl.Graph()
    graph.variable("w", 1.0)
    graph.op(lambda w: w + 1, name="loss")
    result = rl.Session(graph=graph).run(structure)
    assert type(result) is type(structure) or isinstance(structure, str)
    values = {"w": 1.0, "loss": 2.0}
    assert nest.leaves(result) == [values[leaf] for leaf in nest.leaves(structure)]


@settings(max_examples=50, deadline=None)
@given(strategies.programs(), st.data())
def test_a_program_does_what_its_model_foretells(specs, data):
    session = rl.Session(graph=build_program(specs, log := []))
    variables = {name: np.int64(i) for i, name in enumerate(PROGRAM_VARIABLES)}
    variables["global_step"] = 0
    fetched = data.draw(st.lists(st.sampled_from([s.number for s in specs]), max_size=4))
    session.run([f"op{n}" for n in fetched])
    results, new = run_model(specs, variables, fetched)
    assert set(log) == needed_ops(specs, fetched) == set(results)
    assert session.run(list(PROGRAM_VARIABLES)) == [new[name] for name in PROGRAM_VARIABLES]


def test_an_op_of_a_program_can_fail():
    specs = [OpSpec(0), OpSpec(1, needs=(0,), trains=True)]
    session = rl.Session(graph=build_program(specs, log := [], failing=1))
    with pytest.raises(KeyError, match="op1"):
        session.run("op1")
    assert log == [0, 1]
    assert session.run("op0") == specs[0].value()


@given(strategies.schedules(max_actions=5))
def test_a_schedule_ends_once(schedule):
    ends = [a.what for a in schedule if a.what in {"exhaust", "close", "leave_by_error"}]
    assert len(ends) <= 1
    assert not ends or schedule[-1].what == ends[0]
    assert len(schedule) <= 5
