"""What several test files share: whole error texts, a clock that stands still, recording hooks."""

from contextlib import contextmanager

import pytest


@contextmanager
def fails(kind, text):
    """The block raises exactly `kind`, and its message is `text` from the first word to the last.

    Gives pytest's info object; its `value` is the exception.
    """
    with pytest.raises(kind) as info:
        yield info
    assert type(info.value) is kind
    assert str(info.value) == text


class FakeClock:
    """Time passes only when somebody sleeps or the test says so."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def monotonic(self):
        return self.now

    def time(self):
        return 1_000_000.0 + self.now

    def sleep(self, secs):
        self.slept.append(secs)
        self.now += secs


class TickingClock(FakeClock):
    """One more second whenever somebody looks."""

    def monotonic(self):
        self.now += 1.0
        return self.now


class Recorder:
    """A hook that writes down its calls in a list that several share.

    It inherits from nothing: a hook is whatever has the five methods. What it should raise is
    told by `failing`: {method: exception}, each raised once.
    """

    def __init__(self, log, name="A", asks=None, failing=None):
        self.log = log
        self.name = name
        self.asks = asks
        self.failing = dict(failing or {})

    def _note(self, method):
        self.log.append(f"{self.name}.{method}")
        if method in self.failing:
            raise self.failing.pop(method)

    def begin(self):
        self._note("begin")

    def after_create_session(self, session, coord):
        self._note("after_create_session")

    def before_run(self, run_context):
        self._note("before_run")
        return self.asks

    def after_run(self, run_context, run_values):
        self._note("after_run")

    def end(self, session):
        self._note("end")
