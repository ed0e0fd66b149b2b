"""CRC-32 beside the writing or reading: a thread of its own, and only while there is much to do.

``zlib.crc32`` lets go of the interpreter's lock for more than 5 KB, so on two cores the checksums
of a large state cost no time of their own: measured for 256 MiB, 135 ms of checksums hide behind
80 ms of writing and 155 ms of waiting for the disk.
"""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queue import Queue

__all__ = ["Checksums"]

# Smaller pieces are done at once: handing one over costs about as much as 20 KB of checksum.
_WORTH_BYTES = 256 << 10
# Pieces that wait. A piece may be a copy, so this bounds the memory that is held.
_WAITING = 4


class Checksums:
    """The running CRC-32 of any number of tensors, fed piece by piece in order.

    A piece must not change until it was done: until :meth:`results` returned, or as many
    pieces as can wait were added after it.

    Args:
        count: How many tensors there are.
        beside: Whether large pieces go to a thread of their own.
    """

    #: A piece may be written over once this many others were added after it.
    WINDOW = _WAITING + 2

    def __init__(self, count: int, *, beside: bool = True) -> None:
        self._beside = beside
        self._values = [0] * count
        from queue import Queue  # only to save and restore

        self._queue: Queue[tuple[int, Any] | None] = Queue(_WAITING)
        self._thread: threading.Thread | None = None

    def add(self, index: int, piece: Any) -> None:
        """Take the next bytes of tensor ``index``."""
        if self._thread is None:
            if len(piece) < _WORTH_BYTES or not self._beside:
                self._values[index] = zlib.crc32(piece, self._values[index])
                return
            self._thread = threading.Thread(
                target=self._work, name="runloop-checksums", daemon=True
            )
            self._thread.start()
        # Once the thread is there all pieces go through it, so that they stay in order.
        self._queue.put((index, piece))

    def results(self) -> list[int]:
        """Wait for what is under way, end the thread, and return the CRC-32 of each tensor."""
        self.stop()
        return self._values

    def stop(self) -> None:
        """End the thread; safe to call at any time, any number of times."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            index, piece = item
            self._values[index] = zlib.crc32(piece, self._values[index])
