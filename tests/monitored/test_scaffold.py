"""The scaffold: parts that were given, parts copied from another, parts by default."""

import numpy as np
import pytest

from runloop.checkpoint import Saver
from runloop.graph import Graph
from runloop.monitored.scaffold import SAVERS, SUMMARY_OP, Scaffold
from runloop.session import Session
from tests.checks import fails

PARTS = (
    "init_op",
    "init_feed_dict",
    "ready_op",
    "ready_for_local_init_op",
    "local_init_op",
    "summary_op",
    "saver",
    "local_init_feed_dict",
)


def test_parts_are_what_was_given():
    for name in PARTS:
        part = object()
        assert getattr(Scaffold(**{name: part}), name) is part
        assert getattr(Scaffold(), name) is None
    assert Scaffold().init_fn is None


def test_parameters_come_in_tensorflows_order():
    scaffold = Scaffold("i", {"f": 1}, None, "r", "rl", "li", "s", "saver", None, {"lf": 1})
    assert [getattr(scaffold, name) for name in PARTS] == [
        "i",
        {"f": 1},
        "r",
        "rl",
        "li",
        "s",
        "saver",
        {"lf": 1},
    ]


def test_init_fn_gets_the_scaffold_and_the_session():
    got = []
    scaffold = Scaffold(init_fn=lambda *args: got.append(args))
    session = object()
    scaffold.init_fn(session)
    assert got == [(scaffold, session)]


def test_parts_that_are_not_given_are_copied_from_another_scaffold():
    got = []
    other = Scaffold(
        **{name: f"other {name}" for name in PARTS}, init_fn=lambda *args: got.append(args)
    )
    copied = Scaffold(init_op="own", copy_from_scaffold=other)
    assert copied.init_op == "own"
    for name in PARTS[1:]:
        assert getattr(copied, name) == f"other {name}"
    copied.init_fn("session")
    assert got == [(copied, "session")]  # its own, not the other


def test_only_a_scaffold_is_copied_from():
    with fails(TypeError, "copy_from_scaffold is not a Scaffold instance."):
        Scaffold(copy_from_scaffold="scaffold")


def test_finalizing_makes_a_saver_and_finalizes_the_graph():
    with Graph().as_default() as graph:
        scaffold = Scaffold()
        assert scaffold.finalize() is scaffold
        assert isinstance(scaffold.saver, Saver)
        assert graph.finalized
        assert graph.get_collection(SAVERS) == [scaffold.saver]


def test_finalizing_again_changes_nothing():
    with Graph().as_default() as graph:
        scaffold = Scaffold().finalize()
        saver = scaffold.saver
        assert scaffold.finalize().saver is saver
        assert Scaffold().finalize().saver is saver
        assert graph.get_collection(SAVERS) == [saver]


def test_a_saver_that_was_given_is_used_and_not_collected():
    with Graph().as_default() as graph:
        saver = Saver()
        assert Scaffold(saver=saver).finalize().saver is saver
        assert graph.get_collection(SAVERS) == []


def test_the_saver_of_the_collection_is_used():
    with Graph().as_default() as graph:
        saver = Saver()
        graph.add_to_collection(SAVERS, saver)
        assert Scaffold().finalize().saver is saver


def test_several_savers_in_the_collection_are_refused():
    with Graph().as_default() as graph:
        graph.add_to_collection(SAVERS, "one")
        graph.add_to_collection(SAVERS, "two")
        with fails(
            RuntimeError,
            "More than one item in the collection 'savers', got ['one', 'two']. Say which one to "
            "use: Scaffold(saver=...)",
        ):
            Scaffold().finalize()


def test_the_graphs_summaries_are_the_summary_op_by_default():
    with Graph().as_default() as graph:
        assert Scaffold().finalize().summary_op is None
        graph.reopen()
        graph.summary("loss", "w")
        assert Scaffold().finalize().summary_op == {"loss": "w"}
        assert Scaffold(summary_op="mine").finalize().summary_op == "mine"


def test_summaries_added_after_one_session_are_saved_by_the_next():
    with Graph().as_default() as graph:
        graph.summary("one", "w")
        Scaffold().finalize()
        graph.reopen()
        graph.summary("two", "w")
        assert Scaffold().finalize().summary_op == {"one": "w", "two": "w"}


def test_a_summary_op_in_the_collection_is_used():
    with Graph().as_default() as graph:
        graph.summary("loss", "w")
        graph.add_to_collection(SUMMARY_OP, "collected")
        assert Scaffold().finalize().summary_op == "collected"


def test_get_or_default_keeps_what_it_makes():
    with Graph().as_default() as graph:
        assert Scaffold.get_or_default("x", "things", lambda: None) is None
        assert graph.get_collection("things") == []
        assert Scaffold.get_or_default("x", "things", lambda: 5) == 5
        assert Scaffold.get_or_default("x", "things", lambda: 6) == 5


# -- used by the creators -------------------------------------------------------------------------


def session_of(**ops):
    graph = Graph()
    for name, fn in ops.items():
        graph.op(fn, name=name)
    return Session(graph=graph)


def test_init_op_runs_with_its_feeds_before_init_fn():
    log = []
    session = session_of(init=lambda x: log.append(f"init {x}"))
    scaffold = Scaffold(
        init_op="init", init_feed_dict={"x": 3}, init_fn=lambda *_: log.append("init_fn")
    )
    scaffold.initialize(session)
    assert log == ["init 3", "init_fn"]
    Scaffold().initialize(session)


def test_local_init_op_runs_with_its_feeds_once_what_it_needs_is_ready():
    log = []
    session = session_of(
        ready=lambda: log.append("ready") or [], local=lambda x: log.append(f"local {x}")
    )
    scaffold = Scaffold(
        ready_for_local_init_op="ready", local_init_op="local", local_init_feed_dict={"x": 3}
    )
    assert scaffold.initialize_locally(session) is None
    assert log == ["ready", "local 3"]


def test_local_init_op_does_not_run_while_something_is_missing():
    log = []
    session = session_of(ready=lambda: ["w"], local=lambda: log.append("local"))
    scaffold = Scaffold(ready_for_local_init_op="ready", local_init_op="local")
    assert scaffold.initialize_locally(session) == "Variables not initialized: w"
    assert log == []


@pytest.mark.parametrize(
    "nothing",
    [None, [], (), {}, set(), "", np.array([], dtype=object), [[], []], {"a": []}],
    ids=repr,
)
def test_an_empty_answer_of_whatever_kind_means_ready(nothing):
    assert Scaffold(ready_op="ready").not_ready(session_of(ready=lambda: nothing)) is None


@pytest.mark.parametrize(
    "names",
    [
        ["q", "r"],
        ("q", "r"),
        np.array(["q", "r"]),
        np.array([b"q", b"r"]),
        np.array([["q"], ["r"]], dtype=object),
        [["q"], ["r"], []],
        {"a": "q", "b": ["r"]},
        [b"q", "r"],
    ],
    ids=repr,
)
def test_names_of_whatever_kind_are_told(names):
    found = Scaffold(ready_op="ready").not_ready(session_of(ready=lambda: names))
    assert found == "Variables not initialized: q, r"


def test_a_single_name_is_told_and_a_set_in_order():
    told = [
        Scaffold(ready_op="ready").not_ready(session_of(ready=lambda v=value: v))
        for value in ("global_step", {"b", "a"})
    ]
    assert told == [
        "Variables not initialized: global_step",
        "Variables not initialized: a, b",
    ]


def test_a_ready_op_may_be_any_request():
    session = session_of(one=lambda: ["q"], two=list)
    assert Scaffold(ready_op=["one", "two"]).not_ready(session) == "Variables not initialized: q"
