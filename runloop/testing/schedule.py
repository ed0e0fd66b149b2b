"""Schedules: what is to happen to a harness, as data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from runloop.errors import AbortedError
from runloop.testing.clock import FakeClock

__all__ = ["Action", "play"]


class Action(NamedTuple):
    """One step of a schedule, for :meth:`HookHarness.play`.

    Attributes:
        what: ``"run"``, ``"fail"`` (a run whose op fails; the program catches it), ``"abort"`` (a run
            in which the session is lost and made anew), ``"advance"`` (time passes),
            ``"exhaust"`` (a run for which there is no data), ``"close"``, ``"leave_by_error"``.
        amount: How many runs, or seconds.
    """

    what: str
    amount: float = 1


class _ScheduledError(Exception):
    """What fails in a schedule."""


def play(harness: Any, schedule: Iterable[Action]) -> None:
    """Let ``schedule`` happen to a ``HookHarness``, whose :meth:`play` says what is raised."""
    for action in schedule:
        if harness.closed:
            return
        if action.what == "run":
            harness.run(int(action.amount))
        elif action.what == "fail":
            _run_failing(harness, _ScheduledError("an op failed"))
        elif action.what == "abort":
            _run_failing(harness, AbortedError("the session was lost"))
        elif action.what == "advance":
            if not isinstance(harness.clock, FakeClock):
                raise TypeError(f"time passes only on a FakeClock, not on {harness.clock!r}")
            harness.clock.advance(action.amount)
        elif action.what == "exhaust":
            harness.exhaust_after(0)
            harness.run()
        elif action.what == "close":
            harness.close()
        elif action.what == "leave_by_error":
            harness.close(_ScheduledError("the program failed"))
        else:
            raise ValueError(f"HookHarness.play: there is no action {action.what!r}")


def _run_failing(harness: Any, exc: Exception) -> None:
    if not harness.session.should_stop():
        harness.fail_next(exc)
        harness.run(catch=(_ScheduledError,))
