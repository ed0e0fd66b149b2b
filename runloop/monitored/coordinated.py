"""One life of a session: made with its coordinator and shown to the hooks, closed in order."""

from __future__ import annotations

import logging
from typing import Any

from runloop.coordinator import Coordinator
from runloop.errors import AbortedError, UnavailableError
from runloop.monitored.dispatch import Dispatcher

__all__ = ["PREEMPTION_ERRORS", "CoordinatedSession", "raise_first"]

_logger = logging.getLogger(__name__)

PREEMPTION_ERRORS = (AbortedError, UnavailableError)
"""After these a session is made anew and the call repeated."""


class CoordinatedSession:
    """A session that was made, with its coordinator; the hooks have seen it.

    Args:
        creator: Makes the session.
        hooks: Are told of it by ``after_create_session``.
        stop_grace_period_secs: Seconds that threads get at close.

    Whatever is raised while it is made comes out, after the session was closed.
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
            hooks.call("after_create_session", self.session, self.coord)
            hooks.refresh()
        except BaseException as exc:
            raise_first([exc, *self.close(exc)])

    def close(self, error: BaseException | None) -> list[BaseException]:
        """Stop the threads, run the callbacks, close the session, run what comes after.

        Args:
            error: The exception that is on its way, if any.

        Returns:
            What was raised on the way; nothing keeps a later part from its turn.
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
    """Make the others of ``failures`` notes on the first, and raise it unless ``reraise=False``.

    What is raised is an interrupt if there is one: it must not end as a note.
    """
    if not failures:
        return
    first = failures[0]
    if reraise:
        first = next((exc for exc in failures if not isinstance(exc, Exception)), first)
    for other in failures:
        if other is not first:
            first.add_note(f"Then, while closing: {type(other).__name__}: {other}")
    if reraise:
        raise first
