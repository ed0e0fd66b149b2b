"""LifecycleRecorder: what it sees, that it changes nothing, and what it can be shown as."""

import contextvars
import json
import threading

import pytest

import runloop as rl
from runloop import observers
from runloop.monitored import coordinated, dispatch
from runloop.testing import FakeClock, FakeSession, LifecycleRecorder, RaiseAt, RecordingHook
from runloop.testing.events import show
from runloop.testing.recorder.explain import explain


class Ask(rl.SessionRunHook):
    def before_run(self, context):
        return rl.RunArgs("loss", {"rate": 0.5})

    def after_run(self, context, values):
        context.session.run("loss")

    def end(self, session):
        pass


class Count(rl.SessionRunHook):
    count = 0

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]

    def after_run(self, context, values):
        self.count += 1


def training_graph():
    graph = rl.Graph()
    graph.op(lambda global_step: int(global_step) / 2, name="loss")
    graph.train_op(lambda rate=1.0: None, name="train")
    return graph


def monitored(hooks, folder=None, graph=None):
    graph = graph or training_graph()
    creator = rl.ChiefSessionCreator(checkpoint_dir=folder, graph=graph)
    return rl.MonitoredSession(creator, hooks, graph=graph)


def test_the_whole_story_of_a_session():
    with LifecycleRecorder() as recorder, monitored([Ask(), RecordingHook()]) as session:
        session.run("train")
    assert recorder.events == [
        "RecordingHook.begin",
        "session.create step=0",
        "RecordingHook.after_create_session step=0",
        "loop.run step=0 fetches='train'",
        "Ask.before_run step=0 asks='loss' feeds={'rate': 0.5}",
        "RecordingHook.before_run step=0",
        "session.run step=0 fetches=['train', 'loss']",
        "Ask.after_run step=1 got=0.0",
        "session.run step=1 fetches='loss' by=Ask",
        "RecordingHook.after_run step=1",
        "Ask.end step=1",
        "RecordingHook.end step=1",
        "session.close step=1",
    ]
    assert recorder.hooks == ["Ask", "RecordingHook"]


def test_an_event_carries_what_it_was_made_from():
    clock = FakeClock(per_step=2.0)
    with clock.use(), LifecycleRecorder() as recorder:
        with monitored([clock.hook(), Ask()]) as session:
            session.run("train", {})
    call = next(event for event in recorder.events if event.who == "loop")
    assert (call.what, call.step, call.secs, call.depth, call.life) == ("run", 0, 2.0, 0, 0)
    asked = next(event for event in recorder.events if event.who == "Ask")
    assert asked.args == rl.RunArgs("loss", {"rate": 0.5})
    assert (asked.depth, asked.start, asked.by) == (1, 2.0, "session")
    own = next(event for event in recorder.events if event.by == "Ask")
    assert (own.results, own.depth) == (0.5, 2)


def test_a_recovery_with_saves_and_state(tmp_path):
    hooks = [
        rl.CheckpointSaverHook(tmp_path, save_steps=1),
        Count(),
        RaiseAt(1, rl.errors.AbortedError("lost")),
    ]
    with LifecycleRecorder() as recorder, monitored(hooks, tmp_path) as session:
        session.run("train")
        session.run("train")
    story = [e for e in recorder.events if e.who in {"saver", "session", "loop", "Count"}]
    assert [str(event) for event in story if not event.by.startswith("Checkpoint")] == [
        "session.create step=0",
        "loop.run step=0 fetches='train'",
        "session.run step=0 fetches=['train', global_step]",
        "Count.after_run step=1",
        "saver.save step=1 model.ckpt-1.safetensors",
        "loop.run step=1 fetches='train' raises AbortedError: lost",
        "session.run step=1 fetches=['train', global_step, raise_at] raises AbortedError: lost",
        "session.lost step=1 after AbortedError: lost",
        "saver.restore step=1 model.ckpt-1.safetensors",
        "session.create step=1",
        "Count.load_state_dict got={'count': 1}",
        "loop.run step=1 fetches='train' again",
        "session.run step=1 fetches=['train', global_step]",
        "Count.after_run step=2",
        "saver.save step=2 model.ckpt-2.safetensors",
        "session.close step=2",
    ]
    assert [event.life for event in story][-1] == 1


def test_errors_and_stops_are_seen_where_they_happen():
    hooks = [RecordingHook(stop_after=1), RaiseAt(1, ValueError("no"), "after_run")]
    with LifecycleRecorder() as recorder, pytest.raises(ValueError):
        with monitored(hooks) as session:
            session.run("train")
    assert recorder.events[-3:] == [
        "RecordingHook.after_run step=1 requests stop",
        "RaiseAt.after_run step=1 raises ValueError: no",
        "session.close step=1 after ValueError: no",
    ]


def test_a_stop_asked_of_the_coordinator_is_the_hooks():
    class StopAll(rl.SessionRunHook):
        def after_create_session(self, session, coord):
            self.coord = coord

        def after_run(self, context, values):
            self.coord.request_stop()

    with LifecycleRecorder() as recorder, monitored([StopAll()]) as session:
        session.run("train")
    assert "StopAll.after_run step=1 requests stop" in recorder.events


def test_a_session_that_can_not_be_made():
    class Creator(rl.SessionCreator):
        tries = 0

        def create_session(self):
            self.tries += 1
            if self.tries == 1:
                raise rl.errors.UnavailableError("not yet")
            return FakeSession({"x": 1, "global_step": 3})

    with LifecycleRecorder() as recorder:
        with rl.MonitoredSession(Creator(), [], graph=rl.Graph()) as session:
            session.run("x")
    assert recorder.events == [
        "session.create raises UnavailableError: not yet",
        "session.create step=3",
        "loop.run step=3 fetches='x'",
        "session.run step=3 fetches='x'",
        "session.close step=3",
    ]


def test_a_session_with_slots_is_recorded_from_above():
    class Slotted:
        __slots__ = ()

        def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
            return fetches

        def close(self):
            pass

    class Creator:
        def create_session(self):
            return Slotted()

    with LifecycleRecorder() as recorder:
        with rl.MonitoredSession(Creator(), [], graph=rl.Graph()) as session:
            assert session.run("x") == "x"
    assert recorder.events == ["session.create", "loop.run fetches='x'", "session.close"]


def test_runs_of_threads_say_whose_they_are():
    with LifecycleRecorder() as recorder, monitored([]) as session:
        raw = session.raw_session()
        thread = threading.Thread(target=lambda: raw.run("loss"), name="feeder")
        thread.start()
        thread.join()
        raw.run("loss")
    assert [str(event) for event in recorder.events[1:3]] == [
        "session.run step=0 fetches='loss' by=feeder",
        "session.run step=0 fetches='loss' by=loop",
    ]


def test_recorders_may_be_open_inside_of_each_other():
    with LifecycleRecorder() as outer:
        with monitored([Ask()]) as session:
            session.run("train")
        with LifecycleRecorder() as inner, monitored([Ask()]) as session:
            session.run("train")
            session.run("train")
    assert outer.events[-len(inner.events) :] == inner.events
    assert len(outer.events) > len(inner.events)


def test_nothing_is_changed_and_nothing_stays():
    before = dispatch.Dispatcher, coordinated.CoordinatedSession, rl.Saver.save, rl.Saver.restore
    with LifecycleRecorder():
        during = (
            dispatch.Dispatcher,
            coordinated.CoordinatedSession,
            rl.Saver.save,
            rl.Saver.restore,
        )
        session = monitored([Ask()])
        raw = session.raw_session()
        assert session.run("loss") == 0.0
    assert before == during
    assert observers.current() == ()
    session.close()
    assert "run" not in vars(raw)


def in_a_thread(target):
    found = []
    thread = threading.Thread(target=lambda: found.append(target()))
    thread.start()
    thread.join()
    return found[0]


def test_threads_with_recorders_of_their_own_do_not_see_each_other():
    barrier = threading.Barrier(2, timeout=60)

    def record(fetch):
        with LifecycleRecorder() as recorder:
            barrier.wait()
            with monitored([]) as session:
                barrier.wait()
                session.run(fetch)
            barrier.wait()
        return [str(event) for event in recorder.events]

    found = []
    threads = [
        threading.Thread(target=lambda fetch=fetch: found.append(record(fetch)))
        for fetch in ("train", "loss")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [
        [
            "session.create step=0",
            f"loop.run step=0 fetches='{fetch}'",
            f"session.run step=0 fetches='{fetch}'",
            f"session.close step={step}",
        ]
        for fetch, step in (("loss", 0), ("train", 1))
    ]


def test_another_thread_is_another_context_unless_it_is_given_this_one():
    def run():
        with monitored([]) as session:
            session.run("loss")

    with LifecycleRecorder() as recorder:
        in_a_thread(run)
        assert recorder.events == []
        context = contextvars.copy_context()
        in_a_thread(lambda: context.run(run))
    assert len(recorder.events) == 4


def test_a_session_that_is_recorded_may_be_run_in_another_thread(tmp_path):
    hook = rl.CheckpointSaverHook(tmp_path, save_steps=1)
    with LifecycleRecorder() as recorder, monitored([hook]) as session:
        in_a_thread(lambda: session.run("train"))
    saves = [event for event in recorder.events if event.who == "saver"]
    assert saves == [
        "saver.save step=0 model.ckpt-0.safetensors",
        "saver.save step=1 model.ckpt-1.safetensors",
    ]


def test_a_recorder_that_is_opened_twice_records_once():
    recorder = LifecycleRecorder()
    with recorder, recorder, monitored([]) as session:
        session.run("loss")
    assert len(recorder.events) == 4


def test_a_session_that_was_made_before_is_left_alone():
    session = monitored([RaiseAt(0, rl.errors.AbortedError("lost"))])
    with LifecycleRecorder() as recorder:
        session.run("train")
    assert recorder.events == []
    session.close()


# -- shown -----------------------------------------------------------------------------------------


@pytest.fixture
def recorder():
    with FakeClock(per_read=0.001).use(), LifecycleRecorder() as recorder:
        with monitored([Ask()]) as session:
            session.run("train")
    return recorder


def test_as_a_table_that_fits(recorder):
    assert recorder.table(width=200).splitlines()[:4] == [
        "step  who      what            ms  details",
        "   0  session  create        1.00",
        "   0  loop     run           9.00  fetches='train'",
        "   0  Ask        before_run  1.00  asks='loss' feeds={'rate': 0.5}",
    ]
    for width in (40, 60, 80):
        assert max(map(len, recorder.table(width).splitlines())) <= width
    assert recorder.table(width=50).splitlines()[3].endswith("  asks='loss' ...")


def test_as_a_table_of_the_terminals_width(recorder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "45")
    assert max(map(len, str(recorder).splitlines())) == 45


def test_as_a_sequence_diagram(recorder):
    assert recorder.mermaid().splitlines() == [
        "sequenceDiagram",
        "    participant L as your loop",
        "    participant M as MonitoredSession",
        "    participant H1 as Ask",
        "    participant S as Session",
        "    L->>M: MonitoredSession(hooks)",
        "    M->>S: create at step 0",
        "    L->>M: run('train')",
        "    M->>H1: before_run()",
        "    H1-->>M: RunArgs('loss', feed_dict={'rate': 0.5})",
        "    M->>S: run(['train', 'loss'])",
        "    S-->>M: [None, 0.0]",
        "    M->>H1: after_run(0.0)",
        "    H1->>S: run('loss')",
        "    S-->>H1: 0.5",
        "    M-->>L: None",
        "    L->>M: leave the with block",
        "    M->>H1: end()",
        "    M->>S: close()",
    ]


def test_what_mermaid_would_take_for_its_own_is_coded():
    graph = training_graph()
    graph.op(lambda: 1, name="a;b#c<d>\ne")
    with LifecycleRecorder() as recorder, monitored([], graph=graph) as session:
        session.run("a;b#c<d>\ne")
    call = next(line for line in recorder.mermaid().splitlines() if "L->>M: run" in line)
    assert call == r"    L->>M: run('a#59;b#35;c#lt;d#gt;\ne')"


def test_as_json(recorder):
    documents = json.loads(recorder.json())
    assert [document["text"] for document in documents] == recorder.events
    asked = next(d for d in documents if d["what"] == "before_run")
    assert asked == {
        "text": "Ask.before_run step=0 asks='loss' feeds={'rate': 0.5}",
        "who": "Ask",
        "what": "before_run",
        "by": "session",
        "step": 0,
        "fetches": "'loss'",
        "feeds": "{'rate': 0.5}",
        "results": None,
        "requests_stop": False,
        "error": None,
        "session": 0,
        "depth": 1,
        "start_secs": asked["start_secs"],
        "secs": asked["secs"],
    }


def test_as_chrome_trace_events(recorder):
    document = json.loads(recorder.chrome_trace())
    spans = [event for event in document["traceEvents"] if event["ph"] == "X"]
    assert [span["args"]["text"] for span in spans] == recorder.events
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in document["traceEvents"]
        if event["name"] == "thread_name"
    }
    assert [names[span["pid"], span["tid"]] for span in spans] == [e.who for e in recorder.events]
    call = next(span for span in spans if names[1, span["tid"]] == "loop")
    inner = [span for span in spans if call["ts"] <= span["ts"] < call["ts"] + call["dur"]]
    assert [span["name"] for span in inner] == ["run", "before_run", "run", "after_run", "run"]


def test_an_empty_recorder_can_be_shown():
    recorder = LifecycleRecorder()
    assert recorder.table(80) == "step  who  what  ms  details"
    assert recorder.json() == "[]"
    assert json.loads(recorder.chrome_trace())["traceEvents"] == []
    assert recorder.mermaid().startswith("sequenceDiagram\n")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5]}, "{'a': [1, 2.5]}"),
        ((1,), "(1,)"),
        ((1, "x"), "(1, 'x')"),
        (rl.RunArgs("x"), "RunArgs('x', None, None)"),
        (len, "len"),
        ("x" * 90, "'" + "x" * 56 + "..."),
    ],
)
def test_values_in_a_few_words(value, text):
    assert show(value) == text


def test_handles_are_shown_by_their_names():
    graph = training_graph()
    assert show(graph.get_tensor_by_name("loss:0")) == "loss:0"  # of which no shape is known
    assert show([graph.get_tensor_by_name("global_step:0")]) == "[global_step:0]"
    assert show(graph.get_operation_by_name("train")) == "train"


# -- loops -----------------------------------------------------------------------------------------


def test_a_pass_of_a_loop_is_recorded_as_a_run_with_its_body():
    with LifecycleRecorder() as recorder:
        with rl.Loop(None, {"w": 1.0}, hooks=[Ask(), rl.StopAtStepHook(last_step=1)]) as loop:
            for _ in loop.steps(3):
                loop.report(loss=loop.feeds["rate"])
                loop.session.run("w")
    assert recorder.events == [
        "StopAtStepHook.begin",
        "session.create step=0",
        "StopAtStepHook.after_create_session step=0",
        "session.run step=0 fetches=global_step by=StopAtStepHook",
        "loop.run step=0 requests stop",
        "Ask.before_run step=0 asks='loss' feeds={'rate': 0.5}",
        "StopAtStepHook.before_run step=0 asks=global_step",
        "loop.body step=0",
        "session.run step=0 fetches='w' by=loop",
        "Ask.after_run step=1 got=0.5",
        "session.run step=1 fetches='loss' by=Ask",
        "StopAtStepHook.after_run step=1 got=0 requests stop",
        "session.run step=1 fetches=global_step by=StopAtStepHook",
        "Ask.end step=1",
        "session.close step=1",
    ]
    depths = {str(event).partition(" ")[0]: event.depth for event in recorder.events}
    assert depths["loop.body"] == depths["StopAtStepHook.after_run"] == 1


def test_passes_without_hooks_are_recorded():
    with LifecycleRecorder() as recorder, rl.Loop(None, {"w": 1.0}) as loop:
        for _ in loop.steps(2):
            pass
    assert recorder.events == [
        "session.create step=0",
        "loop.run step=0",
        "loop.body step=0",
        "loop.run step=1",
        "loop.body step=1",
        "session.close step=2",
    ]


def test_a_pass_that_is_left_by_break_ends_at_the_next_call():
    with LifecycleRecorder() as recorder, rl.Loop(None, {"w": 1.0}, hooks=[Count()]) as loop:
        for _ in loop.steps(3):
            break
        for _ in loop.steps(1):
            pass
    assert [str(event) for event in recorder.events if event.who != "session"] == [
        "loop.run step=0",
        "loop.body step=0",
        "Count.after_run step=1",
        "loop.run step=1",
        "loop.body step=1",
        "Count.after_run step=2",
    ]


@pytest.mark.parametrize("error", [KeyError("no"), rl.errors.OutOfRangeError("no more")])
def test_a_body_that_raises_is_recorded_with_its_error(error):
    with LifecycleRecorder() as recorder:
        try:
            with rl.Loop(None, {"w": 1.0}, hooks=[Count()]) as loop:
                for _ in loop.steps(3):
                    raise error
        except KeyError:
            pass
    story = [event for event in recorder.events if event.who in {"loop", "Count"}]
    assert [event.what for event in story] == ["run", "body"]
    assert [event.error for event in story] == [error, error]
    assert observers.current() == ()


def test_a_hook_that_raises_in_a_pass_ends_the_pass():
    hooks = [RaiseAt(1, ValueError("no"), "before_run")]
    with LifecycleRecorder() as recorder, rl.Loop(None, {"w": 1.0}, hooks=hooks) as loop:
        with pytest.raises(ValueError):
            for _ in loop.steps(3):
                pass
        assert recorder.events[-2:] == [
            "loop.run step=1 raises ValueError: no",
            "RaiseAt.before_run step=1 raises ValueError: no",
        ]
        assert recorder.callers() == ("loop",)


def test_watching_costs_the_same_however_many_variables_there_are(monkeypatch):
    states = []
    real = rl.Session.state
    monkeypatch.setattr(rl.Session, "state", lambda self: states.append(1) or real(self))
    graph = rl.Graph()
    graph.train_op(lambda: None, name="train")
    with LifecycleRecorder() as recorder, rl.MonitoredSession(graph=graph) as session:
        session.run("train")
        session.run("train")
    assert states == []
    assert [event.step for event in recorder.events][-1] == 2


def test_a_pass_as_a_sequence_diagram_and_in_words():
    with LifecycleRecorder() as recorder, pytest.raises(KeyError):
        with rl.Loop(None, {"w": 1.0}, hooks=[Count()]) as loop:
            for i in loop.steps(3):
                if i:
                    raise KeyError("no")
    assert recorder.mermaid().splitlines()[5:] == [
        "    L->>M: Loop(hooks)",
        "    M->>S: create at step 0",
        "    L->>M: next pass",
        "    M-->>L: the body of the pass",
        "    L->>M: the body is done",
        "    M->>H1: after_run()",
        "    L->>M: next pass",
        "    M-->>L: the body of the pass",
        "    L-xM: KeyError: 'no'",
        "    M--xL: KeyError: 'no'",
        "    L->>M: leave the with block by KeyError",
        "    M->>S: close()",
        "    M--xL: KeyError: 'no'",
    ]
    assert [explain(recorder.events, i) for i in range(1, 6)] == [
        "One pass of the loop: it counts as one run.",
        "The body of the loop: the program's own code, between before_run and after_run.",
        "The run succeeded; the hook had asked for nothing.",
        "One pass of the loop; it raises, which leaves the with block.",
        "The body of the loop raises: after_run is skipped for all hooks.",
    ]
