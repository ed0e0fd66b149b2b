import json
from types import SimpleNamespace

import numpy as np
import pytest

import runloop as rl
from runloop import clock
from runloop.summary import FanOutWriter, JsonLinesWriter, TensorBoardWriter
from runloop.testing import FakeClock, MemorySummaryWriter

from .programs import drive, program

LOSSES = [float(step) for step in range(20)]


@pytest.fixture
def time():
    with clock.use(FakeClock()) as fake:
        yield fake


def test_exactly_one_source_and_one_interval_are_required():
    text = r"^Exactly one of scaffold or summary_op must be provided.$"
    for scaffold, summary_op in [(None, None), (rl.Scaffold(), {})]:
        with pytest.raises(ValueError, match=text):
            rl.SummarySaverHook(save_steps=1, scaffold=scaffold, summary_op=summary_op)
    with pytest.raises(ValueError, match=r"^Either every_secs or every_steps should be provided.$"):
        rl.SummarySaverHook(summary_op={})
    with pytest.raises(ValueError, match=r"^Can not provide both every_secs and every_steps.$"):
        rl.SummarySaverHook(1, 1, summary_op={})


def test_the_first_run_is_written_then_every_n_steps_under_the_step_after_the_run():
    writer = MemorySummaryWriter()
    hook = rl.SummarySaverHook(3, summary_writer=writer, summary_op={"train/loss": "loss"})
    drive(program(LOSSES), [hook], runs=8)
    assert writer.scalars == [
        ("train/loss", 0.0, 1),
        ("train/loss", 3.0, 4),
        ("train/loss", 6.0, 7),
    ]
    assert writer.calls == ["flush"]  # in end; it belongs to the caller, who closes it


def test_seconds(time):
    writer = MemorySummaryWriter()
    hook = rl.SummarySaverHook(save_secs=2, summary_writer=writer, summary_op={"v": "loss"})
    drive(program(LOSSES), [hook], runs=6, each=lambda _: time.advance(0.75))
    assert [step for _, _, step in writer.scalars] == [1, 4]


def test_what_is_written_may_be_a_mapping_a_fetch_of_one_or_a_list_of_these():
    graph = program(LOSSES)
    graph.op(lambda loss: {"a": loss, "b": np.array(2)}, name="both")
    for summary_op, expected in [
        ({"v": "loss", "w": lambda: 5}, [("v", 0.0), ("w", 5)]),
        ("both", [("a", 0.0), ("b", 2)]),
        (["both", {"v": "loss"}], [("a", 0.0), ("b", 2), ("v", 0.0)]),
        ([], []),
        ({}, []),
    ]:
        writer = MemorySummaryWriter()
        hook = rl.SummarySaverHook(1, summary_writer=writer, summary_op=summary_op)
        drive(graph, [hook], runs=1)
        assert [(tag, value) for tag, value, _ in writer.scalars] == expected


def test_by_a_scaffold_it_writes_what_the_graph_registered():
    graph, writer, scaffold = program(LOSSES), MemorySummaryWriter(), rl.Scaffold()
    graph.summary("train/loss", "loss")
    graph.summary("step", "global_step")
    hook = rl.SummarySaverHook(5, summary_writer=writer, scaffold=scaffold)
    creator = rl.ChiefSessionCreator(scaffold, graph=graph)
    with rl.MonitoredSession(creator, [hook]) as session:
        session.run("train")
    assert writer.scalars == [("train/loss", 0.0, 1), ("step", 0, 1)]


def test_a_scaffold_without_summaries_writes_nothing():
    graph, writer, scaffold = program(LOSSES), MemorySummaryWriter(), rl.Scaffold()
    hook = rl.SummarySaverHook(5, summary_writer=writer, scaffold=scaffold)
    with rl.MonitoredSession(rl.ChiefSessionCreator(scaffold, graph=graph), [hook]) as session:
        session.run("train")
    assert writer.scalars == []


def test_scalars_are_fetched_only_when_they_are_written():
    calls = []
    hook = rl.SummarySaverHook(
        3, summary_writer=MemorySummaryWriter(), summary_op={"v": lambda: calls.append(1) or 1}
    )
    drive(program(), [hook], runs=7)
    assert len(calls) == 3


def test_with_nowhere_to_write_it_writes_nothing():
    hook = rl.SummarySaverHook(1, summary_op={"v": "loss"})
    assert drive(program(LOSSES), [hook], runs=3) == 3


def test_output_dir_gets_a_writer_that_is_closed_with_the_session(tmp_path, time):
    hook = rl.SummarySaverHook(2, output_dir=str(tmp_path / "logs"), summary_op={"v": "loss"})
    with (
        pytest.raises(KeyError),
        rl.MonitoredSession(hooks=[hook], graph=program(LOSSES)) as session,
    ):
        for _ in range(3):
            session.run("train")
        raise KeyError
    written = (tmp_path / "logs" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in written] == [1, 3]
    assert hook._summary_writer._file is None


def test_two_hooks_may_write_to_one_folder(tmp_path, time):
    hooks = [
        rl.SummarySaverHook(1, output_dir=tmp_path, summary_op={"v": "loss"}),
        rl.StepCounterHook(1, output_dir=tmp_path),
    ]
    drive(program(LOSSES), hooks, runs=3, each=lambda _: time.advance(1))
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["tag"], line["step"]) for line in written] == [
        ("v", 1),
        ("v", 2),
        ("global_step/sec", 2),
        ("v", 3),
        ("global_step/sec", 3),
    ]


def test_a_folder_that_cannot_be_made_is_an_error_before_the_session_is_made(tmp_path):
    (tmp_path / "file").touch()
    hook = rl.SummarySaverHook(1, output_dir=tmp_path / "file", summary_op={"v": "loss"})
    with pytest.raises(FileExistsError, match=r"can.t create a folder for metrics here: .*file"):
        rl.MonitoredSession(hooks=[hook], graph=program(LOSSES))


def test_what_is_no_mapping_of_scalars_is_refused(tmp_path):
    graph = program([np.ones(3)])
    with pytest.raises(
        TypeError, match=r"^SummarySaverHook: summary_op must give \{tag: scalar\}, got array"
    ):
        drive(
            graph, [rl.SummarySaverHook(1, summary_writer=MemorySummaryWriter(), summary_op="loss")]
        )
    with (
        rl.summary.JsonLinesWriter(tmp_path) as writer,
        pytest.raises(
            TypeError, match=r"^the value of 'v' must be a scalar, got an array of shape \(3,\)"
        ),
    ):
        drive(graph, [rl.SummarySaverHook(1, summary_writer=writer, summary_op={"v": "loss"})])


def test_a_training_that_was_killed_and_started_again_shows_one_curve(tmp_path, time):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pytest.importorskip("tensorboardX")

    def train(losses, runs):
        graph = program(losses)
        graph.summary("loss", "loss")
        writers = JsonLinesWriter(tmp_path), TensorBoardWriter(tmp_path / "board")
        with (
            FanOutWriter(*writers) as writer,
            rl.MonitoredTrainingSession(
                graph=graph,
                checkpoint_dir=tmp_path,
                save_checkpoint_steps=4,
                save_summaries_steps=1,
                log_step_count_steps=2,
                summary_writer=writer,
            ) as session,
        ):
            for _ in range(runs):
                session.run("train")
                time.advance(1)
            if runs == 6:
                raise KeyError  # steps 5 and 6 are not saved

    with pytest.raises(KeyError):
        train(LOSSES, 6)
    train([-loss for loss in LOSSES], 3)
    events = accumulator.EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    curve = [(event.step, event.value) for event in events.Scalars("loss")]
    assert curve == [(1, 0), (2, 1), (3, 2), (4, 3), (5, -4), (6, -5), (7, -6)]
    assert "global_step/sec" in events.Tags()["scalars"]
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in written if line["tag"] == "loss"]
    assert steps == [1, 2, 3, 4, 5, 6, 5, 6, 7]


def test_extension_points():
    class Custom(rl.SummarySaverHook):
        requested = ()

        def _get_summary_op(self):
            return [*super()._get_summary_op(), {"extra": "global_step"}]

        def after_run(self, context, values):
            self.requested += (self._request_summary,)
            super().after_run(context, values)

    hook = Custom(
        2, summary_writer=MemorySummaryWriter(), scaffold=SimpleNamespace(summary_op={"v": "loss"})
    )
    drive(program(LOSSES), [hook], runs=3)
    assert hook.requested == (True, False, True)
    assert hook._summary_writer.scalars == [
        ("v", 0.0, 1),
        ("extra", 0, 1),
        ("v", 2.0, 3),
        ("extra", 2, 3),
    ]
