"""The conformance suite's scenarios that make sense for a loop: it does what a session does."""

import threading
from collections import namedtuple

import pytest

import runloop as rl
from runloop.hooks import SessionRunHook
from runloop.testing import FakeClock

Pair = namedtuple("Pair", "first second")  # noqa: PYI024  # as users' hooks have them


class Noted(SessionRunHook):
    """Notes each call, what it got, and asks for what it was made with."""

    def __init__(self, trace, name, fetch=None, **actions):
        self.trace, self.name, self.fetch, self.actions = trace, name, fetch, actions
        self.runs = 0

    def note(self, method, *what, context=None, session=None, coord=None):
        self.trace.append((self.name, method, self.runs, *what))
        action = self.actions.get(method if self.runs < 2 else f"{method}_{self.runs}")
        if isinstance(action, BaseException):
            raise action
        if action == "stop":
            context.request_stop()
        elif action == "run":
            self.trace.append(("nested", session.run("global_step")))
        elif action == "thread fails":
            fail_in_thread(self.coord, ValueError("thread"))

    def begin(self):
        self.note("begin")

    def after_create_session(self, session, coord):
        self.coord = coord
        coord.callback(self.trace.append, (self.name, "callback"))
        self.note("created", session=session)

    def before_run(self, run_context):
        self.runs += 1
        self.note("before", context=run_context, session=run_context.session)
        feeds, options = self.actions.get("feeds"), self.actions.get("options")
        return rl.RunArgs(self.fetch, feeds, options)

    def after_run(self, run_context, run_values):
        level = run_values.options.trace_level, run_values.options.timeout_in_ms
        got = (run_values.results, level, run_values.run_metadata is not None)
        self.note("after", got, context=run_context, session=run_context.session)

    def end(self, session):
        self.note("end", self.coord.should_stop(), session=session)


def fail_in_thread(coord, error):
    def work():
        with coord.stop_on_exception():
            raise error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def by_session(make, body, trace):
    graph = rl.Graph()
    passes = iter(range(100))

    @graph.train_op(outputs=("loss", "size"))
    def train():
        number = next(passes)
        trace.append(("body", number))
        body(number)
        return number + 0.5, 7

    @graph.op
    def other(rate=1):
        return rate

    with rl.SingularMonitoredSession(make(trace), graph=graph) as session:
        while not session.should_stop() and session.raw_session().run("global_step") < 4:
            session.run("train")


def by_loop(make, body, trace):
    with rl.Loop(hooks=make(trace)) as loop:
        for number in loop.steps(4):
            trace.append(("body", number))
            body(number)
            loop.report(loss=number + 0.5, size=7)


def outcome(run, make, body):
    """The trace, and the error that came out."""
    trace = []
    try:
        run(make, body, trace)
    except (Exception, KeyboardInterrupt, SystemExit) as exc:
        return trace, (type(exc), str(exc))
    return trace, None


def nothing(number):
    """A body that does nothing."""


def same(make, body=nothing):
    """Check that both do the same; returns the trace and the error."""
    wanted = outcome(by_session, make, body)
    assert outcome(by_loop, make, body) == wanted
    return wanted


class OwnEnd(rl.errors.OutOfRangeError):
    """A subclass."""


class OwnStop(StopIteration):
    """A subclass."""


METHODS = ["begin", "created", "before", "after", "before_2", "after_3", "end_4"]
FAMILIES = [
    ValueError,
    KeyError,
    rl.errors.OutOfRangeError,
    StopIteration,
    KeyboardInterrupt,
    SystemExit,
    OwnEnd,
    OwnStop,
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_a_hook_raises(method, family):
    def make(trace):
        failing = Noted(trace, "b", "loss", **{method: family("x")})
        return [Noted(trace, "a"), failing, Noted(trace, "c", "global_step")]

    trace, _ = same(make)
    assert trace


@pytest.mark.parametrize("family", FAMILIES)
def test_the_body_raises(family):
    def body(number):
        if number == 1:
            raise family("x")

    trace, error = same(lambda trace: [Noted(trace, "a", "loss")], body)
    is_normal = issubclass(family, (rl.errors.OutOfRangeError, StopIteration))
    assert (error is None) == is_normal
    assert any(entry[:2] == ("a", "end") for entry in trace) == is_normal


@pytest.mark.parametrize("method", ["before", "after", "before_2", "after_3"])
def test_hooks_request_a_stop(method):
    def make(trace):
        stopping = {method: "stop"}
        return [Noted(trace, "a", **stopping), Noted(trace, "b", "size", **stopping)]

    trace, _ = same(make)
    wanted = int(method[-1]) if "_" in method else 1
    assert sum(entry[0] == "body" for entry in trace) == wanted


def test_a_stop_does_not_hide_that_the_run_failed():
    same(lambda t: [Noted(t, "a", before="stop"), Noted(t, "b", after=ValueError("x"))])


@pytest.mark.parametrize("method", ["created", "before_2", "after_2", "end_4"])
def test_a_hook_runs_something_beside_the_hooks(method):
    trace, _ = same(lambda t: [Noted(t, "a", "loss", **{method: "run"}), Noted(t, "b")])
    assert any(entry[0] == "nested" for entry in trace)


@pytest.mark.parametrize(
    "shape",
    [
        "loss",
        ["loss", "global_step"],
        ("loss", "size"),
        {"a": "loss", "b": "size"},
        Pair("size", "loss"),
        {"a": [{"b": ("size", ["global_step"])}, []], "c": {}},
        [],
        {},
        (),
        ["loss", "loss"],
        None,
    ],
    ids=repr,
)
def test_a_hook_fetches_a_structure(shape):
    trace, error = same(lambda t: [Noted(t, "a", shape), Noted(t, "b", "loss")])
    assert error is None
    assert sum(entry[:2] == ("a", "after") for entry in trace) == 4


def test_two_hooks_feed_the_same():
    def make(trace):
        return [Noted(trace, n, feeds={"rate": 2}) for n in "ab"]

    _, error = same(make)
    assert error == (
        RuntimeError,
        "Same tensor is fed by two hooks. Conflict(s): ['rate']",
    )


def test_options_are_merged_by_maximum():
    def make(trace):
        return [
            Noted(trace, "a", options=rl.RunOptions(timeout_in_ms=90000)),
            Noted(trace, "b", options=rl.RunOptions(timeout_in_ms=70000)),
        ]

    trace, _ = same(make)
    assert [entry[3][1] for entry in trace if entry[1] == "after"] == [(0, 90000)] * 8


@pytest.mark.parametrize("method", ["created", "before_2", "after_2"])
def test_a_thread_fails_during_a_call(method):
    _, error = same(lambda t: [Noted(t, "a", **{method: "thread fails"}), Noted(t, "b", "loss")])
    assert error == (ValueError, "thread")


@pytest.mark.parametrize(
    ("family", "body_raises"),
    [
        *((ValueError, e) for e in (None, KeyError, rl.errors.OutOfRangeError)),
        *((rl.errors.OutOfRangeError, e) for e in (None, KeyError, rl.errors.OutOfRangeError)),
        *((StopIteration, e) for e in (None, KeyError, rl.errors.OutOfRangeError)),
        # A thread's AbortedError replaces an op's error, since the run may be repeated; never the
        # body's, which can't be.
        (rl.errors.AbortedError, None),
    ],
)
def test_a_thread_failed_when_it_is_left(family, body_raises):
    hooks = []

    def make(trace):
        hooks[:] = [Noted(trace, "a")]
        return hooks

    def body(number):
        if number == 1:
            fail_in_thread(hooks[0].coord, family("thread"))
            if body_raises is not None:
                raise body_raises("body")

    same(make, body)


def test_the_first_of_two_threads_counts():
    hooks = []

    def make(trace):
        hooks[:] = [Noted(trace, "a")]
        return hooks

    def body(number):
        fail_in_thread(hooks[0].coord, ValueError(f"thread {number}"))
        fail_in_thread(hooks[0].coord, KeyError("second"))

    assert same(make, body)[1] == (ValueError, "thread 0")


def test_a_thread_that_does_not_stop_is_waited_for_as_long_as_was_said():
    event = threading.Event()

    class Starts(SessionRunHook):
        def after_create_session(self, session, coord):
            thread = threading.Thread(target=event.wait, daemon=True)
            coord.register_thread(thread)
            thread.start()

    time = FakeClock()
    try:
        with rl.clock.use(time):
            with rl.Loop(hooks=[Starts()], stop_grace_period_secs=7) as loop:
                list(loop.steps(2))
                before = time.monotonic()
            assert round(time.monotonic() - before) == 7
    finally:
        event.set()


# -- what may be a hook ---------------------------------------------------------------------------


def duck(trace):
    """A hook without a base class, whose parameters have names of its own; not hashable."""

    class Duck:
        __hash__ = None

        def begin(self):
            trace.append("begin")

        def after_create_session(self, sess, threads):
            trace.append("created")

        def before_run(self, ctx):
            ctx.mark = self
            self.context = ctx
            return rl.RunArgs({"x": "loss"})

        def after_run(self, ctx, got):
            trace.append(
                (got[0], ctx is self.context, ctx.mark is self, tuple(ctx.original_args)[2])
            )

        def end(self, sess):
            trace.append("end")

    return Duck()


def test_a_duck_typed_hook():
    trace, error = same(lambda t: [duck(t), Noted(t, "b")])
    assert error is None
    assert ({"x": 0.5}, True, True, None) in trace


def test_the_same_hook_twice_and_one_without_any_method():
    class Plain(SessionRunHook):
        pass

    def make(trace):
        hook = Noted(trace, "a", "loss")
        return [hook, Plain(), hook]

    same(make)


def test_before_run_gives_back_something_else():
    class Wrong(SessionRunHook):
        def before_run(self, run_context):
            return 3

    _, error = same(lambda t: [Noted(t, "a"), Wrong()])
    assert error[0] is TypeError
    assert error[1].startswith("Wrong.before_run must return RunArgs or None, got 3")


def test_no_hooks():
    same(lambda _: [])


def test_begin_adds_a_variable_that_hooks_fetch():
    def make(trace):
        class Adds(SessionRunHook):
            def begin(self):
                rl.get_default_graph().variable("late", 5.0)

        return [Adds(), Noted(trace, "a", ["late", "global_step"])]

    trace, _ = same(make)
    assert next(entry[3][0] for entry in trace if entry[1] == "after") == [5.0, 0]


# -- hooks that stop ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [{"num_steps": 3}, {"last_step": 3}, {"num_steps": 1}, {"last_step": 0}]
)
def test_stop_at_step(arguments):
    trace, _ = same(lambda t: [rl.StopAtStepHook(**arguments), Noted(t, "a")])
    assert sum(entry[0] == "body" for entry in trace) == next(iter(arguments.values()))


@pytest.mark.parametrize("arguments", [{"last_step": 3}, {"num_steps": 2}])
def test_stop_at_step_after_a_restore(tmp_path, arguments):
    passes = []
    for _ in range(3):
        hooks = [rl.StopAtStepHook(**arguments)]
        with rl.Loop(tmp_path, {"n": 1}, hooks=hooks, save_steps=1) as loop:
            passes.append(list(loop.steps(10)))
    if "last_step" in arguments:
        assert passes == [[0, 1, 2], [], []]
    else:
        assert passes == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("fail", [True, False])
def test_nan_tensor(fail):
    seen = []

    def run():
        hooks = [Noted(seen, "a"), rl.NanTensorHook("loss", fail), Noted(seen, "b")]
        with rl.Loop(hooks=hooks) as loop:
            for number in loop.steps(3):
                loop.report(loss=float("nan") if number == 1 else 1.0)

    if fail:
        with pytest.raises(rl.errors.NanLossDuringTrainingError):
            run()
    else:
        run()
    assert sum(entry[:2] == ("b", "after") for entry in seen) == (1 if fail else 2)
    assert any(entry[1] == "end" for entry in seen) == (not fail)
