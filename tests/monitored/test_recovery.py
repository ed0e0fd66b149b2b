"""Lost sessions: after an AbortedError or UnavailableError a session is made anew, by one class only."""

import copy
import threading

import pytest

from runloop.checkpoint import Saver
from runloop.errors import AbortedError, OutOfRangeError, UnavailableError
from runloop.graph import Graph, get_default_graph
from runloop.hooks.base import SessionRunHook
from runloop.monitored import MonitoredSession, SingularMonitoredSession
from runloop.monitored.coordinated import PREEMPTION_ERRORS, raise_first
from runloop.monitored.creators import ChiefSessionCreator
from runloop.monitored.scaffold import Scaffold
from runloop.run import RunArgs
from runloop.testing import RecordingHook


class Gone(AbortedError):
    """A subclass counts as well."""


LOST = pytest.mark.parametrize(
    "error", [AbortedError("lost"), UnavailableError("away"), Gone("lost")], ids=repr, indirect=True
)


@pytest.fixture
def error(request):
    """A new exception each time: what is raised keeps its notes."""
    return copy.copy(request.param)


def program(log=None, failing=()):
    """A train op that writes down that it runs; `failing` are exceptions of its first runs."""
    log = [] if log is None else log
    errors = iter(failing)
    graph = Graph()
    graph.variable("w", 0.0)

    def train(w):
        log.append("train")
        for exc in errors:
            if exc is not None:
                raise exc
            break
        return w + 1

    graph.train_op(train, updates="w")
    return graph


def trio(log, **failing):
    return [RecordingHook(name, events=log, failing=failing.get(name)) for name in "ABC"]


def calls(method):
    return [f"{name}.{method}" for name in "ABC"]


ONE_RUN = [*calls("before_run"), "train", *calls("after_run")]


# -- lost in a run --------------------------------------------------------------------------------


@LOST
def test_lost_in_an_op_the_session_is_made_anew_and_the_call_repeated(error):
    log = []
    with MonitoredSession(hooks=trio(log), graph=program(log, [error])) as session:
        lost = session.raw_session()
        session.run("train")
        assert log == [
            *calls("begin"),
            *calls("after_create_session"),
            *[*calls("before_run"), "train"],
            *calls("after_create_session"),
            *ONE_RUN,
        ]
        assert lost.closed
        assert session.raw_session() is not lost
        assert session.run(["w", "global_step"]) == [1.0, 1]
        log.clear()
    assert log == calls("end")


@LOST
def test_lost_in_before_run(error):
    log = []
    hooks = trio(log, B={"before_run": error})
    with MonitoredSession(hooks=hooks, graph=program(log)) as session:
        log.clear()
        session.run("train")
    assert log == [
        *["A.before_run", "B.before_run"],
        *calls("after_create_session"),
        *ONE_RUN,
        *calls("end"),
    ]


@LOST
def test_lost_in_after_run_the_whole_call_is_repeated_in_the_new_session(error):
    log = []
    hooks = trio(log, B={"after_run": error})
    with MonitoredSession(hooks=hooks, graph=program(log)) as session:
        log.clear()
        session.run("train")
        assert log == [
            *[*calls("before_run"), "train", "A.after_run", "B.after_run"],
            *calls("after_create_session"),
            *ONE_RUN,
        ]
        assert session.raw_session().run("global_step") == 1


@LOST
def test_lost_in_a_singular_session_it_comes_out(error):
    log = []
    with pytest.raises(type(error)) as info:  # the inner with is what is tested
        with SingularMonitoredSession(trio(log), graph=program(log, [error])) as session:
            session.run("train")
    assert info.value is error
    assert log == [*calls("begin"), *calls("after_create_session"), *calls("before_run"), "train"]


def test_it_is_tried_again_as_often_as_it_takes():
    log = []
    errors = [AbortedError("lost"), UnavailableError("away")] * 20
    with MonitoredSession(
        hooks=[RecordingHook("A", events=log)], graph=program(log, errors)
    ) as session:
        session.run("train")
    assert log.count("train") == 41
    assert log.count("A.after_create_session") == 41
    assert log.count("A.begin") == log.count("A.end") == 1


def test_the_same_call_is_run_again_and_its_result_returned():
    errors = iter([AbortedError("lost")])
    seen = []
    graph = Graph()

    @graph.op
    def add(x, y):
        seen.append((x, y))
        for exc in errors:
            raise exc
        return x + y

    class Feeds(SessionRunHook):
        def before_run(self, run_context):
            assert run_context.original_args[:2] == (["add"], {"x": 1})
            return RunArgs("add", {"y": 2})

    with MonitoredSession(hooks=[Feeds()], graph=graph) as session:
        assert session.run(["add"], {"x": 1}) == [3]
    assert seen == [(1, 2), (1, 2)]


def test_a_new_session_restores_the_newest_checkpoint(tmp_path):
    log = []
    graph = program(log, [None, None, AbortedError("lost")])
    creator = ChiefSessionCreator(checkpoint_dir=str(tmp_path), graph=graph)
    with MonitoredSession(creator) as session:
        session.run("train")
        Saver().save(session, str(tmp_path / "model.ckpt"), global_step=1)
        session.run("train")
        session.run("train")  # lost: from the checkpoint on, once
        assert session.run(["w", "global_step"]) == [2.0, 2]


def test_without_a_checkpoint_a_new_session_starts_clean():
    graph = program([], [None, None, AbortedError("lost")])
    graph.input("x", range(10, 20))
    with MonitoredSession(graph=graph) as session:
        assert session.run(["x", "train"])[0] == 10
        assert session.run(["x", "train"])[0] == 11
        assert session.run(["x", "train"])[0] == 10
        assert session.run("global_step") == 1


def test_each_session_has_a_coordinator_of_its_own_and_the_old_one_is_closed():
    log = []

    class Looks(SessionRunHook):
        def __init__(self):
            self.coords = []

        def after_create_session(self, session, coord):
            self.coords.append(coord)
            number = len(self.coords)
            coord.callback(lambda: log.append((number, type(coord.closing_error), session.closed)))

    hook = Looks()
    with MonitoredSession(hooks=[hook], graph=program([], [AbortedError("lost")])) as session:
        session.run("train")
        first, second = hook.coords
        assert first is not second
        assert first.should_stop()
        assert not second.should_stop()
        assert log == [(1, AbortedError, False)]
    assert log[1:] == [(2, type(None), False)]


def test_a_stop_asked_for_before_the_loss_is_forgotten():
    class Stops(SessionRunHook):
        asked = 0

        def before_run(self, run_context):
            if not self.asked:
                run_context.request_stop()
            self.asked += 1

    hook = Stops()
    with MonitoredSession(hooks=[hook], graph=program([], [AbortedError("lost")])) as session:
        session.run("train")
        assert session.should_stop() is False
    assert hook.asked == 2


def test_hooks_keep_their_own_state():
    class Counts(SessionRunHook):
        def __init__(self):
            self.count = 0

        def after_run(self, run_context, run_values):
            self.count += 1

    hook = Counts()
    errors = [None, AbortedError("lost"), None]
    with MonitoredSession(hooks=[hook], graph=program([], errors)) as session:
        for _ in range(3):
            session.run("train")
    assert hook.count == 3


def test_the_graph_is_the_default_graph_while_a_session_is_made_anew():
    seen = []

    class Looks(SessionRunHook):
        def after_create_session(self, session, coord):
            seen.append((get_default_graph(), session.graph.finalized))

    graph = program([], [AbortedError("lost")])
    session = MonitoredSession(hooks=[Looks()], graph=graph)
    session.run("train")
    session.close()
    assert seen == [(graph, True)] * 2


def test_losses_are_logged(caplog):
    with MonitoredSession(graph=program([], [AbortedError("the worker")])) as session:
        session.run("train")
    line = "Session lost (AbortedError: the worker); creating a new one from the newest checkpoint."
    assert line in caplog.messages


# -- lost while a session is made -----------------------------------------------------------------


@LOST
def test_lost_in_after_create_session_it_starts_again_from_the_first_hook(error):
    log = []
    hooks = trio(log, B={"after_create_session": error})
    with MonitoredSession(hooks=hooks, graph=program(log)):
        pass
    assert log == [
        *calls("begin"),
        *["A.after_create_session", "B.after_create_session"],
        *calls("after_create_session"),
        *calls("end"),
    ]


def test_lost_in_init_fn_it_is_called_again():
    log = []
    errors = [AbortedError("lost"), UnavailableError("away")]

    def init_fn(scaffold, session):
        log.append("init_fn")
        if errors:
            raise errors.pop(0)

    creator = ChiefSessionCreator(Scaffold(init_fn=init_fn), graph=program())
    with MonitoredSession(creator, [RecordingHook("A", events=log)]):
        pass
    assert log == ["A.begin", *["init_fn"] * 3, "A.after_create_session", "A.end"]


def test_lost_while_it_is_made_anew_it_is_made_once_more():
    log = []
    graph = program(log, [AbortedError("lost")])
    hook = RecordingHook("A", events=log)
    with MonitoredSession(hooks=[hook], graph=graph) as session:
        hook.failing["after_create_session"] = UnavailableError("away")
        session.run("train")
    assert log.count("A.after_create_session") == 3
    assert log.count("train") == 2


@LOST
def test_what_was_made_of_a_session_that_was_lost_meanwhile_is_closed(error):
    closed = []

    class Cleans(SessionRunHook):
        def after_create_session(self, session, coord):
            coord.callback(lambda: closed.append("callback"))
            coord.after_close(lambda: closed.append(session.closed))

    hooks = [Cleans(), RecordingHook("A", failing={"after_create_session": error})]
    session = MonitoredSession(hooks=hooks, graph=program())
    assert closed == ["callback", True]
    session.close()


@LOST
def test_lost_in_begin_it_comes_out(error):
    log = []
    with pytest.raises(type(error)) as info:
        MonitoredSession(hooks=trio(log, A={"begin": error}), graph=program())
    assert info.value is error
    assert log == ["A.begin"]


@LOST
def test_lost_while_made_a_singular_session_comes_out(error):
    with pytest.raises(type(error)) as info:
        SingularMonitoredSession(trio([], B={"after_create_session": error}), graph=program())
    assert info.value is error


def test_a_session_that_cant_be_made_anew_is_an_error_that_comes_out_and_may_be_tried_again():
    log = []
    hook = RecordingHook("A", events=log)
    graph = program(log, [AbortedError("lost")])
    with MonitoredSession(hooks=[hook], graph=graph) as session:
        hook.failing["after_create_session"] = KeyError("broken")
        with pytest.raises(KeyError, match="broken"):
            session.run("train")
        session.run("train")
        assert session.run("global_step") == 1
    assert log[-1] == "A.end"


# -- lost by a thread -----------------------------------------------------------------------------


class Threads(SessionRunHook):
    def __init__(self):
        self.sessions = 0

    def after_create_session(self, session, coord):
        self.coord = coord
        self.sessions += 1

    def fail(self, error):
        def body():
            with self.coord.stop_on_exception():
                raise error

        thread = threading.Thread(target=body)
        self.coord.register_thread(thread)
        thread.start()
        thread.join()


@LOST
def test_lost_by_a_thread_should_stop_makes_the_session_anew_and_says_no(error):
    threads = Threads()
    with MonitoredSession(hooks=[threads], graph=program()) as session:
        lost = session.raw_session()
        threads.fail(error)
        session.run("train")  # runs do not look at the coordinator
        assert threads.sessions == 1
        assert session.should_stop() is False
        assert threads.sessions == 2
        assert lost.closed
        assert session.run("global_step") == 0


@LOST
def test_lost_by_a_thread_a_run_that_fails_of_it_is_repeated_in_a_new_session(error):
    log = []
    threads = Threads()
    graph = program(log, [ValueError("the thread left nothing to read")])
    with MonitoredSession(hooks=[threads], graph=graph) as session:
        threads.fail(error)
        session.run("train")
        assert threads.sessions == 2
    assert log == ["train", "train"]


@LOST
def test_lost_by_a_thread_and_never_looked_at_it_is_logged_at_the_end(error, caplog):
    log = []
    threads = Threads()
    with MonitoredSession(hooks=[threads, RecordingHook("A", events=log)], graph=program()):
        threads.fail(error)
    assert log[-1] == "A.end"
    assert f"While closing: {type(error).__name__}: {error}" in caplog.messages


@LOST
def test_lost_by_a_thread_a_singular_session_raises_it_when_asked_and_when_left(error):
    threads = Threads()
    with pytest.raises(type(error)) as info:
        with SingularMonitoredSession([threads], graph=program()) as session:
            threads.fail(error)
            with pytest.raises(type(error)):
                session.should_stop()
    assert info.value is error


def test_a_threads_other_failure_goes_on_from_a_run_that_lost_the_session():
    """It would be lost with the old coordinator."""
    threads = Threads()
    graph = program([], [AbortedError("lost")])
    session = MonitoredSession(hooks=[threads], graph=graph)
    threads.fail(ValueError("thread"))
    with pytest.raises(ValueError, match="thread"):
        session.run("train")
    session.close()


def test_a_run_that_fails_of_its_own_beside_a_failed_thread_raises_its_own():
    threads = Threads()
    session = MonitoredSession(hooks=[threads], graph=program([], [KeyError("own")]))
    threads.fail(OutOfRangeError("thread"))
    with pytest.raises(KeyError, match="own"):
        session.run("train")
    with pytest.raises(OutOfRangeError, match="thread"):
        session.close()


# -- errors while closing -------------------------------------------------------------------------


def test_which_errors_call_for_a_new_session():
    assert (AbortedError, UnavailableError) == PREEMPTION_ERRORS


def test_the_others_become_notes_on_the_first():
    first = ValueError("first")
    with pytest.raises(ValueError, match="first") as info:
        raise_first([first, KeyError("second"), first, OSError("third")])
    assert info.value.__notes__ == [
        "Then, while closing: KeyError: 'second'",
        "Then, while closing: OSError: third",
    ]
    raise_first([])
    raise_first([KeyError("on its way")], reraise=False)


def test_an_interrupt_never_ends_as_a_note():
    with pytest.raises(KeyboardInterrupt) as info:
        raise_first([ValueError("first"), KeyboardInterrupt()])
    assert info.value.__notes__ == ["Then, while closing: ValueError: first"]
    log = []
    hooks = trio(log, A={"end": ValueError("first")}, B={"end": KeyboardInterrupt()})
    session = MonitoredSession(hooks=hooks, graph=program())
    raw = session.raw_session()
    with pytest.raises(KeyboardInterrupt):
        session.close()
    assert raw.closed


def test_an_exception_on_its_way_stays_the_first_even_before_an_interrupt():
    error = KeyError("body")
    raise_first([error, KeyboardInterrupt()], reraise=False)
    assert error.__notes__ == ["Then, while closing: KeyboardInterrupt"]
