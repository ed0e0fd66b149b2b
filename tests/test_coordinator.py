"""The coordinator: threads that stop together and fail together, and what is cleaned up."""

import logging
import sys
import threading

import pytest

from runloop.coordinator import Coordinator, LooperThread
from runloop.errors import OutOfRangeError
from runloop.testing import FakeClock

from .checks import fails


def started(target, name="worker"):
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def ended(target):
    thread = started(target)
    thread.join(timeout=30)
    assert not thread.is_alive()
    return thread


def raising(coord, error):
    """A thread's body that fails."""

    def body():
        with coord.stop_on_exception():
            raise error

    return body


# -- asking to stop -------------------------------------------------------------------------------


def test_a_coordinator_stops_when_it_is_asked_to():
    coord = Coordinator()
    assert coord.should_stop() is False
    assert coord.wait_for_stop(0) is False
    coord.request_stop()
    assert coord.should_stop() is True
    assert coord.wait_for_stop() is True
    coord.join()
    assert coord.joined is True
    coord.raise_requested_exception()


def test_a_thread_that_waits_is_woken_by_a_request_to_stop():
    coord = Coordinator()
    woken = []
    thread = started(lambda: woken.append(coord.wait_for_stop(30)))
    coord.request_stop()
    thread.join(timeout=30)
    assert woken == [True]


def test_clear_stop_forgets_the_request_the_exception_and_the_join():
    coord = Coordinator()
    coord.request_stop(KeyError("first"))
    with pytest.raises(KeyError):
        coord.join()
    coord.clear_stop()
    assert (coord.should_stop(), coord.joined, coord.requested_exception) == (False, False, None)
    coord.request_stop(ValueError("second"))
    with pytest.raises(ValueError, match="second"):
        coord.raise_requested_exception()


# -- exceptions -----------------------------------------------------------------------------------


def test_what_a_thread_raises_asks_to_stop_and_is_raised_by_join_each_time():
    coord = Coordinator()
    error = ValueError("broken")
    ended(raising(coord, error))
    assert coord.should_stop() is True
    assert coord.requested_exception is error
    for check in (coord.raise_requested_exception, coord.join, coord.join):
        with pytest.raises(ValueError, match="broken") as info:
            check()
        assert info.value is error


def test_the_first_exception_wins():
    coord = Coordinator()
    ended(raising(coord, ValueError("first")))
    ended(raising(coord, KeyError("second")))
    with pytest.raises(ValueError, match="first"):
        coord.join()


def test_an_exception_after_a_plain_request_to_stop_is_dropped():
    coord = Coordinator()
    coord.request_stop()
    coord.request_stop(ValueError("late"))
    coord.join()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr)
def test_stop_on_exception_hands_over_everything(error):
    coord = Coordinator()
    ended(raising(coord, error))
    assert coord.requested_exception is error


def test_request_stop_takes_an_exception_or_what_exc_info_gave():
    coord = Coordinator()
    coord.request_stop(KeyError("outside of an except block"))
    assert isinstance(coord.requested_exception, KeyError)
    coord.clear_stop()
    try:
        raise ValueError("inside")
    except ValueError:
        coord.request_stop(sys.exc_info())
    with pytest.raises(ValueError, match="inside"):
        coord.join()


def test_the_end_of_the_data_is_no_failure_by_default():
    coord = Coordinator()
    ended(raising(coord, OutOfRangeError("the end")))
    assert coord.should_stop() is True
    coord.join()
    coord = Coordinator()
    ended(raising(coord, StopIteration()))
    with pytest.raises(StopIteration):
        coord.join()


def test_which_exceptions_are_no_failure_can_be_said():
    coord = Coordinator(clean_stop_exception_types=[KeyError])
    ended(raising(coord, KeyError()))
    assert coord.should_stop() is True
    coord.join()
    coord = Coordinator(clean_stop_exception_types=())
    ended(raising(coord, OutOfRangeError("the end")))
    with pytest.raises(OutOfRangeError):
        coord.join()


def test_after_the_join_an_exception_comes_out_where_it_is():
    """Nobody will look at the coordinator any more."""
    coord = Coordinator()
    coord.request_stop()
    coord.join()
    with pytest.raises(ValueError, match="late"), coord.stop_on_exception():
        raise ValueError("late")
    with pytest.raises(KeyError, match="late"):
        coord.request_stop(KeyError("late"))


# -- joining --------------------------------------------------------------------------------------


def test_join_waits_for_registered_and_for_given_threads():
    coord = Coordinator()
    done = []

    def work():
        coord.wait_for_stop(30)
        done.append(1)

    coord.register_thread(started(work))
    given = started(work)
    coord.request_stop()
    coord.join([given])
    assert len(done) == 2


def test_join_without_a_request_waits_until_the_threads_have_ended():
    coord = Coordinator()
    thread = ended(lambda: None)
    coord.join([thread])
    assert coord.joined


def stuck(coord, count=1):
    """Threads that do not heed the coordinator, and the event that lets them go."""
    let_go = threading.Event()
    for i in range(count):
        coord.register_thread(started(lambda: let_go.wait(30), f"slow{i}"))
    return let_go


def test_threads_alive_after_the_grace_period_are_an_error_that_names_them():
    clock = FakeClock()
    with clock.use():
        coord = Coordinator()
    let_go = stuck(coord)
    coord.request_stop()
    with fails(RuntimeError, "Coordinator stopped with threads still running: slow0"):
        coord.join(stop_grace_period_secs=7)
    assert clock.now == pytest.approx(7)
    let_go.set()


def test_the_names_of_stragglers_are_joined_by_a_space():
    with FakeClock().use():
        coord = Coordinator()
    let_go = stuck(coord, 2)
    coord.request_stop()
    with pytest.raises(RuntimeError) as info:
        coord.join(stop_grace_period_secs=1)
    text = "Coordinator stopped with threads still running: "
    assert str(info.value) in {f"{text}slow0 slow1", f"{text}slow1 slow0"}
    let_go.set()


def test_stragglers_are_only_logged_if_asked_for(caplog):
    with FakeClock().use():
        coord = Coordinator()
    let_go = stuck(coord)
    coord.request_stop()
    with caplog.at_level(logging.INFO, "runloop.coordinator"):
        coord.join(stop_grace_period_secs=1, ignore_live_threads=True)
    assert caplog.messages == ["Coordinator stopped with threads still running: slow0"]
    assert coord.joined
    coord.join(stop_grace_period_secs=1)  # registered threads are forgotten after a join
    let_go.set()


def test_an_exception_goes_before_stragglers():
    with FakeClock().use():
        coord = Coordinator()
    let_go = stuck(coord)
    coord.request_stop(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        coord.join(stop_grace_period_secs=1)
    let_go.set()


def test_a_grace_period_of_nothing_asks_once():
    with FakeClock().use() as clock:
        coord = Coordinator()
    let_go = stuck(coord)
    coord.request_stop()
    with pytest.raises(RuntimeError):
        coord.join(stop_grace_period_secs=0)
    assert clock.slept == []
    let_go.set()


# -- cleaning up ----------------------------------------------------------------------------------


def test_callbacks_run_once_in_reverse_order_and_all_of_them():
    coord = Coordinator()
    log = []
    errors = [ValueError("one"), KeyboardInterrupt("two")]

    def fail(error):
        log.append(type(error).__name__)
        raise error

    coord.callback(log.append, "first")
    coord.callback(fail, errors[0])
    coord.callback(fail, error=errors[1])
    coord.callback(log.append, "last")
    assert coord.run_callbacks() == [errors[1], errors[0]]
    assert log == ["last", "KeyboardInterrupt", "ValueError", "first"]
    assert coord.run_callbacks() == []
    assert len(log) == 4


def test_what_comes_after_the_close_is_kept_apart():
    coord = Coordinator()
    log = []
    coord.callback(log.append, "before")
    coord.after_close(log.append, "after 1")
    coord.after_close(log.append, "after 2")
    coord.run_callbacks()
    assert log == ["before"]
    coord.run_after_close()
    coord.run_after_close()
    assert log == ["before", "after 2", "after 1"]


def test_a_callback_may_register_another():
    coord = Coordinator()
    log = []
    coord.callback(lambda: coord.callback(log.append, "inner"))
    coord.run_callbacks()
    assert log == ["inner"]


# -- the looper -----------------------------------------------------------------------------------


def test_a_looper_calls_its_target_until_the_coordinator_stops():
    coord = Coordinator()
    calls = []

    def target(a, *, b):
        calls.append((a, b))
        if len(calls) == 3:
            coord.request_stop()

    thread = LooperThread.loop(coord, None, target, args=(1,), kwargs={"b": 2})
    coord.join()
    assert calls == [(1, 2)] * 3
    assert thread.daemon
    assert not thread.is_alive()


class Looper(LooperThread):
    def __init__(self, coord, interval=None, stop_after=3):
        super().__init__(coord, interval)
        self.log = []
        self.stop_after = stop_after
        self.coord = coord

    def start_loop(self):
        self.log.append("start")

    def run_loop(self):
        self.log.append("run")
        if self.log.count("run") == self.stop_after:
            self.coord.request_stop()

    def stop_loop(self):
        self.log.append("stop")


@pytest.mark.parametrize("interval", [None, 0, 1e-4])
def test_a_looper_starts_runs_and_stops(interval):
    looper = Looper(Coordinator(), interval)
    looper.start()
    looper.coord.join()
    assert looper.log == ["start", "run", "run", "run", "stop"]


@pytest.mark.parametrize("interval", [None, 1e-4])
def test_a_looper_that_is_stopped_before_it_starts_runs_nothing(interval):
    looper = Looper(Coordinator(), interval)
    looper.coord.request_stop()
    looper.start()
    looper.coord.join()
    assert looper.log == ["start", "stop"]


def test_an_exception_of_a_looper_goes_to_the_coordinator_and_it_is_not_stopped_in_order():
    class Broken(Looper):
        def run_loop(self):
            raise ValueError("broken")

    looper = Broken(Coordinator())
    looper.start()
    with pytest.raises(ValueError, match="broken"):
        looper.coord.join()
    assert looper.log == ["start"]


def test_a_looper_without_a_target_does_nothing_and_stops():
    coord = Coordinator()
    LooperThread.loop(coord, 1e-4, None)
    coord.request_stop()
    coord.join()


def test_a_looper_needs_a_coordinator():
    with fails(ValueError, "'coord' argument must be a Coordinator: None"):
        LooperThread(None, 1.0)


@pytest.mark.parametrize("given", [{"args": (1,)}, {"kwargs": {"a": 1}}])
def test_arguments_of_a_looper_need_a_target(given):
    with fails(ValueError, "'args' and 'kwargs' argument require that you also pass 'target'"):
        LooperThread(Coordinator(), 1.0, **given)
