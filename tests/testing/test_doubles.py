"""The doubles: hooks, listeners, writers and sessions that do what they are told."""

from types import SimpleNamespace

import numpy as np
import pytest

import runloop as rl
from runloop.summary import SummaryWriter
from runloop.testing import (
    Event,
    FakeSession,
    MemorySummaryWriter,
    RaiseAt,
    RecordingHook,
    RecordingListener,
)
from tests.checks import fails


def training_graph():
    graph = rl.Graph()
    graph.op(lambda global_step: int(global_step) * 1.0, name="loss")
    graph.train_op(lambda: None, name="train")
    return graph


def train(hooks, runs, graph=None):
    with rl.MonitoredSession(hooks=hooks, graph=graph or training_graph()) as session:
        for _ in range(runs):
            session.run("train")


# -- RecordingHook ---------------------------------------------------------------------------------


def test_a_recording_hook_writes_down_calls_steps_and_results():
    hook = RecordingHook("A", asks="loss")
    train([hook], 2)
    assert hook.events == [
        "A.begin",
        "A.after_create_session",
        "A.before_run",
        "A.after_run",
        "A.before_run",
        "A.after_run",
        "A.end",
    ]
    assert [event.step for event in hook.events] == [None, 0, 0, 1, 1, 2, 2]
    assert (hook.results, hook.steps) == ([0.0, 1.0], [1, 2])
    assert hook.events[2].args == rl.RunArgs("loss")
    assert isinstance(hook.coord, rl.Coordinator)
    assert isinstance(hook.session, rl.Session)


def test_several_recording_hooks_share_one_list():
    events = []
    train([RecordingHook("A", events=events), RecordingHook("B", events=events)], 0)
    assert [str(event) for event in events] == [
        "A.begin",
        "B.begin",
        "A.after_create_session",
        "B.after_create_session",
        "A.end",
        "B.end",
    ]


def test_what_it_asks_for_may_depend_on_the_run():
    hook = RecordingHook(asks=lambda context: rl.RunArgs(["loss"]) if context.session else None)
    train([hook], 1)
    assert hook.results == [[0.0]]


def test_it_fails_once_where_it_is_told_to():
    hook = RecordingHook("A", failing={"before_run": rl.errors.AbortedError("lost")})
    train([hook], 1)
    assert hook.events.count("A.before_run") == 2
    assert isinstance(hook.events[2].error, rl.errors.AbortedError)


def test_it_requests_a_stop_after_so_many_runs():
    hook = RecordingHook(stop_after=2)
    with rl.MonitoredSession(hooks=[hook], graph=training_graph()) as session:
        while not session.should_stop():
            session.run("train")
    assert hook.steps == [1, 2]


def test_an_event_is_its_text():
    event = Event("A.end step=3", who="A", what="end", step=3)
    assert event == "A.end step=3"
    assert repr(event) == "'A.end step=3'"
    assert {event: 1}["A.end step=3"] == 1
    assert event.details == ""


# -- RecordingListener -----------------------------------------------------------------------------


def test_a_recording_listener_writes_down_saves_and_asks_to_stop(tmp_path):
    listener = RecordingListener("L", stop_at=2)
    saver = rl.CheckpointSaverHook(tmp_path, save_steps=1, listeners=[listener])
    with rl.MonitoredSession(hooks=[saver], graph=training_graph()) as session:
        while not session.should_stop():
            session.run("train")
    assert listener.events == [
        "L.begin",
        "L.before_save step=0",
        "L.after_save step=0",
        "L.before_save step=1",
        "L.after_save step=1",
        "L.before_save step=2",
        "L.after_save step=2",
        "L.end step=2",
    ]
    assert listener.saved_steps == [0, 1, 2]


# -- MemorySummaryWriter ---------------------------------------------------------------------------


def test_a_memory_writer_is_a_summary_writer_that_remembers():
    writer = MemorySummaryWriter()
    assert isinstance(writer, SummaryWriter)
    assert not writer.closed
    writer.add_scalar("loss", np.float32(0.5), np.int64(1))
    writer.add_scalar("rate", 2, 1)
    writer.add_scalar("loss", 0.25, 2)
    writer.flush()
    writer.close()
    assert writer.scalars == [("loss", 0.5, 1), ("rate", 2, 1), ("loss", 0.25, 2)]
    assert [type(step) for _, _, step in writer.scalars] == [int, int, int]
    assert writer.values("loss") == [0.5, 0.25]
    assert (writer.calls, writer.closed) == (["flush", "close"], True)


# -- RaiseAt ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "step", "seen"),
    [
        ("before_run", 1, ["before_run", "after_run", "before_run"]),
        ("run", 1, ["before_run", "after_run", "before_run"]),
        ("after_run", 2, ["before_run", "after_run", "before_run", "after_run"]),
        ("end", 3, ["before_run", "after_run"] * 3 + ["end"]),
    ],
)
def test_it_raises_at_a_step_in_a_method(where, step, seen):
    watcher = RecordingHook("W")
    with fails(KeyError, "'boom'"):
        train([watcher, RaiseAt(step, KeyError("boom"), where)], 3)
    assert [event.what for event in watcher.events[2:]] == seen


def test_it_raises_in_making_a_session():
    with fails(KeyError, "'boom'"):
        train([RaiseAt(0, KeyError("boom"), "begin")], 0)
    with fails(KeyError, "'boom'"):
        train([RaiseAt(0, KeyError("boom"), "after_create_session")], 0)


def test_it_raises_as_often_as_it_is_told_to():
    watcher = RecordingHook("W")
    lost = RaiseAt(0, rl.errors.AbortedError("lost"), times=3)
    train([watcher, lost], 1)
    assert watcher.events.count("W.after_create_session") == 4


def test_it_counts_runs_where_there_is_no_global_step():
    session = FakeSession({"x": 1})
    hook = RaiseAt(1, ValueError, "before_run")
    context = rl.RunContext(rl.RunArgs("x"), session)
    assert hook.before_run(context) is None
    hook.after_run(context, None)
    with pytest.raises(ValueError):
        hook.before_run(context)


def test_it_knows_its_places():
    with fails(
        ValueError,
        "RaiseAt: where must be one of begin, after_create_session, before_run, run, after_run, "
        "end, got 'op'",
    ):
        RaiseAt(1, ValueError(), "op")


# -- FakeSession -----------------------------------------------------------------------------------


def test_a_fake_session_gives_what_it_was_told_to_in_the_structure_asked_for():
    session = FakeSession({"loss": [0.5, 0.25], "w": np.ones(2), "now": lambda: 7})
    assert session.run({"l": "loss", "n": ["now", "loss:0"]}) == {"l": 0.5, "n": [7, 0.5]}
    assert session.run("loss") == 0.25
    assert session.run("loss") == 0.25  # the last one again and again
    assert session.run(SimpleNamespace(name="loss:0")) == 0.25
    assert session.run(lambda: "called") == "called"
    assert session.runs[1] == ("loss", None)


def test_what_is_fed_to_a_fake_session_comes_back():
    session = FakeSession({"loss": 0.5})
    assert session.run(["loss", "x"], {"x:0": 3}) == [0.5, 3]
    assert session.runs == [(["loss", "x"], {"x:0": 3})]


def test_a_fake_session_raises_what_it_was_told_to():
    session = FakeSession({"loss": [1.0, ValueError("gone")]})
    session.run("loss")
    with fails(ValueError, "gone"):
        session.run("loss")


def test_a_fake_session_knows_what_it_was_not_told():
    with fails(KeyError, repr("FakeSession has no value for 'los'. Did you mean 'loss'?")):
        FakeSession({"loss": 1}).run("los")


def test_a_closed_fake_session_does_not_run():
    session = FakeSession({"loss": 1})
    session.close()
    with fails(RuntimeError, "Attempted to use a closed Session."):
        session.run("loss")


def test_a_monitored_session_drives_a_fake_one():
    session = FakeSession({"loss": [3.0, 2.0, 1.0], "global_step": 5})
    creator = session.creator()
    hook = RecordingHook("A", asks="loss")
    with rl.MonitoredSession(creator, [hook], graph=rl.Graph()) as monitored:
        monitored.run([])
        monitored.run([])
    assert hook.results == [3.0, 2.0]
    assert hook.steps == [5, 5]
    assert (session.closed, creator.created) == (True, 1)
