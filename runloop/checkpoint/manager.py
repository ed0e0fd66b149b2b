"""A checkpoint folder, from the writer's side: lock, order of writes, state file, retention."""

from __future__ import annotations

import errno
import logging
import math
import os
import re
from typing import Any

from runloop.checkpoint.files import Files, write_all
from runloop.checkpoint.folder import DataFile, Scan, is_real_folder, locate
from runloop.checkpoint.header import MAX_SERIAL, Document
from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.lock import FolderLock
from runloop.checkpoint.payload import Content
from runloop.checkpoint.retention import Record, Rules, keep, last_preserved
from runloop.checkpoint.state_file import state_line
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
# A file may say anything of itself. A number above this would be written back into the next one
# until no reader accepts it.
_MAX_SERIAL = 1 << 53


class CheckpointManager:
    """Saves into one folder, in the order that leaves a whole newest checkpoint at any moment.

    It locks every folder that it writes into: that of the state file, and those of the data files.
    Both are fixed when it is made, whatever the process's working directory is later.

    Args:
        files: The file layer.
        folder: Where the state file is; it need not exist yet.
        rules: What is kept.
        state_file: The state file's name. Each has its own order and retention.
        format_check: Knows which layout safetensors has opened already.
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
        # The checkpoints that there are, by name, in the order of saving, and their lines in the
        # state file, in the same order. Formatting 10,000 takes longer than all the rest of a save.
        self._records: dict[str, Record] = {}
        self._lines: dict[str, bytes] = {}
        self._time_lines: dict[str, bytes] = {}
        self._known = False
        self._was_lost = False
        self._content: bytes | None = None  # of the state file, as this object knows it
        self._started: float | None = None
        self._newest_serial = 0

    @property
    def records(self) -> list[Record]:
        """The checkpoints that there are, in the order of saving."""
        return [*self._records.values()]

    def is_for(self, folder: str, state_file: str) -> bool:
        """Whether this is the manager of that folder, seen from the working directory of now."""
        return self.state_file == state_file and self._root == _absolute(folder)

    # -- becoming the writer --------------------------------------------------------------------

    def open(self, prefix: str) -> None:
        """Become the writer: take the locks, sweep, and see what there is.

        Args:
            prefix: The data files without step and suffix, relative to the folder.

        Raises:
            CheckpointLockedError: If another process saves here, or has saved here since this
                one's lock was removed.
            CheckpointReadError: If the folder can't be listed.
            CheckpointWriteError: If a folder can't be made or locked, is a link, or the state
                file is not a regular file.
        """
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
                self._look(prefix)
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
        # Listed before another thread can write here: what is written later is not in the list.
        lock.acquire(lambda: left_over.extend(temporaries(folder)))
        sweep(self._files, left_over)

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
        """Go on with a lock that was lost and taken again, unless somebody saved in between."""
        before, content = dict(self._records), self._content
        self._look(prefix)
        if self._content not in (None, content) or not self._records.keys() <= before.keys():
            self._content = content
            self._records.clear()
            for record in before.values():
                self._add(record)
            raise CheckpointLockedError(
                f"another run has saved into {self.folder} since this one's lock file was removed "
                f"or its folder was replaced; nothing was touched. Give each run its own folder"
            )
        _logger.warning(
            "The lock file in %s was removed, or the folder was moved or replaced. Nobody else has "
            "saved there since, so this run goes on saving.",
            self.folder,
        )
        self._was_lost = False

    def _check(self) -> None:
        for lock in self._locks.values():
            lock.check()

    # -- what there is --------------------------------------------------------------------------

    def _look(self, prefix: str) -> None:
        """Find out which checkpoints there are, in the order of their saving."""
        scan = Scan(self._root, self.state_file)
        path = os.path.join(self._root, self.state_file)
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isfile(path)):
            raise CheckpointWriteError(
                errno.EINVAL, "the state file is a link or not a regular file; move it away", path
            )
        if scan.problem is not None:
            _logger.warning("Writing a new state file, the old one can't be used: %s", scan.problem)
        self._content = scan.content
        below = os.path.dirname(prefix)
        base = re.escape(os.path.basename(prefix))
        named = re.compile(rf"{re.escape(os.path.join(below, ''))}{base}(-\d+)?{re.escape(SUFFIX)}")
        found: list[Record] = []
        serial = 0
        times = _times_of(scan)
        for file in scan.listed():
            record = self._listed_record(
                file, serial + 1, times, is_named=named.fullmatch(file.name)
            )
            if record is not None:
                found.append(record)
                serial = max(serial, record.serial)
        for file in scan.unlisted(below, deep=False):
            if file.document is not None and scan.owns(file) and named.fullmatch(file.name):
                record = self._record_of(file.name, file.document)
                if record is not None:
                    found.append(record)
        found.sort(key=lambda record: (record.serial, record.name))
        self._records.clear()
        self._lines.clear()
        self._time_lines.clear()
        for record in found:
            self._add(record)

    def _listed_record(
        self, file: DataFile, serial: int, times: dict[str, float], *, is_named: object
    ) -> Record | None:
        """Return the record of a file that the state file lists, ``None`` if it is not ours."""
        if isinstance(file.problem, CheckpointNotFoundError):
            return None
        if file.document is not None:
            record = self._record_of(file.name, file.document)
            if record is not None:
                return record
        elif not is_named or file.problem is None or file.size is None:
            _logger.warning(
                "The state file lists %s, which is not a checkpoint of this run (%s); it is left "
                "alone and not listed again.",
                file.name,
                file.problem or "another program wrote it",
            )
            return None
        # Damaged: retention deletes it in its turn.
        return Record(file.name, serial, None, times.get(file.name, 0.0))

    def _record_of(self, name: str, document: Document) -> Record | None:
        numbers = (document.time, document.started)
        if not 0 <= document.serial <= _MAX_SERIAL or not all(map(math.isfinite, numbers)):
            _logger.warning(
                "%s says of itself serial %s, time %s, start %s, which can't be; its place in the "
                "order is not used.",
                name,
                f"{document.serial:.3e}" if document.serial < 1 << 1000 else "over 2**1000",
                *numbers,
            )
            return None
        if document.serial >= self._newest_serial:
            # The hours are counted from the start of the training that the newest belongs to.
            self._newest_serial, self._started = document.serial, document.started
        return Record(name, document.serial, document.step, document.time, document.metrics)

    def next_record(
        self, name: str, step: int | None, time: float, metrics: dict[str, float]
    ) -> Record:
        """Return the record of the next save."""
        newest = next(reversed(self._records.values())).serial if self._records else 0
        serial = min(newest + 1, MAX_SERIAL)  # a reader refuses a larger one
        return Record(name, serial, step, time, metrics)

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
            CheckpointLockedError: If the lock was lost meanwhile. Nothing got its final name since.
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
            # From the data file: so a reader that finds it knows which state file it belongs to.
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
            # The rename may have happened without being confirmed. Then the file is whole, and
            # retention deletes it in its turn.
            if os.path.lexists(path) and record.name not in self._records:
                self._add(record)
            raise
        # From here on the file exists, announced or not.
        self._add(record)
        records = self.records
        kept = keep(records, self._rules, started)
        listed = [r for r, k in zip(records, kept, strict=True) if k]
        self._write_state(listed, last_preserved(records, self._rules, started))
        if len(listed) < len(records):
            for dropped in [r for r, k in zip(records, kept, strict=True) if not k]:
                self._delete(dropped)
        return os.path.join(self.folder, record.name)

    def _add(self, record: Record) -> None:
        """Put a record at the end, whether its name is new or not."""
        name = record.name.replace(os.sep, "/")
        # The lines first: if memory runs out here, no record lacks one.
        self._lines[record.name] = state_line("all_model_checkpoint_paths", name)
        self._time_lines[record.name] = state_line("all_model_checkpoint_timestamps", record.time)
        self._records.pop(record.name, None)
        self._records[record.name] = record

    def _drop(self, name: str) -> None:
        for known in (self._records, self._lines, self._time_lines):
            known.pop(name, None)

    def _write_state(self, listed: list[Record], preserved: float | None) -> None:
        names = [record.name for record in listed]
        parts = [
            state_line("model_checkpoint_path", names[-1].replace(os.sep, "/")),
            *map(self._lines.__getitem__, names),
            *map(self._time_lines.__getitem__, names),
        ]
        if preserved is not None:
            parts.append(state_line("last_preserved_timestamp", preserved))
        content = b"".join(parts)

        def write(fd: int) -> None:
            write_all(self._files, fd, content, 0)

        def check(_: str) -> None:
            self._check()

        replace_file(self._files, os.path.join(self._root, self.state_file), write, check)
        self._content = content

    def _delete(self, record: Record) -> None:
        try:
            # What it was at the first look it need not be now.
            locate(self._root, record.name, {})
            self._lock(os.path.dirname(record.name))  # perhaps of an earlier checkpoint_basename
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
        self._drop(record.name)

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


def _times_of(scan: Scan) -> dict[str, float]:
    if scan.state is None:
        return {}
    names = scan.state.all_model_checkpoint_paths
    names = [name if name.endswith(SUFFIX) else name + SUFFIX for name in names]
    return dict(zip(names, scan.state.all_model_checkpoint_timestamps, strict=False))


def _relative(state_file: str, below: str) -> str:
    return os.path.relpath(state_file, below).replace(os.sep, "/") if below else state_file
