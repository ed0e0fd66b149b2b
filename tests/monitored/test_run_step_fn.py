"""`run_step_fn`: a function of the step context, with the hooks or past them."""

import functools

import pytest

from runloop.errors import AbortedError, OutOfRangeError
from runloop.graph import Graph
from runloop.hooks.base import SessionRunHook
from runloop.monitored import MonitoredSession, SingularMonitoredSession, StepContext
from runloop.testing import RecordingHook
from tests.checks import fails

BOTH = pytest.mark.parametrize("kind", [MonitoredSession, SingularMonitoredSession])


def program():
    graph = Graph()
    graph.variable("w", 0.0)
    graph.train_op(lambda w: w + 1, name="train", updates="w")
    return graph


@pytest.fixture(params=[MonitoredSession, SingularMonitoredSession], ids=lambda kind: kind.__name__)
def opened(request):
    """A session of either kind with one recording hook, and the hook's log, emptied."""
    log = []
    with request.param(hooks=[RecordingHook("A", events=log)], graph=program()) as session:
        log.clear()
        yield session, log


def test_the_step_context_is_public_as_in_tensorflow():
    assert MonitoredSession.StepContext is SingularMonitoredSession.StepContext is StepContext


def test_the_value_of_step_fn_is_returned_and_no_hook_called_unless_it_asks(opened):
    session, log = opened
    assert session.run_step_fn(lambda step_context: step_context.session.run("w") + 5) == 5.0
    assert log == []


def test_run_with_hooks_runs_as_run_does(opened):
    session, log = opened

    def step_fn(step_context):
        return step_context.run_with_hooks(lambda w, x: w + x, feed_dict={"x": 3})

    assert session.run_step_fn(step_fn) == 3.0
    assert log == ["A.before_run", "A.after_run"]


def test_a_step_may_run_with_hooks_often_and_past_them_between(opened):
    session, log = opened

    def step_fn(step_context):
        step_context.run_with_hooks("train")
        between = step_context.session.run("global_step")
        step_context.run_with_hooks(fetches="train")
        return between, step_context.session.run("global_step")

    assert session.run_step_fn(step_fn) == (1, 2)
    assert log == ["A.before_run", "A.after_run"] * 2


def test_the_session_of_the_context_is_the_one_below_the_hooks(opened):
    session, _ = opened
    assert session.run_step_fn(lambda step_context: step_context.session) is session.raw_session()


class Model:
    def step(self, step_context):
        return step_context.session.run("w")

    def __call__(self, step_context):
        return step_context.session.run("w")

    @classmethod
    def of_class(cls, step_context):
        return step_context.session.run("w")

    @staticmethod
    def static(step_context):
        return step_context.session.run("w")

    def with_others(self, scale, step_context, **more):
        return step_context.session.run("w") * scale


@pytest.mark.parametrize(
    "step_fn",
    [
        Model().step,
        Model(),
        Model.of_class,
        Model.static,
        functools.partial(Model().with_others, 2),
        lambda step_context, **more: step_context.session.run("w"),
    ],
)
def test_a_step_fn_of_every_kind_is_called(opened, step_fn):
    session, _ = opened
    assert session.run_step_fn(step_fn) == 0.0


@pytest.mark.parametrize(
    ("step_fn", "names"),
    [
        (lambda ctx: 0, ("ctx",)),
        (lambda: 0, ()),
        (lambda step_context, other: 0, ("step_context", "other")),
        (lambda step_context, other=1: 0, ("step_context", "other")),
        (lambda step_context, *, other: 0, ("step_context", "other")),
    ],
)
def test_other_parameters_are_refused_and_the_session_stays_usable(opened, step_fn, names):
    session, _ = opened
    with fails(
        ValueError,
        "`step_fn` may either have one `step_context` argument, or `self` and `step_context` "
        f"arguments if it's an instance method. Got {names} instead.",
    ):
        session.run_step_fn(step_fn)
    assert session.should_stop() is False
    session.run("train")


@pytest.mark.parametrize("thing", [3, None, "step"])
def test_what_is_no_function_is_refused(opened, thing):
    session, _ = opened
    with fails(
        TypeError,
        f"step_fn: the parameters of {thing!r} can't be read; wrap it in a lambda or a def",
    ):
        session.run_step_fn(thing)


def test_request_stop_raises_stop_iteration_out_of_run_step_fn(opened):
    session, _ = opened
    with fails(StopIteration, "step_fn has requested the iterations to stop."):
        session.run_step_fn(lambda step_context: step_context.request_stop())
    assert session.should_stop() is False
    session.run("train")


@BOTH
def test_request_stop_leaves_the_with_quietly_and_with_its_ends(kind):
    log = []
    with kind(hooks=[RecordingHook("A", events=log)], graph=program()) as session:
        session.run_step_fn(lambda step_context: step_context.request_stop())
        raise AssertionError("not reached")
    assert log[-1] == "A.end"


@pytest.mark.parametrize("error", [KeyError("x"), OutOfRangeError("x"), KeyboardInterrupt("x")])
def test_an_exception_of_step_fn_goes_through_as_it_is(opened, error):
    session, _ = opened

    def step_fn(step_context):
        raise error

    with pytest.raises(type(error)) as info:
        session.run_step_fn(step_fn)
    assert info.value is error


@BOTH
def test_a_requested_stop_is_minded_by_run_with_hooks_and_not_by_run_step_fn(kind):
    class Stops(SessionRunHook):
        def after_run(self, run_context, run_values):
            run_context.request_stop()

    with kind(hooks=[Stops()], graph=program()) as session:
        session.run_step_fn(lambda step_context: step_context.run_with_hooks("train"))
        assert session.should_stop() is True
        assert session.run_step_fn(lambda step_context: 5) == 5
        with fails(RuntimeError, "Run called even after should_stop requested."):
            session.run_step_fn(lambda step_context: step_context.run_with_hooks("train"))


@BOTH
def test_a_closed_session_runs_no_step(kind):
    session = kind(graph=program())
    session.close()
    with fails(RuntimeError, "Session is already closed."):
        session.run_step_fn(lambda step_context: 0)


# -- lost sessions --------------------------------------------------------------------------------


def test_a_lost_session_is_made_anew_and_step_fn_called_again_from_its_start():
    log = []
    sessions = []

    def step_fn(step_context):
        sessions.append(step_context.session)
        step_context.run_with_hooks("train")
        if len(sessions) < 3:
            raise AbortedError("lost")
        return step_context.session.run("global_step")

    with MonitoredSession(hooks=[RecordingHook("A", events=log)], graph=program()) as session:
        assert session.run_step_fn(step_fn) == 1
        assert [s.closed for s in sessions] == [True, True, False]
        assert sessions[-1] is session.raw_session()
    assert log.count("A.after_create_session") == 3
    assert log.count("A.begin") == 1


def test_a_session_lost_inside_run_with_hooks_repeats_the_whole_step():
    errors = [AbortedError("lost")]
    log = []
    graph = program()

    @graph.op
    def flaky():
        if errors:
            raise errors.pop()
        return 5

    def step_fn(step_context):
        log.append("step")
        step_context.run_with_hooks("train")
        return step_context.run_with_hooks("flaky")

    with MonitoredSession(graph=graph) as session:
        assert session.run_step_fn(step_fn) == 5
        assert session.run("global_step") == 1
    assert log == ["step", "step"]


def test_a_singular_session_lets_the_loss_out():
    def step_fn(step_context):
        raise AbortedError("lost")

    with pytest.raises(AbortedError):
        with SingularMonitoredSession(graph=program()) as session:
            session.run_step_fn(step_fn)
