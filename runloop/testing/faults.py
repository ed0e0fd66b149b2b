"""``FaultyFilesystem``: a disk on which a chosen operation fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any, Self

from runloop.checkpoint import files
from runloop.checkpoint.files import Files
from runloop.contexts import contextmanager

__all__ = ["FaultyFilesystem"]

_OPERATIONS = ("mkdir", "create", "write", "fsync", "close", "rename", "unlink")


class FaultyFilesystem(Files):
    """The file operations of a save; one of them fails.

        with FaultyFilesystem("rename", nth=2, error=errno.ENOSPC).use() as disk:
            saver = rl.Saver()               # does all its writing through it
        ...
        assert disk.failed == 1

    Args:
        operation: Which one: ``"mkdir"``, ``"create"``, ``"write"``, ``"fsync"`` (of a file or a
            folder), ``"close"``, ``"rename"`` or ``"unlink"``; ``None``: nothing fails, the calls
            are only recorded.
        nth: The first call that fails, counted from 1.
        error: The ``errno`` of the ``OSError``.
        times: How many calls fail in a row; ``None`` for all that follow.

    Attributes:
        operations: ``(operation, file name)`` of every call so far.
        failed: How many calls failed.

    Raises:
        ValueError: If ``operation`` is unknown, or ``nth`` is less than 1.
    """

    def __init__(
        self,
        operation: str | None = None,
        nth: int = 1,
        error: int = errno.ENOSPC,
        *,
        times: int | None = 1,
    ) -> None:
        self.operations: list[tuple[str, str]] = []
        self.failed = 0
        self._names: dict[int, str] = {}
        self.fail(operation, nth, error, times=times)

    def fail(
        self,
        operation: str | None,
        nth: int = 1,
        error: int = errno.ENOSPC,
        *,
        times: int | None = 1,
    ) -> None:
        """Make another call fail, counted from now on; the parameters are the constructor's.

        Raises:
            ValueError: As the constructor does.
        """
        if operation is not None and operation not in _OPERATIONS:
            raise ValueError(
                f"FaultyFilesystem: operation must be one of {', '.join(_OPERATIONS)}, "
                f"got {operation!r}"
            )
        if nth < 1:
            raise ValueError(f"FaultyFilesystem: nth counts from 1, got {nth}")
        self._operation = operation
        self._nth = nth
        self._error = error
        self._times = times
        self._seen = 0

    @contextmanager
    def use(self) -> Iterator[Self]:
        """Give this disk to every ``Saver`` that is created inside the ``with`` block."""
        with files.use(self):
            yield self

    def _count(self, operation: str, path: str) -> None:
        self.operations.append((operation, os.path.basename(path)))  # paths are str
        if operation != self._operation:
            return
        self._seen += 1
        late = self._seen - self._nth
        if late >= 0 and (self._times is None or late < self._times):
            self.failed += 1
            raise OSError(self._error, os.strerror(self._error), path)

    def make_dir(self, path: str) -> None:
        """``mkdir``."""
        self._count("mkdir", path)
        super().make_dir(path)

    def create(self, path: str) -> int:
        """``create``."""
        self._count("create", path)
        fd = super().create(path)
        self._names[fd] = path
        return fd

    def write(self, fd: int, data: Any, offset: int) -> int:
        """``write``."""
        self._count("write", self._names.get(fd, ""))
        return super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        """``fsync``, of a file."""
        self._count("fsync", self._names.get(fd, ""))
        super().sync(fd)

    def close(self, fd: int) -> None:
        """``close``. A close that fails still closes the file, as the system's does."""
        path = self._names.pop(fd, "")
        super().close(fd)
        self._count("close", path)

    def rename(self, source: str, target: str) -> None:
        """``rename``; the new name is recorded."""
        self._count("rename", target)
        super().rename(source, target)

    def sync_dir(self, path: str) -> None:
        """``fsync``, of a folder."""
        self._count("fsync", path)
        super().sync_dir(path)

    def unlink(self, path: str) -> None:
        """``unlink``."""
        self._count("unlink", path)
        super().unlink(path)
