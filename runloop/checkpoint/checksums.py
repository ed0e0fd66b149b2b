"""CRC-32 in a second thread, while the first one writes or reads; only for large tensors.

``zlib.crc32`` releases the GIL for more than 5 KB, so on two cores the checksums of a large state
cost no extra time: for 256 MiB, 135 ms of checksums ran during 80 ms of writing and 155 ms of
waiting for the disk. That works because the writing does not wait for them.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queue import SimpleQueue

__all__ = ["Checksums"]

# Smaller pieces are computed in place: passing one to the thread costs as much as 20 KB of checksum.
_WORTH_BYTES = 256 << 10
# Copies in the queue; bounds the memory.
_WAITING = 4


class Checksums:
    """The running CRC-32 of any number of tensors, fed piece by piece in order.

    A piece must not change until its checksum is computed: until :meth:`results` returned or, for
    a copy, until :attr:`WINDOW` others were added after it.

    Args:
        count: How many tensors there are.

    Raises:
        MemoryError: If there is no memory for it, its locks included. CPython reports a lock or a
            thread that it can't make as a ``RuntimeError``.
    """

    #: A copy may be overwritten once this many others were added after it.
    WINDOW = _WAITING + 2

    def __init__(self, count: int) -> None:
        self._values = [0] * count
        from queue import SimpleQueue  # only to save and restore

        self._queue: SimpleQueue[tuple[int, Any, bool] | None] = SimpleQueue()
        try:
            self._room = threading.Semaphore(_WAITING)
        except RuntimeError as exc:
            raise MemoryError(f"no memory for the checksums of large tensors: {exc}") from exc
        self._is_wanted = True
        self._thread: threading.Thread | None = None

    def add(self, index: int, piece: Any, *, is_copy: bool) -> None:
        """Take the next bytes of tensor ``index``.

        Args:
            index: Which tensor.
            piece: The bytes.
            is_copy: Whether they take additional memory, so that not too many may wait.

        Raises:
            MemoryError: If the thread can't be made or started.
        """
        if self._thread is None:
            if len(piece) < _WORTH_BYTES:
                self._values[index] = zlib.crc32(piece, self._values[index])
                return
            try:
                self._thread = threading.Thread(
                    target=self._work, name="runloop-checksums", daemon=True
                )
                self._thread.start()
            except RuntimeError as exc:
                raise MemoryError(f"no memory for a thread of checksums: {exc}") from exc
        # Once the thread exists, all pieces go through it: the order stays.
        if is_copy:
            self._room.acquire()
        self._queue.put((index, piece, is_copy))

    def put(self, first: int, crcs: Sequence[int]) -> None:
        """Take the checksums of whole tensors, from number ``first`` on, none of which was fed."""
        self._values[first : first + len(crcs)] = crcs

    def results(self) -> list[int]:
        """Finish the queue, end the thread, and return the CRC-32 of each tensor."""
        self._join()
        return self._values

    def stop(self) -> None:
        """End the thread without a result; may be called at any time, repeatedly."""
        self._is_wanted = False
        self._join()

    def _join(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            if self._thread.ident is not None:  # one that could not start can't be joined
                self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            index, piece, is_copy = item
            if self._is_wanted:
                self._values[index] = zlib.crc32(piece, self._values[index])
            if is_copy:
                del item, piece  # before the next one is made
                self._room.release()
