"""`MonitoredTrainingSession`: which hooks it puts together, and that a run goes on where it was."""

import json

import numpy as np
import pytest

from runloop.data import Batches
from runloop.errors import AbortedError
from runloop.graph import Graph
from runloop.hooks import (
    CheckpointSaverHook,
    SessionRunHook,
    StepCounterHook,
    StopAtStepHook,
    SummarySaverHook,
)
from runloop.monitored import MonitoredSession
from runloop.monitored.scaffold import Scaffold
from runloop.monitored.training import USE_DEFAULT, MonitoredTrainingSession
from runloop.testing import FakeClock, MemorySummaryWriter, RecordingHook
from tests.checks import fails


class Mine(SessionRunHook):
    pass


class Chief(SessionRunHook):
    pass


def program():
    graph = Graph()
    graph.variable("w", 0.0)
    graph.train_op(lambda w: w + 1, name="train", updates="w")
    return graph


def kinds(**options):
    """The classes of the hooks of a session that is made with `options`."""
    with MonitoredTrainingSession(graph=program(), **options) as session:
        assert isinstance(session, MonitoredSession)
        return [type(hook) for hook in session.hooks]


# -- which hooks there are ------------------------------------------------------------------------


def test_the_hooks_come_in_tensorflows_order(tmp_path):
    assert kinds(checkpoint_dir=str(tmp_path), hooks=[Mine()], chief_only_hooks=[Chief()]) == [
        Chief,
        StepCounterHook,
        SummarySaverHook,
        CheckpointSaverHook,
        Mine,
    ]


def test_without_a_folder_there_are_only_the_given_hooks():
    assert kinds() == []
    assert kinds(hooks=[Mine()], chief_only_hooks=iter([Chief()])) == [Chief, Mine]


def test_with_a_folder_for_summaries_alone_nothing_is_saved(tmp_path):
    assert kinds(summary_dir=str(tmp_path)) == [StepCounterHook, SummarySaverHook]
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_writer_alone_gets_the_summaries():
    assert kinds(summary_writer=MemorySummaryWriter()) == [StepCounterHook, SummarySaverHook]


def test_who_is_not_the_chief_has_its_own_hooks_only(tmp_path):
    options = {"checkpoint_dir": str(tmp_path), "is_chief": False}
    assert kinds(hooks=[Mine()], chief_only_hooks=[Chief()], **options) == [Mine]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ({"save_checkpoint_secs": None}, CheckpointSaverHook),
        ({"save_checkpoint_steps": None}, CheckpointSaverHook),
        ({"save_checkpoint_secs": 0}, CheckpointSaverHook),
        ({"save_checkpoint_steps": 0}, CheckpointSaverHook),
        ({"save_checkpoint_steps": -1}, CheckpointSaverHook),
        ({"save_summaries_secs": None}, SummarySaverHook),
        ({"save_summaries_steps": None}, SummarySaverHook),
        ({"save_summaries_steps": 0}, SummarySaverHook),
        ({"save_summaries_steps": -1}, SummarySaverHook),
        ({"log_step_count_steps": None}, StepCounterHook),
        ({"log_step_count_steps": 0}, StepCounterHook),
        ({"log_step_count_steps": -1}, StepCounterHook),
    ],
)
def test_a_trigger_that_is_off_leaves_its_hook_out(tmp_path, options, absent):
    every = [StepCounterHook, SummarySaverHook, CheckpointSaverHook]
    assert kinds(checkpoint_dir=str(tmp_path), **options) == [k for k in every if k is not absent]


@pytest.mark.parametrize(
    "options",
    [
        {"save_checkpoint_secs": 1, "save_checkpoint_steps": 1},
        {"save_summaries_secs": 1, "save_summaries_steps": 1},
    ],
)
def test_both_seconds_and_steps_are_refused(tmp_path, options):
    with fails(ValueError, "Can not provide both every_secs and every_steps."):
        MonitoredTrainingSession(graph=program(), checkpoint_dir=str(tmp_path), **options)


def test_a_value_that_was_not_given_shows_itself():
    assert repr(USE_DEFAULT) == "USE_DEFAULT"


@pytest.mark.parametrize("option", ["hooks", "chief_only_hooks"])
def test_what_is_no_list_of_hooks_is_told(option):
    hook = Mine()
    with fails(TypeError, f"hooks must be a list of hooks, got {hook!r}; write hooks=[hook]"):
        MonitoredTrainingSession(graph=program(), **{option: hook})
    with fails(TypeError, "hooks[0] is the class Mine; write Mine(...)"):
        MonitoredTrainingSession(graph=program(), **{option: [Mine]})


def test_the_default_hooks_need_a_global_step(tmp_path):
    graph = Graph()
    with fails(RuntimeError, "Global step should be created to use StepCounterHook."):
        MonitoredTrainingSession(graph=graph, checkpoint_dir=str(tmp_path))


def test_the_default_graph_is_used_without_another():
    with program().as_default() as graph, MonitoredTrainingSession() as session:
        assert session.graph is graph


def test_the_scaffold_is_used(tmp_path):
    log = []
    scaffold = Scaffold(init_fn=lambda *_: log.append("init_fn"), summary_op={"seen": "w"})
    options = {
        "graph": program(),
        "scaffold": scaffold,
        "checkpoint_dir": str(tmp_path),
        "save_summaries_steps": 1,
    }
    with MonitoredTrainingSession(**options) as session:
        session.run("train")
    assert log == ["init_fn"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["tag"], line["value"]) for line in lines] == [(1, "seen", 0.0)]
    assert [path.name for path in sorted(tmp_path.glob("*.safetensors"))] == [
        "model.ckpt-0.safetensors",
        "model.ckpt-1.safetensors",
    ]


# -- when it saves --------------------------------------------------------------------------------


def saved(folder):
    return sorted(int(path.stem.rpartition("-")[2]) for path in folder.glob("*.safetensors"))


def run_steps(folder, steps, clock=None, secs=1.0, **options):
    clock = clock or FakeClock()
    with (
        clock.use(),
        MonitoredTrainingSession(
            graph=program(), checkpoint_dir=str(folder), log_step_count_steps=None, **options
        ) as session,
    ):
        for _ in range(steps):
            clock.advance(secs)
            session.run("train")


def test_checkpoints_come_by_steps(tmp_path):
    run_steps(tmp_path, 5, save_checkpoint_steps=2)
    assert saved(tmp_path) == [0, 2, 4, 5]


def test_checkpoints_come_by_seconds(tmp_path):
    run_steps(tmp_path, 5, save_checkpoint_secs=2)
    assert saved(tmp_path) == [0, 2, 4, 5]


def test_checkpoints_come_every_ten_minutes_by_default(tmp_path):
    run_steps(tmp_path, 5, secs=300.0)
    assert saved(tmp_path) == [0, 2, 4, 5]


# -- a worker -------------------------------------------------------------------------------------


def test_a_worker_waits_at_most_max_wait_secs():
    graph = program()
    graph.op(lambda: ["w"], name="ready")
    with FakeClock().use() as clock, pytest.raises(TimeoutError) as info:
        MonitoredTrainingSession(
            graph=graph, scaffold=Scaffold(ready_op="ready"), is_chief=False, max_wait_secs=70
        )
    assert str(info.value) == (
        "Session was not ready after waiting 70 secs. Variables not initialized: w"
    )
    assert clock.now == 60


# -- it goes on where it was ----------------------------------------------------------------------


def train(folder, last_step, errors=(), hooks=()):
    """A loop with data, a generator and a variable; returns what it saw and the last value."""
    graph = Graph()
    data = np.arange(12.0)
    rng = np.random.default_rng(3)
    graph.variable("w", np.zeros(3))
    graph.attach("rng", rng)
    graph.input("x", Batches(data, 3, seed=1))
    seen = []
    errors = dict(errors)

    @graph.train_op(updates="w")
    def train(w, x, rng, global_step):
        error = errors.pop(int(global_step), None)
        if error is not None:
            raise error
        seen.append(int(global_step))
        return w * 0.5 + x + rng.normal(size=3)

    with MonitoredTrainingSession(
        graph=graph,
        checkpoint_dir=str(folder),
        save_checkpoint_steps=4,
        hooks=[StopAtStepHook(last_step=last_step), *hooks],
    ) as session:
        while not session.should_stop():
            session.run("train")
        value = session.raw_session().run("w")
    return seen, value


def test_a_run_in_two_parts_ends_in_the_same_bits_as_one(tmp_path):
    _, whole = train(tmp_path / "whole", 10)
    train(tmp_path / "parts", 7)
    seen, parts = train(tmp_path / "parts", 10)
    assert seen == [7, 8, 9]
    assert parts.tobytes() == whole.tobytes()


def test_a_run_that_breaks_goes_on_from_its_last_checkpoint(tmp_path):
    _, whole = train(tmp_path / "whole", 10)
    with pytest.raises(KeyError):
        train(tmp_path / "broken", 10, {6: KeyError("broken")})
    assert saved(tmp_path / "broken") == [0, 4]
    seen, parts = train(tmp_path / "broken", 10)
    assert seen == [4, 5, 6, 7, 8, 9]
    assert parts.tobytes() == whole.tobytes()


def test_a_run_that_loses_its_session_ends_in_the_same_bits(tmp_path):
    _, whole = train(tmp_path / "whole", 10)
    log = []
    seen, lost = train(
        tmp_path / "lost", 10, {6: AbortedError("lost")}, [RecordingHook("A", events=log)]
    )
    assert seen == [0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9]
    assert log.count("A.after_create_session") == 2
    assert lost.tobytes() == whole.tobytes()


def test_a_run_that_is_complete_does_no_more_step(tmp_path):
    train(tmp_path, 4)
    seen, _ = train(tmp_path, 4)
    assert seen == []
