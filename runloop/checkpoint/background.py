"""A save that is written while training continues.

The state is copied, and a thread writes the copy (:mod:`runloop.checkpoint.payload`). The thread
exists only while there is something to write. It is not a daemon: a program that ends without
waiting still gets its last checkpoint on disk. A killed process leaves a temporary file and the
previous checkpoint, as any other save does.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections import deque
from collections.abc import Callable

from runloop.errors import CheckpointTimeoutError, CheckpointWriteError
from runloop.messages import text_of

__all__ = ["Done", "Worker"]

_logger = logging.getLogger(__name__)

Done = Callable[[BaseException | None], None]
"""Called when a save is done: with ``None`` if it is on disk, else with its error."""


class _Job:
    """One save in the background."""

    def __init__(self) -> None:
        self.thread = threading.Thread(target=lambda: None)
        # Until the work is done: a thread may end before it begins, when memory runs out.
        self.error: BaseException | None = CheckpointWriteError(
            errno.ENOMEM, "not saved: the thread that was to write the checkpoint ended at once"
        )
        self.callbacks: list[Done] = []


class Worker:
    """Runs one job at a time on a thread. Any number of threads may wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Held until start() returned: nobody may see a job whose thread was not started yet, and
        # a new thread that ran at once would keep the GIL for a switch interval.
        self._starting = threading.RLock()
        self._job: _Job | None = None
        self._finished: deque[tuple[Done, BaseException | None]] = deque()

    @property
    def busy(self) -> bool:
        """Whether a job is still running."""
        job = self._job
        return job is not None and (job.thread.ident is None or job.thread.is_alive())

    def start(self, work: Callable[[], object]) -> None:
        """Run ``work`` on a new thread; the caller has waited for the job before."""
        job = _Job()

        def run() -> None:
            try:
                with self._starting:
                    pass
                work()
                job.error = None
            except BaseException as exc:  # raised again by wait() and poll()
                job.error = exc  # first: a log handler may raise
                _log_failure(exc)

        job.thread = threading.Thread(target=run, name="runloop-checkpoint")
        with self._starting:
            self._job = job
            try:
                job.thread.start()
            except BaseException:
                # A Ctrl-C may arrive after the thread was started: then it has to be waited for.
                if job.thread.ident is None:
                    self._job = None
                raise

    def when_done(self, callback: Done) -> None:
        """Let :meth:`poll` call ``callback`` when the job that was started last is done."""
        with self._lock:
            if self._job is not None:
                self._job.callbacks.append(callback)
            else:
                self._finished.append((callback, None))

    def wait(self, timeout_secs: float | None) -> None:
        """Return when the job is done; raise its error.

        An error is raised in every thread that waits for the job, and not again later.

        Raises:
            CheckpointTimeoutError: If the job takes longer than ``timeout_secs``.
            RuntimeError: If this thread is starting a job, and a signal handler calls this.
        """
        with self._starting:
            job = self._job
        if job is None:
            return
        if job.thread.ident is None:
            raise RuntimeError("a signal handler waits for the save that it interrupted")
        job.thread.join(timeout_secs)
        if job.thread.is_alive():
            raise CheckpointTimeoutError(
                f"a checkpoint is still being written after {timeout_secs} seconds; the writing "
                f"continues, and the older checkpoints are untouched"
            )
        self._finish(job)
        if job.error is not None:
            raise job.error

    def poll(self) -> None:
        """Call the callbacks of what is done; raise a job's error unless :meth:`wait` did."""
        with self._starting:
            job = self._job
        error = None
        if job is not None and job.thread.ident is not None and not job.thread.is_alive():
            self._finish(job)
            error = job.error
        try:
            while self._finished:
                callback, outcome = self._finished.popleft()
                callback(outcome)
        finally:
            if error is not None:
                raise error

    def _finish(self, job: _Job) -> None:
        with self._lock:
            if self._job is job:
                self._job = None
                self._finished.extend((callback, job.error) for callback in job.callbacks)


def _log_failure(exc: BaseException) -> None:
    # A program can end without waiting: then only the log shows the error.
    try:
        _logger.error("A checkpoint written in the background failed: %s", text_of(exc))
    except Exception:  # a log handler raised; the error itself is kept for wait()
        return
