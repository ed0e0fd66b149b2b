"""Threads that belong to a session: one request stops all, one failure is passed on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from runloop import clock
from runloop.contexts import contextmanager
from runloop.errors import OutOfRangeError

__all__ = ["Coordinator", "LooperThread"]

_logger = logging.getLogger(__name__)

_FIRST_PAUSE_SECS = 0.001
_LONGEST_PAUSE_SECS = 0.25


class Coordinator:
    """Tells threads when to stop, waits for them, and raises the first exception of any.

    It also holds the cleanup of a session, which runs on every way out: see :meth:`callback` and
    :meth:`after_close`.

    Args:
        clean_stop_exception_types: Exceptions that request a stop but do not count as a failure;
            ``(OutOfRangeError,)`` if ``None``.

    Attributes:
        stop_grace_period_secs: Maximum seconds to wait for anything at close. A monitored session
            sets it.
        finished: A function that returns whether a hook's ``is_finished`` is true for the new
            session: the training was over before this start. A monitored session sets it.
        last_step: A function that returns the global step at which a hook's ``final_step`` says
            that the training ends, or ``None``. A monitored session sets it.
        closing_error: While a monitored session is being closed, the exception that it is left by,
            or that made it lose its session; ``None`` at a normal end.

    Follows ``tf.train.Coordinator`` of TensorFlow 2.21; in addition, ``request_stop`` takes an
    exception outside an ``except`` block.
    """

    def __init__(
        self, clean_stop_exception_types: Iterable[type[BaseException]] | None = None
    ) -> None:
        if clean_stop_exception_types is None:
            clean_stop_exception_types = (OutOfRangeError,)
        self.stop_grace_period_secs: float = 120.0
        self.finished: Callable[[], bool] = lambda: False
        self.last_step: Callable[[], int | None] = lambda: None
        self.closing_error: BaseException | None = None
        self._clean = tuple(clean_stop_exception_types)
        self._clock = clock.current()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._exception: BaseException | None = None
        self._threads: set[threading.Thread] = set()
        self._joined = False
        self._stopped_by: int | None = None
        self._callbacks: list[Callable[[], Any]] = []
        self._after_close: list[Callable[[], Any]] = []

    def request_stop(self, ex: BaseException | Sequence[Any] | None = None) -> None:
        """Request a stop of all threads; only the first call's exception is kept.

        Args:
            ex: The failure that ``join()`` and ``raise_requested_exception()`` raise: an
                exception, or the result of ``sys.exc_info()``.

        Raises:
            BaseException: ``ex`` itself if the threads were already joined, because nothing else
                would raise it.
        """
        failure = ex if isinstance(ex, BaseException) or ex is None else ex[1]
        with self._lock:
            if isinstance(failure, self._clean):
                failure = None
            if self._joined and failure is not None:
                raise failure
            if not self._stop.is_set():
                self._exception = failure
                self._stopped_by = threading.get_ident()
                self._stop.set()

    def clear_stop(self) -> None:
        """Clear the stop request, its exception, and :attr:`joined`."""
        with self._lock:
            self._joined = False
            self._exception = None
            self._stop.clear()

    def should_stop(self) -> bool:
        """Return whether a stop was requested."""
        return self._stop.is_set()

    @property
    def stopped_by_this_thread(self) -> bool:
        """Whether a stop was requested, and the calling thread was the first to do so."""
        return self._stop.is_set() and self._stopped_by == threading.get_ident()

    @contextmanager
    def stop_on_exception(self) -> Iterator[None]:
        """Pass any exception of the ``with`` block to :meth:`request_stop`; for a thread's body."""
        try:
            yield
        except BaseException as exc:  # join() raises it
            self.request_stop(exc)

    def wait_for_stop(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds for a stop request; return whether there is one."""
        return self._stop.wait(timeout)

    def register_thread(self, thread: threading.Thread) -> None:
        """Add a thread for ``join()`` to wait for."""
        with self._lock:
            self._threads.add(thread)

    def join(
        self,
        threads: Iterable[threading.Thread] | None = None,
        stop_grace_period_secs: float = 120,
        ignore_live_threads: bool = False,
    ) -> None:
        """Wait for the threads to end: without a limit until a stop is requested, then briefly.

        Args:
            threads: Threads to wait for besides the registered ones.
            stop_grace_period_secs: Seconds to wait after a stop was requested.
            ignore_live_threads: Log the threads that are alive after that, instead of raising.

        Raises:
            BaseException: The exception that was passed to ``request_stop``.
            RuntimeError: If threads are alive after the grace period; the message names them.
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
        """Wait up to ``secs`` for the threads; return the names of those still alive."""
        deadline = self._clock.monotonic() + secs
        pause = _FIRST_PAUSE_SECS
        while (alive := [thread for thread in threads if thread.is_alive()]) and (
            left := deadline - self._clock.monotonic()
        ) > 0:
            # The short real wait lets a thread end even if the clock is a fake.
            alive[0].join(_FIRST_PAUSE_SECS)
            self._clock.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE_SECS)
        return [thread.name for thread in alive]

    @property
    def joined(self) -> bool:
        """Whether ``join()`` is done."""
        return self._joined

    @property
    def requested_exception(self) -> BaseException | None:
        """The exception that was passed to ``request_stop``, if any."""
        return self._exception

    def raise_requested_exception(self) -> None:
        """Raise the exception that was passed to ``request_stop``, if any."""
        with self._lock:
            if self._exception is not None:
                raise self._exception

    # -- cleaning up ----------------------------------------------------------------------------

    def callback(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Register ``fn(*args, **kwargs)`` to be called when the session is closed.

        It is called on every way out. Callbacks run in reverse order, after the threads have ended
        and before the session is closed. If one raises, the others still run.
        """
        self._callbacks.append(lambda: fn(*args, **kwargs))

    def after_close(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Like :meth:`callback`, but called last, after the session was closed."""
        self._after_close.append(lambda: fn(*args, **kwargs))

    def run_callbacks(self) -> list[BaseException]:
        """Run and clear the functions of :meth:`callback`; return the exceptions they raised."""
        return _drain(self._callbacks)

    def run_after_close(self) -> list[BaseException]:
        """Run and clear the functions of :meth:`after_close`; return the exceptions."""
        return _drain(self._after_close)


def _drain(callbacks: list[Callable[[], Any]]) -> list[BaseException]:
    failures: list[BaseException] = []
    while callbacks:
        try:
            callbacks.pop()()
        except BaseException as exc:  # the caller raises it after all have run
            failures.append(exc)
    return failures


class LooperThread(threading.Thread):
    """A daemon thread that calls a function repeatedly until its coordinator stops.

    Args:
        coord: The coordinator, which gets the thread's exception.
        timer_interval_secs: Seconds between the due times of two calls; ``None`` calls without a
            pause.
        target: The function to call; if ``None``, override :meth:`run_loop`.
        args: Positional arguments of ``target``.
        kwargs: Keyword arguments of ``target``.

    Raises:
        ValueError: If ``coord`` is not a :class:`Coordinator`, or if ``args`` or ``kwargs`` are
            given without ``target``.

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
        """Create such a thread, start it and return it."""
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
        """Called repeatedly; calls ``target``."""
        if self._call is not None:
            self._call(*self._call_args, **self._call_kwargs)
