"""Observers: what is watched from outside, and by whom."""

import threading
from contextlib import contextmanager

import pytest

import runloop as rl
from runloop import observers
from runloop.observers import Moment
from runloop.testing import FakeSession


class Observer:
    """Writes down where each moment begins and ends."""

    def __init__(self, name="", told=None):
        self.name = name
        self.told = [] if told is None else told

    def new_session(self, names, clock):
        self.told.append(f"{self.name}hooks {', '.join(names)}".strip())

    @contextmanager
    def moment(self, moment):
        text = f"{self.name}{moment.who}.{moment.what}"
        self.told.append(text)
        try:
            yield
        finally:
            error = "" if moment.error is None else f" {type(moment.error).__name__}"
            self.told.append(f"/{text}{error}")


class Ask(rl.SessionRunHook):
    def before_run(self, context):
        return rl.RunArgs("loss")


def training():
    graph = rl.Graph()
    graph.op(lambda: 1.0, name="loss")
    graph.train_op(lambda: None, name="train")
    return graph


def test_without_observers_a_session_has_no_watch():
    assert observers.current() == ()
    with rl.MonitoredSession(graph=training(), hooks=[Ask()]) as session:
        assert session._hooks.watch is None
        assert session._run_hooks == session._hooks.run
        assert session._hooks._before == [(1, session.hooks[0].before_run)]
        assert "run" not in vars(session.raw_session())


def test_an_observer_is_told_where_each_moment_begins_and_ends():
    observer = Observer()
    with observers.use(observer), rl.MonitoredSession(graph=training(), hooks=[Ask()]) as session:
        session.run("train")
    assert observer.told == [
        "hooks Ask",
        "session.create",
        "/session.create",
        "loop.run",
        "Ask.before_run",
        "/Ask.before_run",
        "session.run",
        "/session.run",
        "/loop.run",
        "session.close",
        "/session.close",
    ]


def test_a_session_keeps_the_observers_it_was_made_under():
    outer, inner = Observer(), Observer()
    with observers.use(outer):
        with observers.use(inner):
            session = rl.MonitoredSession(graph=training())
        assert observers.current() == (outer,)
    assert observers.current() == ()
    session.run("train")
    session.close()
    assert outer.told == inner.told
    assert outer.told[-1] == "/session.close"


def test_an_observer_that_is_used_twice_is_told_once():
    observer = Observer()
    with observers.use(observer), observers.use(observer):
        assert observers.current() == (observer,)
        rl.MonitoredSession(graph=training()).close()
    assert observer.told.count("session.create") == 1


def test_the_outer_observer_is_told_first_and_released_last(tmp_path):
    told = []
    saver = rl.Saver()
    with rl.Session(graph=training()) as session:
        with observers.use(Observer("A ", told)), observers.use(Observer("B ", told)):
            path = saver.save(session, tmp_path / "model.ckpt", global_step=0)
        saver.save(session, tmp_path / "model.ckpt", global_step=1)
        with observers.use(Observer("A ", told)):
            saver.restore(session, path=path)
    saves = ["A saver.save", "B saver.save", "/B saver.save", "/A saver.save"]
    assert told == [*saves, "A saver.restore", "/A saver.restore"]


class Keep(Observer):
    def __init__(self):
        super().__init__()
        self.moments = []

    @contextmanager
    def moment(self, moment):
        self.moments.append(moment)
        yield


def test_a_moment_of_a_saver_names_its_file_and_session(tmp_path):
    keep = Keep()
    saver = rl.Saver()
    with observers.use(keep), rl.MonitoredSession(graph=training()) as session:
        path = saver.save(session, save_path=tmp_path / "model.ckpt", global_step=0)
        saver.restore(path=path, session=session)
        raw = session.raw_session()
    saved, restored = [moment for moment in keep.moments if moment.who == "saver"]
    assert (saved.what, saved.text) == ("save", "model.ckpt-0.safetensors")
    assert (restored.what, restored.text) == ("restore", "model.ckpt-0.safetensors")
    assert saved.session is raw
    assert restored.session is raw


def test_a_refused_save_says_so(tmp_path):
    graph = training()
    graph.variable("w", float("nan"))
    keep = Keep()
    with observers.use(keep), rl.Session(graph=graph) as session:
        rl.Saver(reject_nonfinite=True).save(session, tmp_path / "model.ckpt")
    assert [moment.text for moment in keep.moments] == ["refused"]


def test_wrong_arguments_of_a_save_raise_as_without_observers(tmp_path):
    with observers.use(Observer()), pytest.raises(TypeError, match="save_path"):
        rl.Saver().save(None)


def test_an_error_is_on_the_moments_that_it_goes_through():
    class Fail(rl.SessionRunHook):
        def after_run(self, context, values):
            raise ValueError("no")

    observer = Observer()
    with observers.use(observer), pytest.raises(ValueError):
        with rl.MonitoredSession(graph=training(), hooks=[Fail()]) as session:
            session.run("train")
    assert [text for text in observer.told if text.endswith("Error")] == [
        "/Fail.after_run ValueError",
        "/loop.run ValueError",
    ]


def test_in_another_thread_the_observers_see_what_hooks_save(tmp_path):
    observer = Observer()
    hook = rl.CheckpointSaverHook(tmp_path, save_steps=1)
    with observers.use(observer):
        session = rl.MonitoredSession(graph=training(), hooks=[hook])
    thread = threading.Thread(target=session.run, args=("train",))
    thread.start()
    thread.join()
    session.close()
    assert observer.told.count("saver.save") == 2


def test_a_run_after_a_lost_session_is_marked_as_a_repetition():
    lost = [rl.errors.AbortedError("lost")]

    class Lose(rl.SessionRunHook):
        def before_run(self, context):
            if lost:
                raise lost.pop()

    keep = Keep()
    with observers.use(keep), rl.MonitoredSession(graph=training(), hooks=[Lose()]) as session:
        session.run("train")
        session.run("train")
    assert [m.again for m in keep.moments if m.who == "loop"] == [False, True, False]
    closing = [(m.what, type(m.cause)) for m in keep.moments if m.what in {"lost", "close"}]
    assert closing == [("lost", rl.errors.AbortedError), ("close", type(None))]


def test_the_two_halves_of_a_pass_can_be_shown_with_the_body_between_them():
    observer = Observer()
    with observers.use(observer):
        session = rl.MonitoredSession(graph=training(), hooks=[Ask()])
    watch = session._hooks.watch
    del observer.told[:]
    with watch.run(session, None) as moment, watch.body(session):
        moment.stop = True
    assert observer.told == ["loop.run", "loop.body", "/loop.body", "/loop.run"]
    session.close()


def test_the_sessions_own_run_is_put_back(tmp_path):
    raw = FakeSession({"x": 1})
    own = raw.run = lambda *args: 2

    class Creator:
        def create_session(self):
            return raw

    with observers.use(Observer()), rl.MonitoredSession(Creator(), [], graph=rl.Graph()) as session:
        assert raw.run is not own
        assert session.run("x") == 2
    assert raw.run is own


def test_a_moment_starts_with_nothing_known():
    moment = Moment("loop", "run")
    assert vars(moment) == {
        "who": "loop",
        "what": "run",
        "session": None,
        "args": None,
        "results": None,
        "error": None,
        "stop": False,
        "again": False,
        "cause": None,
        "text": "",
    }
