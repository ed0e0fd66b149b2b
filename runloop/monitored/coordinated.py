"""A session with its coordinator: created, shown to the hooks, closed in order."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from runloop.coordinator import Coordinator
from runloop.errors import AbortedError, UnavailableError
from runloop.messages import add_note, describe
from runloop.monitored.dispatch import Dispatcher

__all__ = ["PREEMPTION_ERRORS", "CoordinatedSession", "raise_first"]

_logger = logging.getLogger(__name__)

PREEMPTION_ERRORS = (AbortedError, UnavailableError)
"""Errors after which the session is re-created and the call repeated."""


class CoordinatedSession:
    """One session and its coordinator, from ``create_session`` to ``close``.

    The constructor creates the session and calls ``after_create_session`` on each hook. If one of
    them raises, the session is closed and the exception goes on. If one of them calls
    ``coord.request_stop()``, the training is finished: ``stop_requested`` is true from the start.

    Args:
        creator: Creates the session.
        hooks: The hooks that are called with the session and the coordinator.
        stop_grace_period_secs: Seconds that the coordinator's threads get to end at close.
    """

    def __init__(self, creator: Any, hooks: Dispatcher, stop_grace_period_secs: float) -> None:
        self.coord = Coordinator(clean_stop_exception_types=())
        self.coord.stop_grace_period_secs = stop_grace_period_secs
        self._watch = hooks.watch
        if self._watch is None:
            self.session = creator.create_session()
        else:
            self.session = self._watch.create(creator.create_session, self.coord)
        self.stop_requested = False
        try:
            if hasattr(self.session, "add_companions"):
                self.session.add_companions(hooks.companions())
            # For the saver's hook, which is often called before the hook that requests the stop.
            self.coord.finished = partial(hooks.finished, self.session)
            self.coord.last_step = partial(hooks.last_step, self.session)
            hooks.call("after_create_session", self.session, self.coord)
            hooks.refresh()
            # Not a stop by another thread or a signal: that must not turn a run into an error.
            self.stop_requested = self.coord.stopped_by_this_thread
        except BaseException as exc:
            raise_first([exc, *self.close(exc)])

    def close(self, error: BaseException | None) -> list[BaseException]:
        """Stop the threads, run the callbacks, close the session, run the after-close callbacks.

        Each part runs even if an earlier one raises.

        Args:
            error: The exception that the session is left by, if any.

        Returns:
            Everything that was raised, in order.
        """
        if self._watch is None:
            return self._close(error)
        return self._watch.close(self.session, error, self._close)

    def _close(self, error: BaseException | None) -> list[BaseException]:
        coord = self.coord
        coord.closing_error = error
        failures: list[BaseException] = []
        try:
            coord.request_stop()
            coord.join(
                stop_grace_period_secs=coord.stop_grace_period_secs, ignore_live_threads=True
            )
        except BaseException as exc:  # returned to the caller, who raises it
            failures.append(exc)
        failures += coord.run_callbacks()
        try:
            self.session.close()
        except BaseException as exc:  # returned to the caller, who raises it
            failures.append(exc)
        coord.closing_error = error or (failures[0] if failures else None)
        return failures + coord.run_after_close()


def raise_first(failures: list[BaseException], *, reraise: bool = True) -> None:
    """Raise the first of ``failures``, with the others as notes on it.

    An interrupt (not an ``Exception``) is raised in preference to the first: it must not end as a
    note. With ``reraise=False`` the first only gets the notes.
    """
    if not failures:
        return
    first = failures[0]
    if reraise:
        first = next((exc for exc in failures if not isinstance(exc, Exception)), first)
    for other in failures:
        if other is not first:
            add_note(first, f"Then, while closing: {describe(other)}")
    if reraise:
        raise first
