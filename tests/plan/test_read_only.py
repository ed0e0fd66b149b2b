"""Variables are replaced, not written into: ops see read-only views of NumPy variables."""

import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from runloop.checkpoint import Saver
from runloop.graph import Graph
from runloop.plan.arrays import behind, read_only
from runloop.run import RunOptions
from runloop.session import Session

FULL = RunOptions(trace_level=RunOptions.FULL_TRACE)
WRITES = {
    "operator": lambda w: w.__iadd__(1),
    "item": lambda w: w.__setitem__(0, 1),
    "ufunc": lambda w: np.add(w, 1, out=w),
    "fill": lambda w: w.fill(1),
    "sort": lambda w: w.sort(),
    "shuffle": lambda w: np.random.default_rng(0).shuffle(w),
    "copyto": lambda w: np.copyto(w, 1),
    "buffer": lambda w: memoryview(w).__setitem__(0, 1),
    "slice": lambda w: w[1:].__setitem__(0, 1),
}


def make(**variables):
    graph = Graph()
    for name, initial in variables.items():
        graph.variable(name, initial)
    return graph, Session(graph=graph)


@pytest.mark.parametrize("options", [None, FULL], ids=["plain", "traced"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writing_into_a_variable_raises_with_a_note_that_says_what_to_do(write, options):
    graph, session = make(w=np.array([3.0, 2.0, 1.0]))
    graph.op(lambda w: write(w) and None, name="writes")
    with pytest.raises((ValueError, TypeError), match="read-only") as caught:
        session.run("writes", options=options)
    advice = (
        "(op 'writes' sees the variables 'w' as read-only views: variables are replaced, not "
        "written into. Return the new value and name the variable in updates=, or use "
        "graph.attach() for arrays that are to be changed in place)"
    )
    assert caught.value.__notes__ == ["(raised in op 'writes')", advice]
    assert session.run("w").tolist() == [3.0, 2.0, 1.0]


def test_it_holds_after_updates_assignments_feeds_and_for_variables_that_are_not_validated():
    graph = Graph()
    graph.variable("w", np.zeros(2))
    graph.variable("free", np.zeros(2), validate=False)
    mine = [np.ones(2), np.full(3, 2.0), np.full(2, 3.0)]
    graph.op(lambda: (mine[0], mine[1]), name="step", updates=("w", "free"))
    session = Session(graph=graph)
    seen = []

    def look(w, free):
        seen.append((w.flags.writeable, free.flags.writeable))

    session.run(look)
    session.run("step")
    session.run(look)
    session.assign({"w": mine[2]})
    session.run(look)
    session.run(look, {"w": mine[0], "free": [1, 2]})
    assert seen == [(False, False)] * 4
    assert all(own.flags.writeable for own in mine)  # only the views are read-only


def test_the_note_is_not_there_for_an_op_that_sees_no_variable():
    graph, session = make(w=np.zeros(2))
    fixed = np.zeros(2)
    fixed.setflags(write=False)
    graph.op(lambda x: x.fill(1), name="other")
    with pytest.raises(ValueError, match="read-only") as caught:
        session.run(["other", "w"], {"x": fixed})
    assert caught.value.__notes__ == ["(raised in op 'other')"]


def test_a_view_is_made_once_for_each_commit():
    graph, session = make(w=np.zeros(2), step_size=0.5)
    graph.op(lambda w: w + 1, name="step", updates="w")
    same = [session.run(lambda w: [w])[0] for _ in range(3)]
    assert same[0] is same[1] is same[2]
    session.run("step")
    assert session.run(lambda w: [w])[0] is not same[0]


def test_what_is_fetched_is_the_callers_own_to_change():
    _, session = make(w=np.zeros(2), n=np.arange(3))
    for name in ("w", "n"):
        fetched = session.run(name)
        fetched += 1
    assert session.run("w").tolist() == [0, 0]


def test_attached_arrays_inputs_and_results_stay_writable():
    graph, session = make(w=np.zeros(2))
    graph.attach("own", {"a": np.zeros(2)})
    graph.input("x", [np.zeros(2)])
    graph.op(lambda w: w + 1, name="made")

    def change(own, x, made):
        for value in (own["a"], x, made):
            np.add(value, 1, out=value)
        return made

    assert session.run(change).tolist() == [2, 2]
    assert graph.attached["own"]["a"].tolist() == [1, 1]


class Duck:
    """An array of another library."""

    dtype, shape = "duck", (1,)

    def __deepcopy__(self, memo):
        return self


def test_arrays_of_other_libraries_are_handed_over_as_they_are():
    duck = Duck()
    _, session = make(w=duck)
    assert session.run(lambda w: [w])[0] is duck


def test_the_sessions_own_arrays_stay_writable_whatever_an_op_returns():
    graph, session = make(w=np.zeros(2), b=np.ones(2))
    graph.op(lambda w, b: (b, w), name="swap", updates=("w", "b"))
    graph.op(lambda w: w, name="keep", updates="w")
    session.run("swap")
    for _ in range(3):
        session.run("keep")
    own = session.state().variables
    assert [own["w"].tolist(), own["b"].tolist()] == [[1, 1], [0, 0]]
    assert own["w"].flags.writeable
    assert own["b"].flags.writeable


def test_a_read_only_array_of_another_origin_is_taken_as_it_is(tmp_path):
    fixed = np.frombuffer(bytes(16))
    graph, session = make(w=np.ones(2))
    graph.op(lambda: fixed, name="step", updates="w")
    path = Saver().save(session, str(tmp_path / "m"), 1)
    session.run("step")
    assert session.run("w").tolist() == [0, 0]
    Saver().restore(session, path)
    assert session.run("w").tolist() == [1, 1]
    assert session.run(lambda w: w.flags.writeable) is False


def test_a_part_of_a_variable_may_replace_another_one():
    graph, session = make(w=np.arange(4.0), b=np.zeros(2))
    graph.op(lambda w: w[::2], name="step", updates="b")
    session.run("step")
    assert session.run("b").tolist() == [0, 2]


def test_the_global_step_stays_a_number():
    graph, session = make()
    graph.train_op(lambda global_step: [type(global_step)], name="train")
    for step in range(3):
        assert session.run(["train", "global_step"]) == [[np.int64], step]
    assert session.state().variables["global_step"] == 3


@given(npst.arrays(npst.scalar_dtypes(), npst.array_shapes(min_dims=0, max_side=3)), st.data())
def test_a_read_only_view_leads_back_to_its_array_and_to_no_other(values, data):
    kept = values.copy()
    view = read_only(kept)
    assert not view.flags.writeable
    assert kept.flags.writeable
    assert behind(view) is kept
    assert behind(kept) is kept
    if kept.ndim and len(kept) > 1:
        part = view[data.draw(st.integers(0, 1)) :: 2]
        assert behind(part) is part
        assert behind(view[::-1]) is not kept
    assert read_only(view) is view


def test_what_is_no_numpy_array_passes_both_ways():
    for value in (np.float64(1), array.array("d", [1]), "text", None):
        assert read_only(value) is value
        assert behind(value) is value
