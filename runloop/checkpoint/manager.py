"""A checkpoint folder, from the writer's side: locks, and the order of writes and deletions."""

from __future__ import annotations

import errno
import logging
import os
from itertools import compress
from operator import not_
from typing import Any

from runloop.checkpoint.files import Files, write_all
from runloop.checkpoint.lock import FolderLock
from runloop.checkpoint.payload import Content
from runloop.checkpoint.records import Found, Records, find_records
from runloop.checkpoint.retention import Kept, Record, Rules, keep
from runloop.checkpoint.scan import Scan, is_real_folder, locate
from runloop.checkpoint.writer import (
    FormatCheck,
    make_dirs,
    replace_file,
    sweep,
    temporaries,
    write_checkpoint,
)
from runloop.errors import (
    CheckpointError,
    CheckpointFormatError,
    CheckpointLockedError,
    CheckpointNotFoundError,
    CheckpointWriteError,
)

__all__ = ["CheckpointManager"]

_logger = logging.getLogger(__name__)


class CheckpointManager:
    """Saves into one folder, in the order that leaves a whole newest checkpoint at any moment.

    It locks every folder that it writes into: that of the state file, and those of the data files.
    A relative folder is resolved when the manager is made; ``chdir`` later changes nothing.

    Args:
        files: The file layer.
        folder: Where the state file is; it need not exist yet.
        rules: Which checkpoints are kept.
        state_file: The state file's name. Each state file has its own order and retention.
        format_check: Opens the first file of each layout with safetensors.
    """

    def __init__(
        self,
        files: Files,
        folder: str,
        rules: Rules,
        state_file: str,
        format_check: FormatCheck,
    ) -> None:
        self.folder = folder
        self.state_file = state_file
        self._root = _absolute(folder)
        self._files = files
        self._rules = rules
        self._format_check = format_check
        self._locks: dict[str, FolderLock] = {}
        self._records = Records()
        self._known = False  # whether the records are those of the folder
        self._was_lost = False
        self._content: bytes | None = None  # of the state file, as it was last read or written
        self._started: float | None = None

    @property
    def records(self) -> list[Record]:
        """The checkpoints in the folder, in the order of saving."""
        return self._records.all

    @property
    def newest(self) -> str | None:
        """The path of the checkpoint that was saved last."""
        record = self._records.newest
        return None if record is None else os.path.join(self.folder, record.name)

    def is_for(self, folder: str, state_file: str) -> bool:
        """Whether this is the manager of that folder, relative to the current working directory."""
        return self.state_file == state_file and self._root == _absolute(folder)

    # -- becoming the writer --------------------------------------------------------------------

    def open(self, prefix: str) -> None:
        """Become the writer: take the locks, delete left-over temporaries, and find the checkpoints.

        Args:
            prefix: The data files' names without step and suffix, relative to the folder.

        Raises:
            CheckpointLockedError: If another process saves here, or has saved here since this one
                lost its lock.
            CheckpointReadError: If the folder can't be listed.
            CheckpointWriteError: If a name can't be encoded, a folder can't be made or locked or is
                a link, or the state file is not a regular file.
        """
        self._refuse_names(prefix)
        below = os.path.dirname(prefix)
        try:
            make_dirs(self._files, self._root)
            self._lock("")
            self._refuse_links(below)
            make_dirs(self._files, os.path.join(self._root, below))
            self._lock(below)
            if self._was_lost:
                self._go_on_if_alone(prefix)
            elif not self._known:
                self._use(*self._look(prefix))
            self._known = True
        except BaseException:
            if self._was_lost or not self._known:
                self._release_locks()
            raise

    def _lock(self, below: str) -> None:
        """Take the lock of a folder, and sweep if nobody in this process had it."""
        below = os.path.normpath(below) if below else ""
        folder = os.path.join(self._root, below) if below else self._root
        lock = self._locks.get(below)
        if lock is None:
            lock = self._locks[below] = FolderLock(folder)
        if lock.is_current:
            return
        self._was_lost |= lock.held
        left_over: list[str] = []
        # Listed before another thread can write here, so its files are not in the list.
        lock.acquire(lambda: left_over.extend(temporaries(folder)))
        sweep(self._files, left_over)

    def _refuse_names(self, prefix: str) -> None:
        """Refuse names that no file can have in this locale, before anything is written."""
        for name in (prefix, self.state_file):
            path = os.path.join(self._root, name)
            try:
                os.fsencode(path)
            except UnicodeEncodeError as exc:
                raise CheckpointWriteError(
                    errno.EILSEQ,
                    f"the name can't be encoded for the file system ({exc}); choose another name, "
                    f"or a UTF-8 locale",
                    path,
                ) from exc

    def _refuse_links(self, below: str) -> None:
        while below:
            path = os.path.join(self._root, below)
            if os.path.lexists(path) and not is_real_folder(self._root, below, {}):
                raise CheckpointWriteError(
                    errno.ELOOP,
                    "the folder of the data files is a link or not a folder, and readers follow no "
                    "link; give the real folder as checkpoint_dir",
                    path,
                )
            below = os.path.dirname(below)

    def _go_on_if_alone(self, prefix: str) -> None:
        """Go on after the lock was lost and taken again, unless another run saved in between."""
        content, found = self._look(prefix)
        if content not in (None, self._content) or not found.records.is_subset_of(self._records):
            raise CheckpointLockedError(
                f"another run has saved into {self.folder} since this one's lock file was removed "
                f"or its folder was replaced; nothing was touched. Give each run its own folder"
            )
        _logger.warning(
            "The lock file in %s was removed, or the folder was moved or replaced. Nobody else has "
            "saved there since, so this run goes on saving.",
            self.folder,
        )
        self._use(content, found)
        self._was_lost = False

    def _check(self) -> None:
        for lock in self._locks.values():
            lock.check()

    # -- the checkpoints in the folder ----------------------------------------------------------

    def _look(self, prefix: str) -> tuple[bytes | None, Found]:
        """Return the state file's content and the checkpoints that belong to it."""
        scan = Scan(self._root, self.state_file)
        path = os.path.join(self._root, self.state_file)
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isfile(path)):
            raise CheckpointWriteError(
                errno.EINVAL, "the state file is a link or not a regular file; move it away", path
            )
        if scan.problem is not None:
            _logger.warning("Writing a new state file; the old one can't be used: %s", scan.problem)
        return scan.content, find_records(scan, prefix)

    def _use(self, content: bytes | None, found: Found) -> None:
        self._content, self._records = content, found.records
        if found.started is not None:
            # The hours are counted from the start of the training that the newest belongs to.
            self._started = found.started

    def next_record(
        self, name: str, step: int | None, time: float, metrics: dict[str, float]
    ) -> Record:
        """Return the record of the next save."""
        return self._records.next(name, step, time, metrics)

    # -- saving ---------------------------------------------------------------------------------

    def save(
        self,
        record: Record,
        content: Content,
        document: dict[str, Any],
    ) -> str:
        """Write a checkpoint, announce it, and delete what the rules do not keep, in that order.

        Args:
            record: What :meth:`next_record` gave.
            content: The tensors.
            document: The document, without what the record says.

        Returns:
            The path of the data file.

        Raises:
            CheckpointLockedError: If the lock was lost during the save. Nothing was renamed after
                that.
            CheckpointWriteError: If the system fails. All checkpoints that the state file lists
                are untouched.
        """
        started = self._started = self._started if self._started is not None else record.time
        path = os.path.join(self._root, record.name)
        whole_document = {
            "step": record.step,
            "serial": record.serial,
            "time": record.time,
            "started": started,
            # Relative to the data file, so that a reader who finds it knows its state file.
            "state_file": _relative(self.state_file, os.path.dirname(record.name)),
            # JSON has no NaN and no infinity; float() reads them from a string.
            "metrics": {k: v if v - v == 0 else str(v) for k, v in record.metrics.items()},
            **document,
        }
        try:
            write_checkpoint(
                self._files, path, content, whole_document, self._format_check, self._check
            )
        except BaseException:
            # The rename may have succeeded before the error. Then the file is whole, and retention
            # deletes it later.
            if os.path.lexists(path) and record.name not in self._records:
                self._records.add(record)
            raise
        # From here on the file exists, announced or not.
        self._records.add(record)
        records = self.records
        kept = keep(records, self._rules, started)
        self._write_state(kept)
        for dropped in compress(records, map(not_, kept.flags)):
            self._delete(dropped)
        return os.path.join(self.folder, record.name)

    def _write_state(self, kept: Kept) -> None:
        content = self._records.state_content(*kept)

        def write(fd: int) -> None:
            write_all(self._files, fd, content, 0)

        def check(_: str) -> None:
            self._check()

        replace_file(self._files, os.path.join(self._root, self.state_file), write, check)
        self._content = content

    def _delete(self, record: Record) -> None:
        try:
            # It may have been replaced since it was found.
            locate(self._root, record.name, {})
            self._lock(os.path.dirname(record.name))  # of an earlier checkpoint_basename, perhaps
            self._check()
            self._files.unlink(os.path.join(self._root, record.name))
        except (CheckpointNotFoundError, FileNotFoundError):  # somebody else deleted it
            pass
        except CheckpointFormatError as exc:
            _logger.warning("Not deleting %s: %s", record.name, exc)
        except (CheckpointError, OSError) as exc:
            # It stays a record, so that the next save tries again.
            _logger.warning("The old checkpoint %s can't be deleted: %s", record.name, exc)
            return
        self._records.drop(record.name)

    def close(self) -> None:
        """Give the locks back; :meth:`open` takes them again."""
        self._release_locks()
        self._known = self._was_lost = False

    def _release_locks(self) -> None:
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()


def _absolute(folder: str) -> str:
    """Return an absolute path; ``abspath`` would resolve ``..`` behind a link wrongly."""
    try:
        return os.path.join(os.getcwd(), folder)
    except OSError as exc:
        if os.path.isabs(folder):
            return folder
        raise CheckpointWriteError(
            exc.errno, f"there is no working directory: {exc.strerror}", folder
        ) from exc


def _relative(state_file: str, below: str) -> str:
    return os.path.relpath(state_file, below).replace(os.sep, "/") if below else state_file
