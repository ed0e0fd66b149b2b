import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runloop import clock
from runloop.testing import FakeClock
from runloop.timers import NeverTriggerTimer, SecondOrStepTimer


def test_exactly_one_interval_is_required():
    with pytest.raises(ValueError, match=r"^Either every_secs or every_steps should be provided.$"):
        SecondOrStepTimer()
    with pytest.raises(ValueError, match=r"^Can not provide both every_secs and every_steps.$"):
        SecondOrStepTimer(1, 1)


def test_the_first_step_asked_about_triggers_and_asking_changes_nothing():
    timer = SecondOrStepTimer(every_steps=3)
    assert [timer.should_trigger_for_step(s) for s in (17, 17, 5)] == [True, True, True]
    assert timer.last_triggered_step() is None


@pytest.mark.parametrize(
    ("every", "triggers"),
    [
        (1, [0, 1, 2, 3, 4, 5, 6, 7]),
        (2, [0, 2, 4, 6]),
        (3, [0, 3, 6]),
        (100, [0]),
        (0, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_steps_trigger_every_n(every, triggers):
    timer = SecondOrStepTimer(every_steps=every)
    seen = []
    for step in range(8):
        if timer.should_trigger_for_step(np.int64(step)):
            timer.update_last_triggered_step(step)
            seen.append(step)
    assert seen == triggers


@pytest.mark.parametrize(
    ("every", "triggers"), [(1.0, [0, 2, 4, 6]), (1.5, [0, 3, 6]), (0, [0, 1, 2, 3, 4, 5, 6, 7])]
)
def test_seconds_trigger_once_they_have_passed_the_limit_included(every, triggers):
    time = FakeClock()
    timer = SecondOrStepTimer(every_secs=every, clock=time)
    seen = []
    for step in range(8):
        if timer.should_trigger_for_step(step):
            timer.update_last_triggered_step(step)
            seen.append(step)
        time.advance(0.5)
    assert seen == triggers


def test_the_step_that_triggered_last_never_triggers_again():
    time = FakeClock()
    timer = SecondOrStepTimer(every_secs=1, clock=time)
    timer.update_last_triggered_step(4)
    time.advance(100)
    assert not timer.should_trigger_for_step(4)
    assert timer.should_trigger_for_step(5)


def test_a_step_counter_that_went_back_triggers_n_steps_beyond_the_last_trigger():
    timer = SecondOrStepTimer(every_steps=2)
    timer.update_last_triggered_step(10)
    assert [s for s in range(14) if timer.should_trigger_for_step(s)] == [12, 13]


def test_update_returns_what_has_passed_since_the_trigger_before():
    time = FakeClock()
    timer = SecondOrStepTimer(every_steps=1, clock=time)
    assert timer.update_last_triggered_step(3) == (None, None)
    time.advance(2.5)
    assert timer.update_last_triggered_step(7) == (2.5, 4)
    assert timer.last_triggered_step() == 7


def test_reset_forgets_the_last_trigger():
    timer = SecondOrStepTimer(every_steps=10)
    timer.update_last_triggered_step(3)
    timer.reset()
    assert timer.last_triggered_step() is None
    assert timer.should_trigger_for_step(3)
    assert timer.update_last_triggered_step(4) == (None, None)


def test_a_timer_keeps_the_clock_that_was_current_when_it_was_made():
    time = FakeClock()
    with clock.use(time):
        timer = SecondOrStepTimer(every_secs=5)
    timer.update_last_triggered_step(0)
    time.advance(4.9)
    assert not timer.should_trigger_for_step(1)
    time.advance(0.1)
    assert timer.should_trigger_for_step(1)


@given(every=st.integers(1, 50), moves=st.lists(st.integers(0, 20), max_size=60))
def test_triggers_are_never_closer_than_their_interval_in_steps(every, moves):
    timer = SecondOrStepTimer(every_steps=every)
    step, last = 0, None
    for move in moves:
        step += move
        triggered = timer.should_trigger_for_step(step)
        assert triggered == (last is None or (step != last and step - last >= every))
        if triggered:
            timer.update_last_triggered_step(step)
            last = step


@given(every=st.integers(0, 50), moves=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20))))
def test_triggers_are_never_closer_than_their_interval_in_seconds(every, moves):
    time = FakeClock()
    timer = SecondOrStepTimer(every_secs=every, clock=time)
    step, last = 0, None
    for steps, secs in moves:
        step += steps
        time.advance(secs)
        triggered = timer.should_trigger_for_step(step)
        assert triggered == (last is None or (step != last[0] and time.now - last[1] >= every))
        if triggered:
            timer.update_last_triggered_step(step)
            last = step, time.now


def test_never_never_triggers():
    timer = NeverTriggerTimer()
    timer.reset()
    assert not timer.should_trigger_for_step(0)
    assert timer.update_last_triggered_step(0) == (None, None)
    assert not timer.should_trigger_for_step(10**9)
    assert timer.last_triggered_step() is None
