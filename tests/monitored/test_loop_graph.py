"""A loop whose state is a graph: its hooks train only if they name the op."""

import logging

import numpy as np
import pytest

import runloop as rl


class Asks(rl.SessionRunHook):
    """A hook that asks for the same at each pass, and keeps what it is told."""

    def __init__(self, fetches, feeds=None):
        self.args = rl.RunArgs(fetches, feeds)
        self.seen = []

    def before_run(self, run_context):
        return self.args

    def after_run(self, run_context, run_values):
        self.seen.append(run_values.results)


def program():
    """A graph whose ops train and update, and the list of the ops that ran."""
    graph, ran = rl.Graph(), []
    graph.variable("w", 1.0)
    graph.variable("average", 0.0)
    graph.attach("params", {"a": np.zeros(2)})

    @graph.train_op(outputs=("loss", "size"))
    def train(w):
        ran.append("train")
        return float(w) * 10, 3

    @graph.op(updates="average")
    def update_average(average):
        ran.append("update_average")
        return average + 1

    @graph.op
    def doubled(loss):
        return 2 * loss

    @graph.op
    def accuracy(w):
        ran.append("accuracy")
        return float(w) / 2

    @graph.op
    def error(accuracy):
        return 1 - accuracy

    return graph, ran


def passes(*hooks, count=2, graph=None, body=lambda _: None):
    """Make passes; returns the ops that ran and the step at the end."""
    graph, ran = graph or program()
    with rl.Loop(state=graph, hooks=hooks) as loop:
        for _ in loop.steps(count):
            body(loop)
        return ran, loop.global_step


def bare(loss):
    return loss + 1


@pytest.mark.parametrize(
    "asked", ["loss", "loss:0", "doubled", bare, {"a": ["w", ("loss",)]}, ["accuracy", "size"]]
)
def test_a_hook_that_asks_for_an_output_of_a_train_op_does_not_train(asked, caplog):
    caplog.set_level(logging.INFO)
    hook = Asks(asked, {"rate": 1})
    fed = []
    assert passes(hook, body=lambda loop: fed.append(dict(loop.feeds))) == ([], 2)
    assert hook.seen == []
    assert fed == [{}, {}]
    (line,) = [r.getMessage() for r in caplog.records if "Asks asked for" in r.getMessage()]
    assert "needs op 'train' to update or train" in line


def test_others_are_told_their_own_beside_one_that_is_left_out():
    silent, left, kept = Asks(None), Asks("loss"), Asks(["accuracy", "w", "x", "global_step"])
    assert passes(silent, left, kept, body=lambda loop: loop.report(x=7))[1] == 2
    assert (silent.seen, left.seen) == ([None, None], [])
    assert kept.seen == [[0.5, 1.0, 7, 0], [0.5, 1.0, 7, 1]]


def test_one_that_is_left_out_and_one_whose_name_is_not_reported_are_both_left_out():
    left, lacking, kept = Asks("loss"), Asks("los"), Asks("global_step")
    passes(left, lacking, kept)
    assert (left.seen, lacking.seen, kept.seen) == ([], [], [0, 1])


@pytest.mark.parametrize("by_name", [True, False])
def test_a_hook_that_names_the_op_runs_it(by_name):
    graph, ran = program()
    named = "update_average" if by_name else graph.get_operation_by_name("update_average")
    hook = Asks(named)
    assert passes(hook, graph=(graph, ran)) == (["update_average"] * 2, 2)
    assert hook.seen == [None, None]


def test_an_op_runs_once_a_pass_for_all_hooks():
    naming, output, both = Asks("train"), Asks(["loss", bare]), Asks(["accuracy", "error"])
    ran, step = passes(naming, output, both, count=1)
    assert sorted(ran) == ["accuracy", "train"]
    assert step == 2  # the pass, and the train op
    assert output.seen == [[10.0, 11.0]]
    assert both.seen == [[0.5, 0.5]]


def test_the_program_itself_may_train():
    graph = program()
    results = []
    passes(graph=graph, count=1, body=lambda loop: results.append(loop.session.run("loss")))
    assert results == [10.0]
    assert graph[1] == ["train"]


def test_leaves_of_attached_state_are_fetched_beside_ops():
    hook = Asks({"leaf": "params/a", "op": "accuracy"})
    passes(hook, count=1)
    assert hook.seen[0]["leaf"].tolist() == [0.0, 0.0]
    assert hook.seen[0]["op"] == 0.5


def test_a_function_of_a_hook_gets_ops_reports_and_state():
    def function(accuracy, params, *, x, missing=3):
        return accuracy, len(params), x, missing

    hook = Asks([function])
    passes(hook, count=1, body=lambda loop: loop.report(x=7))
    assert hook.seen == [[(0.5, 1, 7, 3)]]


def test_a_function_whose_parameter_is_not_reported_is_left_out():
    hook = Asks([lambda missing, accuracy: None])
    passes(hook, count=1)
    assert hook.seen == []
