"""One process at a time saves into a folder.

The lock is ``flock`` on the file ``.runloop.lock``. Only the kernel decides who holds it, and it
drops the lock when the process ends, however it ends. What the file says (process id and host) is
for messages only: nobody takes a lock because its holder seems to be dead. The savers of one
process share the lock. A child made by ``os.fork`` does not hold it, and does not keep it alive.

The last saver of a process removes the file while it still holds the lock. A process that opened
the file before that locks a file without a name. It notices, and opens the file again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from runloop.checkpoint.files import OpenFile, open_file, open_regular
from runloop.errors import CheckpointError, CheckpointLockedError, CheckpointWriteError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["LOCK_FILE", "FolderLock", "holder_of"]

_logger = logging.getLogger(__name__)

LOCK_FILE = ".runloop.lock"
_OPEN = (
    os.O_RDWR
    | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
)
_ATTEMPTS = 100
# `holder_of` holds a lock for some microseconds when it looks. That must not refuse a training.
_LOOKS = 5
_LOOK_SECS = 0.001


class _Held:
    """The lock of one folder, held by this process for all its savers there.

    It lives as long as a :class:`FolderLock` refers to it. So a Ctrl-C between any two
    instructions never leaves a lock behind that nobody can release.

    Attributes:
        file: The open lock file.
        status: Its ``os.stat_result``: which file it is.
        folder: The folder's.
        users: How many locks share it, or more if a release was interrupted.
    """

    def __init__(self, file: OpenFile, status: os.stat_result, folder: os.stat_result) -> None:
        self.file = file
        self.status = status
        self.folder = folder
        self.users = 0


class _Process:
    """The locks that this process holds. A lock belongs to a process: one object per process."""

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.held: weakref.WeakSet[_Held] = weakref.WeakSet()

    def before_fork(self) -> None:
        """Wait until no other thread is half-way through taking a lock."""
        self.mutex.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on as before."""
        with contextlib.suppress(RuntimeError):  # a Ctrl-C came before it was acquired
            self.mutex.release()

    def after_fork_in_child(self) -> None:
        """Close the child's copies: they would keep the lock when the parent is dead."""
        for held in self.held:
            held.file.close()
        self.held = weakref.WeakSet()
        self.mutex = threading.RLock()


_PROCESS = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_PROCESS.before_fork,
        after_in_parent=_PROCESS.after_fork_in_parent,
        after_in_child=_PROCESS.after_fork_in_child,
    )


def _try_lock(fd: int) -> bool:
    if fcntl is None:
        _logger.warning("This system has no flock: nothing stops two processes from saving here.")
        return True
    for look in range(_LOOKS):
        if look:
            time.sleep(_LOOK_SECS)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            continue
        return True
    return False


def _read(fd: int) -> dict[str, Any] | None:
    """Return the holder that the lock file names, ``None`` if it can't be read."""
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        content = json.loads(os.read(fd, 4096))
        pid, host = content["pid"], content["host"]
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return None
    if type(pid) is not int or not isinstance(host, str) or not host.isprintable():
        return None
    return {"pid": pid, "host": host}


def _write(fd: int) -> None:
    """Write into the lock file who holds the lock. The lock counts even if the disk is full."""
    import socket  # expensive to import, and needed only to save

    with contextlib.suppress(OSError):
        content = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, content)


def holder_of(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return ``{"pid", "host"}`` of the process that holds a folder's lock, ``None`` if none does.

    Both values are ``None`` if it is held and the lock file does not say by whom.
    """
    if fcntl is None:
        return None
    try:
        file = open_regular(os.path.join(folder, LOCK_FILE))
    except (OSError, CheckpointError):
        return None
    with file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return _read(file.fileno()) or {"pid": None, "host": None}
        except OSError:  # this file system has no locks
            return None
    return None


class FolderLock:
    """The right to save into one folder, from :meth:`acquire` to :meth:`release`.

    It may be used by several threads. A copy, also by pickle, is another lock of the same folder
    that is not held.

    Args:
        folder: The folder. It must exist when the lock is acquired.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._path = os.path.join(folder, LOCK_FILE)
        self._held: _Held | None = None

    def __reduce__(self) -> tuple[type[FolderLock], tuple[str]]:
        return FolderLock, (self.folder,)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, in this process."""
        held = self._held
        return held is not None and not held.file.closed

    @property
    def is_current(self) -> bool:
        """Whether it is held, and still the lock of the folder that is at this path."""
        held = self._held
        return held is not None and not held.file.closed and _is_at(self._path, held.status)

    def check(self) -> None:
        """Raise unless the folder is still locked by this lock.

        Raises:
            CheckpointLockedError: If the lock file or the folder was removed, moved or replaced.
        """
        if not self.is_current:
            raise CheckpointLockedError(
                f"the lock of {self.folder} is lost: its file {LOCK_FILE} or the folder was "
                f"removed, moved or replaced during the training; another process may save there"
            )

    def acquire(self, when_first: Callable[[], object] | None = None) -> bool:
        """Take the lock; harmless if it is held.

        Args:
            when_first: Called if nobody in this process held the lock of this folder. Until it
                returns, no other thread of the process can take it.

        Returns:
            Whether nobody in this process held it before.

        Raises:
            CheckpointLockedError: If another process holds it; says which.
            CheckpointWriteError: If the lock file can't be opened, or is a link or not a regular
                file.
        """
        before: dict[str, Any] | None = None
        with _PROCESS.mutex:
            if self.is_current:
                return False
            self.release()
            try:
                held, before = self._take()
                is_first = held.users == 0 and not any(
                    os.path.samestat(other.folder, held.folder)
                    for other in _PROCESS.held
                    if other is not held and other.users and not other.file.closed
                )
                held.users += 1
                self._held = held
                if is_first and when_first is not None:
                    when_first()
            except BaseException as exc:
                self.release()
                if isinstance(exc, OSError) and not isinstance(exc, CheckpointError):
                    raise CheckpointWriteError(
                        exc.errno, f"the folder can't be locked: {exc.strerror}", self._path
                    ) from exc
                raise
        if before is not None:
            _logger.info(
                "Process %s on %s ended without removing its lock file.",
                before["pid"],
                before["host"],
            )
        return is_first

    def _take(self) -> tuple[_Held, dict[str, Any] | None]:
        """Return the process's lock of the folder, and who ended without removing the file."""
        for _ in range(_ATTEMPTS):
            file = None
            try:
                file = open_file(self._path, _OPEN)
                status = os.fstat(file.fileno())
                self._refuse_foreign(status)
                for held in _PROCESS.held:
                    if not held.file.closed and os.path.samestat(held.status, status):
                        file.close()
                        return held, None
                if not _try_lock(file.fileno()):
                    raise self._refused(_read(file.fileno()))
                folder = os.stat(self.folder)
                if _is_at(self._path, status):
                    before = _read(file.fileno())
                    _write(file.fileno())
                    held = _Held(file, status, folder)
                    _PROCESS.held.add(held)
                    return held, before
                file.close()  # its last holder removed it in this moment
            except BaseException as exc:
                if file is not None:
                    file.close()
                if isinstance(exc, OSError) and exc.errno == errno.ELOOP:
                    raise self._foreign("a symbolic link", errno.ELOOP) from exc
                raise
        raise self._foreign("replaced again and again", errno.EAGAIN)

    def _refuse_foreign(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._foreign("not a regular file", errno.EINVAL)
        if status.st_nlink > 1:  # 0: it was removed since it was opened
            raise self._foreign(f"a file with {status.st_nlink} hard links", errno.EMLINK)

    def _foreign(self, what: str, number: int) -> CheckpointWriteError:
        return CheckpointWriteError(
            number, f"the folder can't be locked: the lock file is {what}; remove it", self._path
        )

    def _refused(self, who: dict[str, Any] | None) -> CheckpointLockedError:
        by = "another process" if who is None else f"process {who['pid']} on {who['host']}"
        return CheckpointLockedError(
            f"{by} saves into {self.folder}; nothing was touched. Give each run its own folder. "
            f"If that process should not be running, end it and its children"
        )

    def release(self) -> None:
        """Give the lock back; harmless if it is not held.

        The process keeps it as long as another of its savers uses it.
        """
        with _PROCESS.mutex:
            held = self._held
            if held is None:
                return
            if held.users <= 1 and self.is_current:
                with contextlib.suppress(OSError):  # the lock is what counts
                    os.unlink(self._path)
            # In this order: if a Ctrl-C comes in between, `held` counts too many users, never too
            # few, and ends with its last reference.
            self._held = None
            held.users -= 1
            if held.users <= 0:
                held.file.close()

    def __del__(self) -> None:
        self.release()


def _is_at(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), status)
    except OSError:
        return False
