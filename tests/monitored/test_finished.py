"""What is finished stays finished: started again, a run that reached its end changes no bit."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runloop as rl
from runloop.errors import AbortedError, OutOfRangeError
from runloop.testing import RaiseAt, RecordingHook
from tests.checks import fails
from tests.hooks.programs import program

REFUSED = "Run called even after should_stop requested."


def train(folder, *, last_step=None, hooks=(), save_steps=2, stop=None, runs=None, **more):
    """Train a small program with attached state; return the step, the weights and the runs made."""
    graph = rl.Graph()
    rng = np.random.default_rng(3)
    graph.variable("w", np.zeros(3))
    graph.attach("rng", rng)

    @graph.train_op(updates="w")
    def train(w, rng):
        return w * 0.5 + rng.normal(size=3)

    if last_step is not None:
        hooks = [rl.StopAtStepHook(last_step=last_step), *hooks]
    made = 0
    with rl.MonitoredTrainingSession(
        graph=graph, checkpoint_dir=folder, save_checkpoint_steps=save_steps, hooks=hooks, **more
    ) as session:
        while not session.should_stop() and made != runs:
            session.run("train")
            made += 1
        raw = session.raw_session()
        result = int(raw.run("global_step")), raw.run("w").tobytes(), made
        if stop is not None:
            raise stop  # as good as a kill: no end, no last save
    return result


def contents(folder):
    """Every file of a folder but the metrics: its bytes and when it was written."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
        for path in sorted(Path(folder).iterdir())
        if path.name not in {"metrics.jsonl", ".runloop.lock"}
    }


def test_three_starts_of_a_run_with_a_last_step_end_at_that_step(tmp_path):
    assert [train(tmp_path, last_step=5)[0] for _ in range(3)] == [5, 5, 5]


def test_a_finished_run_that_is_started_again_makes_no_run_and_writes_no_checkpoint(tmp_path):
    first = train(tmp_path, last_step=5)
    before = contents(tmp_path)
    step, weights, made = train(tmp_path, last_step=5)
    assert (step, weights, made) == (*first[:2], 0)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("background", [False, True])
def test_a_run_killed_after_its_last_save_is_finished(tmp_path, background):
    _, whole, _ = train(tmp_path / "whole", last_step=4)
    saver = rl.Scaffold(saver=rl.Saver(background=background))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", last_step=4, stop=KeyboardInterrupt(), scaffold=saver)
    before = contents(tmp_path / "killed")
    assert train(tmp_path / "killed", last_step=4) == (4, whole, 0)
    assert contents(tmp_path / "killed") == before


@settings(max_examples=15, deadline=None)  # each example is some real trainings
@given(
    lasts=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    save_steps=st.integers(1, 4),
    kills=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_starts_end_at_the_largest_last_step_so_far_in_the_same_bits(
    tmp_path_factory, lasts, save_steps, kills
):
    folder = tmp_path_factory.mktemp("run")
    for last, kill in zip(lasts, kills, strict=False):
        if kill:
            with pytest.raises(KeyboardInterrupt):
                train(folder, last_step=last, save_steps=save_steps, stop=KeyboardInterrupt())
    for last in lasts:
        step, weights, _ = train(folder, last_step=last, save_steps=save_steps)
        assert step >= last
    assert step == max(lasts)
    assert weights == train(tmp_path_factory.mktemp("whole"), last_step=max(lasts))[1]


def test_a_run_that_goes_on_beyond_a_finished_one_ends_in_the_same_bits(tmp_path):
    train(tmp_path / "parts", last_step=3)
    train(tmp_path / "parts", last_step=3)
    step, weights, made = train(tmp_path / "parts", last_step=6)
    assert (step, made) == (6, 3)
    assert weights == train(tmp_path / "whole", last_step=6)[1]


def test_num_steps_stays_so_many_more_steps_per_start(tmp_path):
    starts = [train(tmp_path, hooks=[rl.StopAtStepHook(num_steps=2)]) for _ in range(3)]
    assert [(step, made) for step, _, made in starts] == [(2, 2), (4, 2), (6, 2)]


@pytest.mark.parametrize("arguments", [{"num_steps": 0}, {"last_step": 0}, {"last_step": -1}])
def test_nothing_to_do_is_no_run(arguments):
    with rl.MonitoredSession(hooks=[rl.StopAtStepHook(**arguments)], graph=program()) as session:
        assert session.should_stop()
        assert session.raw_session().run("global_step") == 0


@pytest.mark.parametrize("kind", [rl.MonitoredSession, rl.SingularMonitoredSession])
def test_a_run_of_a_finished_training_is_refused_before_any_hook_is_asked(kind):
    recorder = RecordingHook()
    hooks = [recorder, rl.StopAtStepHook(last_step=0)]
    with kind(hooks=hooks, graph=program()) as session:
        with fails(RuntimeError, REFUSED):
            session.run("train")
        with fails(RuntimeError, REFUSED):
            session.run_step_fn(lambda step_context: step_context.run_with_hooks("train"))
        assert (
            session.run_step_fn(lambda step_context: step_context.session.run("global_step")) == 0
        )
    assert not [event for event in recorder.events if "_run" in event]
    assert recorder.events[-1].endswith(".end")


def test_a_stop_asked_for_by_a_thread_does_not_make_runs_an_error():
    class AsksInAThread(rl.SessionRunHook):
        def after_create_session(self, session, coord):
            thread = rl.LooperThread(coord, None, coord.request_stop)
            thread.start()
            coord.wait_for_stop()

    with rl.MonitoredSession(hooks=[AsksInAThread()], graph=program()) as session:
        assert session.should_stop()
        session.run("train")  # as in TensorFlow


def test_a_hook_of_ones_own_that_asks_to_stop_at_the_start_is_obeyed(tmp_path):
    class Done(rl.SessionRunHook):
        def after_create_session(self, session, coord):
            coord.request_stop()

    with rl.MonitoredSession(hooks=[Done()], graph=program()) as session:
        assert session.should_stop()
        with fails(RuntimeError, REFUSED):
            session.run("train")


# -- the first save ---------------------------------------------------------------------------------


def test_what_is_finished_elsewhere_is_still_saved_here(tmp_path):
    train(tmp_path / "one", last_step=4)
    newest = rl.latest_checkpoint(tmp_path / "one")
    graph = rl.Graph()
    graph.variable("w", np.zeros(3))
    graph.attach("rng", np.random.default_rng(0))
    rl.get_or_create_global_step(graph)
    creator = rl.ChiefSessionCreator(checkpoint_filename_with_path=newest, graph=graph)
    hooks = [rl.CheckpointSaverHook(tmp_path / "two", save_steps=1), rl.StopAtStepHook(last_step=4)]
    with graph.as_default():
        graph.add_to_collection("savers", rl.Saver())
    with rl.MonitoredSession(creator, hooks=hooks) as session:
        assert session.should_stop()
    assert sorted(path.name for path in (tmp_path / "two").glob("*.safetensors")) == [
        "model.ckpt-4.safetensors"
    ]


def test_a_finished_run_tells_listeners_of_no_save(tmp_path):
    class Listener(rl.CheckpointSaverListener):
        def __init__(self):
            self.told = []

        def before_save(self, session, global_step_value):
            self.told.append(("before", int(global_step_value)))

        def after_save(self, session, global_step_value):
            self.told.append(("after", int(global_step_value)))

        def end(self, session, global_step_value):
            self.told.append(("end", int(global_step_value)))

    def start():
        listener = Listener()
        graph = program()
        creator = rl.ChiefSessionCreator(checkpoint_dir=tmp_path, graph=graph)
        graph.add_to_collection("savers", rl.Saver())
        saver = rl.CheckpointSaverHook(tmp_path, save_steps=9, listeners=[listener])
        with rl.MonitoredSession(creator, [saver, rl.StopAtStepHook(last_step=2)]) as session:
            while not session.should_stop():
                session.run("train")
        return listener.told

    assert start() == [("before", 0), ("after", 0), ("before", 2), ("after", 2), ("end", 2)]
    assert start() == [("end", 2)]


# -- early stopping ---------------------------------------------------------------------------------


def stop_early(folder, patience=2, **more):
    hook = rl.EarlyStoppingHook(lambda global_step: 1.0, mode="min", patience_steps=patience)
    return train(folder, hooks=[hook], **more)


def test_early_stopping_that_asked_before_asks_again(tmp_path):
    first = stop_early(tmp_path)
    before = contents(tmp_path)
    assert [stop_early(tmp_path) for _ in range(2)] == [(*first[:2], 0)] * 2
    assert contents(tmp_path) == before


def test_early_stopping_killed_after_its_last_save_is_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        stop_early(tmp_path, save_steps=1, stop=KeyboardInterrupt())
    step, _, made = stop_early(tmp_path, save_steps=1)
    assert (step, made) == (3, 0)


def test_early_stopping_with_more_patience_goes_on(tmp_path):
    stop_early(tmp_path)
    step, weights, made = stop_early(tmp_path, patience=4)
    assert (step, made) == (5, 2)
    assert weights == stop_early(tmp_path / "whole", patience=4)[1]


def test_early_stopping_by_threshold_stays_stopped_and_goes_on_with_another(tmp_path):
    def start(threshold):
        hook = rl.EarlyStoppingHook("global_step", mode="max", threshold=threshold)
        step, _, made = train(tmp_path, hooks=[hook])
        return step, made

    assert start(2.5) == (4, 4)
    assert start(2.5) == (4, 0)
    assert start(4.5) == (6, 2)


def test_early_stopping_takes_the_state_of_an_older_checkpoint():
    hook = rl.EarlyStoppingHook("loss", mode="min", patience_steps=1)
    hook.load_state_dict({"best": 1.0, "best_step": 3})
    assert (hook.best, hook.best_step) == (1.0, 3)


# -- recovery in one process ------------------------------------------------------------------------


def test_a_session_that_is_lost_after_the_last_step_was_saved_does_not_train_on(tmp_path):
    final = rl.FinalOpsHook(["global_step", "w"])
    lose = RaiseAt(5, AbortedError("lost"), where="after_run")
    with pytest.raises(UnboundLocalError, match="result"):  # the rest of the block is left out
        train(tmp_path / "lost", last_step=5, hooks=[final, lose], save_steps=1)
    step, weights = final.final_ops_values  # a normal end
    assert (step, weights.tobytes()) == train(tmp_path / "whole", last_step=5)[:2]


def test_a_thread_that_loses_the_session_after_the_last_step_does_not_make_it_train_on(tmp_path):
    class Thread(rl.SessionRunHook):
        coord = None

        def after_create_session(self, session, coord):
            self.coord = coord

    thread = Thread()
    graph = program()
    with rl.MonitoredTrainingSession(
        graph=graph,
        checkpoint_dir=tmp_path,
        save_checkpoint_steps=1,
        hooks=[rl.StopAtStepHook(last_step=2), thread],
    ) as session:
        session.run("train")
        session.run("train")
        first = thread.coord
        first.request_stop(AbortedError("a thread"))
        assert session.should_stop()
        assert thread.coord is not first  # made again, and finished at once
        assert session.raw_session().run("global_step") == 2


# -- the README ---------------------------------------------------------------------------------------

README = Path(__file__).parents[2] / "README.md"


def readme_programs():
    """The README's loop and its graph, by the marks above them; each trains 200 steps."""
    text = README.read_text("utf-8")
    imports = "import os\nimport numpy as np\nimport runloop as rl\n"
    for mark, folder in (("example", "ckpt"), ("graph", "graph")):
        found = re.search(rf"<!-- {mark} -->\n```python\n(.*?)```", text, re.DOTALL)
        assert found, f"the README has no program under <!-- {mark} -->"
        yield pytest.param(imports + found[1], folder, id=mark)


def start(program, folder):
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ,
        capture_output=True,
        check=False,
    )


def digest(folder):
    newest = rl.latest_checkpoint(folder)
    bits = b"".join(
        rl.load_variable(newest, name).tobytes() for name, *_ in rl.list_variables(newest)
    )
    return Path(newest).name, hashlib.sha256(bits).hexdigest()


@pytest.mark.parametrize(("program", "folder"), [*readme_programs()])
def test_the_readmes_program_killed_after_its_last_save_ends_in_the_same_bits(
    tmp_path, program, folder
):
    # The last save is the one of `end`: killed right behind the block, and started twice more.
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(program, whole).returncode == 0
    assert start(f"{program}\nos.kill(os.getpid(), 9)", killed).returncode == -9
    first = contents(killed / folder)
    for _ in range(2):
        assert start(program, killed).returncode == 0
    assert contents(killed / folder) == first
    assert digest(killed / folder) == digest(whole / folder)
    assert digest(whole / folder)[0].startswith("model.ckpt-200")


def test_a_run_that_is_out_of_data_after_a_recovery_says_why(tmp_path, caplog):
    lose = RaiseAt(2, AbortedError("lost"), where="after_run")
    graph = program()
    session = rl.MonitoredTrainingSession(
        graph=graph,
        checkpoint_dir=tmp_path,
        save_checkpoint_steps=1,
        hooks=[rl.StopAtStepHook(last_step=2), lose],
    )
    session.run("train")
    with pytest.raises(
        OutOfRangeError,
        match=r"^The session was lost in a run that is already in the newest checkpoint, and a hook "
        r"has requested a stop there: the run is not repeated\. Leave the loop\.$",
    ) as caught:
        session.run("train")
    assert isinstance(caught.value.__cause__, AbortedError)
    assert session.should_stop()
    session.close()


def test_the_shim_trains_one_step_more_as_tensorflow_does(tmp_path):
    from runloop.compat import tf

    def start():
        graph = program()
        with (
            graph.as_default(),
            tf.train.MonitoredTrainingSession(
                checkpoint_dir=str(tmp_path), hooks=[tf.train.StopAtStepHook(last_step=5)]
            ) as session,
        ):
            while not session.should_stop():
                session.run("train")
            return int(session.raw_session().run("global_step"))

    assert [start() for _ in range(3)] == [5, 6, 7]
