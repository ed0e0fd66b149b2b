"""The clock: one place to read time, and another clock for whatever is made inside `use`."""

import contextvars
import threading
import time

from runloop import clock
from runloop.testing import FakeClock

from .checks import fails


def test_the_clock_is_the_systems_by_default():
    ours = clock.current()
    assert isinstance(ours, clock.SystemClock)
    before, now, after = time.monotonic(), ours.monotonic(), time.monotonic()
    assert before <= now <= after
    before, now, after = time.time(), ours.time(), time.time()
    assert before <= now <= after


def test_the_systems_clock_returns_from_a_sleep_of_nothing():
    assert clock.SystemClock().sleep(0) is None


def test_use_gives_the_other_clock_inside_and_takes_it_back_outside():
    outer, inner = FakeClock(), FakeClock()
    with clock.use(outer) as given:
        assert given is outer
        with clock.use(inner):
            assert clock.current() is inner
        assert clock.current() is outer
    assert isinstance(clock.current(), clock.SystemClock)


def test_the_clock_is_taken_back_after_an_exception():
    try:
        with clock.use(FakeClock()):
            raise KeyError
    except KeyError:
        pass
    assert isinstance(clock.current(), clock.SystemClock)


def test_a_clock_that_is_false_is_a_clock():
    class Falsy(FakeClock):
        def __bool__(self):
            return False

    other = Falsy()
    with clock.use(other):
        assert clock.current() is other


def test_the_clock_belongs_to_the_context_and_not_to_the_process():
    seen = []
    with clock.use(FakeClock()) as other:
        thread = threading.Thread(target=lambda: seen.append(clock.current()))
        thread.start()
        thread.join()
        contextvars.copy_context().run(lambda: seen.append(clock.current()))
    assert isinstance(seen[0], clock.SystemClock)
    assert seen[1] is other


def test_what_is_no_clock_is_refused_with_the_methods_that_it_lacks():
    class Half:
        def monotonic(self):
            return 0.0

        def __repr__(self):
            return "<Half>"

    with (
        fails(
            TypeError,
            "a clock needs the methods monotonic(), time() and sleep(secs); "
            "<Half> lacks time, sleep",
        ),
        clock.use(Half()),
    ):
        pass
