"""End well when the process is told to go."""

from __future__ import annotations

import _thread
import logging
import signal
import sys
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any

from runloop.hooks.base import SessionRunHook
from runloop.run import RunContext, RunValues

__all__ = ["PreemptionHook"]

_logger = logging.getLogger(__name__)


class PreemptionHook(SessionRunHook):
    """Turns SIGTERM and SIGINT into a normal end of the session, last checkpoint included.

    At the first signal the running step finishes and a stop is requested, so that the session
    ends as it always does; one that arrives between two runs may still let the next one run.
    Once the session is closed, the handlers that were there before are put back and the signal is
    raised again: the process ends as if it had just arrived (by default, SIGTERM kills it and
    SIGINT raises ``KeyboardInterrupt`` where the session is left). A second signal, of any of
    ``signals``, does so at once, in the middle of whatever runs.

    If the session is left by an exception, or closing it fails, the signal is not raised again,
    but logged: the exception says more than the signal's exit status would. A signal that the
    process ignores stays ignored. The handlers are in place from the moment the session is
    created until it is closed.

    Args:
        signals: The signals, as ``signal.Signals`` or their numbers.

    Raises:
        TypeError: If ``signals`` is a single signal, or one is given by its name.
        ValueError: If one is no signal of this system, or can't be caught.
        RuntimeError: From ``begin``, outside of the main thread, where Python allows no
            handlers; or if a signal has a handler that Python can't put back.
    """

    def __init__(self, signals: Iterable[int] = (signal.SIGTERM, signal.SIGINT)) -> None:
        given: Any = signals
        if not isinstance(given, Iterable) or isinstance(given, str):
            raise TypeError(
                f"PreemptionHook: signals must be several signals, got {signals!r}; "
                f"write signals=({signals!r},)"
            )
        self._signals = tuple(_checked(value) for value in signals)
        self._previous: dict[signal.Signals, Any] = {}
        self._received: signal.Signals | None = None
        self._coord: Any = None

    @property
    def received(self) -> signal.Signals | None:
        """The signal that arrived; ``None`` if none did since ``begin``."""
        return self._received

    def begin(self) -> None:
        """Check that handlers can be installed."""
        self._received = None
        self._check()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Install the handlers; they are put back when the session is closed."""
        self._check()
        self._coord = coord
        coord.after_close(self._closed, coord)
        for number in self._signals:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Request the stop, if a signal has arrived."""
        if self._received is not None:
            _logger.warning("%s received: requesting a stop", self._received.name)
            run_context.request_stop()

    def _check(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "PreemptionHook works in the main thread only, where Python lets signal handlers "
                f"be installed; this is {threading.current_thread().name!r}. Make the session in "
                "the main thread, or leave the hook out"
            )
        for number in self._signals:
            if signal.getsignal(number) is None:
                raise RuntimeError(
                    f"PreemptionHook: {number.name} has a handler that was not installed by "
                    f"Python and could not be put back; leave it out of signals="
                )

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A handler interrupts the main thread at any point, locks held: it takes none itself.
        # The coordinator does, so another thread asks it; and nothing is logged here.
        if self._received is None:
            self._received = signal.Signals(number)
            _thread.start_new_thread(self._coord.request_stop, ())
        else:
            self._put_back()
            signal.raise_signal(number)

    def _closed(self, coord: Any) -> None:
        self._put_back()
        if self._received is None:
            return
        if coord.closing_error is not None:
            _logger.warning(
                "%s received, and not passed on because of %r",
                self._received.name,
                coord.closing_error,
            )
            return
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # the default of most signals kills without doing so
        signal.raise_signal(self._received)

    def _put_back(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())


def _checked(value: Any) -> signal.Signals:
    if isinstance(value, str):
        raise TypeError(
            f"PreemptionHook: a signal is given as signal.SIGTERM or by its number, got {value!r}"
        )
    try:
        number = signal.Signals(value)
    except ValueError as exc:
        raise ValueError(f"PreemptionHook: this system has no signal {value!r}") from exc
    if number.name in {"SIGKILL", "SIGSTOP"}:
        raise ValueError(f"PreemptionHook: {number.name} can't be caught; leave it out of signals=")
    return number
