"""Ops with updates and outputs together: one flat tuple, the updates' members first."""

import numpy as np
import pytest

from runloop.graph import Graph
from runloop.run import RunMetadata, RunOptions
from runloop.session import Session
from tests.checks import fails

FULL = RunOptions(trace_level=RunOptions.FULL_TRACE)
NAMES = {
    "bare, bare": ("w", "loss"),
    "tuple, bare": (("w",), "loss"),
    "bare, tuple": ("w", ("loss",)),
    "tuple, tuple": (("w", "b"), ("loss", "norm")),
    "tuple, own name": (("w", "b"), "step"),
    "tuple, nothing": (("w", "b"), ()),
}


def program(updates, outputs, kind="train_op"):
    graph = Graph()
    graph.variable("w", np.zeros(2))
    graph.variable("b", np.zeros(2))
    count = 1 if isinstance(updates, str) else len(updates)
    shown = 1 if isinstance(outputs, str) else len(outputs)

    def step(w, b):
        return (*(w + 1, b + 2)[:count], *(np.float64(5.0), [6.0])[:shown])

    getattr(graph, kind)(step, updates=updates, outputs=outputs)
    return graph


@pytest.mark.parametrize("options", [None, FULL], ids=["plain", "traced"])
@pytest.mark.parametrize("kind", ["op", "train_op"])
@pytest.mark.parametrize("names", NAMES)
def test_the_variables_are_replaced_and_the_op_fetches_as_its_outputs(names, kind, options):
    updates, outputs = NAMES[names]
    session = Session(graph=program(updates, outputs, kind))
    value = 5.0 if isinstance(outputs, str) else (5.0, [6.0])[: len(outputs)]
    fetches = ["step", *([outputs] if isinstance(outputs, str) else outputs)]
    expected = [value, *([5.0] if isinstance(outputs, str) else value)]
    for count in (1, 2):
        got = session.run(fetches, options=options)
        assert got == expected
        assert type(got[0]) is type(value) or isinstance(got[0], np.float64)
        assert session.run("w").tolist() == [count, count]
        changed = 2 * count if "b" in updates else 0
        assert session.run("b").tolist() == [changed, changed]
    assert session.graph.elements.get("global_step") is None or session.run("global_step") == 2


def test_others_get_the_outputs_by_name_and_the_ops_value_by_the_ops_name():
    graph = program(("w", "b"), ("loss", "norm"))
    graph.op(lambda loss, norm: (loss, norm), name="members")
    graph.op(lambda step: step, name="whole")
    assert Session(graph=graph).run(["members", "whole"]) == [(5.0, [6.0])] * 2


def test_a_variable_that_is_fetched_beside_it_shows_the_value_from_before():
    session = Session(graph=program("w", "loss"))
    assert [np.sum(v) for v in session.run(["w", "loss"])] == [0, 5]
    assert session.run("w").tolist() == [1, 1]


@pytest.mark.parametrize("names", ["bare, bare", "tuple, tuple"])
def test_an_op_that_is_fed_does_not_run_and_its_value_is_that_of_its_outputs(names):
    updates, outputs = NAMES[names]
    graph = program(updates, outputs)
    graph.op(lambda loss: loss, name="seen")
    session = Session(graph=graph)
    value = 7 if isinstance(outputs, str) else (7, 8)
    assert session.run(["step", "loss", "seen"], {"step": value}) == [value, 7, 7]
    assert session.run(["w", "global_step"])[1] == 0


def test_what_is_fed_for_a_tuple_of_outputs_has_a_member_for_each():
    session = Session(graph=program(("w", "b"), ("loss", "norm")))
    with fails(
        ValueError,
        "op 'step': outputs=('loss', 'norm') asks for a tuple of 2, it returned 3 members; a bare "
        "value goes with a single string: outputs='name'",
    ):
        session.run("loss", {"step": (1, 2, 3)})


def test_an_output_alone_can_be_fed():
    graph = program(("w", "b"), ("loss", "norm"))
    graph.op(lambda loss, norm: (loss, norm), name="members")
    session = Session(graph=graph)
    assert session.run("members", {"loss": 1}) == (1, [6.0])
    assert session.run("global_step") == 1
    assert session.run("members", {"loss": 1, "norm": 2}) == (1, 2)
    assert session.run("global_step") == 1


@pytest.mark.parametrize("options", [None, FULL], ids=["plain", "traced"])
@pytest.mark.parametrize(
    ("result", "got"),
    [
        ((1, 2, 3, 4), "4 members"),
        ((1, 2), "2 members"),
        (5, "<class 'int'>"),
        (None, "<class 'NoneType'>"),
        (((1, 2), 3), "2 members"),
    ],
)
def test_another_number_of_members_is_an_error_and_commits_nothing(result, got, options):
    graph = Graph()
    graph.variable("w", 0)
    graph.variable("b", 0)
    graph.train_op(lambda: result, name="train", updates=("w", "b"), outputs="loss")
    session = Session(graph=graph)
    with fails(
        ValueError,
        f"op 'train': updates=('w', 'b') and outputs='loss' ask for one flat tuple of 3, (w, b, "
        f"loss); it returned {got}",
    ):
        session.run("train", options=options)
    assert session.run(["w", "b", "global_step"]) == [0, 0, 0]


def test_an_update_that_does_not_fit_commits_nothing():
    graph = Graph()
    graph.variable("w", np.zeros(2))
    graph.train_op(lambda w: (np.zeros(3), 1.0), name="train", updates="w", outputs="loss")
    session = Session(graph=graph)
    with pytest.raises(ValueError, match=r"variable 'w': the update by op 'train': expected"):
        session.run("loss")
    assert session.run("global_step") == 0


def test_a_trace_shows_the_bytes_of_all_members():
    session = Session(graph=program(("w", "b"), ("loss", "norm")))
    metadata = RunMetadata()
    session.run("loss", options=FULL, run_metadata=metadata)
    assert [(s.name, s.output_bytes) for s in metadata.step_stats] == [("step", 16 + 16 + 8)]


def test_a_name_that_updates_and_shows_is_refused_before_anything_is_added():
    graph = Graph()
    graph.variable("w", 0)
    with fails(ValueError, "op 'train': 'w' is in both updates= and outputs="):
        graph.train_op(lambda: (1, 2), name="train", updates="w", outputs="w")
    assert list(graph.elements) == ["w"]


def test_handles_know_its_outputs():
    graph = program(("w", "b"), ("loss", "norm"))
    session = Session(graph=graph)
    assert session.run(graph.get_tensor_by_name("norm:0")) == [6.0]
    assert session.run(graph.get_tensor_by_name("step:0")) == (5.0, [6.0])
    operation = graph.get_operation_by_name("loss")
    assert operation.type == "PyFunc"
    assert [tensor.name for tensor in operation.inputs] == ["w:0", "b:0"]


def test_two_ops_that_update_one_variable_are_still_refused():
    graph = program(("w", "b"), "loss")
    graph.op(lambda: (1, 2), name="other", updates="b", outputs="x")
    with pytest.raises(ValueError, match="both update 'b' in one run"):
        Session(graph=graph).run(["loss", "x"])
