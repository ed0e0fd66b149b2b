"""A run trains only if somebody named the op: hooks' requests for outputs, and `evaluate`."""

import logging
import sys

import numpy as np
import pytest

import runloop as rl
from runloop.compat._tf import sessions as shim
from runloop.errors import AbortedError
from runloop.testing.recorder import LifecycleRecorder
from tests.checks import fails


class Asks(rl.SessionRunHook):
    """A hook that asks for the same at each run, and keeps what it is told."""

    def __init__(self, fetches, feeds=None, options=None):
        self.args = rl.RunArgs(fetches, feeds, options)
        self.seen = []

    def before_run(self, run_context):
        return self.args

    def after_run(self, run_context, run_values):
        self.seen.append(run_values.results)


def program():
    graph = rl.Graph()
    graph.variable("w", 1.0)
    graph.variable("average", 0.0)

    @graph.train_op(outputs="loss")
    def train(w):
        return float(w) * 10

    @graph.op(updates="average")
    def update_average(average):
        return average + 1

    @graph.op
    def doubled(loss):
        return 2 * loss

    @graph.op
    def report(update_average):
        return float(update_average)

    @graph.op
    def accuracy(w):
        return float(w) / 2

    return graph


def run(fetches, *hooks, graph=None, **arguments):
    """The step, the average and the result after one run with these hooks."""
    with rl.MonitoredSession(hooks=hooks, graph=graph or program()) as session:
        result = session.run(fetches, **arguments)
        raw = session.raw_session()
        return int(raw.run("global_step")), float(raw.run("average")), result


def bare(loss):
    return loss + 1


@pytest.mark.parametrize("asked", ["loss", "loss:0", "doubled", bare, {"a": ["w", ("loss",)]}])
def test_a_hook_that_asks_for_an_output_of_a_train_op_does_not_make_a_run_train(asked):
    hook = Asks(asked)
    assert run("accuracy", hook) == (0, 0, 0.5)
    assert hook.seen == []


def test_a_hook_that_asks_for_what_depends_on_an_updating_op_does_not_make_it_run():
    hook = Asks("report")
    assert run("accuracy", hook) == (0, 0, 0.5)
    assert hook.seen == []


@pytest.mark.parametrize("own", ["train", "loss", "doubled", ["accuracy", "loss"], bare])
def test_a_hook_gets_the_output_where_the_caller_asks_for_the_op_or_for_what_needs_it(own):
    hook = Asks("loss")
    assert run(own, hook)[0] == 1
    assert hook.seen == [10.0]


@pytest.mark.parametrize("by_name", [True, False])
def test_a_hook_that_names_an_updating_op_runs_it(by_name):
    graph = program()
    op = next(op for op in graph.ops if op.name == "update_average")
    hook = Asks("update_average" if by_name else graph.get_operation_by_name("update_average"))
    assert run("accuracy", hook, graph=graph)[:2] == (0, 1)
    assert run("accuracy", Asks(op), graph=graph)[:2] == (0, 1)
    assert hook.seen == [None]


def test_one_hook_that_names_the_op_makes_its_outputs_available_to_the_others():
    first, naming, last = Asks("loss"), Asks("train"), Asks(["doubled", "w"])
    assert run("accuracy", first, naming, last)[0] == 1
    assert (first.seen, naming.seen, last.seen) == ([10.0], [10.0], [[20.0, 1.0]])


def test_what_a_left_out_request_names_does_not_run_either():
    naming, other = Asks(["update_average", "loss"]), Asks("report")
    assert run("accuracy", naming, other) == (0, 0, 0.5)
    assert (naming.seen, other.seen) == ([], [])


def test_other_hooks_get_their_own_results_beside_one_that_is_left_out():
    silent, left, kept = Asks(None), Asks("loss"), Asks(["w", "global_step"])
    assert run("accuracy", silent, left, kept)[0] == 0
    assert (silent.seen, left.seen, kept.seen) == ([None], [], [[1.0, 0]])


def test_an_output_that_has_the_name_of_its_op_is_an_output_and_the_op_itself_is_the_op():
    graph = rl.Graph()
    graph.variable("average", 0.0)
    loss = graph.train_op(lambda: 5.0, name="loss", outputs="loss")
    graph.op(lambda: 1, name="other")
    assert run("other", Asks("loss"), graph=graph)[0] == 0
    assert run("other", Asks(graph.get_tensor_by_name("loss:0")), graph=graph)[0] == 0
    assert run("other", Asks(loss), graph=graph)[0] == 1


def test_an_output_that_is_fed_trains_nothing_and_is_given():
    hook = Asks("doubled", {"loss": 4.0})
    assert run("accuracy", hook) == (0, 0, 0.5)
    assert hook.seen == [8.0]


def test_the_feeds_of_a_request_that_is_left_out_are_left_out_too():
    graph = program()
    graph.op(lambda scale=1: scale, name="scaled")
    left = Asks(lambda loss, extra: loss, {"extra": 1, "scale": 7})
    fed = Asks(None, {"w": np.array(4.0)})
    assert run(["scaled", "accuracy"], left, fed, graph=graph)[2] == [1, 2.0]


def test_a_missing_feed_of_an_op_that_is_left_out_is_not_missed():
    graph = program()
    graph.train_op(lambda x: x, name="needs_x", outputs="cost")
    hook = Asks("cost")
    assert run("accuracy", hook, graph=graph)[0] == 0
    assert run("needs_x", hook, graph=graph, feed_dict={"x": 3})[0] == 1
    assert hook.seen == [3]


def test_the_first_time_a_request_is_left_out_a_line_names_hook_fetch_and_op(caplog):
    caplog.set_level(logging.INFO)
    with rl.MonitoredSession(hooks=[Asks("w"), Asks(["w", "loss"])], graph=program()) as session:
        for _ in range(3):
            session.run("accuracy")
            session.run("train")
    lines = [r for r in caplog.records if r.name == "runloop.monitored.dispatch"]
    text = (
        "Asks_1 asked for 'loss', which needs op 'train' to update or train. This run does not ask "
        "for that op, so the hook's request is left out and its after_run is not called. To run "
        "the op from a hook, request the op itself."
    )
    assert [(r.levelname, r.getMessage()) for r in lines] == [("INFO", text)]


@pytest.mark.parametrize("given", ["caller", "hook"])
def test_options_and_metadata_make_no_difference(given):
    hook = Asks("loss")
    other = Asks("w", options=rl.RunOptions(trace_level=3) if given == "hook" else None)
    metadata = rl.RunMetadata()
    options = rl.RunOptions(trace_level=3) if given == "caller" else None
    done = run("accuracy", hook, other, options=options, run_metadata=metadata)
    assert (done[0], hook.seen, other.seen) == (0, [], [1.0])
    assert [stats.name for stats in metadata.step_stats] == ["accuracy"]


def test_a_session_that_is_watched_leaves_out_the_same():
    with LifecycleRecorder() as recorder:
        assert run("accuracy", Asks("loss"), Asks("w"))[0] == 0
    assert "raises" not in "\n".join(map(str, recorder.events))


def test_the_same_list_is_a_callers_own_request_below_the_hooks():
    asked = ["accuracy", "loss"]

    class Below(rl.SessionRunHook):
        def before_run(self, run_context):
            assert run_context.session.run(asked) == [0.5, 10.0]

    left = Asks("loss")
    for hooks in ([Below(), left], [left, Below()]):
        with rl.MonitoredSession(hooks=hooks, graph=program()) as session:
            for count in range(1, 4):
                session.run("accuracy")
                assert session.raw_session().run("global_step") == count
    assert left.seen == []


@pytest.mark.parametrize("first", ["raw", "monitored"])
def test_whichever_run_makes_the_plan_the_other_is_right(first):
    with rl.MonitoredSession(hooks=[Asks("loss")], graph=program()) as session:
        raw = session.raw_session()
        steps = []
        for turn in (["raw", "monitored"] if first == "raw" else ["monitored", "raw"]) * 3:
            if turn == "raw":
                raw.run(["accuracy", "loss"])
            else:
                session.run("accuracy")
            steps.append(int(raw.run("global_step")))
    assert steps == ([1, 1, 2, 2, 3, 3] if first == "raw" else [0, 1, 1, 2, 2, 3])


def test_the_decision_is_made_once(monkeypatch):
    from runloop import session as module

    made, real = [], module.left_out
    monkeypatch.setattr(module, "left_out", lambda *a: made.append(a) or real(*a))
    with rl.MonitoredSession(hooks=[Asks("loss")], graph=program()) as session:
        for _ in range(5):
            session.run("accuracy")
            session.run("train")
            session.raw_session().run(["accuracy", "loss"])
    assert len(made) == 2


@pytest.mark.parametrize("last", ["loss", "op1999"])
def test_deciding_takes_linear_time(last):
    graph = program()
    graph.op(lambda: 0, name="op0")
    for i in range(1, 2000):
        graph.op(eval(f"lambda op{i - 1}: op{i - 1}"), name=f"op{i}")
    fetches = [*(f"op{i}" for i in range(2000)), last]
    session = rl.Session(graph=graph)
    calls = []
    sys.setprofile(lambda frame, event, arg: calls.append(1) if event == "call" else None)
    try:
        left = session.left_out(fetches)
    finally:
        sys.setprofile(None)
    assert [(r.position, r.op) for r in left] == ([(2000, "train")] if last == "loss" else [])
    assert len(calls) < 100 * len(fetches)


def test_a_bad_name_still_says_which_hook_asked():
    with rl.MonitoredSession(hooks=[Asks("loss"), Asks("lossy")], graph=program()) as session:
        with pytest.raises(ValueError, match="nothing is called 'lossy'") as caught:
            session.run("accuracy")
        assert caught.value.__notes__ == ["(Asks_1 asked for it: 'lossy')"]
        session.hooks[1].args = rl.RunArgs("w")
        session.run("accuracy")


def test_the_shim_trains_as_tensorflow_does():
    graph = program()
    hook = Asks("loss")
    with shim.MonitoredSession(hooks=[hook], graph=graph) as session:
        session.run("accuracy")
        assert session.raw_session().run("global_step") == 1
    assert hook.seen == [10.0]


def test_a_foreign_session_is_asked_for_everything():
    class Foreign:
        def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
            return [f"got {fetch}" for fetch in fetches]

        def close(self):
            pass

    class Creator:
        def create_session(self):
            return Foreign()

    hook = Asks("loss")
    with rl.MonitoredSession(Creator(), [hook], graph=rl.Graph()) as session:
        assert session.run("accuracy", options=rl.RunOptions()) == "got accuracy"
        assert session.run("accuracy") == "got accuracy"
        with pytest.raises(TypeError, match=r"^evaluate needs a runloop.Session below the hooks"):
            session.evaluate("accuracy")
    assert hook.seen == ["got loss"] * 2


# -- evaluate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [rl.MonitoredSession, rl.SingularMonitoredSession])
def test_evaluate_calls_no_hook_and_works_after_a_stop(kind):
    calls = []

    class Stops(rl.SessionRunHook):
        def before_run(self, run_context):
            calls.append("before_run")
            run_context.request_stop()

    with kind(hooks=[Stops()], graph=program()) as session:
        assert session.evaluate(["accuracy", "w"]) == [0.5, 1.0]
        assert calls == []
        session.run("train")
        assert session.should_stop()
        assert session.evaluate("accuracy", {"w": np.array(3.0)}) == 1.5
        assert calls == ["before_run"]
    with fails(RuntimeError, "Session is already closed."):
        session.evaluate("accuracy")


@pytest.mark.parametrize(
    ("fetch", "op"),
    [("train", "train"), ("loss", "train"), ("doubled", "train"), ("report", "update_average")],
)
def test_evaluate_refuses_what_trains_or_updates(fetch, op):
    with rl.MonitoredSession(graph=program()) as session:
        for _ in range(2):
            with fails(
                ValueError,
                f"evaluate: {fetch!r} would run op {op!r}, which updates variables or trains; call "
                f"run() for that, or fetch something that does not depend on it",
            ):
                session.evaluate({"a": ["accuracy", fetch]})
        session.run("train")
        with pytest.raises(ValueError, match="would run op"):
            session.evaluate(fetch)
        assert session.raw_session().run(["global_step", "average"]) == [1, 0.0]


def test_evaluate_refuses_an_input_that_is_not_fed():
    graph = program()
    graph.input(("x", "y"), [(1, 2), (3, 4)])
    graph.op(lambda x: x, name="shown")
    with rl.MonitoredSession(graph=graph) as session:
        for fetches in ("shown", "x", ["w", lambda y: y]):
            name = "x" if isinstance(fetches, str) else "y"
            with fails(
                ValueError,
                f"evaluate: input {name!r} is not fed, and evaluating uses up no batch; feed it: "
                f"evaluate(fetches, {{{name!r}: value}})",
            ):
                session.evaluate(fetches)
        assert session.evaluate(["shown", "x"], {"x": 7}) == [7, 7]
        assert session.run("shown") == 1


def test_evaluate_raises_what_a_run_would():
    with rl.MonitoredSession(graph=program()) as session:
        with pytest.raises(ValueError, match="nothing is called 'acuracy'"):
            session.evaluate("acuracy")
        with fails(TypeError, "feed_dict must be a mapping, got 3"):
            session.evaluate("accuracy", 3)


def test_a_session_that_is_lost_while_evaluating_is_recreated():
    graph = program()
    lost = [True]

    @graph.op
    def fails_once():
        if lost.pop() if lost else False:
            raise AbortedError("gone")
        return 1

    with rl.MonitoredSession(graph=graph) as session:
        assert session.evaluate("fails_once") == 1
