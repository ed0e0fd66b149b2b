"""What several test files share: whole error texts, and hooks that write down their calls."""

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
