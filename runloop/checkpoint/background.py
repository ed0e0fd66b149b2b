"""A save that goes on while the training does.

The state is copied into one buffer, which is allocated once and used again; a thread writes it.
There is a thread only while there is something to write, and it is no daemon: a program that ends
without waiting still gets its last checkpoint on disk. A process that is killed leaves a temporary
and the checkpoint before, like any other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from runloop.errors import CheckpointTimeoutError

__all__ = ["Buffer", "Worker"]

_log = logging.getLogger(__name__)
_ALIGN = 64


class Buffer:
    """Memory for a copy of a state, kept for the next one."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)
        self._layout: list[tuple[str, Any, tuple[int, ...]]] = []
        self._views: dict[str, np.ndarray[Any, Any]] = {}

    def copy(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Copy arrays; the copies are C-contiguous and valid until the next call."""
        layout = [(name, array.dtype, array.shape) for name, array in arrays.items()]
        if layout != self._layout:
            self._make_views(layout)
        for name, view in self._views.items():
            np.copyto(view, arrays[name], casting="no")
        return self._views

    def _make_views(self, layout: list[tuple[str, Any, tuple[int, ...]]]) -> None:
        places = []
        total = 0
        for _, dtype, shape in layout:
            size = dtype.itemsize
            for length in shape:
                size *= length
            places.append((total, total + size))
            total += -(-size // _ALIGN) * _ALIGN
        if self._memory.size < total:
            # The old memory goes first, so that the two are never there together.
            # And what is said of it: there may be no room for the new one.
            self._views, self._layout = {}, []
            self._memory = np.empty(0, np.uint8)
            self._memory = np.empty(total, np.uint8)
        self._views = {
            name: self._memory[start:end].view(dtype).reshape(shape)
            for (name, dtype, shape), (start, end) in zip(layout, places, strict=True)
        }
        self._layout = layout


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

        def work() -> None:
            try:
                job()
            except BaseException as exc:  # it is raised where somebody waits
                # Nobody may: a program can end without.
                _log.error("A checkpoint that was written in the background: %s", exc)
                self._error = exc

        self._thread = threading.Thread(target=work, name="runloop-checkpoint")
        self._thread.start()

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
