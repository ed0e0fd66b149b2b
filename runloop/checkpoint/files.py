"""Every operation on files that a save makes, in one object that can be replaced.

    with files.use(recording_files):
        saver = rl.Saver()            # does all its writing through recording_files

Reading goes straight to the system: nothing that is read changes what is on disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["Files", "current", "use", "write_all"]

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)


class Files:
    """The system's files. A subclass may record, fail or drop operations.

    Paths are strings; every method raises the ``OSError`` of the system.
    """

    def make_dir(self, path: str) -> None:
        """Make one folder whose parent is there; it may be there already."""
        try:
            os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise

    def create(self, path: str) -> int:
        """Create a file that must not be there; its mode is what the umask allows."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | _BINARY, 0o666)

    def write(self, fd: int, data: Any, offset: int) -> int:
        """Write bytes at ``offset``; return how many were written, which may be fewer."""
        if hasattr(os, "pwrite"):
            return os.pwrite(fd, data, offset)
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Return once the content of an open file is on disk."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Close a file."""
        os.close(fd)

    def rename(self, source: str, target: str) -> None:
        """Give a file another name in one step, replacing what had that name."""
        os.replace(source, target)

    def sync_dir(self, path: str) -> None:
        """Return once the names in a folder are on disk."""
        if os.name == "nt":  # a folder can't be opened there; the system journals its names
            return
        fd = os.open(path, os.O_RDONLY | _CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def unlink(self, path: str) -> None:
        """Remove a file's name."""
        os.unlink(path)


_SYSTEM = Files()
_current: ContextVar[Files | None] = ContextVar("runloop_files", default=None)


def current() -> Files:
    """Return the files of the innermost ``use`` of this context, else the system's."""
    return _current.get() or _SYSTEM


@contextmanager
def use(other: Files) -> Iterator[Files]:
    """Give ``other`` to every ``Saver`` that is made inside the ``with`` block.

    Raises:
        TypeError: If ``other`` is no :class:`Files`.
    """
    if not isinstance(other, Files):
        raise TypeError(f"files.use takes a runloop.checkpoint.files.Files, got {other!r}")
    token = _current.set(other)
    try:
        yield other
    finally:
        _current.reset(token)


def write_all(files: Files, fd: int, data: Any, offset: int) -> int:
    """Write all of ``data`` at ``offset``, however many calls it takes; return the offset after it.

    Raises:
        OSError: If the system fails, or writes nothing without saying why.
    """
    view = memoryview(data).cast("B")
    while view:
        count = files.write(fd, view, offset)
        if count <= 0:
            raise OSError(5, "the system wrote nothing and gave no error")
        offset += count
        view = view[count:]
    return offset
