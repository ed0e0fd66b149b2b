"""CheckpointSaverHook and its listeners, in real monitored sessions."""

import os
import threading

import numpy as np
import pytest

from runloop import errors
from runloop.checkpoint import KeepBest, Saver, files, load_variable
from runloop.checkpoint.files import Files
from runloop.checkpoint.lock import LOCK_FILE
from runloop.graph import Graph
from runloop.hooks import CheckpointSaverHook, CheckpointSaverListener, SessionRunHook
from runloop.monitored import MonitoredSession, SingularMonitoredSession
from runloop.monitored.creators import ChiefSessionCreator
from runloop.monitored.scaffold import Scaffold
from runloop.testing import FakeClock, FaultyFilesystem


class Listener(CheckpointSaverListener):
    def __init__(self, events, name="", stop_at=(), metrics=None):
        self.events, self.name, self.stop_at, self.metrics = events, name, stop_at, metrics

    def begin(self):
        self.events.append(f"{self.name}begin")

    def before_save(self, session, step):
        self.events.append(f"{self.name}before {step}")
        return self.metrics and {"score": self.metrics[int(step)]}

    def after_save(self, session, step):
        self.events.append(f"{self.name}after {step}")
        return int(step) in self.stop_at

    def end(self, session, step):
        self.events.append(f"{self.name}end {step}")


class Count(SessionRunHook):
    """Counts its runs, and has that in its state."""

    def __init__(self):
        self.runs = 0

    def after_run(self, run_context, run_values):
        self.runs += 1

    def state_dict(self):
        return {"runs": self.runs}

    def load_state_dict(self, state):
        self.runs = state["runs"]


def make_graph():
    graph = Graph()
    graph.variable("w", np.zeros(3))

    @graph.train_op(updates="w")
    def train(w):
        return w + 1

    return graph


def monitored(hooks, folder=None, graph=None, kind=MonitoredSession, **more):
    graph = graph or make_graph()
    creator = ChiefSessionCreator(Scaffold(), checkpoint_dir=folder and str(folder), graph=graph)
    if kind is SingularMonitoredSession:
        return kind(hooks, checkpoint_dir=folder and str(folder), graph=graph, **more)
    return kind(creator, hooks, graph=graph, **more)


def steps_in(folder):
    return sorted(int(p.stem.split("-")[1]) for p in folder.glob("*.safetensors"))


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(
    ("runs", "expected"),
    [(0, [0]), (1, [0, 1]), (2, [0, 2]), (3, [0, 2, 3]), (4, [0, 2, 4])],
)
def test_it_saves_first_on_its_trigger_and_at_the_end_once(tmp_path, runs, expected, background):
    events = []
    hook = CheckpointSaverHook(
        tmp_path,
        save_steps=2,
        saver=Saver(background=background, max_to_keep=None),
        listeners=[Listener(events)],
    )
    with monitored([hook]) as session:
        for _ in range(runs):
            session.run("train")
    assert steps_in(tmp_path) == expected
    assert [e for e in events if e.startswith("before")] == [f"before {s}" for s in expected]
    assert [e for e in events if e.startswith("after")] == [f"after {s}" for s in expected]
    assert events[0] == "begin"
    assert events[-1] == f"end {runs}"
    assert (load_variable(tmp_path, "w") == runs).all()
    assert LOCK_FILE not in os.listdir(tmp_path)


def test_listeners_are_called_in_their_order_around_each_save(tmp_path):
    events = []
    hook = CheckpointSaverHook(
        tmp_path,
        save_steps=1,
        saver=Saver(),
        listeners=[Listener(events, "A "), Listener(events, "B ")],
    )
    with monitored([hook]) as session:
        session.run("train")
    both = [("A ", "B ")] * 6
    lines = ["begin", "before 0", "after 0", "before 1", "after 1", "end 1"]
    assert events == [f"{n}{line}" for line, pair in zip(lines, both, strict=True) for n in pair]


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(("stop_at", "stopped_after"), [((2,), 2), ((0, 2), 2), ((0,), 4), ((), 4)])
def test_a_listener_can_stop_the_training_but_not_at_the_first_save(
    tmp_path, stop_at, stopped_after, background
):
    hook = CheckpointSaverHook(
        tmp_path,
        save_steps=2,
        saver=Saver(background=background),
        listeners=[Listener([], stop_at=stop_at), Listener([])],
    )
    runs = 0
    with monitored([hook]) as session:
        while not session.should_stop() and runs < 4:
            if background:
                hook._get_saver().wait()  # the worker is done before the next call of the hook
            session.run("train")
            runs += 1
    # In the background it is known one call of the hook later.
    assert runs == (stopped_after + background if stopped_after < 4 else 4)


def test_the_saver_is_given_or_the_scaffolds_or_the_collections(tmp_path):
    graph = make_graph()
    with graph.as_default():
        hook = CheckpointSaverHook(tmp_path, save_steps=1)
        with pytest.raises(
            RuntimeError, match=r"No items in collection savers. Please add a saver"
        ):
            hook._get_saver()
        graph.add_to_collection("savers", "a saver")
        assert hook._get_saver() == "a saver"
        graph.add_to_collection("savers", "another")
        hook = CheckpointSaverHook(tmp_path, save_steps=1)
        with pytest.raises(
            RuntimeError, match=r"More than one item in collection savers. Please ind"
        ):
            hook._get_saver()
        scaffold = Scaffold(saver=Saver())
        hook = CheckpointSaverHook(tmp_path, save_steps=1, scaffold=scaffold)
        assert hook._get_saver() is scaffold.saver


def test_wrong_arguments_have_tensorflows_errors(tmp_path):
    with pytest.raises(ValueError, match=r"You cannot provide both saver and scaffold."):
        CheckpointSaverHook(tmp_path, save_steps=1, saver=Saver(), scaffold=Scaffold())
    with pytest.raises(ValueError, match=r"Either every_secs or every_steps should be provided."):
        CheckpointSaverHook(tmp_path)
    with pytest.raises(ValueError, match=r"Can not provide both every_secs and every_steps."):
        CheckpointSaverHook(tmp_path, save_secs=1, save_steps=1)
    with pytest.raises(TypeError):
        CheckpointSaverHook(None, save_steps=1)
    with (
        Graph().as_default(),
        pytest.raises(
            RuntimeError, match=r"Global step should be created to use CheckpointSaverHook."
        ),
    ):
        CheckpointSaverHook(tmp_path, save_steps=1).begin()


def test_any_object_that_saves_is_a_saver(tmp_path):
    class Foreign:
        def __init__(self):
            self.calls = []

        def save(self, session, path, global_step=None):
            self.calls.append((path, int(global_step)))

    events = []
    saver = Foreign()
    hook = CheckpointSaverHook(tmp_path, save_steps=1, saver=saver, listeners=[Listener(events)])
    with monitored([hook]) as session:
        session.run("train")
    path = os.path.join(tmp_path, "model.ckpt")
    assert saver.calls == [(path, 0), (path, 1)]
    assert "after 1" in events


def test_the_basename_may_contain_a_folder(tmp_path):
    hook = CheckpointSaverHook(
        tmp_path, save_steps=1, saver=Saver(), checkpoint_basename="deep/er/m"
    )
    with monitored([hook]) as session:
        session.run("train")
    assert steps_in(tmp_path / "deep" / "er") == [0, 1]
    with monitored([], tmp_path) as session:
        assert session.run("global_step") == 1


def test_it_saves_by_the_clock(tmp_path):
    with FakeClock().use() as clock:
        hook = CheckpointSaverHook(tmp_path, save_secs=10, saver=Saver(max_to_keep=None))
        with monitored([hook]) as session:
            for _ in range(6):
                clock.advance(4)
                session.run("train")
    assert steps_in(tmp_path) == [0, 3, 6]


def test_a_hooks_state_is_of_the_step_that_is_saved_wherever_it_stands(tmp_path):
    saver_hook = CheckpointSaverHook(tmp_path, save_steps=2, saver=Saver())
    with monitored([Count(), saver_hook, Count()]) as session:
        for _ in range(3):
            session.run("train")
    first, last = Count(), Count()
    with monitored([first, last], tmp_path):
        assert (first.runs, last.runs) == (3, 3)
    os.unlink(tmp_path / "model.ckpt-3.safetensors")
    with monitored([first, last], tmp_path) as session:
        assert session.raw_session().run("global_step") == 2
        assert (first.runs, last.runs) == (2, 2)  # one of them stands after the saver


def test_the_timer_is_marked_only_after_a_save_succeeded(tmp_path):
    disk = FaultyFilesystem()
    with disk.use():
        hook = CheckpointSaverHook(tmp_path, save_steps=2, saver=Saver())
    with monitored([hook]) as session:
        session.run("train")
        disk.fail("create")
        with pytest.raises(errors.CheckpointWriteError, match="No space left on device"):
            session.run("train")
        assert steps_in(tmp_path) == [0]
        session.run("train")  # tried again at the next step
        assert steps_in(tmp_path) == [0, 3]


def test_what_a_listener_raises_after_a_save_does_not_undo_it(tmp_path):
    class Ends(Listener):
        def after_save(self, session, step):
            super().after_save(session, step)
            if step == 2:
                raise errors.OutOfRangeError("enough")

    events = []
    hook = CheckpointSaverHook(tmp_path, save_steps=2, saver=Saver(), listeners=[Ends(events)])
    with monitored([hook]) as session:
        while True:
            session.run("train")
    assert events == ["begin", "before 0", "after 0", "before 2", "after 2", "end 2"]


def test_in_the_background_an_error_is_raised_at_the_next_call_of_the_hook(tmp_path):
    disk = FaultyFilesystem()
    events = []
    with disk.use():
        hook = CheckpointSaverHook(
            tmp_path, save_steps=2, saver=Saver(background=True), listeners=[Listener(events)]
        )
    with monitored([hook]) as session:
        session.run("train")
        hook._get_saver()._worker._job.thread.join()
        session.run(lambda: None)
        disk.fail("create")
        session.run("train")
        hook._get_saver()._worker._job.thread.join()
        with pytest.raises(errors.CheckpointWriteError, match="No space left on device"):
            session.run("train")
        session.run("train")
    assert [e for e in events if e.startswith("after")] == ["after 0", "after 3"]
    assert steps_in(tmp_path) == [0, 3]


def test_in_the_background_an_error_is_raised_at_the_end(tmp_path):
    disk = FaultyFilesystem()
    with disk.use():
        hook = CheckpointSaverHook(tmp_path, save_steps=9, saver=Saver(background=True))
    with pytest.raises(errors.CheckpointWriteError, match="No space left on device"):
        with monitored([hook]) as session:
            session.run("train")
            hook._get_saver().wait()
            disk.fail("create")
    assert steps_in(tmp_path) == [0]


@pytest.mark.parametrize("last", [2, 3])
def test_in_the_background_a_failed_save_does_not_cost_the_last_step(tmp_path, last):
    disk = FaultyFilesystem()
    with disk.use():
        hook = CheckpointSaverHook(tmp_path, save_steps=2, saver=Saver(background=True))
    other = CheckpointSaverHook(tmp_path / "other", save_steps=1, saver=Saver())
    with pytest.raises(errors.CheckpointWriteError, match=r"No space left .*model.ckpt-2"):
        with monitored([hook, other]) as session:
            session.run("train")
            hook._get_saver().wait()
            disk.fail("create")
            session.run("train")
            hook._get_saver()._worker._job.thread.join()
            if last == 3:
                hook._poll = lambda run_context: None  # it ends before the hook looks
                session.run("train")
    assert steps_in(tmp_path) == [0, last]


class Held(Files):
    def __init__(self):
        self.go = threading.Event()

    def create(self, path):
        assert self.go.wait(30)
        return super().create(path)


def test_leaving_by_an_exception_waits_for_the_write(tmp_path):
    layer = Held()
    with files.use(layer):
        hook = CheckpointSaverHook(tmp_path, save_steps=1, saver=Saver(background=True))
    with pytest.raises(KeyError):
        with monitored([hook]):
            threading.Timer(0.05, layer.go.set).start()
            raise KeyError
    assert steps_in(tmp_path) == [0]
    assert LOCK_FILE not in os.listdir(tmp_path)


def test_leaving_waits_no_longer_than_the_grace_period_and_says_so(tmp_path, caplog):
    layer = Held()
    with files.use(layer):
        saver = Saver(background=True)
    hook = CheckpointSaverHook(tmp_path, save_steps=1, saver=saver)
    with pytest.raises(KeyError):
        with monitored([hook], stop_grace_period_secs=0.05):
            raise KeyError
    assert "The checkpoint of step 0: a checkpoint is still being written after 0.05" in caplog.text
    layer.go.set()
    saver.close()
    with files.use(Held()) as layer:
        hook = CheckpointSaverHook(tmp_path, save_steps=1, saver=Saver(background=True))
    with pytest.raises(errors.CheckpointTimeoutError, match=r"still being written after 0.05 sec"):
        with monitored([hook], stop_grace_period_secs=0.05):
            pass
    layer.go.set()
    hook._get_saver().close()


def test_an_error_of_the_write_does_not_hide_why_the_session_was_left(tmp_path, caplog):
    with FaultyFilesystem("create").use():
        hook = CheckpointSaverHook(tmp_path, save_steps=1, saver=Saver(background=True))
    with pytest.raises(KeyError):
        with monitored([hook]):
            raise KeyError
    assert "The checkpoint of step 0: [Errno 28] not saved: No space left" in caplog.text


def test_after_an_abort_it_goes_on_saving(tmp_path):
    graph = make_graph()
    aborts = iter([False, False, True, False, False, False])

    @graph.op
    def shaky():
        if next(aborts):
            raise errors.AbortedError("lost")

    events = []
    hook = CheckpointSaverHook(
        tmp_path, save_steps=2, saver=Saver(background=True), listeners=[Listener(events)]
    )
    with monitored([hook], tmp_path, graph) as session:
        for _ in range(4):
            session.run(["train", "shaky"])
    # Restored at 2 and saved there again, as after every creation of a session.
    assert [e for e in events if e.startswith("after")] == [
        "after 0", "after 2", "after 2", "after 4",
    ]  # fmt: skip
    assert load_variable(tmp_path, "w").tolist() == [4, 4, 4]


def test_the_metric_may_come_from_a_listener(tmp_path):
    scores = [0.0, 5.0, 1.0, 9.0, 2.0]
    hook = CheckpointSaverHook(
        tmp_path,
        save_steps=1,
        saver=Saver(max_to_keep=1, keep_best=KeepBest("score", "max")),
        listeners=[Listener([], metrics=scores)],
    )
    with monitored([hook]) as session:
        for _ in range(4):
            session.run("train")
    assert steps_in(tmp_path) == [3, 4]


def test_a_state_that_is_refused_is_not_announced(tmp_path):
    events = []
    hook = CheckpointSaverHook(
        tmp_path, save_steps=1, saver=Saver(reject_nonfinite=True), listeners=[Listener(events)]
    )
    graph = make_graph()
    graph.train_op(name="diverge", updates="w")(lambda w: w * np.nan)
    with monitored([hook], graph=graph) as session:
        session.run("train")
        session.run("diverge")
    assert steps_in(tmp_path) == [0, 1]
    assert "after 2" not in events


@pytest.mark.parametrize("kind", [MonitoredSession, SingularMonitoredSession])
def test_a_session_restarts_where_it_was(tmp_path, kind):
    for last in (3, 5):
        hook = CheckpointSaverHook(tmp_path, save_steps=2, saver=Saver())
        with monitored([hook], tmp_path, kind=kind) as session:
            while session.run("global_step") < last:
                session.run("train")
    assert (load_variable(tmp_path, "w") == 5).all()


def test_a_listener_need_only_say_what_it_needs(tmp_path):
    listener = CheckpointSaverListener()
    hook = CheckpointSaverHook(tmp_path, save_steps=1, saver=Saver(), listeners=[listener])
    with monitored([hook]) as session:
        session.run("train")
    assert steps_in(tmp_path) == [0, 1]


def test_tensorflows_private_names_of_the_hook_are_there(tmp_path):
    hook = CheckpointSaverHook(tmp_path, save_steps=1, save_graph_def=False)
    assert hook._save_graph_def is False
    assert CheckpointSaverHook(tmp_path, save_steps=1)._save_graph_def is True
    hook._set_steps_per_run(3)
    assert hook._steps_per_run == 3
