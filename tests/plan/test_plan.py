"""Plans: what runs, how often, in which order; what is committed; and that plans are kept."""

import gc
import weakref
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runloop.errors import OutOfRangeError
from runloop.graph import Graph
from runloop.run import RunMetadata, RunOptions
from runloop.session import Session
from runloop.testing.programs import (
    PROGRAM_VARIABLES,
    OpSpec,
    build_program,
    needed_ops,
    run_model,
)
from runloop.testing.strategies import programs

# -- random programs against a model in a plain dict ----------------------------------------------


def current(session):
    names = [v.name for v in session.graph.variables]
    return {"global_step": 0, **dict(zip(names, session.run(names), strict=True))}


@settings(max_examples=30, deadline=None)
@given(programs(), st.data())
def test_runs_agree_with_a_model_in_a_dict(specs, data):
    session = Session(graph=build_program(specs, log := []))
    variables = current(session)
    fetching = st.lists(st.sampled_from([s.number for s in specs]), max_size=4)
    updates = {s.number for s in specs if s.updates}
    for _ in range(3):
        fetched = data.draw(fetching)
        log.clear()
        got = session.run([*(f"op{n}" for n in fetched), *PROGRAM_VARIABLES])
        results, new = run_model(specs, variables, fetched)
        expected = [None if n in updates else results[n] for n in fetched]
        assert got == [*expected, *(variables[name] for name in PROGRAM_VARIABLES)]
        assert sorted(log) == sorted(results)  # each needed op exactly once, no other
        variables = new
        assert current(session) == variables


@settings(max_examples=30, deadline=None)
@given(programs(), st.data())
def test_ops_run_after_what_they_need_and_readers_before_writers(specs, data):
    log = []
    session = Session(graph=build_program(specs, log))
    by_number = {spec.number: spec for spec in specs}
    fetched = data.draw(st.lists(st.sampled_from(sorted(by_number)), min_size=1, unique=True))
    session.run([f"op{n}" for n in fetched])
    waits = {n: set(by_number[n].needs + by_number[n].after) for n in log}
    done = set()
    for position, number in enumerate(log):
        assert waits[number] <= done
        ready = [n for n in log[position:] if waits[n] <= done]
        if by_number[number].mutates:
            assert all(by_number[n].mutates for n in ready)
        # Those that nobody else needs are there because they were fetched: in that order.
        own = [n for n in ready if not any(n in waits[other] for other in log)]
        alike = [n for n in own if by_number[n].mutates == by_number[number].mutates]
        if number in alike:
            assert number == min(alike, key=fetched.index)
        done.add(number)


@settings(max_examples=40, deadline=None)
@given(programs(), st.data())
def test_a_run_that_raises_changes_no_variable(specs, data):
    failing = data.draw(st.sampled_from([s.number for s in specs]))
    session = Session(graph=build_program(specs, [], failing))
    before = current(session)
    with pytest.raises(KeyError):
        session.run([s.name for s in specs])
    assert current(session) == before
    with pytest.raises(KeyError):
        session.run([s.name for s in specs], options=RunOptions(trace_level=RunOptions.FULL_TRACE))
    assert current(session) == before


@settings(max_examples=40, deadline=None)
@given(programs(), st.data())
def test_what_is_fed_does_not_run_and_its_needs_only_run_for_others(specs, data):
    log = []
    session = Session(graph=build_program(specs, log))
    numbers = [s.number for s in specs]
    fetched = data.draw(st.lists(st.sampled_from(numbers), min_size=1))
    fed = data.draw(st.sets(st.sampled_from(numbers)))
    cut = [OpSpec(s.number) if s.number in fed else s for s in specs]
    got = session.run([f"op{n}" for n in fetched], {f"op{n}": -n for n in fed})
    assert set(log) == needed_ops(cut, fetched) - fed
    assert len(log) == len(set(log))
    for number, value in zip(fetched, got, strict=True):
        if number in fed:
            assert value == -number


@settings(max_examples=30, deadline=None)
@given(programs())
def test_a_trace_lists_the_ops_in_the_order_in_which_they_ran(specs):
    log = []
    session = Session(graph=build_program(specs, log))
    metadata = RunMetadata()
    options = RunOptions(trace_level=RunOptions.FULL_TRACE)
    session.run([s.name for s in specs], options=options, run_metadata=metadata)
    assert [stats.name for stats in metadata.step_stats] == [f"op{n}" for n in log]
    by_name = {s.name: s for s in specs}
    for stats in metadata.step_stats:
        spec = by_name[stats.name]
        assert set(stats.inputs) == {f"op{n}" for n in spec.needs + spec.after}


# -- the order, case by case ----------------------------------------------------------------------


def ordered(fetches, *, train_after=()):
    """The order in which the ops of a small graph run."""
    log = []
    graph = Graph()
    graph.variable("w", 0.0)
    graph.op(lambda: log.append("read1"), name="read1")
    graph.op(lambda: log.append("read2"), name="read2")
    graph.op(lambda w: log.append("update") or w, name="update", updates="w")
    graph.train_op(lambda: log.append("train"), name="train", after=train_after)
    graph.op(lambda train: log.append("late"), name="late")
    Session(graph=graph).run(fetches)
    return log


@pytest.mark.parametrize(
    ("fetches", "expected"),
    [
        (["read1", "read2"], ["read1", "read2"]),
        (["read2", "read1"], ["read2", "read1"]),
        (["train", "read1"], ["read1", "train"]),
        (["train", "update", "read2"], ["read2", "train", "update"]),
        (["update", "train"], ["update", "train"]),
        # What becomes ready by a writer still goes before the next writer.
        (["late", "update", "read1"], ["read1", "train", "late", "update"]),
        (["read1", "read1", ["read1"]], ["read1"]),
    ],
)
def test_readers_go_first_and_ties_in_the_order_fetched(fetches, expected):
    assert ordered(fetches) == expected


def test_after_brings_an_op_in_and_puts_it_first():
    assert ordered("train", train_after="update") == ["update", "train"]


def test_what_an_op_needs_runs_in_the_order_of_its_parameters():
    log = []
    graph = Graph()
    for name in "abc":
        graph.op(lambda name=name: log.append(name), name=name)
    graph.op(lambda b, c, a: log.append("all"), name="all")
    Session(graph=graph).run("all")
    assert log == ["b", "c", "a", "all"]


def test_an_op_after_the_train_op_still_reads_the_values_from_before():
    graph = Graph()
    graph.variable("w", 1.0)
    graph.train_op(lambda w: w + 1, name="train", updates="w")
    graph.op(lambda w: w * 5, name="read", after="train")
    session = Session(graph=graph)
    assert session.run(["read", "train"]) == [5.0, None]
    assert session.run("w") == 2.0


def test_the_result_of_an_op_with_updates_is_what_others_get_by_its_name():
    graph = Graph()
    graph.variable("w", 1.0)
    graph.op(lambda w: w + 1, name="step", updates="w")
    graph.op(lambda step: float(step) * 10, name="seen")
    assert Session(graph=graph).run(["seen", "step"]) == [20.0, None]


def test_two_train_ops_in_one_run_both_count():
    graph = Graph()
    graph.train_op(lambda: None, name="one")
    graph.train_op(lambda: None, name="five", increment=5)
    session = Session(graph=graph)
    session.run(["one", "five", "one"])
    assert session.run("global_step") == 6


def test_a_chain_of_thousands_of_ops_runs():
    graph = Graph()
    graph.op(lambda: 0, name="op0")
    for i in range(1, 3000):
        graph.op(eval(f"lambda op{i - 1}: op{i - 1} + 1"), name=f"op{i}")
    assert Session(graph=graph).run("op2999") == 2999


def test_an_input_that_ends_leaves_everything_as_it_was():
    graph = Graph()
    graph.input("x", [1])
    log = []
    graph.op(lambda: log.append("other"), name="other")
    graph.train_op(lambda x: x, name="train")
    session = Session(graph=graph)
    session.run("train")
    with pytest.raises(OutOfRangeError):
        session.run(["other", "train"])
    assert log == []
    assert session.run("global_step") == 1


@pytest.mark.parametrize(
    "occupy",
    [
        lambda g: g.attach("global_step", {"a": 1}),
        lambda g: g.op(lambda: np.array(5), name="global_step"),
        lambda g: g.input("global_step", [np.array(5)]),
    ],
)
def test_something_else_may_be_called_global_step(occupy):
    graph = Graph()
    occupy(graph)
    graph.variable("w", 1.0)
    session = Session(graph=graph)
    assert session.run("w") == 1.0
    value = session.run(["global_step", "w"])[0]
    assert value == {"a": 1} or (type(value) is np.int64 and value == 5)


# -- plans are made once and kept -----------------------------------------------------------------


@pytest.fixture
def plans_made(monkeypatch):
    """A list that grows by one whenever a plan is made."""
    from runloop import session

    made, real = [], session.make_plan

    def counting(graph, fetches, feeds):
        made.append((fetches, feeds))
        return real(graph, fetches, feeds)

    monkeypatch.setattr(session, "make_plan", counting)
    return made


def small():
    graph = Graph()
    w = graph.variable("w", 1.0)
    op = graph.train_op(lambda w, x=0: w + x, name="train")
    return graph, w, op


def test_a_repeated_run_makes_no_plan(plans_made):
    graph, w, op = small()
    session = Session(graph=graph)

    def bare(w):
        return w

    requests = ["w", w, op, ["w", w], {"a": ("w", [op])}, bare, [bare, "train"], []]
    for _ in range(3):
        for request in requests:
            session.run(request)
            session.run(request, options=RunOptions(trace_level=RunOptions.FULL_TRACE))
    assert len(plans_made) == len(requests)


def test_an_equal_request_made_anew_needs_no_new_plan(plans_made):
    session = Session(graph=small()[0])
    for value in range(5):
        session.run(["w", {"loss": "train"}], {"x": value})
    assert len(plans_made) == 1


@pytest.mark.parametrize("count", range(5))
@pytest.mark.parametrize("keyword_only", [False, True])
def test_an_op_gets_its_arguments_however_many_there_are(count, keyword_only):
    graph = Graph()
    names = [f"v{i}" for i in range(count)]
    for i, name in enumerate(names):
        graph.variable(name, float(i))
    star = "*, " if keyword_only and names else ""
    made = {}
    exec(f"def fn({star}{', '.join(names)}): return [{', '.join(names)}]", made)
    graph.op(made["fn"], name="all")
    assert Session(graph=graph).run("all") == [float(i) for i in range(count)]


class Pair(NamedTuple):
    first: str
    second: str


def kinds(structure):
    """The types of a structure's lists and tuples, in the same structure."""
    if isinstance(structure, list | tuple):
        return type(structure), [kinds(member) for member in structure]
    return None


def test_a_list_is_not_taken_for_a_run_with_feeds_or_for_another_structure(plans_made):
    session = Session(graph=small()[0])
    requests = [
        ("train", {"x": 5}, 6),
        (["train", ("x",)], {"x": 6}, [7, (6,)]),
        (["train", ("w",)], None, [1, (1,)]),
        (["w", "train"], {"w": 5.0}, [5, 5]),
        ([("w", "train"), ("w",)], None, [(1, 1), (1,)]),
        (("w", "train"), None, (1, 1)),
        (["w", Pair("w", "train")], None, [1, Pair(1, 1)]),
        (["w", ("w", "train")], None, [1, (1, 1)]),
    ]
    for _ in range(3):
        for fetches, feeds, expected in requests:
            found = session.run(fetches, feeds)
            assert found == expected
            assert kinds(found) == kinds(expected)
    assert len(plans_made) == len(requests)


def test_a_type_at_the_front_of_a_list_is_a_callable_like_others():
    session = Session(graph=small()[0])
    assert session.run(("w", "train")) == (1, 1)
    assert session.run([tuple, "w", "train"]) == [(), 1, 1]
    assert session.run([list, "w"]) == [[], 1]


def test_lists_that_take_turns_need_no_new_plans(plans_made):
    session = Session(graph=small()[0])
    for _ in range(3):
        assert session.run(["w", "train"], {"x": 1}) == [1, 2]
        assert session.run(["w", "train"]) == [1, 1]
        assert session.run(("w", "train")) == (1, 1)
        assert session.run([["w", "train"]]) == [[1, 1]]
    assert len(plans_made) == 4


def test_a_bound_method_made_anew_needs_no_new_plan(plans_made):
    class Model:
        def loss(self, w):
            return w

    model = Model()
    session = Session(graph=small()[0])
    for _ in range(5):
        session.run(model.loss)
    assert len(plans_made) == 1


def test_other_feed_names_make_another_plan(plans_made):
    session = Session(graph=small()[0])
    for feeds in ({"x": 1}, {"x": 2}, {"w": 1.0}, None, {}, {"x": 3}):
        session.run("train", feeds)
    assert len(plans_made) == 3


def test_a_graph_that_grew_makes_new_plans(plans_made):
    graph, _, _ = small()
    session = Session(graph=graph)
    assert session.run(lambda x=5: x) == 5
    fetch = "train"
    session.run(fetch)
    graph.variable("x", 7.0)
    assert session.run(fetch) == 8.0
    assert len(plans_made) == 3


def test_finalizing_and_reopening_make_no_new_plans(plans_made):
    graph, _, _ = small()
    session = Session(graph=graph)
    session.run("train")
    graph.finalize()
    session.run("train")
    graph.reopen()
    session.run("train")
    assert len(plans_made) == 1


def test_each_session_has_plans_of_its_own(plans_made):
    graph, _, _ = small()
    for _ in range(2):
        session = Session(graph=graph)
        session.run("train")
        session.run("train")
    assert len(plans_made) == 2


def test_the_plans_that_are_kept_are_bounded():
    session = Session(graph=small()[0])
    refs = []
    for i in range(1500):
        fn = eval(f"lambda w: w + {i}")
        refs.append(weakref.ref(fn))
        assert session.run(fn) == 1.0 + i
        session.run([fn])
    del fn
    gc.collect()
    assert sum(ref() is not None for ref in refs) <= 300


@pytest.mark.parametrize("others", [0, 200])
def test_a_plan_is_not_used_any_more_once_the_graph_has_grown(others):
    """Nor one that has not been used for a while: as many others as there is room for come between."""
    graph = small()[0]
    session = Session(graph=graph)

    def show(late=3):
        return late

    assert session.run(show) == 3
    for i in range(others):
        session.run(eval(f"lambda w: w + {i}"))
    graph.variable("late", 5)
    assert session.run(show) == 5


def test_a_plan_in_use_is_kept_while_others_come_and_go(plans_made):
    session = Session(graph=small()[0])
    for i in range(1000):
        session.run(("train", "w"))
        session.run(eval(f"lambda w: w + {i}"))
    assert sum(fetches == ("train", "w") for fetches, _ in plans_made) == 1


def test_objects_told_apart_by_identity_are_never_confused():
    """An id is used again once its object is gone; a kept plan must keep its objects."""
    session = Session(graph=small()[0])

    class Adds:
        def __init__(self, n):
            self.n = n

        def __call__(self, w):
            return w + self.n

    for i in range(600):
        assert session.run(Adds(i)) == 1.0 + i
        assert session.run([Adds(i), Adds(-i)]) == [1.0 + i, 1.0 - i]


def test_a_closed_session_keeps_nothing_alive():
    session = Session(graph=small()[0])

    def fn(w):
        return w

    session.run(fn)
    session.run([fn])
    ref = weakref.ref(fn)
    session.close()
    del fn
    gc.collect()
    assert ref() is None


def test_a_request_that_is_refused_leaves_no_plan_behind(plans_made):
    graph, _, _ = small()
    session = Session(graph=graph)
    for _ in range(2):
        with pytest.raises(ValueError):
            session.run("unknown")
    assert len(plans_made) == 2
    graph.variable("unknown", 3.0)
    assert session.run("unknown") == 3.0
