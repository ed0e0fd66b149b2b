"""Threads that belong to a session: asked to stop together, failing together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from runloop import clock
from runloop.errors import OutOfRangeError

__all__ = ["Coordinator", "LooperThread"]

_logger = logging.getLogger(__name__)

_FIRST_PAUSE_SECS = 0.001
_LONGEST_PAUSE_SECS = 0.25


class Coordinator:
    """Tells threads when to stop, waits for them, and passes on the first exception of any.

    It also keeps what has to be cleaned up when a session is closed, whichever way it is left:
    see :meth:`callback` and :meth:`after_close`.

    Args:
        clean_stop_exception_types: Exceptions that ask to stop and are no failure;
            ``(OutOfRangeError,)`` if ``None``.

    Attributes:
        stop_grace_period_secs: Seconds that whoever waits for something at close should wait at
            most; a monitored session puts its own value here.
        closing_error: While a monitored session is closed, the exception that is on its way (one
            that led to a re-creation, too); ``None`` when it ends normally.

    Follows ``tf.train.Coordinator`` of TensorFlow 2.21. ``request_stop`` takes an exception
    outside of an ``except`` block, too.
    """

    def __init__(
        self, clean_stop_exception_types: Iterable[type[BaseException]] | None = None
    ) -> None:
        if clean_stop_exception_types is None:
            clean_stop_exception_types = (OutOfRangeError,)
        self.stop_grace_period_secs: float = 120.0
        self.closing_error: BaseException | None = None
        self._clean = tuple(clean_stop_exception_types)
        self._clock = clock.current()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._exception: BaseException | None = None
        self._threads: set[threading.Thread] = set()
        self._joined = False
        self._callbacks: list[Callable[[], Any]] = []
        self._after_close: list[Callable[[], Any]] = []

    def request_stop(self, ex: BaseException | Sequence[Any] | None = None) -> None:
        """Ask all threads to stop; only the first call's exception is kept.

        Args:
            ex: The failure to be raised by ``join()`` and ``raise_requested_exception()``: an
                exception, or what ``sys.exc_info()`` gave.

        Raises:
            BaseException: ``ex`` itself, if the threads were joined already: nobody else would
                see it.
        """
        failure = ex if isinstance(ex, BaseException) or ex is None else ex[1]
        with self._lock:
            if isinstance(failure, self._clean):
                failure = None
            if self._joined and failure is not None:
                raise failure
            if not self._stop.is_set():
                self._exception = failure
                self._stop.set()

    def clear_stop(self) -> None:
        """Forget the request to stop, its exception, and that threads were joined."""
        with self._lock:
            self._joined = False
            self._exception = None
            self._stop.clear()

    def should_stop(self) -> bool:
        """Return whether anybody asked to stop."""
        return self._stop.is_set()

    @contextmanager
    def stop_on_exception(self) -> Iterator[None]:
        """Hand whatever the ``with`` block raises to :meth:`request_stop`; the body of a thread."""
        try:
            yield
        except BaseException as exc:  # handed over whole, raised again by join()
            self.request_stop(exc)

    def wait_for_stop(self, timeout: float | None = None) -> bool:
        """Wait until somebody asks to stop, at most ``timeout`` seconds; return whether so."""
        return self._stop.wait(timeout)

    def register_thread(self, thread: threading.Thread) -> None:
        """Let ``join()`` wait for ``thread``, too."""
        with self._lock:
            self._threads.add(thread)

    def join(
        self,
        threads: Iterable[threading.Thread] | None = None,
        stop_grace_period_secs: float = 120,
        ignore_live_threads: bool = False,
    ) -> None:
        """Wait for the threads to end: for as long as nobody asked to stop, then a while longer.

        Args:
            threads: More threads than the registered ones.
            stop_grace_period_secs: Seconds to wait once a stop was asked for.
            ignore_live_threads: Only log which threads are alive after that.

        Raises:
            BaseException: What a thread handed to ``request_stop``.
            RuntimeError: If threads are alive after the grace period; names them.
        """
        with self._lock:
            waited = list(self._threads.union(threads or ()))
        while any(thread.is_alive() for thread in waited) and not self.wait_for_stop(1.0):
            pass
        stragglers = self._wait(waited, stop_grace_period_secs)
        with self._lock:
            self._joined = True
            self._threads = set()
            if self._exception is not None:
                raise self._exception
        if stragglers:
            message = f"Coordinator stopped with threads still running: {' '.join(stragglers)}"
            if not ignore_live_threads:
                raise RuntimeError(message)
            _logger.info(message)

    def _wait(self, threads: list[threading.Thread], secs: float) -> list[str]:
        """Wait at most ``secs`` for the threads and return the names of those still alive."""
        deadline = self._clock.monotonic() + secs
        pause = _FIRST_PAUSE_SECS
        while (alive := [thread for thread in threads if thread.is_alive()]) and (
            left := deadline - self._clock.monotonic()
        ) > 0:
            # The short real wait lets a thread end even where the clock is a fake one.
            alive[0].join(_FIRST_PAUSE_SECS)
            self._clock.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE_SECS)
        return [thread.name for thread in alive]

    @property
    def joined(self) -> bool:
        """Whether ``join()`` has come to its end."""
        return self._joined

    @property
    def requested_exception(self) -> BaseException | None:
        """What was handed to ``request_stop``, if anything was."""
        return self._exception

    def raise_requested_exception(self) -> None:
        """Raise what was handed to ``request_stop``, if anything was."""
        with self._lock:
            if self._exception is not None:
                raise self._exception

    # -- cleaning up ----------------------------------------------------------------------------

    def callback(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Have ``fn(*args, **kwargs)`` called when the session is closed, on every way out.

        Callbacks run in reverse order, after the threads have ended and before the session
        is closed. One that raises does not keep the others from running.
        """
        self._callbacks.append(lambda: fn(*args, **kwargs))

    def after_close(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Like :meth:`callback`, but after the session was closed: the very last thing."""
        self._after_close.append(lambda: fn(*args, **kwargs))

    def run_callbacks(self) -> list[BaseException]:
        """Run what :meth:`callback` collected, once; return what was raised."""
        return _drain(self._callbacks)

    def run_after_close(self) -> list[BaseException]:
        """Run what :meth:`after_close` collected, once; return what was raised."""
        return _drain(self._after_close)


def _drain(callbacks: list[Callable[[], Any]]) -> list[BaseException]:
    failures: list[BaseException] = []
    while callbacks:
        try:
            callbacks.pop()()
        except BaseException as exc:  # the caller raises it when all have run
            failures.append(exc)
    return failures


class LooperThread(threading.Thread):
    """A daemon thread that calls something again and again until its coordinator stops.

    Args:
        coord: The coordinator; an exception of the thread goes to it.
        timer_interval_secs: Seconds from one call's due time to the next; ``None`` for calls
            back to back.
        target: What is called; override :meth:`run_loop` instead if ``None``.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Raises:
        ValueError: If ``coord`` is not a :class:`Coordinator`, or arguments come without target.

    Follows ``tf.train.LooperThread`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., Any] | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(coord, Coordinator):
            raise ValueError(f"'coord' argument must be a Coordinator: {coord}")
        if target is None and (args or kwargs):
            raise ValueError("'args' and 'kwargs' argument require that you also pass 'target'")
        super().__init__(daemon=True)
        self._coord = coord
        self._interval = timer_interval_secs
        self._clock = clock.current()
        self._call = target
        self._call_args = tuple(args or ())
        self._call_kwargs = dict(kwargs or {})
        coord.register_thread(self)

    @staticmethod
    def loop(
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> LooperThread:
        """Make such a thread, start it and return it."""
        looper = LooperThread(coord, timer_interval_secs, target, args, kwargs)
        looper.start()
        return looper

    def run(self) -> None:
        """Call ``start_loop``, ``run_loop`` until the coordinator stops, then ``stop_loop``."""
        with self._coord.stop_on_exception():
            self.start_loop()
            if self._interval is None:
                while not self._coord.should_stop():
                    self.run_loop()
            else:
                due = self._clock.monotonic()
                while not self._coord.wait_for_stop(due - self._clock.monotonic()):
                    due += self._interval
                    self.run_loop()
            self.stop_loop()

    def start_loop(self) -> None:
        """Called once, when the thread starts."""

    def stop_loop(self) -> None:
        """Called once, when the thread ends without an exception."""

    def run_loop(self) -> None:
        """Called again and again; calls ``target``."""
        if self._call is not None:
            self._call(*self._call_args, **self._call_kwargs)
