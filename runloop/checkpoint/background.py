"""A save that goes on while the training does.

The state is copied, and a thread writes the copy (:mod:`runloop.checkpoint.payload`). There is a
thread only while there is something to write, and it is no daemon: a program that ends without
waiting still gets its last checkpoint on disk. A process that is killed leaves a temporary and the
checkpoint before, like any other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from runloop.errors import CheckpointTimeoutError

__all__ = ["Worker"]

_logger = logging.getLogger(__name__)


class Worker:
    """Runs one job at a time on a thread of its own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a job is still running."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def pending(self) -> bool:
        """Whether a job was started whose end nobody has waited for."""
        return self._thread is not None

    def start(self, job: Callable[[], object]) -> None:
        """Run ``job``; whoever calls has waited for the one before."""
        # Or the new thread would begin, and keep the interpreter's lock for a switch interval.
        returned = threading.Lock()

        def work() -> None:
            with returned:
                pass
            try:
                job()
            except BaseException as exc:  # it is raised where somebody waits
                # Nobody may: a program can end without.
                _logger.error(  # noqa: TRY400  # the traceback comes with the raise
                    "A checkpoint that was written in the background: %s", exc
                )
                self._error = exc

        thread = self._thread = threading.Thread(target=work, name="runloop-checkpoint")
        try:
            with returned:
                thread.start()
        except BaseException:
            # It may have come while the thread was starting (Ctrl-C): then there is one to wait for.
            if thread.ident is None:
                self._thread = None
            raise

    def wait(self, timeout_secs: float | None) -> None:
        """Return once the job is done; raise what it raised, once.

        Raises:
            CheckpointTimeoutError: If that takes longer than ``timeout_secs``.
        """
        if self._thread is None:
            return
        self._thread.join(timeout_secs)
        if self._thread.is_alive():
            raise CheckpointTimeoutError(
                f"a checkpoint is still being written after {timeout_secs} seconds; it goes on, "
                f"and the older ones stand"
            )
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
