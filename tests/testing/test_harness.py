"""HookHarness: hooks in the real lifecycle, without a model."""

import logging
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import runloop as rl
from runloop.clock import SystemClock
from runloop.testing import Action, FakeClock, HookHarness, MemorySummaryWriter, RecordingHook
from runloop.testing.strategies import schedules
from tests.checks import fails


class StopBelow(rl.SessionRunHook):
    """Stops once the loss is below a limit; logs and writes it."""

    def __init__(self, limit, writer=None):
        self.limit = limit
        self.writer = writer

    def before_run(self, context):
        return rl.RunArgs("loss")

    def after_run(self, context, values):
        logging.getLogger(__name__).info("loss is %s", values.results)
        if self.writer is not None:
            self.writer.add_scalar("loss", values.results, 1)
        if values.results < self.limit:
            context.request_stop()


def test_the_story_of_a_hook_is_a_list_of_lines():
    harness = HookHarness(StopBelow(0.3), outputs={"loss": [0.9, 0.2]})
    assert harness.run(steps=5) == 2
    harness.close()
    assert harness.events == [
        "StopBelow.before_run step=0 asks='loss'",
        "StopBelow.after_run step=1 got=0.9",
        "StopBelow.before_run step=1 asks='loss'",
        "StopBelow.after_run step=2 got=0.2 requests stop",
    ]
    assert harness.stop_requested_by == "StopBelow"
    assert harness.fetches == ["loss", "loss"]
    assert harness.feeds == [None, None]
    assert harness.logs == ["loss is 0.9", "loss is 0.2"]


def test_scripted_outputs():
    hook = RecordingHook(asks=["list", "function", "constant", "array"])
    array = np.arange(3)
    outputs = {
        "list": [10, 20],
        "function": lambda step: step * 100,
        "constant": 1.5,
        "array": array,
    }
    HookHarness(hook, outputs=outputs, start_step=4).run(3)
    assert [row[:3] for row in hook.results] == [[10, 400, 1.5], [20, 500, 1.5], [20, 600, 1.5]]
    assert (hook.results[0][3] == array).all()


def test_a_hook_that_runs_something_itself_sees_the_value_of_that_moment():
    harness = HookHarness(rl.FinalOpsHook("loss"), outputs={"loss": [3.0, 2.0, 1.0]})
    harness.run(2)
    harness.close()
    assert harness.hooks[0].final_ops_values == 1.0


def test_a_scripted_exception_is_raised_by_the_op():
    harness = HookHarness(StopBelow(0), outputs={"loss": [1.0, OSError("disk")]})
    with fails(OSError, "disk"):
        harness.run(2)
    assert harness.closed
    assert harness.events[-1] == (
        "session.run step=1 fetches=['train', 'loss'] raises OSError: disk"
    )


def test_an_output_needs_a_value():
    with fails(ValueError, "HookHarness: outputs['loss'] needs at least one value, got []"):
        HookHarness(RecordingHook(), outputs={"loss": []})


def test_steps_begin_where_they_are_told_to():
    harness = HookHarness(RecordingHook("A"), start_step=41)
    assert harness.step is None
    harness.run()
    assert harness.step == 42
    harness.close()
    assert harness.step is None


def test_run_until_stop():
    assert HookHarness(rl.StopAtStepHook(num_steps=7), start_step=3).run_until_stop() == 7


def test_run_until_stop_fails_if_nothing_asks_to_stop():
    harness = HookHarness(RecordingHook())
    with fails(
        AssertionError,
        "nothing asked to stop in 3 runs; the last event: RecordingHook.after_run step=3",
    ):
        harness.run_until_stop(limit=3)
    with fails(AssertionError, "nothing asked to stop in 2 runs; the last event: none"):
        HookHarness([]).run_until_stop(limit=2)


def test_a_failing_run_leaves_the_with_block():
    harness = HookHarness(RecordingHook())
    harness.run()
    harness.fail_next(ValueError("boom"))
    with fails(ValueError, "boom"):
        harness.run()
    assert harness.events[-1] == "session.run step=1 fetches='train' raises ValueError: boom"
    assert "RecordingHook.end step=1" not in harness.events
    with fails(
        RuntimeError,
        "HookHarness.run: the session is closed, by close() or by an exception that came out of a "
        "run; make another HookHarness for another session",
    ):
        harness.run()


def test_a_program_may_catch_what_a_run_raises():
    harness = HookHarness(RecordingHook())
    harness.fail_next(ValueError("one"))
    harness.fail_next(ValueError("two"))
    assert harness.run(3, catch=(ValueError,)) == 1
    assert harness.step == 1


def test_an_aborted_run_is_repeated_in_a_new_session():
    harness = HookHarness(RecordingHook(), start_step=5)
    harness.run()
    harness.abort_next()
    assert harness.run() == 1
    assert harness.events[4:] == [
        "RecordingHook.before_run step=6",
        "session.run step=6 fetches='train' raises AbortedError: the session was lost",
        "session.lost step=6 after AbortedError: the session was lost",
        "RecordingHook.after_create_session step=5",
        "RecordingHook.before_run step=5",
        "RecordingHook.after_run step=6",
    ]


def test_with_a_folder_each_step_is_saved_and_restored(tmp_path):
    harness = HookHarness(RecordingHook(), checkpoint_dir=tmp_path)
    harness.run(2)
    harness.abort_next()
    harness.run()
    harness.close()
    assert harness.saved_steps == [0, 1, 2, 2, 3]
    assert "saver.restore step=2 model.ckpt-2.safetensors" in harness.events
    again = HookHarness(RecordingHook(), checkpoint_dir=tmp_path, start_step=99)
    again.run()
    assert again.step == 4


def test_a_checkpoint_saver_under_test_is_the_only_one(tmp_path):
    hook = rl.CheckpointSaverHook(tmp_path, save_steps=3)
    harness = HookHarness(hook, checkpoint_dir=tmp_path)
    harness.run(4)
    harness.close()
    assert harness.saved_steps == [0, 3, 4]


def test_the_end_of_data_is_a_normal_end():
    harness = HookHarness(RecordingHook())
    harness.exhaust_after(2)
    assert harness.run(10) == 2
    assert harness.closed
    assert harness.events[-1] == "RecordingHook.end step=2"


def test_a_life_without_a_run():
    harness = HookHarness(RecordingHook())
    harness.close()
    assert harness.events == [
        "RecordingHook.begin",
        "RecordingHook.after_create_session step=0",
        "RecordingHook.end step=0",
    ]
    harness.close()  # nothing more happens
    assert len(harness.events) == 3


def test_leaving_by_an_exception_calls_no_end():
    harness = HookHarness(RecordingHook())
    harness.close(KeyboardInterrupt())
    assert [event.what for event in harness.events] == ["begin", "after_create_session"]
    with pytest.raises(ZeroDivisionError), HookHarness(recorder := RecordingHook()) as other:
        other.run()
        raise ZeroDivisionError
    assert [event.what for event in recorder.events][-1] == "after_run"


def test_a_hook_that_fails_in_begin_is_seen():
    hook = RecordingHook(failing={"begin": ValueError("no")})
    harness = HookHarness(hook)
    with fails(ValueError, "no"):
        harness.run()
    assert harness.events == ["RecordingHook.begin raises ValueError: no"]
    assert (harness.started, harness.closed) == (False, False)


def test_a_hook_that_was_made_outside_gets_the_clock():
    hook = rl.LoggingTensorHook(["loss"], every_n_secs=10)
    harness = HookHarness(hook, outputs={"loss": 1.0}, clock=FakeClock(per_step=5))
    harness.run(5)
    # Decided before the run, measured after it.
    assert harness.fetches == [{"loss": "loss"}, None, None, {"loss": "loss"}, None]
    assert harness.logs == ["loss = 1.0", "loss = 1.0 (15.000 sec)"]


@pytest.mark.parametrize("given", [RecordingHook, RecordingHook(), lambda: [RecordingHook()]])
def test_a_hook_a_class_or_a_function(given):
    harness = HookHarness(given)
    harness.run()
    assert harness.events[0] == "RecordingHook.begin"
    assert isinstance(harness.hooks[0], RecordingHook)


def test_a_fake_clock_in_use_is_taken():
    with FakeClock(start=3.0).use() as clock:
        assert HookHarness([]).clock is clock


def test_several_hooks_of_a_class_are_numbered():
    harness = HookHarness([RecordingHook(), RecordingHook(stop_after=1)])
    harness.run()
    assert harness.events[:2] == ["RecordingHook.begin", "RecordingHook_1.begin"]
    assert harness.stop_requested_by == "RecordingHook_1"


def test_what_hooks_write_is_seen_whatever_the_writer(tmp_path):
    memory = MemorySummaryWriter()
    hooks = [
        rl.StepCounterHook(1, summary_writer=memory),
        rl.StepCounterHook(2, output_dir=tmp_path),
    ]
    harness = HookHarness(hooks, clock=FakeClock(per_step=0.5))
    harness.run(3)
    assert harness.scalars == [
        ("global_step/sec", 2.0, 2),
        ("global_step/sec", 2.0, 3),
        ("global_step/sec", 2.0, 3),
    ]
    harness.close()
    assert memory.scalars == [("global_step/sec", 2.0, 2), ("global_step/sec", 2.0, 3)]
    assert "add_scalar" not in vars(memory)


def test_a_graph_of_your_own():
    graph = rl.Graph()
    graph.variable("w", 1.0)

    @graph.train_op(updates="w")
    def grow(w):
        return w * 2

    hook = RecordingHook(asks="w")
    harness = HookHarness(hook, graph=graph, train="grow", outputs={"loss": 0.0})
    harness.run(3)
    assert hook.results == [1.0, 2.0, 4.0]
    assert harness.graph is graph


def test_feeds_of_hooks_and_of_the_program():
    graph = rl.Graph()
    graph.train_op(lambda rate=0.5, batch=None: None, name="train")
    harness = HookHarness(rl.FeedFnHook(lambda: {"rate": 0.1}), graph=graph)
    harness.run(feed_dict={"batch": 3})
    assert harness.feeds == [{"rate": 0.1}]


def test_the_session_itself_can_be_had():
    harness = HookHarness(rl.StopAtStepHook(last_step=1))
    assert isinstance(harness.session, rl.MonitoredSession)
    harness.run()
    assert harness.session.should_stop()


def test_nothing_is_left_behind():
    root = logging.getLogger()
    before = root.level, list(root.handlers), rl.get_default_graph()
    harness = HookHarness(RecordingHook())
    harness.run()
    assert (root.level, list(root.handlers), rl.get_default_graph()) == before


# -- schedules -------------------------------------------------------------------------------------


def test_a_schedule_is_played():
    hook = RecordingHook()
    harness = HookHarness(hook, clock=FakeClock())
    harness.play([Action("run", 2), Action("fail"), Action("advance", 5), Action("abort")])
    assert harness.clock.now == 5
    harness.play([Action("exhaust"), Action("run")])
    assert harness.closed
    assert hook.steps == [1, 2, 1]


def test_a_schedule_knows_its_actions():
    message = (
        "HookHarness.play: unknown action 'jump'; the actions are run, fail, abort, advance, exhaust, "
        "close and leave_by_error"
    )
    with fails(ValueError, message):
        HookHarness([]).play([Action("jump")])
    clock = SystemClock()
    with fails(TypeError, f"time passes only on a FakeClock, not on {clock!r}"):
        HookHarness([], clock=clock).play([Action("advance", 1)])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules())
def test_every_life_obeys_the_grammar_of_the_lifecycle(schedule):
    harness = HookHarness(RecordingHook("A"), clock=FakeClock())
    harness.play(schedule)
    if not harness.started:
        return
    said = [event.what for event in harness.events]
    assert said[:2] == ["begin", "after_create_session"]
    assert said.count("begin") == 1
    assert said.count("end") <= 1
    for before, after in pairwise(said[1:]):
        allowed = {
            "after_create_session": {"before_run", "end"},
            "before_run": {"after_run", "run"},  # "run" is one that failed
            "after_run": {"before_run", "end"},
            "run": {"before_run", "lost", "end"},
            "lost": {"after_create_session"},
        }
        assert after in allowed[before]
    left = [action.what for action in schedule if action.what in {"exhaust", "close"}]
    assert ("end" in said) == bool(left)
