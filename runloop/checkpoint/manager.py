"""A folder of checkpoints as who saves into it sees it: lock, order, state file, retention."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

from runloop.checkpoint.files import Files, write_all
from runloop.checkpoint.folder import data_file, unlisted
from runloop.checkpoint.header import Document
from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.lock import FolderLock
from runloop.checkpoint.payload import Content
from runloop.checkpoint.reader import CheckpointReader
from runloop.checkpoint.retention import Record, Rules, keep, last_preserved
from runloop.checkpoint.state_file import CheckpointState, format_state, read_state
from runloop.checkpoint.writer import FormatCheck, make_dirs, replace_file, sweep, write_checkpoint
from runloop.errors import CheckpointError, CheckpointWriteError

__all__ = ["CheckpointManager"]

_logger = logging.getLogger(__name__)


class CheckpointManager:
    """Saves into one folder, in the order that leaves a whole newest checkpoint at any moment.

    Args:
        files: The file layer.
        folder: Where the state file is; need not be there yet.
        rules: What is kept.
        state_file: The state file's name. Each has an order and a retention of its own.
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
        self.records: list[Record] = []
        self._files = files
        self._rules = rules
        self._format_check = format_check
        self._lock = FolderLock(folder)
        self._known = False
        self._started: float | None = None
        self._newest_serial = 0

    def open(self, prefix: str) -> None:
        """Become the one who saves here: take the lock, sweep, and see what there is.

        Args:
            prefix: What the data files are called, relative to the folder, without step and
                suffix.

        Raises:
            CheckpointLockedError: If another process saves here.
            CheckpointWriteError: If the folder can't be made or locked.
        """
        make_dirs(self._files, self.folder)
        data_folder = os.path.join(self.folder, os.path.dirname(prefix))
        is_first = self._lock.acquire()
        if is_first:
            # Only then: what lies there later may be what another saver of this process writes.
            for folder in {self.folder, os.path.dirname(data_folder + os.sep) or "."}:
                sweep(self._files, folder)
        if is_first or not self._known:
            self._look(prefix)
            self._known = True
        make_dirs(self._files, data_folder)

    def _look(self, prefix: str) -> None:
        """Find out which checkpoints there are, in the order of their saving."""
        try:
            state = read_state(self.folder, self.state_file)
        except CheckpointError as exc:
            _logger.warning("Writing a new state file, for the old one is of no use: %s", exc)
            state = None
        found: dict[str, Record] = {}
        if state is not None:
            names = [*state.all_model_checkpoint_paths, state.model_checkpoint_path]
            times = dict(zip(names, state.all_model_checkpoint_timestamps, strict=False))
            serial = 0
            for name in names:
                path = data_file(os.path.join(self.folder, name))
                if path is not None:
                    name = os.path.relpath(path, self.folder)  # noqa: PLW2901 - with its suffix
                    found[name] = self._record(name, serial + 1, times.get(name, 0.0))
                    serial = max(serial, found[name].serial)
        ours = re.compile(rf"{re.escape(os.path.basename(prefix))}(-\d+)?{re.escape(SUFFIX)}")
        below = os.path.dirname(prefix)
        listed = {os.path.basename(name) for name in found if os.path.dirname(name) == below}
        for name, reader in unlisted(os.path.join(self.folder, below), listed):
            if isinstance(reader, CheckpointReader):
                with reader:
                    document = reader.document
                    if document is None or document.state_file != self.state_file:
                        continue
                    if ours.fullmatch(name):
                        path = os.path.join(below, name)
                        found[path] = self._known_record(path, document)
        self.records = sorted(found.values(), key=lambda record: (record.serial, record.name))

    def _record(self, name: str, serial: int, time: float) -> Record:
        try:
            with CheckpointReader(os.path.join(self.folder, name)) as reader:
                document = reader.document
        except CheckpointError:  # damaged: retention gives it up in its turn
            document = None
        if document is None:
            return Record(name, serial, None, time)
        return self._known_record(name, document)

    def _known_record(self, name: str, document: Document) -> Record:
        if document.serial >= self._newest_serial:
            # The hours are counted from where the training began that the newest belongs to.
            self._newest_serial, self._started = document.serial, document.started
        return Record(name, document.serial, document.step, document.time, document.metrics)

    def next_record(
        self, name: str, step: int | None, time: float, metrics: dict[str, float]
    ) -> Record:
        """Return the record of the save that comes now."""
        serial = max((record.serial for record in self.records), default=0) + 1
        return Record(name, serial, step, time, metrics)

    def save(
        self,
        record: Record,
        content: Content,
        document: dict[str, Any],
    ) -> str:
        """Write a checkpoint, announce it, and delete what the rules give up, in that order.

        Args:
            record: What :meth:`next_record` gave.
            content: The tensors.
            document: The document, without what the record says.

        Returns:
            The path of the data file.

        Raises:
            CheckpointWriteError: If the system fails. Everything that the state file lists
                stands.
        """
        started = self._started = self._started if self._started is not None else record.time
        path = os.path.join(self.folder, record.name)
        whole_document = {
            "step": record.step,
            "serial": record.serial,
            "time": record.time,
            "started": started,
            "state_file": self.state_file,
            # JSON has no NaN and no infinity; float() reads them from a string.
            "metrics": {k: v if v - v == 0 else str(v) for k, v in record.metrics.items()},
            **document,
        }
        try:
            write_checkpoint(self._files, path, content, whole_document, self._format_check)
        except CheckpointWriteError:
            # It may have got its name and not been confirmed: then it is whole, and there to be
            # given up in its turn.
            if os.path.exists(path) and all(r.name != record.name for r in self.records):
                self.records.append(record)
            raise
        # From here on the file is there, announced or not.
        self.records = [r for r in self.records if r.name != record.name] + [record]
        kept = keep(self.records, self._rules, started)
        listed = [r for r, k in zip(self.records, kept, strict=True) if k]
        self._write_state(listed, last_preserved(self.records, self._rules, started))
        for given_up in [r for r, k in zip(self.records, kept, strict=True) if not k]:
            self._delete(given_up)
        return path

    def _write_state(self, listed: list[Record], preserved: float | None) -> None:
        names = [record.name.replace(os.sep, "/") for record in listed]
        content = format_state(
            CheckpointState(
                model_checkpoint_path=names[-1],
                all_model_checkpoint_paths=names,
                all_model_checkpoint_timestamps=[record.time for record in listed],
                last_preserved_timestamp=preserved,
            )
        )

        def write(fd: int) -> None:
            write_all(self._files, fd, content, 0)

        replace_file(self._files, os.path.join(self.folder, self.state_file), write)

    def _delete(self, record: Record) -> None:
        try:
            self._files.unlink(os.path.join(self.folder, record.name))
        except FileNotFoundError:  # somebody else did
            pass
        except OSError as exc:
            # It stays a record, so that the next save tries again.
            _logger.warning("The old checkpoint %s can't be deleted: %s", record.name, exc)
            return
        self.records = [r for r in self.records if r is not record]

    def close(self) -> None:
        """Give the lock back; :meth:`open` takes it again."""
        self._lock.release()
        self._known = False
