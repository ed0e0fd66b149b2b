"""The checkpoints that a writer finds in its folder, and their lines in the state file."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from itertools import compress
from typing import NamedTuple

from runloop.checkpoint.header import MAX_SERIAL
from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.retention import Record
from runloop.checkpoint.scan import DataFile, Scan
from runloop.checkpoint.state_file import state_line
from runloop.errors import CheckpointNotFoundError

__all__ = ["Found", "Records", "find_records"]

_logger = logging.getLogger(__name__)


class _Entry(NamedTuple):
    record: Record
    line: bytes
    time_line: bytes


class Records:
    """Checkpoints in the order of saving, with their lines in the state file.

    Each line is formatted once: formatting 10,000 takes longer than all the rest of a save.

    Args:
        records: The checkpoints, in the order of saving.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._entries: dict[str, _Entry] = {}
        for record in records:
            self.add(record)

    @property
    def all(self) -> list[Record]:
        """The checkpoints, in the order of saving."""
        return [record for record, _, _ in self._entries.values()]

    @property
    def newest(self) -> Record | None:
        """The checkpoint that was saved last."""
        entry = next(reversed(self._entries.values()), None)
        return None if entry is None else entry.record

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def is_subset_of(self, other: Records) -> bool:
        """Whether ``other`` has all of these names."""
        return self._entries.keys() <= other._entries.keys()

    def add(self, record: Record) -> None:
        """Put a record at the end, even if its name is known."""
        name = record.name.replace(os.sep, "/")
        # The lines first: if memory runs out here, no record is lost.
        entry = _Entry(
            record,
            state_line("all_model_checkpoint_paths", name),
            state_line("all_model_checkpoint_timestamps", record.time),
        )
        self.drop(record.name)
        self._entries[record.name] = entry

    def drop(self, name: str) -> None:
        """Forget a checkpoint; harmless if it is unknown."""
        self._entries.pop(name, None)

    def state_content(self, listed: Iterable[bool], last_preserved: float | None) -> bytes:
        """Return the content of a state file.

        Args:
            listed: For each record, whether the state file lists it; the newest must be.
            last_preserved: See ``CheckpointState.last_preserved_timestamp``.
        """
        entries = [*compress(self._entries.values(), listed)]
        newest = entries[-1].record.name.replace(os.sep, "/")
        parts = [state_line("model_checkpoint_path", newest)]
        parts += [line for _, line, _ in entries]
        parts += [line for _, _, line in entries]
        if last_preserved is not None:
            parts.append(state_line("last_preserved_timestamp", last_preserved))
        return b"".join(parts)

    def next(self, name: str, step: int | None, time: float, metrics: dict[str, float]) -> Record:
        """Return the record of the next save, which is not added yet."""
        newest = self.newest
        # A reader refuses a larger serial number.
        serial = 1 if newest is None else min(newest.serial + 1, MAX_SERIAL)
        return Record(name, serial, step, time, metrics)


class Found(NamedTuple):
    """The checkpoints of one run in a folder.

    Attributes:
        records: The checkpoints.
        started: When the training that saved the newest began, seconds since 1970; ``None`` if
            unknown.
    """

    records: Records
    started: float | None


def find_records(scan: Scan, prefix: str) -> Found:
    """Return the checkpoints that belong to a state file and a prefix.

    Those are the files that the state file lists, and the files named like ours whose document
    names the state file: the run that saved them was killed before it wrote the state file, or the
    state file was lost.

    Args:
        scan: A look at the folder.
        prefix: The data files' names without step and suffix, relative to the folder.

    Raises:
        CheckpointReadError: If the folder can't be listed.
    """
    below = os.path.dirname(prefix)
    base = re.escape(os.path.basename(prefix))
    named = re.compile(rf"{re.escape(os.path.join(below, ''))}{base}(-\d+)?{re.escape(SUFFIX)}")
    found: list[Record] = []
    started: dict[str, float] = {}
    times = _times_of(scan)
    serial = 0
    for file in scan.listed():
        document = file.document
        if document is not None:
            started[file.name] = document.started
            found.append(
                Record(file.name, document.serial, document.step, document.time, document.metrics)
            )
        elif _is_ours(file, is_named=named.fullmatch(file.name)):
            # Damaged: it stays in the order, and retention deletes it later.
            found.append(Record(file.name, serial + 1, None, times.get(file.name, 0.0)))
        else:
            continue
        serial = max(serial, found[-1].serial)
    for file in scan.unlisted(below, deep=False):
        document = file.document
        if document is not None and scan.owns(file) and named.fullmatch(file.name):
            started[file.name] = document.started
            found.append(
                Record(file.name, document.serial, document.step, document.time, document.metrics)
            )
    found.sort(key=lambda record: record.serial)  # equal ones stay in the order of the state file
    newest = next((record for record in reversed(found) if record.name in started), None)
    return Found(Records(found), None if newest is None else started[newest.name])


def _is_ours(file: DataFile, *, is_named: object) -> bool:
    """Whether a listed file without a readable document counts as a checkpoint of this run."""
    if isinstance(file.problem, CheckpointNotFoundError):
        return False
    if is_named and file.problem is not None and file.size is not None:
        return True
    _logger.warning(
        "The state file lists %s, which is not a checkpoint of this run (%s); it is left alone and "
        "not listed again.",
        file.name,
        file.problem or "another program wrote it",
    )
    return False


def _times_of(scan: Scan) -> dict[str, float]:
    if scan.state is None:
        return {}
    names = scan.state.all_model_checkpoint_paths
    names = [name if name.endswith(SUFFIX) else name + SUFFIX for name in names]
    return dict(zip(names, scan.state.all_model_checkpoint_timestamps, strict=False))
