import pytest

import runloop as rl
from runloop.testing import RaiseAt

from .programs import drive, program


def test_exactly_one_of_the_two_is_required():
    with pytest.raises(ValueError, match=r"^One of num_steps or last_step must be specified.$"):
        rl.StopAtStepHook()
    with pytest.raises(ValueError, match=r"^Only one of num_steps or last_step can be specified.$"):
        rl.StopAtStepHook(1, 1)


@pytest.mark.parametrize("arguments", [{"num_steps": 3}, {"last_step": 3}])
def test_it_stops_at_the_step(arguments):
    assert drive(program(), [rl.StopAtStepHook(**arguments)]) == 3


def test_num_steps_counts_from_where_the_session_starts_and_last_step_does_not():
    for arguments, last in [({"num_steps": 3}, 13), ({"last_step": 12}, 12)]:
        graph = rl.Graph()
        graph.variable("global_step", 10, trainable=False)
        graph.train_op(lambda: None, name="train")
        assert drive(graph, [rl.StopAtStepHook(**arguments)]) == last


@pytest.mark.parametrize("arguments", [{"num_steps": 0}, {"last_step": 0}])
def test_a_step_that_is_reached_at_the_start_costs_no_run(arguments):
    assert drive(program(), [rl.StopAtStepHook(**arguments)]) == 0


def test_with_larger_increments_it_may_stop_a_run_late_as_in_tensorflow():
    assert drive(program(increment=4), [rl.StopAtStepHook(last_step=5)]) == 8
    assert drive(program(increment=4), [rl.StopAtStepHook(last_step=6)]) == 12


def test_runs_that_do_not_train_do_not_count():
    graph = program([1.0])
    with rl.MonitoredSession(hooks=[rl.StopAtStepHook(last_step=1)], graph=graph) as session:
        for _ in range(3):
            session.run("loss")
            assert not session.should_stop()
        session.run("train")
        assert session.should_stop()


def test_a_session_that_is_made_anew_does_not_count_anew(tmp_path):
    with rl.MonitoredTrainingSession(
        graph=program(),
        checkpoint_dir=tmp_path,
        save_checkpoint_steps=1,
        hooks=[rl.StopAtStepHook(num_steps=3), RaiseAt(2, rl.errors.AbortedError("lost"))],
    ) as session:
        while not session.should_stop():
            session.run("train")
        assert session.raw_session().run("global_step") == 3


def test_without_a_global_step_it_says_what_to_do():
    graph = rl.Graph()
    with (
        pytest.raises(
            RuntimeError, match=r"^Global step should be created to use StopAtStepHook\."
        ) as caught,
        graph.as_default(),
    ):
        rl.MonitoredSession(hooks=[rl.StopAtStepHook(last_step=1)])
    assert str(caught.value) == "Global step should be created to use StopAtStepHook."
    assert caught.value.__notes__ == [
        (
            "Define a train_op, or call runloop.get_or_create_global_step(), in the session's "
            "graph before the session is made."
        )
    ]


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        (rl.StepCounterHook, "StepCounterHook"),
        (lambda: rl.SummarySaverHook(save_steps=1, summary_op={}), "SummarySaverHook"),
        (lambda: rl.ProfilerHook(save_steps=1), "ProfilerHook"),
        (lambda: rl.GlobalStepWaiterHook(1), "_GlobalStepWaiterHook"),
        (
            lambda: rl.EarlyStoppingHook("loss", mode="min", patience_steps=1),
            "EarlyStoppingHook",
        ),
        (rl.ProgressBarHook, "ProgressBarHook"),
    ],
)
def test_every_hook_that_needs_a_global_step_says_so(hook, name):
    with rl.Graph().as_default(), pytest.raises(RuntimeError) as caught:
        hook().begin()
    assert str(caught.value) == f"Global step should be created to use {name}."
