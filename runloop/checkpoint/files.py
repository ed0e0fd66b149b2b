"""Every operation on files that a save makes, in one object that can be replaced.

    with files.use(recording_files):
        saver = rl.Saver()            # does all its writing through recording_files

Reading goes straight to the system, because it changes nothing on disk. :func:`open_regular` opens
files that another program may have put there.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextvars import ContextVar
from itertools import tee
from typing import Any

from runloop.contexts import contextmanager
from runloop.errors import CheckpointFormatError

__all__ = ["Files", "OpenFile", "current", "open_file", "open_regular", "use", "write_all"]

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
# Opening a pipe that nobody writes to returns at once; opening a terminal does not adopt it.
_READ = os.O_RDONLY | _CLOEXEC | _BINARY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


class OpenFile(io.FileIO):
    """An open file that closes itself, without a warning, when nothing refers to it."""

    # A function in C: no Ctrl-C comes before the file is closed. Python would swallow it there.
    __del__ = io.FileIO.close


def open_file(path: str, flags: int) -> OpenFile:
    """Open a file with any flags, and return the object that owns its descriptor.

    No instruction of Python stands between the system's call and that object, so a Ctrl-C can't
    lose the descriptor. (``FileIO`` alone can't be given ``O_NOFOLLOW``.)

    Args:
        path: The file.
        flags: Of ``os.open``; a file that is made gets the permissions ``0o666``.

    Raises:
        IsADirectoryError: If it is a folder.
        OSError: If the system can't open it.
    """
    used, kept = tee(map(os.open, (path,), (flags,), (0o666,)))
    mode = "rb+" if flags & os.O_RDWR else "rb"
    try:
        return next(map(OpenFile, used, (mode,)))
    except (IsADirectoryError, MemoryError, SystemError) as exc:
        # What FileIO refuses, it leaves open. Nothing is kept if the system opened nothing. A
        # SystemError is a failed allocation, too: CPython 3.11 loses the MemoryError of a folder.
        for fd in kept:
            os.close(fd)
        if isinstance(exc, IsADirectoryError):  # FileIO's names the descriptor
            raise IsADirectoryError(exc.errno, exc.strerror, path) from exc
        raise


def open_regular(path: str, *, follow: bool = False) -> OpenFile:
    """Open a regular file for reading.

    Opening anything else could wait for ever (a pipe), act (a device), or lead out of the
    checkpoint folder (a symbolic link).

    Args:
        path: The file.
        follow: Whether ``path`` itself may be a symbolic link to a regular file.

    Raises:
        CheckpointFormatError: If it is a symbolic link, pipe, socket or device.
        IsADirectoryError: If it is a folder.
        OSError: If the system can't open it.
    """
    try:
        file = open_file(path, _READ if follow else _READ | _NOFOLLOW)
    except OSError as exc:
        # ELOOP: a link that is not followed. ENXIO: a socket. Elsewhere than on Linux the numbers
        # differ, so the kind of file decides.
        if not follow and os.path.islink(path):
            raise CheckpointFormatError(f"{path}: a symbolic link, which is not followed") from exc
        if exc.errno == errno.ENXIO:
            raise CheckpointFormatError(f"{path}: not a regular file") from exc
        raise
    try:
        is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    if not is_regular:
        file.close()
        raise CheckpointFormatError(f"{path}: not a regular file")
    return file


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
        TypeError: If ``other`` is not a :class:`Files`.
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
