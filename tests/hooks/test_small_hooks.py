"""GlobalStepWaiterHook, FinalOpsHook, FeedFnHook and InMemoryEvaluatorHook."""

import logging

import pytest

import runloop as rl
from runloop import clock
from runloop.testing import FakeClock

from .programs import drive, lines, program

# -- GlobalStepWaiterHook -----------------------------------------------------------------------


class Others(FakeClock):
    """A clock on which the other workers make steps while one sleeps."""

    def __init__(self, graph, steps_per_sec):
        super().__init__()
        self.steps_per_sec = steps_per_sec
        self.session = None

    def sleep(self, secs):
        super().sleep(secs)
        self.session.assign({"global_step": int(self.now * self.steps_per_sec)})


def wait(until, steps_per_sec=100, runs=1):
    graph = program()
    time = Others(graph, steps_per_sec)

    class Hold(rl.SessionRunHook):
        def after_create_session(self, session, coord):
            time.session = session

    with clock.use(time):
        step = drive(graph, [Hold(), rl.GlobalStepWaiterHook(until)], runs=runs)
    return step, time.slept


def test_the_first_run_waits_for_the_step_and_looks_every_half_second():
    assert wait(120, runs=2) == (152, [0.5, 0.5, 0.5])


@pytest.mark.parametrize("until", [0, -1])
def test_nothing_to_wait_for_does_not_wait(until):
    assert wait(until) == (1, [])


def test_a_long_wait_is_logged_now_and_then(caplog):
    caplog.set_level(logging.INFO, "runloop")
    wait(5000, steps_per_sec=2000, runs=2)
    assert lines(caplog, "global_step_waiter") == [
        "Waiting for global step 5000 before starting training.",
        "Waiting for global step 5000 before starting training. Current step is 2000.",
        "Waiting for global step 5000 before starting training. Current step is 4000.",
    ]


# -- FinalOpsHook -------------------------------------------------------------------------------


def test_final_ops_run_at_the_end_with_their_feeds():
    graph = program()
    graph.op(lambda a, b=0: a + b, name="add")
    hook = rl.FinalOpsHook({"sum": ["add"], "step": "global_step"}, {"a": 1, "b": 2})
    assert hook.final_ops_values is None
    drive(graph, [hook], runs=2, each=lambda _: hook.final_ops_values is None)
    assert hook.final_ops_values == {"sum": [3], "step": 2}


def test_no_final_ops_are_fine():
    hook = rl.FinalOpsHook(None)
    drive(program(), [hook], runs=1)
    assert hook.final_ops_values is None


def test_final_ops_that_need_data_say_so_and_fail(caplog):
    graph = program()
    graph.input("x", [1])
    hook = rl.FinalOpsHook("x")
    session = rl.MonitoredSession(hooks=[hook], graph=graph)
    session.run("x")
    with pytest.raises(rl.errors.OutOfRangeError):
        session.close()
    (line,) = lines(caplog, "final_ops")
    assert line.startswith("FinalOpsHook: the input of 'x' is exhausted (OutOfRangeError(")
    assert "let it read only variables and attached state" in line


def test_unknown_final_ops_are_an_error_before_the_first_run():
    with pytest.raises(ValueError, match=r"Did you mean 'global_step'\?"):
        rl.MonitoredSession(hooks=[rl.FinalOpsHook("global_stap")], graph=program())
    with pytest.raises(TypeError, match=r"7 can't be fetched"):
        rl.MonitoredSession(hooks=[rl.FinalOpsHook([7])], graph=program())


# -- FeedFnHook ---------------------------------------------------------------------------------


def test_feed_fn_is_called_for_every_run():
    graph = program()
    seen = []
    graph.op(lambda x: (seen.append(x), x)[1], name="look")
    feeds = iter([{"x": 1}, {"x": 2}])
    hook = rl.FeedFnHook(lambda: next(feeds))
    drive(graph, [hook], runs=2, fetch="look")
    assert seen == [1, 2]


@pytest.mark.parametrize("nothing", [None, {}])
def test_feed_fn_may_feed_nothing(nothing):
    hook = rl.FeedFnHook(lambda: nothing)
    assert hook.feed_fn() is nothing
    assert drive(program(), [hook], runs=2) == 2


def test_feeds_in_the_place_of_the_function_are_refused():
    text = r"^FeedFnHook: feed_fn must be a function that returns the feeds, got \{'x': 1\}$"
    with pytest.raises(TypeError, match=text):
        rl.FeedFnHook({"x": 1})


def test_what_feed_fn_returns_must_be_a_mapping():
    text = r"^FeedFnHook\.before_run: feed_dict must be a mapping, got \[\('x', 1\)\]$"
    with pytest.raises(TypeError, match=text):
        drive(program(), [rl.FeedFnHook(lambda: [("x", 1)])], runs=1)


# -- InMemoryEvaluatorHook ----------------------------------------------------------------------


def test_it_evaluates_before_the_first_run_every_n_runs_and_at_the_end():
    steps = []
    hook = rl.InMemoryEvaluatorHook(
        lambda session: steps.append(int(session.run("global_step"))) or len(steps), every_n_iter=3
    )
    assert hook.results is None
    drive(program(), [hook], runs=7)
    assert steps == [0, 3, 6, 7]
    assert hook.results == 4


def test_it_evaluates_what_it_just_evaluated_once_more_at_the_end():
    steps = []
    hook = rl.InMemoryEvaluatorHook(lambda session: steps.append(session.run("global_step")), 2)
    drive(program(), [hook], runs=2)
    assert steps == [0, 2, 2]


def test_every_n_iter_and_the_function_are_checked():
    for wrong in (None, 0, -1):
        with pytest.raises(ValueError, match=rf"^invalid every_n_iter={wrong}\.$"):
            rl.InMemoryEvaluatorHook(print, every_n_iter=wrong)
    with pytest.raises(
        TypeError,
        match=r"^InMemoryEvaluatorHook: evaluate must be a function of the session, got 'accuracy'$",
    ):
        rl.InMemoryEvaluatorHook("accuracy")
    assert rl.InMemoryEvaluatorHook(print)._timer._every_steps == 100
