"""One process at a time saves into a folder.

The lock is ``flock`` on ``.runloop.lock``, which the system drops when the process ends, however
it ends. The file says who holds it: process id, when that process began, host. Within one process
several savers may share a folder. A child made by ``fork`` counts as another process; if it
outlives its parent, the parent's lock is taken over all the same.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from runloop.errors import CheckpointLockedError, CheckpointWriteError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: who holds the lock is read from the file alone
    fcntl = None

__all__ = ["LOCK_FILE", "FolderLock", "holder_of"]

_logger = logging.getLogger(__name__)

LOCK_FILE = ".runloop.lock"


def _host() -> str:
    import socket  # dear to import, and needed only to save

    return socket.gethostname()


def _began(pid: int) -> str | None:
    """Return when a process of this machine began, in a form that survives no reboot.

    ``None`` if there is no such process; ``"?"`` if there is one and the system does not tell.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the program, in parentheses, may hold anything; field 22 is the start.
            fields = file.read().rpartition(b")")[2].split()
        if fields[0] == b"Z":  # it has ended, and its parent has not looked yet
            return None
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{fields[19].decode()}@{file.read().strip()}"
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return None
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "?"


def _identity() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "host": _host(), "began": _began(pid)}


def _read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read(4096))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or type(content.get("pid")) is not int:
        return None
    return content


def _alive(who: dict[str, Any]) -> bool:
    """Whether the holder runs, as far as can be known: a process of another host is believed to."""
    if who.get("host") != _host():
        return True
    began = _began(who["pid"])
    return began is not None and who.get("began") in (began, "?")


def holder_of(folder: str) -> dict[str, Any] | None:
    """Return ``{"pid", "host"}`` of the live process that holds a folder's lock, or ``None``."""
    who = _read(os.path.join(folder, LOCK_FILE))
    return who if who is not None and _alive(who) else None


class FolderLock:
    """The right to save into one folder, held from :meth:`acquire` to :meth:`release`.

    Args:
        folder: The folder; must be there when the lock is acquired.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._path = os.path.join(folder, LOCK_FILE)
        self._fd = -1
        self._pid = -1

    @property
    def held(self) -> bool:
        """Whether this object holds the lock itself, in this process."""
        return self._fd >= 0 and self._pid == os.getpid()

    def acquire(self) -> bool:
        """Take the lock; harmless if it is held.

        Returns:
            Whether it was not held before, neither by this object nor by another of this process.

        Raises:
            CheckpointLockedError: If another process holds it; says which.
            CheckpointWriteError: If the lock file can't be made.
        """
        if self.held:
            return False
        if self._fd >= 0:  # inherited by fork: it is the parent's
            os.close(self._fd)
            self._fd = -1
        try:
            return self._acquire()
        except OSError as exc:
            if isinstance(exc, CheckpointWriteError):
                raise
            raise CheckpointWriteError(
                exc.errno, f"the folder can't be locked: {exc.strerror}", self._path
            ) from exc

    def _acquire(self) -> bool:
        me = _identity()
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            if not self._lock(fd):
                os.close(fd)
                who = _read(self._path)
                if who is None:
                    raise self._refused(None)
                if {**me, **who} == me:  # another saver of this process
                    return False
                if _alive(who):
                    raise self._refused(who)
                # A child of a dead process still has its lock open. A new file is a new lock.
                self._remove()
                continue
            try:
                same = os.path.samestat(os.fstat(fd), os.stat(self._path))
            except FileNotFoundError:
                same = False
            if same:
                break
            os.close(fd)  # its former holder removed it in this moment
        who = _read(self._path)
        if who is not None:
            _logger.info("Taking over the lock of process %s on %s.", who["pid"], who.get("host"))
        try:
            os.ftruncate(fd, 0)
            os.write(fd, json.dumps(me).encode())
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._pid = fd, me["pid"]
        return True

    def _lock(self, fd: int) -> bool:
        if fcntl is None:
            who = _read(self._path)
            return who is None or not _alive(who)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _refused(self, who: dict[str, Any] | None) -> CheckpointLockedError:
        by = "another process" if who is None else f"process {who['pid']} on {who.get('host')}"
        return CheckpointLockedError(
            f"{by} saves into {self.folder}; nothing was touched. Two trainings need two folders; "
            f"if it is a leftover, end that process"
        )

    def _remove(self) -> None:
        try:
            os.unlink(self._path)
        except OSError:  # gone already, or not ours to remove: the lock itself is what counts
            pass

    def release(self) -> None:
        """Give the lock back; harmless if it is not held."""
        if self.held:
            self._remove()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.release()
