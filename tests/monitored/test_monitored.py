"""Monitored sessions: who is called when. Each row of the protocol's table has its tests.

The rows, in the order of the table, head the sections below.
"""

import copy
import threading

import numpy as np
import pytest

from runloop.checkpoint import Saver
from runloop.errors import AbortedError, OutOfRangeError, UnavailableError
from runloop.graph import Graph, get_default_graph, get_or_create_global_step
from runloop.hooks.base import SessionRunHook
from runloop.monitored import MonitoredSession, SingularMonitoredSession
from runloop.monitored.creators import ChiefSessionCreator
from runloop.monitored.scaffold import Scaffold
from runloop.run import RunArgs
from runloop.session import Session
from runloop.testing import FakeClock, RecordingHook
from tests.checks import fails

BOTH = pytest.mark.parametrize("kind", [MonitoredSession, SingularMonitoredSession])
METHODS = ("begin", "after_create_session", "before_run", "after_run", "end")


def program(log=None):
    """A graph with one variable and a train op that writes down that it runs."""
    log = [] if log is None else log
    graph = Graph()
    graph.variable("w", 0.0)
    graph.train_op(lambda w: log.append("train") or w + 1, name="train", updates="w")
    return graph


def trio(log, **failing):
    """Three recording hooks; `A={"end": error}` makes hook A fail there."""
    return [RecordingHook(name, events=log, failing=failing.get(name)) for name in "ABC"]


def calls(method):
    return [f"{name}.{method}" for name in "ABC"]


class EndOfEpoch(OutOfRangeError):
    pass


class Enough(StopIteration):
    pass


NORMAL = [OutOfRangeError("the end"), StopIteration(), EndOfEpoch("the end"), Enough()]
OTHER = [
    ValueError("broken"),
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
    AssertionError(),
]


def each_error(*errors):
    return pytest.mark.parametrize("error", errors, ids=repr, indirect=True)


@pytest.fixture
def error(request):
    """A new exception each time: what is raised keeps its notes."""
    return copy.copy(request.param)


# -- row: MonitoredSession(...) -------------------------------------------------------------------


@BOTH
def test_construction_begins_then_finalizes_then_creates_then_shows_the_session(kind):
    log = []
    graph = program(log)
    for name in ("init", "local"):
        graph.op(lambda name=name: log.append(name), name=name)
    for name in ("ready_for_local", "ready"):
        graph.op(lambda name=name: log.append(name) or [], name=name)
    scaffold = Scaffold(
        init_op="init",
        init_fn=lambda *_: log.append("init_fn"),
        ready_op="ready",
        ready_for_local_init_op="ready_for_local",
        local_init_op="local",
    )
    if kind is MonitoredSession:
        creator = ChiefSessionCreator(scaffold, graph=graph)
        session = MonitoredSession(creator, trio(log))
    else:
        session = SingularMonitoredSession(trio(log), scaffold, graph=graph)
    assert log == [
        *calls("begin"),
        *["init", "init_fn", "ready_for_local", "local", "ready"],
        *calls("after_create_session"),
    ]
    session.close()


@BOTH
def test_begin_sees_the_graph_as_default_and_open_and_what_comes_after_sees_it_finalized(kind):
    seen = []

    class Adds(SessionRunHook):
        def begin(self):
            graph = get_default_graph()
            seen.append((graph, graph.finalized))
            graph.op(lambda w: w * 10, name="added")

        def after_create_session(self, session, coord):
            seen.append((session.graph, session.graph.finalized, get_default_graph()))

        def before_run(self, run_context):
            return RunArgs("added")

    graph = program()
    with kind(hooks=[Adds()], graph=graph) as session:
        session.run("train")
    assert seen == [(graph, False), (graph, True, graph)]


@BOTH
def test_the_newest_usable_checkpoint_is_restored_and_then_nothing_initialised(kind, tmp_path):
    log = []
    graph = program(log)
    with Session(graph=graph) as trained:
        saver = Saver()
        for step in range(3):
            saver.save(trained, str(tmp_path / "model.ckpt"), global_step=step)
            trained.run("train")
    (tmp_path / "model.ckpt-2.safetensors").write_bytes(b"damaged")
    log.clear()
    scaffold = Scaffold(init_fn=lambda *_: log.append("init_fn"))
    folder = str(tmp_path)
    if kind is MonitoredSession:
        creator = ChiefSessionCreator(scaffold, checkpoint_dir=folder, graph=graph)
        session = MonitoredSession(creator, [RecordingHook("A", events=log)])
    else:
        session = SingularMonitoredSession(
            [RecordingHook("A", events=log)], scaffold, checkpoint_dir=folder, graph=graph
        )
    with session:
        assert log == ["A.begin", "A.after_create_session"]
        assert session.raw_session().run(["w", "global_step"]) == [1.0, 1]


def test_a_single_checkpoint_file_is_restored(tmp_path):
    graph = program()
    with Session(graph=graph) as trained:
        trained.run("train")
        path = Saver().save(trained, str(tmp_path / "model.ckpt"))
    with SingularMonitoredSession(checkpoint_filename_with_path=path, graph=graph) as session:
        assert session.run("w") == 1.0


@BOTH
def test_hooks_get_the_session_below_and_its_coordinator(kind):
    got = []

    class Looks(SessionRunHook):
        def after_create_session(self, session, coord):
            got.append((session, coord))

    with kind(hooks=[Looks(), Looks()], graph=program(), stop_grace_period_secs=5) as session:
        assert got[0] == got[1]
        raw, coord = got[0]
        assert raw is session.raw_session()
        assert isinstance(raw, Session)
        assert coord.should_stop() is False
        assert coord.stop_grace_period_secs == 5


@BOTH
@each_error(*NORMAL, *OTHER, AbortedError("x"))
def test_a_failing_begin_comes_out_and_nothing_more_is_called(kind, error):
    log = []
    graph = program(log)
    with pytest.raises(type(error)) as info:
        kind(hooks=trio(log, B={"begin": error}), graph=graph)
    assert info.value is error
    assert log == ["A.begin", "B.begin"]
    assert graph.finalized is False


@BOTH
@each_error(*NORMAL, *OTHER)
def test_a_failing_after_create_session_comes_out_and_the_session_is_closed(kind, error):
    log = []
    graph = program(log)
    cleaned = []

    class Cleans(RecordingHook):
        def after_create_session(self, session, coord):
            super().after_create_session(session, coord)
            coord.callback(lambda: cleaned.append(session.closed))
            coord.after_close(lambda: cleaned.append(session.closed))

    hooks = [Cleans("A", events=log), *trio(log, B={"after_create_session": error})[1:]]
    with pytest.raises(type(error)) as info:
        kind(hooks=hooks, graph=graph)
    assert info.value is error
    assert log == [*calls("begin"), "A.after_create_session", "B.after_create_session"]
    assert cleaned == [False, True]
    assert graph.finalized is False  # so that what is wrong can be put right


@BOTH
def test_the_graph_is_finalized_while_open_and_reopened_when_closed(kind):
    graph = program()
    session = kind(graph=graph)
    assert graph.finalized is True
    session.close()
    assert graph.finalized is False
    graph.finalize()
    kind(graph=graph).close()
    assert graph.finalized is True


@BOTH
def test_the_default_graph_is_used_without_another(kind):
    with program().as_default() as graph:
        session = kind()
        assert session.graph is graph
        session.close()


@BOTH
def test_inside_the_with_the_graph_is_the_default_graph(kind):
    graph = program()
    with kind(graph=graph) as session:
        assert get_default_graph() is graph is session.graph
    assert get_default_graph() is not graph


@BOTH
def test_hooks_are_shown_as_given_and_may_come_from_any_iterable(kind):
    hooks = trio([])
    session = kind(hooks=iter(hooks), graph=program())
    assert session.hooks == tuple(hooks)
    session.close()
    assert kind(hooks=None, graph=program()).hooks == ()


@BOTH
@pytest.mark.parametrize(
    ("hooks", "text"),
    [
        (lambda: RecordingHook, "hooks[0] is the class RecordingHook; write RecordingHook(...)"),
        (
            lambda: 3,
            (
                "hooks[0] is not a hook: 3 has no method begin, after_create_session, before_run, "
                "after_run, end; inherit from runloop.SessionRunHook, which has them all"
            ),
        ),
    ],
)
def test_what_is_no_hook_is_refused_before_anything_is_called(kind, hooks, text):
    graph = program()
    log = []
    bad = hooks()
    with fails(TypeError, text):
        kind(hooks=[bad, RecordingHook("A", events=log)], graph=graph)
    assert log == []
    assert graph.finalized is False


@BOTH
def test_a_single_hook_is_told_to_be_a_list(kind):
    hook = RecordingHook("A")
    with fails(TypeError, f"hooks must be a list of hooks, got {hook!r}; write hooks=[hook]"):
        kind(hooks=hook, graph=program())


def test_hooks_in_the_place_of_the_creator_are_told_where_they_belong():
    hooks = [SessionRunHook()]
    with fails(
        TypeError,
        f"session_creator must have create_session(), got {hooks!r}; pass hooks as hooks=",
    ):
        MonitoredSession(hooks)


@BOTH
def test_a_graph_must_be_a_graph(kind):
    with fails(TypeError, "graph must be a runloop.Graph, got 'graph'"):
        kind(graph="graph")


def test_the_graph_of_the_creator_is_used_and_another_refused():
    graph, other = program(), program()
    creator = ChiefSessionCreator(graph=graph)
    for options in ({}, {"graph": graph}):
        session = MonitoredSession(creator, **options)
        assert session.graph is graph
        session.close()
    with fails(
        ValueError,
        f"session_creator creates sessions of {graph!r}, but graph is {other!r}: give only one",
    ):
        MonitoredSession(creator, graph=other)


def test_what_a_creator_of_another_kind_calls_its_graph_is_left_alone():
    creator = Creator(Foreign())
    creator.graph = "a graph of something else"
    with program().as_default() as graph, MonitoredSession(creator) as session:
        assert session.graph is graph


@BOTH
def test_one_hook_that_is_there_twice_is_called_twice(kind):
    log = []
    hook = RecordingHook("A", events=log)
    with kind(hooks=[hook, hook], graph=program()) as session:
        session.run("train")
    assert log == [f"A.{method}" for method in METHODS for _ in range(2)]


# -- row: run() -----------------------------------------------------------------------------------


@BOTH
def test_run_calls_before_run_on_each_runs_once_and_calls_after_run_on_each(kind):
    log = []
    with kind(hooks=trio(log), graph=program(log)) as session:
        log.clear()
        assert session.run("train") is None
        assert log == [*calls("before_run"), "train", *calls("after_run")]


@BOTH
def test_all_fetches_and_feeds_are_one_run(kind):
    runs = []
    graph = Graph()
    graph.op(lambda x, y: runs.append(1) or x + y, name="sum")
    got = []

    class Asks(SessionRunHook):
        def before_run(self, run_context):
            return RunArgs({"also": ["sum"]}, feed_dict={"y": 2})

        def after_run(self, run_context, run_values):
            got.append(run_values.results)

    with kind(hooks=[Asks()], graph=graph) as session:
        assert session.run(["sum"], {"x": 1}) == [3]
    assert runs == [1]
    assert got == [{"also": [3]}]


@BOTH
def test_a_step_fetched_beside_the_train_op_is_stale(kind):
    stale, fresh = [], []

    class Steps(SessionRunHook):
        def begin(self):
            self.step = get_or_create_global_step()

        def before_run(self, run_context):
            fresh.append(run_context.session.run(self.step))
            return RunArgs([[], self.step])

        def after_run(self, run_context, run_values):
            stale.append(run_values.results)
            fresh.append(run_context.session.run(self.step))

    with kind(hooks=[Steps()], graph=program()) as session:
        for _ in range(2):
            session.run("train")
    assert stale == [[[], 0], [[], 1]]
    assert fresh == [0, 1, 1, 2]


@BOTH
def test_a_stop_asked_for_by_any_hook_marks_the_session_after_the_run(kind):
    log = []

    class Stops(SessionRunHook):
        def __init__(self, method):
            self.method = method

        def before_run(self, run_context):
            if self.method == "before_run":
                run_context.request_stop()

        def after_run(self, run_context, run_values):
            if self.method == "after_run":
                run_context.request_stop()
            log.append((run_context.stop_requested, session.should_stop()))

    for method in ("before_run", "after_run"):
        log.clear()
        hooks = [Stops(None), Stops(method), Stops(None)]
        with kind(hooks=hooks, graph=program(log)) as session:
            assert session.should_stop() is False
            session.run("train")
            assert session.should_stop() is True
        first = method == "before_run"
        assert log == ["train", (first, False), (True, False), (True, False)]


@BOTH
def test_a_run_of_nothing_is_a_type_error_as_without_hooks(kind):
    log = []
    with kind(hooks=trio(log), graph=program()) as session:
        log.clear()
        with pytest.raises(TypeError, match=r"^None can't be fetched: "):
            session.run(None)
        assert log == calls("before_run")
        assert session.run([]) == []
        assert session.run({}) == {}


@BOTH
def test_a_callable_is_run_with_the_hooks(kind):
    log = []
    with kind(hooks=[RecordingHook("A", events=log)], graph=program()) as session:
        assert session.run(lambda w, x: w + x, {"x": 5}) == 5.0
    assert "A.after_run" in log


@BOTH
def test_a_hooks_unknown_fetch_is_named(kind):
    class Wrong(SessionRunHook):
        def before_run(self, run_context):
            return RunArgs("trian")

    with kind(hooks=[RecordingHook("A", asks="global_step"), Wrong()], graph=program()) as session:
        with pytest.raises(
            ValueError, match=r"^nothing is called 'trian': .* Did you mean 'train'"
        ) as caught:
            session.run("train")
        assert caught.value.__notes__ == ["(Wrong asked for it: 'trian')"]
        assert session.raw_session().run("global_step") == 0


@BOTH
def test_a_wrong_fetch_of_the_callers_and_an_error_of_an_op_are_put_on_no_hook(kind):
    graph = program()
    graph.op(lambda: int("many"), name="broken")
    with kind(hooks=[RecordingHook("A", asks="global_step")], graph=graph) as session:
        with pytest.raises(ValueError, match="nothing is called 'trian'") as caught:
            session.run("trian")
        assert not hasattr(caught.value, "__notes__")
        for broken in ("broken", lambda only: int("many" * only)):
            with pytest.raises(ValueError, match="many") as caught:
                session.run(broken, {} if broken == "broken" else {"only": 1})
            assert len(caught.value.__notes__) == 1
            assert "raised in op" in caught.value.__notes__[0]


# -- row: two feeds of one tensor -----------------------------------------------------------------


@BOTH
def test_two_feeds_of_one_tensor_are_refused_before_anything_runs(kind):
    class Feeds(SessionRunHook):
        def before_run(self, run_context):
            return RunArgs(None, {"w": np.float64(5)})

    log = []
    graph = program(log)
    with kind(hooks=[Feeds()], graph=graph) as session:
        with fails(
            RuntimeError,
            "Same tensor is fed by a SessionRunHook and user. Conflict(s): ['w']",
        ):
            session.run("train", {graph.variables[0]: 1.0})
        session.run("train")
    with kind(hooks=[Feeds(), Feeds()], graph=graph) as session:
        with fails(RuntimeError, "Same tensor is fed by two hooks. Conflict(s): ['w']"):
            session.run("train")
        assert session.should_stop() is False
    assert log == ["train"]


# -- row: run() raises ----------------------------------------------------------------------------


@BOTH
@each_error(*NORMAL, *OTHER)
def test_when_an_op_raises_after_run_is_called_on_none(kind, error):
    log = []
    graph = program()

    @graph.op(after="train")
    def broken():
        raise error

    session = kind(hooks=trio(log), graph=graph)
    log.clear()
    with pytest.raises(type(error)):
        session.run("broken")
    assert log == calls("before_run")
    assert session.should_stop() is False
    assert session.run(["w", "global_step"]) == [0.0, 0]
    session.close()


@BOTH
@each_error(*NORMAL, *OTHER)
def test_when_a_before_run_raises_no_later_one_is_called_and_nothing_runs(kind, error):
    log = []
    session = kind(hooks=trio(log, B={"before_run": error}), graph=program(log))
    log.clear()
    with pytest.raises(type(error)) as info:
        session.run("train")
    assert info.value is error
    assert log == ["A.before_run", "B.before_run"]
    session.close()


@BOTH
@each_error(*NORMAL, *OTHER)
def test_when_an_after_run_raises_no_later_one_is_called_and_the_step_stands(kind, error):
    log = []
    session = kind(hooks=trio(log, B={"after_run": error}), graph=program(log))
    log.clear()
    with pytest.raises(type(error)) as info:
        session.run("train")
    assert info.value is error
    assert log == [*calls("before_run"), "train", "A.after_run", "B.after_run"]
    assert session.raw_session().run("global_step") == 1
    session.close()


@BOTH
def test_a_stop_asked_for_in_a_run_that_raises_is_lost(kind):
    class Stops(SessionRunHook):
        def before_run(self, run_context):
            run_context.request_stop()

    graph = program()
    graph.op(lambda x: 1 / x, name="divide")
    with kind(hooks=[Stops()], graph=graph) as session:
        with pytest.raises(ZeroDivisionError):
            session.run("divide", {"x": 0})
        assert session.should_stop() is False
        assert session.run("divide", {"x": 2}) == 0.5
        assert session.should_stop() is True


# -- row: run() after a hook requested a stop -----------------------------------------------------


@BOTH
def test_run_after_a_stop_was_requested_is_refused_before_any_hook_is_called(kind):
    class Stops(SessionRunHook):
        def after_run(self, run_context, run_values):
            run_context.request_stop()

    log = []
    with kind(hooks=[RecordingHook("A", events=log), Stops()], graph=program(log)) as session:
        session.run("train")
        log.clear()
        for _ in range(2):
            with fails(RuntimeError, "Run called even after should_stop requested.") as caught:
                session.run("train")
            assert "while not session.should_stop()" in caught.value.__notes__[0]
            assert session.should_stop() is True
        assert log == []
    assert log == ["A.end"]


# -- row: a coordinator's thread raised -----------------------------------------------------------


class Threads(SessionRunHook):
    """Keeps the coordinator, and lets a thread of it fail on demand."""

    def after_create_session(self, session, coord):
        self.coord = coord

    def fail(self, error):
        def body():
            with self.coord.stop_on_exception():
                raise error

        thread = threading.Thread(target=body)
        self.coord.register_thread(thread)
        thread.start()
        thread.join()


@each_error(ValueError("thread"), *NORMAL)
def test_a_threads_failure_lets_should_stop_be_true_runs_go_on_and_leaving_raises(error):
    log = []
    threads = Threads()
    with pytest.raises(type(error)) as info:  # the inner with is what is tested
        with MonitoredSession(
            hooks=[threads, RecordingHook("A", events=log)], graph=program()
        ) as session:
            threads.fail(error)
            assert session.should_stop() is True
            session.run("train")
            assert session.should_stop() is True
    assert info.value is error
    assert log[-1] == "A.end"


@each_error(ValueError("thread"), *NORMAL)
def test_a_threads_failure_is_raised_by_should_stop_of_a_singular_session_and_by_leaving(error):
    log = []
    threads = Threads()
    session = SingularMonitoredSession(
        hooks=[threads, RecordingHook("A", events=log)], graph=program()
    )
    threads.fail(error)
    for _ in range(2):
        with pytest.raises(type(error)) as info:
            session.should_stop()
        assert info.value is error
    session.run("train")
    with pytest.raises(type(error)) as info:
        session.close()
    assert info.value is error
    assert log[-1] == "A.end"
    assert session.should_stop() is True


@BOTH
def test_a_threads_failure_does_not_mask_the_exception_that_is_on_its_way(kind):
    threads = Threads()
    with pytest.raises(KeyError, match="body") as info:
        with kind(hooks=[threads], graph=program()):
            threads.fail(ValueError("thread"))
            raise KeyError("body")
    assert info.value.__notes__ == ["Then, while closing: ValueError: thread"]


@BOTH
def test_a_threads_failure_is_raised_by_leaving_through_the_end_of_the_data(kind):
    log = []
    threads = Threads()
    with pytest.raises(ValueError, match="thread"):
        with kind(hooks=[threads, RecordingHook("A", events=log)], graph=program()):
            threads.fail(ValueError("thread"))
            raise OutOfRangeError("the end")
    assert log[-1] == "A.end"


@BOTH
def test_a_coordinator_that_is_asked_to_stop_without_a_failure_stops_the_loop_only(kind):
    threads = Threads()
    with kind(hooks=[threads], graph=program()) as session:
        threads.coord.request_stop()
        assert session.should_stop() is True
        session.run("train")


@BOTH
def test_threads_are_asked_to_stop_and_waited_for_after_the_ends(kind):
    log = []

    class Works(SessionRunHook):
        def after_create_session(self, session, coord):
            def body():
                coord.wait_for_stop(30)
                log.append("thread")

            thread = threading.Thread(target=body)
            coord.register_thread(thread)
            thread.start()

        def end(self, session):
            log.append("end")

    with kind(hooks=[Works()], graph=program()):
        pass
    assert log == ["end", "thread"]


@BOTH
def test_stragglers_get_the_grace_period_and_are_only_logged(kind, caplog):
    let_go = threading.Event()

    class Works(SessionRunHook):
        def after_create_session(self, session, coord):
            thread = threading.Thread(target=let_go.wait, args=(30,), name="slow", daemon=True)
            coord.register_thread(thread)
            thread.start()

    caplog.set_level("INFO", "runloop")
    with FakeClock().use() as clock:
        session = kind(hooks=[Works()], graph=program(), stop_grace_period_secs=7)
    session.close()
    let_go.set()
    assert clock.now == pytest.approx(7)
    assert "Coordinator stopped with threads still running: slow" in caplog.messages


# -- row: leaving the with, no exception ----------------------------------------------------------


@BOTH
def test_leaving_calls_end_on_each_with_the_session_open_and_then_closes(kind):
    log = []

    class Last(SessionRunHook):
        def end(self, session):
            log.append(("w", session.run("w")))

    with kind(hooks=[*trio(log), Last()], graph=program()) as session:
        raw = session.raw_session()
        session.run("train")
        log.clear()
    assert log == [*calls("end"), ("w", 1.0)]
    assert raw.closed
    assert session.should_stop() is True
    assert session.graph is None
    assert session.raw_session() is None


@BOTH
def test_closing_does_the_same_as_leaving(kind):
    log = []
    graphs = []

    class Looks(SessionRunHook):
        def end(self, session):
            graphs.append(get_default_graph())

    session = kind(hooks=[*trio(log), Looks()], graph=program())
    raw, graph = session.raw_session(), session.graph
    log.clear()
    session.close()
    assert log == calls("end")
    assert graphs == [graph]
    assert raw.closed


@BOTH
def test_a_method_that_a_hook_gives_itself_in_begin_is_called(kind):
    seen = []

    class Wraps(SessionRunHook):
        def begin(self):
            self.after_run = lambda run_context, run_values: seen.append(run_values.results)

    with kind(hooks=[Wraps()], graph=program()) as session:
        session.run("train")
    assert seen == [None]


@BOTH
@each_error(*NORMAL, ValueError("b"), AbortedError("b"))
def test_an_end_that_raises_does_not_rob_the_others_and_is_raised(kind, error):
    log = []
    graph = program()
    later = KeyError("c")
    with pytest.raises(type(error)) as info:
        with kind(hooks=trio(log, B={"end": error}, C={"end": later}), graph=graph) as session:
            raw = session.raw_session()
    assert info.value is error
    assert info.value.__notes__ == ["Then, while closing: KeyError: 'c'"]
    assert log[-3:] == calls("end")
    assert raw.closed
    assert session.should_stop() is True
    assert graph.finalized is False


@BOTH
def test_an_interrupted_end_closes_the_session_all_the_same(kind):
    log = []
    session = kind(hooks=trio(log, A={"end": KeyboardInterrupt()}), graph=program())
    raw = session.raw_session()
    with pytest.raises(KeyboardInterrupt):
        session.close()
    assert raw.closed


@BOTH
def test_a_second_close_raises_without_calling_end_again(kind):
    log = []
    session = kind(hooks=trio(log), graph=program())
    session.close()
    log.clear()
    with fails(RuntimeError, "Session is already closed."):
        session.close()
    with fails(RuntimeError, "Session is already closed."), session:
        pass
    assert log == []


@BOTH
def test_an_exception_goes_on_from_the_with_of_a_session_that_was_closed_inside(kind):
    with pytest.raises(KeyError, match="body"):
        with kind(graph=program()) as session:
            session.close()
            raise KeyError("body")


@BOTH
def test_a_closed_session_is_not_run(kind):
    session = kind(graph=program())
    session.close()
    for use in (lambda: session.run("w"), lambda: session.run_step_fn(lambda step_context: 0)):
        with fails(RuntimeError, "Session is already closed."):
            use()


# -- row: leaving it by OutOfRangeError or StopIteration ------------------------------------------


@BOTH
@each_error(*NORMAL)
@pytest.mark.parametrize("where", ["body", "op", "before_run", "after_run"])
def test_leaving_by_the_end_of_the_data_is_normal_whoever_raised_it(kind, error, where):
    log = []
    graph = program()

    @graph.op
    def ends():
        if where == "op":
            raise error

    hooks = trio(log, B={where: error})
    with kind(hooks=hooks, graph=graph) as session:
        raw = session.raw_session()
        session.run("ends")
        if where == "body":
            raise error
        raise AssertionError("the run should have raised")
    assert log[-3:] == calls("end")
    assert raw.closed


@BOTH
def test_an_exhausted_input_ends_the_loop(kind):
    graph = program()
    graph.input("x", range(3))
    seen = []
    with kind(graph=graph) as session:
        while not session.should_stop():
            seen.append(session.run(["x", "train"])[0])
    assert seen == [0, 1, 2]


@BOTH
def test_an_end_that_raises_is_not_swallowed_with_the_end_of_the_data(kind):
    with pytest.raises(StopIteration, match="end"):
        with kind(hooks=trio([], B={"end": StopIteration("end")}), graph=program()):
            raise OutOfRangeError("the data")


# -- row: leaving it by any other exception -------------------------------------------------------


@BOTH
@each_error(*OTHER, EOFError("not ours"))
@pytest.mark.parametrize("where", ["body", "op", "before_run", "after_run"])
def test_leaving_by_another_exception_calls_end_on_none_closes_and_goes_on(kind, error, where):
    log = []
    graph = program()

    @graph.op
    def breaks():
        if where == "op":
            raise error

    with pytest.raises(type(error)) as info:
        with kind(hooks=trio(log, B={where: error}), graph=graph) as session:
            raw = session.raw_session()
            session.run("breaks")
            raise error
    assert info.value is error
    assert not [call for call in log if call.endswith(".end")]
    assert raw.closed
    assert graph.finalized is False
    assert session.should_stop() is True


@BOTH
def test_an_interrupt_in_a_run_leaves_the_session_open_until_the_with_is_left(kind):
    answers = []
    graph = program()

    @graph.op
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with kind(graph=graph) as session:
            try:
                session.run("interrupted")
            except KeyboardInterrupt:
                answers.append(session.should_stop())
                raise
    assert answers == [False]


class Closes:
    """A session that is nobody's, whose closing fails."""

    def __init__(self, error):
        self.error = error

    def run(self, fetches, feed_dict, options, run_metadata):
        return fetches

    def close(self):
        raise self.error


class Creator:
    def __init__(self, session):
        self.session = session

    def create_session(self):
        return self.session


def test_a_failure_to_close_never_masks_the_exception_on_its_way():
    creator = Creator(Closes(OSError("disk")))
    with pytest.raises(KeyError, match="body") as info:
        with MonitoredSession(creator, graph=Graph()):
            raise KeyError("body")
    assert info.value.__notes__ == ["Then, while closing: OSError: disk"]


def test_a_failure_to_close_is_raised_on_a_normal_exit():
    log = []
    with pytest.raises(OSError, match="disk"):
        with MonitoredSession(
            Creator(Closes(OSError("disk"))), [RecordingHook("A", events=log)], graph=Graph()
        ):
            pass
    assert log[-1] == "A.end"
    with pytest.raises(OSError, match="disk"):
        with MonitoredSession(Creator(Closes(OSError("disk"))), graph=Graph()):
            raise StopIteration


# -- cleanup on every way out ---------------------------------------------------------------------


def ways_out():
    def leave(session):
        pass

    def end_of_data(session):
        raise OutOfRangeError("the end")

    def break_off(session):
        raise KeyError("broken")

    def interrupt(session):
        raise KeyboardInterrupt

    return [leave, end_of_data, break_off, interrupt]


@BOTH
@pytest.mark.parametrize("way", ways_out(), ids=lambda way: way.__name__)
def test_callbacks_run_in_reverse_before_the_close_and_others_after_it(kind, way):
    log = []

    class Cleans(SessionRunHook):
        def __init__(self, name):
            self.name = name

        def after_create_session(self, session, coord):
            coord.callback(lambda: log.append((self.name, session.closed)))
            coord.after_close(lambda *a, **k: log.append((a, k, session.closed)), 1, two=2)

        def end(self, session):
            log.append("end")

    try:
        with kind(hooks=[Cleans("A"), Cleans("B")], graph=program()) as session:
            way(session)
    except (KeyError, KeyboardInterrupt):
        pass
    else:
        assert log[:2] == ["end", "end"]
        del log[:2]
    assert log == [("B", False), ("A", False), *[((1,), {"two": 2}, True)] * 2]


@BOTH
def test_a_failing_callback_keeps_nothing_from_its_turn_and_is_raised(kind):
    log = []

    def fail():
        raise KeyError("callback")

    class Cleans(SessionRunHook):
        def after_create_session(self, session, coord):
            coord.callback(log.append, "callback")
            coord.callback(fail)
            coord.after_close(log.append, "after")

    session = kind(hooks=[Cleans()], graph=program())
    raw = session.raw_session()
    with pytest.raises(KeyError, match="callback"):
        session.close()
    assert log == ["callback", "after"]
    assert raw.closed


@BOTH
@pytest.mark.parametrize("way", ways_out(), ids=lambda way: way.__name__)
def test_the_coordinator_knows_which_exception_is_on_its_way(kind, way):
    seen = []

    class Looks(SessionRunHook):
        def after_create_session(self, session, coord):
            coord.callback(lambda: seen.append(type(coord.closing_error)))

    raised = None
    try:
        with kind(hooks=[Looks()], graph=program()) as session:
            way(session)
    except (KeyError, KeyboardInterrupt) as exc:
        raised = exc
    assert seen == [type(raised)]


# -- hooks with state -----------------------------------------------------------------------------


class Counts(SessionRunHook):
    def __init__(self):
        self.count = 0
        self.at_creation = None

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]

    def after_create_session(self, session, coord):
        self.at_creation = self.count

    def after_run(self, run_context, run_values):
        self.count += 1


def test_the_state_of_a_hook_is_restored_before_after_create_session(tmp_path):
    graph = program()
    first, second = Counts(), Counts()
    with MonitoredSession(hooks=[first, RecordingHook("A"), second], graph=graph) as session:
        session.run("train")
        second.count = 10
        assert session.raw_session().state().companions == {"Counts": first, "Counts_1": second}
        Saver().save(session, str(tmp_path / "model.ckpt"), global_step=1)
    one, two = Counts(), Counts()
    creator = ChiefSessionCreator(checkpoint_dir=str(tmp_path), graph=graph)
    with MonitoredSession(creator, [one, two]):
        assert (one.at_creation, two.at_creation) == (1, 10)


# -- foreign sessions and creators ----------------------------------------------------------------


class Foreign:
    """Any object with run() and close() can be driven."""

    def __init__(self):
        self.calls = []
        self.closed = False

    def run(self, fetches, feed_dict, options, run_metadata):
        self.calls.append((fetches, feed_dict))
        return [fetch.upper() if isinstance(fetch, str) else fetch for fetch in fetches]

    def close(self):
        self.closed = True


def test_any_object_with_run_and_close_is_driven():
    foreign, log, got = Foreign(), [], []

    class Asks(SessionRunHook):
        def after_create_session(self, session, coord):
            got.append(session)

        def before_run(self, run_context):
            return RunArgs("loss", {"x": 1})

        def after_run(self, run_context, run_values):
            got.append((run_values.results, run_values.options is not None))

    with MonitoredSession(Creator(foreign), [RecordingHook("A", events=log), Asks()]) as session:
        assert session.raw_session() is foreign
        assert session.run("train", {"y": 2}) == "TRAIN"
    assert foreign.calls == [(["train", "loss"], {"x": 1, "y": 2})]
    assert foreign.closed
    assert got == [foreign, ("LOSS", True)]
    assert log == [f"A.{method}" for method in METHODS]


def test_a_duck_typed_creator_and_a_class_of_ones_own_are_fine():
    class Mine:
        made = 0

        def create_session(self):
            Mine.made += 1
            return Foreign()

    MonitoredSession(Mine()).close()
    assert Mine.made == 1


def test_a_creator_that_fails_comes_out_and_the_graph_is_open_again():
    class Broken:
        def create_session(self):
            raise KeyError("broken")

    graph = program()
    log = []
    with pytest.raises(KeyError, match="broken"):
        MonitoredSession(Broken(), trio(log), graph=graph)
    assert log == calls("begin")
    assert graph.finalized is False


@BOTH
@pytest.mark.parametrize("method", METHODS)
def test_a_hook_that_fails_in_any_of_its_five_methods_gives_that_one_exception(kind, method):
    error = ValueError(f"broken in {method}")
    log = []
    graph = program()
    with pytest.raises(ValueError) as info:
        with kind(hooks=trio(log, B={method: error}), graph=graph) as session:
            session.run("train")
    assert info.value is error
    assert log[-1] == "C.end" if method == "end" else log[-1] == f"B.{method}"
    assert graph.finalized is False
    with kind(hooks=trio([]), graph=graph) as session:  # the graph is as good as new
        session.run("train")


@each_error(AbortedError("gone"), UnavailableError("away"))
@pytest.mark.parametrize("where", ["before_run", "after_run", "after_create_session"])
def test_a_singular_session_lets_preemption_out(error, where):
    with pytest.raises(type(error)) as info:
        with SingularMonitoredSession(trio([], B={where: error}), graph=program()) as session:
            session.run("train")
    assert info.value is error
