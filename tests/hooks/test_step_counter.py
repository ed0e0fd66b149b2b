import json
import logging

import pytest

import runloop as rl
from runloop import clock
from runloop.testing import FakeClock, MemorySummaryWriter

from .programs import drive, lines, program


@pytest.fixture(autouse=True)
def _info(caplog):
    caplog.set_level(logging.INFO, "runloop")


@pytest.fixture
def time():
    with clock.use(FakeClock()) as fake:
        yield fake


def test_exactly_one_interval_is_required():
    text = r"^exactly one of every_n_steps and every_n_secs should be provided.$"
    for steps, secs in [(None, None), (100, 1)]:
        with pytest.raises(ValueError, match=text):
            rl.StepCounterHook(steps, secs)
    with pytest.raises(ValueError, match=text):
        rl.StepCounterHook(every_n_secs=1)  # every_n_steps is 100 unless it is None


def test_every_n_steps(caplog, time):
    writer = MemorySummaryWriter()
    hook = rl.StepCounterHook(3, summary_writer=writer)
    drive(program(), [hook], runs=11, each=lambda _: time.advance(0.75))
    assert lines(caplog, "step_counter") == ["global_step/sec: 1.33333"] * 3
    assert writer.scalars == [("global_step/sec", 3 / 2.25, step) for step in (4, 7, 10)]


def test_every_n_secs(caplog, time):
    writer = MemorySummaryWriter()
    hook = rl.StepCounterHook(None, 2, summary_writer=writer)
    drive(program(), [hook], runs=8, each=lambda _: time.advance(0.75))
    assert writer.scalars == [("global_step/sec", 3 / 2.25, step) for step in (4, 7)]


def test_increments_are_counted_not_runs(time):
    writer = MemorySummaryWriter()
    hook = rl.StepCounterHook(10, summary_writer=writer)
    drive(program(increment=5), [hook], runs=7, each=lambda _: time.advance(1))
    assert writer.scalars == [("global_step/sec", 5.0, 20), ("global_step/sec", 5.0, 35)]


def test_no_time_at_all_is_infinitely_fast(caplog, time):
    drive(program(), [rl.StepCounterHook(1)], runs=2)
    assert lines(caplog, "step_counter") == ["global_step/sec: inf"]


def test_a_step_that_stays_is_warned_of_five_times(caplog, time):
    drive(program([1.0]), [rl.StepCounterHook(1)], runs=9, fetch="loss")
    assert (
        lines(caplog, "step_counter")
        == [
            (
                "The global step did not increase: 0 before this run, 0 before the last one; "
                "only runs of a train_op count as steps"
            )
        ]
        * 5
    )


def test_output_dir_gets_a_writer_that_is_closed_with_the_session(tmp_path, time):
    hook = rl.StepCounterHook(1, output_dir=tmp_path / "logs")
    drive(program(), [hook], runs=2, each=lambda _: time.advance(2))
    (line,) = (tmp_path / "logs" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "step": 2,
        "tag": "global_step/sec",
        "value": 0.5,
        "time": 1_000_002.0,
    }
    assert hook._summary_writer._file is None


def test_a_writer_of_the_callers_is_left_alone(time):
    writer = MemorySummaryWriter()
    with (
        pytest.raises(KeyError),
        rl.MonitoredSession(hooks=[rl.StepCounterHook(summary_writer=writer)], graph=program()),
    ):
        raise KeyError
    assert writer.calls == []


def test_after_a_recovery_it_goes_on_with_the_same_writer(tmp_path, time):
    failures = [rl.errors.AbortedError("lost")]

    class Lose(rl.SessionRunHook):
        def before_run(self, context):
            if context.session.run("global_step") == 2 and failures:
                raise failures.pop()

    hooks = [rl.StepCounterHook(1, output_dir=tmp_path), Lose()]
    drive(program(), hooks, runs=4, each=lambda _: time.advance(1))
    written = (tmp_path / "metrics.jsonl").read_text().splitlines()
    # Two steps, lost; the new session is at step 1 two seconds after step 2, and at 2 a second on.
    assert [json.loads(line)["step"] for line in written] == [2]


def test_extension_points(caplog, time):
    class Custom(rl.StepCounterHook):
        seen = ()

        def _log_and_record(self, elapsed_steps, elapsed_time, global_step):
            self.seen += ((elapsed_steps, elapsed_time, global_step),)

    hook = Custom(every_n_steps=2)
    drive(program(), [hook], runs=5, each=lambda _: time.advance(0.5))
    assert hook.seen == ((2, 1.0, 3), (2, 1.0, 5))
    assert hook._summary_writer is None
    assert lines(caplog, "step_counter") == []


def test_with_steps_per_run_an_interval_does_not_end_a_run_late(time):
    def triggers(steps_per_run):
        found = []

        class Own(rl.StepCounterHook):
            def _log_and_record(self, elapsed_steps, elapsed_time, global_step):
                found.append((int(elapsed_steps), int(global_step)))

        hook = Own(8)
        if steps_per_run is not None:
            hook._set_steps_per_run(steps_per_run)
            assert hook._steps_per_run == steps_per_run
        drive(program(increment=4), [hook], runs=6, each=lambda _: time.advance(1))
        return found

    assert triggers(4) == [(8, 12), (8, 20)]
    assert triggers(None) == [(12, 16)]
