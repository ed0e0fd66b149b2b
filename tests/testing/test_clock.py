"""The fake clock: it moves when it is told to, and everything in a session reads it."""

import pytest

import runloop as rl
from runloop import clock as clocks
from runloop.testing import FakeClock, HookHarness
from tests.checks import fails


def test_time_stands_still_until_it_is_told_to_move():
    clock = FakeClock(start=5.0, epoch=100.0)
    assert [clock.monotonic(), clock.monotonic(), clock.time()] == [5.0, 5.0, 105.0]
    clock.advance(2.5)
    assert [clock.monotonic(), clock.time(), clock.now] == [7.5, 107.5, 7.5]


def test_sleeping_returns_at_once_and_moves_it():
    clock = FakeClock()
    clock.sleep(3.0)
    clock.sleep(-1.0)  # as Coordinator and friends may compute
    assert (clock.now, clock.slept) == (3.0, [3.0, -1.0])


def test_it_can_move_at_each_read():
    clock = FakeClock(per_read=0.5)
    assert [clock.monotonic(), clock.monotonic()] == [0.5, 1.0]


def test_use_gives_it_to_everything_that_is_made_inside():
    with FakeClock().use() as clock:
        assert clocks.current() is clock
        timer = rl.SecondOrStepTimer(every_secs=10)
    assert clocks.current() is not clock
    timer.update_last_triggered_step(1)
    assert not timer.should_trigger_for_step(2)
    clock.advance(10)
    assert timer.should_trigger_for_step(2)


def test_its_hook_moves_it_by_a_fixed_amount_in_each_run_of_any_session():
    graph = rl.Graph()
    graph.train_op(lambda: None, name="train")
    clock = FakeClock(per_step=2.0)
    with rl.MonitoredSession(hooks=[clock.hook()], graph=graph) as session:
        session.run("train")
        session.run("train")
    assert clock.now == 4.0


def test_a_harness_ticks_once_a_run_whatever_the_hooks_run_themselves():
    class RunsMore(rl.SessionRunHook):
        def after_run(self, context, values):
            context.session.run("loss")

    harness = HookHarness(RunsMore(), outputs={"loss": 1.0}, clock=FakeClock(per_step=0.25))
    harness.run(4)
    assert harness.clock.now == 1.0


def test_it_says_what_it_shows():
    assert repr(FakeClock(start=1.5)) == "FakeClock(now=1.5)"


@pytest.mark.parametrize("name", ["per_step", "per_read"])
def test_it_never_goes_back(name):
    with fails(ValueError, f"FakeClock: {name} must be at least 0 seconds, got -1"):
        FakeClock(**{name: -1})
    with fails(ValueError, "FakeClock.advance: secs must be at least 0, got -0.5"):
        FakeClock().advance(-0.5)
