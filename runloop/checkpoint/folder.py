"""A checkpoint folder, from the reader's side: which checkpoints there are, and the newest whole one.

:class:`Scan` is one look at a folder. Restoring, the writer and the command line all use it. What
it finds was perhaps put there by somebody else, so it follows no link and opens only regular files.
A training may save into the folder meanwhile, so a look that finds nothing is checked: if the folder
has changed since, it is repeated.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from runloop.checkpoint.header import Document
from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.reader import CheckpointReader
from runloop.checkpoint.state_file import (
    STATE_FILE,
    CheckpointState,
    newest_name,
    parse_state,
    read_content,
)
from runloop.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    CheckpointReadError,
)

__all__ = [
    "DataFile",
    "Scan",
    "candidates",
    "is_real_folder",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "locate",
    "restore_newest",
]

_logger = logging.getLogger(__name__)
# What is wrong with one file and says nothing about the others.
_PASSED_OVER = (CheckpointFormatError, CheckpointNotFoundError, CheckpointReadError)
_ROUNDS = 1000  # looks at a folder that is saved into all the while

Path = str | os.PathLike[str]


class DataFile(NamedTuple):
    """A data file, as its header shows it.

    Attributes:
        name: Its path relative to the folder.
        listed: Whether the state file lists it.
        size: Bytes; ``None`` if that can't be found out.
        tensors: How many it has; ``None`` if the header can't be read.
        document: What runloop wrote; ``None`` if it can't be read or another program wrote the
            file.
        problem: What is wrong with it.
    """

    name: str
    listed: bool
    size: int | None = None
    tensors: int | None = None
    document: Document | None = None
    problem: CheckpointError | None = None


def is_real_folder(folder: str, below: str, known: dict[str, bool]) -> bool:
    """Whether ``below`` is a folder in ``folder``, and no link leads there.

    Args:
        folder: A folder.
        below: A path relative to it.
        known: What is known of other paths; is added to.
    """
    if not below:
        return True
    if below not in known:
        try:
            mode = os.lstat(os.path.join(folder, below)).st_mode
        except (OSError, ValueError):
            mode = 0
        known[below] = stat.S_ISDIR(mode) and is_real_folder(folder, os.path.dirname(below), known)
    return known[below]


def locate(folder: str, name: str, known: dict[str, bool]) -> str:
    """Return the data file that a name in a state file stands for, relative to the folder.

    Args:
        folder: The folder of the state file.
        name: With or without suffix.
        known: As for :func:`is_real_folder`.

    Raises:
        CheckpointNotFoundError: If there is none.
        CheckpointFormatError: If it is not a regular file, or a link leads to it.
    """
    if not name.endswith(SUFFIX):
        name += SUFFIX
    path = os.path.join(folder, name)
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError) as exc:
        raise CheckpointNotFoundError(f"there is no checkpoint {path}") from exc
    if stat.S_ISLNK(mode) or not is_real_folder(folder, os.path.dirname(name), known):
        raise CheckpointFormatError(f"{path}: a symbolic link, which is not followed")
    if not stat.S_ISREG(mode):
        raise CheckpointFormatError(f"{path}: not a regular file")
    return name


class Scan:
    """One look at a folder.

    Args:
        folder: The folder; it need not exist.
        state_file: The state file's name.

    Attributes:
        content: The bytes of the state file; ``None`` if there is none or it can't be read.
        state: What it says; ``None`` if there is none or it can't be used.
        problem: Why it can't be used.
        names: The paths that it lists, without duplicates, in the order of saving.
    """

    def __init__(self, folder: str, state_file: str = STATE_FILE) -> None:
        self.folder = folder
        self.state_file = state_file
        self.content: bytes | None = None
        self.state: CheckpointState | None = None
        self.problem: CheckpointError | None = None
        self.names: list[str] = []
        # For every folder in it that was asked about: whether no link leads there.
        self._is_real: dict[str, bool] = {}
        self._listing = self._list_names()
        try:
            self.content = read_content(folder, state_file)
            if self.content is not None:
                self.state = parse_state(self.content, os.path.join(folder, state_file))
        except CheckpointError as exc:
            self.problem = exc
        if self.state is not None:
            names = dict.fromkeys(self.state.all_model_checkpoint_paths)
            names.setdefault(self.state.model_checkpoint_path)
            self.names = [*names]

    def _list_names(self) -> frozenset[str] | None:
        try:
            return frozenset(n for n in os.listdir(self.folder) if n.endswith(SUFFIX))
        except OSError:
            return None

    @property
    def has_changed(self) -> bool:
        """Whether a checkpoint was saved, announced or deleted since the look."""
        try:
            content = read_content(self.folder, self.state_file)
        except CheckpointError:
            content = None
        return content != self.content or self._list_names() != self._listing

    def locate(self, name: str) -> str:
        """Return the data file that a listed name stands for; see :func:`locate`."""
        return locate(self.folder, name, self._is_real)

    def listed(self) -> Iterator[DataFile]:
        """Yield what the state file lists, in the order of saving; each file once."""
        seen = set()
        for listed in self.names:
            try:
                name = self.locate(listed)
            except CheckpointError as exc:
                yield DataFile(listed, listed=True, problem=exc)
                continue
            if name not in seen:
                seen.add(name)
                yield self._look_at(name, listed=True)

    def unlisted(self, below: str = "", *, deep: bool | None = None) -> Iterator[DataFile]:
        """Yield the data files that the state file does not list but that may belong to it.

        Those are the files directly in the folder ``below``. If no state file can be used, or
        nothing that it lists is there, they are also the files in all folders in it whose document
        names this state file. Whole files that runloop did not write are left out.

        Args:
            below: A folder, relative to this one.
            deep: Whether to look into the folders in it, if that is not to be found out.

        Raises:
            CheckpointReadError: If a folder can't be listed.
        """
        listed = {
            n if n.endswith(SUFFIX) else n + SUFFIX for n in map(os.path.normpath, self.names)
        }
        if deep is None:
            deep = not self._lists_something()
        for name in self._files_in(below, deep=deep):
            if os.path.normpath(name) in listed:
                continue
            found = self._look_at(name, listed=False)
            if found.problem is None and found.document is None:
                continue
            where = os.path.dirname(name)
            if where in ("", below) or self._may_own(found, where):
                yield found

    def _lists_something(self) -> bool:
        for name in self.names:
            try:
                self.locate(name)
            except CheckpointError:
                continue
            return True
        return False

    def _files_in(self, below: str, *, deep: bool) -> Iterator[str]:
        """Yield the paths of regular files called like data files, relative to the folder."""
        folders = [below]
        for where in folders:
            path = os.path.join(self.folder, where)
            try:
                with os.scandir(path) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as exc:
                if where != below and isinstance(exc, PermissionError):
                    _logger.warning("Not looking for checkpoints in %s: %s", path, exc.strerror)
                    continue
                raise CheckpointReadError(
                    exc.errno, f"the folder can't be listed: {exc.strerror}", path
                ) from exc
            for entry in found:
                name = os.path.join(where, entry.name)
                if deep and entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                    yield name

    def _may_own(self, found: DataFile, where: str) -> bool:
        """Whether a file in a folder below was saved under this state file, as far as is known."""
        named = STATE_FILE if found.document is None else found.document.state_file
        if os.path.normpath(os.path.join(where, named)) == os.path.normpath(self.state_file):
            return True
        # A document of an earlier runloop names the state file without saying how far up it is.
        is_bare = os.path.basename(named) == named
        return is_bare and not os.path.lexists(os.path.join(self.folder, where, named))

    def owns(self, found: DataFile) -> bool:
        """Whether a file's document says that it was saved under this state file."""
        where = os.path.dirname(found.name)
        return found.document is not None and (
            self._may_own(found, where) if where else found.document.state_file == self.state_file
        )

    def is_certain(self, found: DataFile) -> bool:
        """Whether a file that may belong to the state file can be restored for it unasked."""
        where = os.path.dirname(found.name)
        if not where:
            return True
        if found.document is None:
            return False
        named = os.path.normpath(os.path.join(where, found.document.state_file))
        return named == os.path.normpath(self.state_file)

    def _look_at(self, name: str, *, listed: bool) -> DataFile:
        path = os.path.join(self.folder, name)
        try:
            with CheckpointReader(path) as reader:
                return DataFile(name, listed, reader.size, len(reader.stored), reader.document)
        except CheckpointError as exc:
            try:
                size = os.lstat(path).st_size
            except OSError:
                size = None
            return DataFile(name, listed, size, problem=exc)


def candidates(checkpoint_dir: str) -> tuple[list[str], list[str]]:
    """Return what could be restored, the best first, and what is wrong with the folder.

    First what the state file calls the newest, then the others that it lists, from the newest;
    then the files that belong to it and that it does not list, in the reverse order of saving.

    Returns:
        ``(paths, problems)``: the listed paths need not exist, and none need be whole.

    Raises:
        CheckpointReadError: If the folder can't be listed.
    """
    return _candidates(Scan(checkpoint_dir))


def _candidates(scan: Scan) -> tuple[list[str], list[str]]:
    problems = [] if scan.problem is None else [str(scan.problem)]
    names: dict[str, None] = {}
    if scan.state is not None:
        for listed in (scan.state.model_checkpoint_path, *reversed(scan.names)):
            try:
                names.setdefault(scan.locate(listed))
            except CheckpointNotFoundError:
                # The restore says that it is missing.
                names.setdefault(listed if listed.endswith(SUFFIX) else listed + SUFFIX)
            except CheckpointError as exc:
                problems.append(str(exc))
    others: list[tuple[int, str]] = []
    for found in scan.unlisted():
        if scan.is_certain(found):
            others.append((-1 if found.document is None else found.document.serial, found.name))
        else:
            problems.append(
                str(found.problem)
                if found.problem is not None
                else f"{os.path.join(scan.folder, found.name)}: no state file lists it, and it may "
                f"belong to this folder; restore it by its name, or move it away"
            )
    others.sort(reverse=True)
    paths = [os.path.join(scan.folder, name) for name in (*names, *(name for _, name in others))]
    return paths, problems


def latest_checkpoint(checkpoint_dir: Path, latest_filename: str | None = None) -> str | None:
    """Return the data file of the newest checkpoint in a folder, ``None`` if there is none.

    It is the one that the first line of the state file names. Without a state file it is the one
    that was saved last. It is not opened: ``runloop verify`` and a restore find out whether it is
    whole.

    Args:
        checkpoint_dir: The folder.
        latest_filename: The state file's name, ``"checkpoint"`` by default.

    Raises:
        CheckpointFormatError: If the state file's beginning is damaged or names a file outside the
            folder, or what it names is a link or not a regular file.
        CheckpointReadError: If the state file can't be read, or there is none and the folder can't
            be listed.

    Follows ``tf.train.latest_checkpoint`` of TensorFlow 2.21: a state file that points into
    nothing gives ``None`` and a line in the log.
    """
    folder = os.fspath(checkpoint_dir)
    before = None
    for _ in range(_ROUNDS):
        name = newest_name(folder, latest_filename)
        if name is None:
            paths, _ = _candidates(Scan(folder, latest_filename or STATE_FILE))
            return paths[0] if paths else None
        try:
            return os.path.join(folder, locate(folder, name, {}))
        except CheckpointNotFoundError:
            if name == before:  # not the work of a training that saved the next one meanwhile
                break
            before = name
    _logger.error("The state file names %s, which is not there.", os.path.join(folder, name or ""))
    return None


def load_checkpoint(ckpt_dir_or_file: Path) -> CheckpointReader:
    """Open a checkpoint file, or the newest one of a folder.

    Raises:
        CheckpointNotFoundError: If there is none.
        CheckpointError: If it can't be read; see :class:`CheckpointReader`.

    Follows ``tf.train.load_checkpoint`` of TensorFlow 2.21.
    """
    path = os.fspath(ckpt_dir_or_file)
    if not os.path.isdir(path):
        return CheckpointReader(path)
    for _ in range(_ROUNDS):
        newest = latest_checkpoint(path)
        if newest is None:
            break
        try:
            return CheckpointReader(newest)
        except CheckpointNotFoundError:  # a training deleted it after it had saved the next one
            continue
    raise CheckpointNotFoundError(f"there is no checkpoint in the folder {path}")


def list_variables(ckpt_dir_or_file: Path) -> list[tuple[str, list[int]]]:
    """Return (name, shape) of every tensor of a checkpoint, sorted by name.

    Raises:
        CheckpointError: Like :func:`load_checkpoint`.

    Follows ``tf.train.list_variables`` of TensorFlow 2.21.
    """
    with load_checkpoint(ckpt_dir_or_file) as reader:
        return sorted(reader.get_variable_to_shape_map().items())


def load_variable(ckpt_dir_or_file: Path, name: str) -> np.ndarray[Any, Any]:
    """Return one tensor of a checkpoint; ``"w:0"`` is accepted for ``"w"``.

    Raises:
        KeyError: If there is none of this name.
        CheckpointError: Like :func:`load_checkpoint`.

    Follows ``tf.train.load_variable`` of TensorFlow 2.21.
    """
    with load_checkpoint(ckpt_dir_or_file) as reader:
        if not reader.has_tensor(name):
            name = name.removesuffix(":0")
        return reader.get_tensor(name)


def restore_newest(saver: Any, session: Any, checkpoint_dir: Path) -> str | None:
    """Restore the newest checkpoint of a folder that is whole.

    Each one that is passed over is logged with the reason.

    Args:
        saver: Its ``restore(session, path)`` is called.
        session: What is restored.
        checkpoint_dir: The folder; it need not exist.

    Returns:
        The data file that was restored; ``None`` if the folder has no checkpoint at all.

    Raises:
        CheckpointCorruptError: If there are some and none is whole: a training does not start
            from scratch in silence.
        CheckpointMismatchError: If the newest whole one does not fit the session.
        CheckpointReadError: If the folder can't be listed.
    """
    folder = os.fspath(checkpoint_dir)
    for _ in range(_ROUNDS):
        scan = Scan(folder)
        path, problems = _restore_first(saver, session, scan)
        if path is not None:
            return path
        if not scan.has_changed:
            break
    if problems:
        reasons = "".join(f"\n  {problem}" for problem in problems)
        raise CheckpointCorruptError(
            f"no checkpoint in {folder} is whole; move the folder away to start from scratch:"
            f"{reasons}"
        )
    return None


def _restore_first(saver: Any, session: Any, scan: Scan) -> tuple[str | None, list[str]]:
    paths, problems = _candidates(scan)
    if scan.problem is not None:
        _logger.warning("Passing over the state file: %s", scan.problem)
    for path in paths:
        try:
            saver.restore(session, path)
        except _PASSED_OVER as exc:
            if isinstance(exc, CheckpointNotFoundError) and scan.has_changed:
                return None, problems  # newer ones were saved, and this one was deleted
            _logger.warning("Passing over %s: %s", path, exc)
            problems.append(str(exc))
            continue
        return path, problems
    return None, problems
