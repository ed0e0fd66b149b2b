"""Finish cleanly when the process gets SIGTERM or SIGINT."""

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
    """Turns SIGTERM and SIGINT into a normal end of the session, with its last checkpoint.

    At the first signal the current run finishes and the hook requests a stop, so the session ends
    normally. After a signal between two runs, one more run may start. Once the session is closed,
    the hook restores the previous handlers and raises the signal again, so the process ends as if
    the signal had just arrived (by default SIGTERM kills it, and SIGINT raises
    ``KeyboardInterrupt`` where the session is left). A second signal, the same or another of
    ``signals``, skips the clean end: the previous handlers are restored and it takes effect at
    once.

    If the session is left by an exception, or closing it fails, the signal is logged instead of
    raised again: the exception says more than the signal's exit status would. A signal that the
    process ignores stays ignored. The handlers are installed when the session is created and
    removed when it is closed.

    Args:
        signals: The signals, as ``signal.Signals`` or numbers.

    Raises:
        TypeError: If ``signals`` is a single signal, or contains a signal's name.
        ValueError: If this system does not have one of the signals, or it can't be caught.
        RuntimeError: From ``begin``, outside the main thread, where Python allows no handlers; or
            if a signal has a handler that Python can't restore.
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
        """The first signal since ``begin``; ``None`` if none has arrived."""
        return self._received

    def begin(self) -> None:
        """Check that handlers can be installed."""
        self._received = None
        self._check()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Install the handlers and register their removal at close."""
        self._check()
        self._coord = coord
        coord.after_close(self._closed, coord)
        for number in self._signals:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Request a stop if a signal has arrived."""
        if self._received is not None:
            _logger.warning("%s received: requesting a stop", self._received.name)
            run_context.request_stop()

    def _check(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "PreemptionHook works only in the main thread, because Python installs signal "
                f"handlers only there; this is {threading.current_thread().name!r}. Create the "
                "session in the main thread, or leave the hook out"
            )
        for number in self._signals:
            if signal.getsignal(number) is None:
                raise RuntimeError(
                    f"PreemptionHook: {number.name} has a handler that was not installed from "
                    f"Python and could not be restored; leave it out of signals="
                )

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A handler may interrupt the main thread while it holds any lock, so it must not take one:
        # no logging here, and another thread calls the coordinator, which has a lock.
        if self._received is None:
            self._received = signal.Signals(number)
            _thread.start_new_thread(self._coord.request_stop, ())
        else:
            self._restore_handlers()
            signal.raise_signal(number)

    def _closed(self, coord: Any) -> None:
        self._restore_handlers()
        if self._received is None:
            return
        if coord.closing_error is not None:
            _logger.warning(
                "%s received, but not raised again because of %r",
                self._received.name,
                coord.closing_error,
            )
            return
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # the default action of most signals kills without flushing
        signal.raise_signal(self._received)

    def _restore_handlers(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())


def _checked(value: Any) -> signal.Signals:
    if isinstance(value, str):
        raise TypeError(
            f"PreemptionHook: give a signal as signal.SIGTERM or as its number, got {value!r}"
        )
    try:
        number = signal.Signals(value)
    except ValueError as exc:
        raise ValueError(f"PreemptionHook: this system does not have a signal {value!r}") from exc
    if number.name in {"SIGKILL", "SIGSTOP"}:
        raise ValueError(f"PreemptionHook: {number.name} can't be caught; leave it out of signals=")
    return number
