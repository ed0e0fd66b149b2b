"""A look at a checkpoint folder: which data files there are, and what their headers say.

:class:`Scan` is one look. Restoring, saving and the command line all use it. Anybody may have put
files into the folder, so it follows no link and opens only regular files.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from runloop.checkpoint.header import Document
from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.reader import CheckpointReader
from runloop.checkpoint.state_file import STATE_FILE, CheckpointState, parse_state, read_content
from runloop.errors import (
    CheckpointError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    CheckpointReadError,
)

__all__ = ["DataFile", "Scan", "is_real_folder", "locate"]

_logger = logging.getLogger(__name__)


class DataFile(NamedTuple):
    """A data file, as its header shows it.

    Attributes:
        name: Its path relative to the folder.
        listed: Whether the state file lists it.
        size: Bytes; ``None`` if unknown.
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
    """Whether ``below`` is a folder in ``folder``, and the path to it contains no link.

    Args:
        folder: A folder.
        below: A path relative to it.
        known: Earlier answers; this call adds its own.
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
    """Return the path of the data file that a state file names, relative to the folder.

    Args:
        folder: The folder of the state file.
        name: With or without suffix.
        known: As for :func:`is_real_folder`.

    Raises:
        CheckpointNotFoundError: If it does not exist.
        CheckpointFormatError: If it is not a regular file, or its path contains a link.
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
        content: The bytes of the state file; ``None`` if it does not exist or can't be read.
        state: The parsed state file; ``None`` if it does not exist or can't be used.
        problem: Why the state file can't be used.
        names: The paths that it lists, without duplicates, in the order of saving.
    """

    def __init__(self, folder: str, state_file: str = STATE_FILE) -> None:
        self.folder = folder
        self.state_file = state_file
        self.content: bytes | None = None
        self.state: CheckpointState | None = None
        self.problem: CheckpointError | None = None
        self.names: list[str] = []
        self._prefix = os.path.join(folder, "")
        self._is_real: dict[str, bool] = {}  # see is_real_folder
        self._listing_error: OSError | None = None
        try:
            self._listing = self._list()
        except OSError as exc:
            self._listing, self._listing_error = {}, exc
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

    def _list(self) -> dict[str, bool]:
        """Return the names of data files directly in the folder, and whether each is regular."""
        try:
            with os.scandir(self.folder) as entries:
                return {
                    entry.name: entry.is_file(follow_symlinks=False)
                    for entry in entries
                    if entry.name.endswith(SUFFIX)
                }
        except (FileNotFoundError, NotADirectoryError):
            return {}

    @property
    def has_changed(self) -> bool:
        """Whether a checkpoint was saved, announced or deleted since the look."""
        try:
            content = read_content(self.folder, self.state_file)
        except CheckpointError:
            content = None
        try:
            return content != self.content or self._list() != self._listing
        except OSError:
            return self._listing_error is None

    def _locate(self, name: str) -> str:
        """Return the path of the data file that the state file names; see :func:`locate`."""
        with_suffix = name if name.endswith(SUFFIX) else name + SUFFIX
        if self._listing.get(with_suffix):  # without a system call for each of thousands
            return with_suffix
        return locate(self.folder, name, self._is_real)

    def listed(self) -> Iterator[DataFile]:
        """Yield what the state file lists, in the order of saving; each file once."""
        seen = set()
        for listed in self.names:
            try:
                name = self._locate(listed)
            except CheckpointError as exc:
                yield DataFile(listed, listed=True, problem=exc)
                continue
            if name not in seen:
                seen.add(name)
                yield self._look_at(name, listed=True)

    def unlisted(self, below: str = "", *, deep: bool | None = None) -> Iterator[DataFile]:
        """Yield the data files that the state file does not list but that may belong to it.

        Those are the files directly in the folder ``below``. If ``deep``, they are also the files
        in all its subfolders whose document names this state file. Whole files that another
        program wrote are left out.

        Args:
            below: A folder, relative to this one.
            deep: Whether to look into subfolders. By default only if the state file can't be used,
                or nothing that it lists exists.

        Raises:
            CheckpointReadError: If a folder can't be listed.
        """
        names = [name if name.endswith(SUFFIX) else name + SUFFIX for name in self.names]
        listed = {os.path.normpath(name) if os.sep in name else name for name in names}
        if deep is None:
            deep = not self._lists_something()
        for name in self._files_in(below, deep=deep):
            if name in listed or (os.sep in name and os.path.normpath(name) in listed):
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
                self._locate(name)
            except CheckpointError:
                continue
            return True
        return False

    def _files_in(self, below: str, *, deep: bool) -> Iterator[str]:
        """Yield the relative paths of the regular files whose names end like a data file's."""
        if not below and not deep and self._listing_error is None:
            yield from sorted(name for name, is_regular in self._listing.items() if is_regular)
            return
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
        """Whether a file in a subfolder may have been saved under this state file."""
        named = STATE_FILE if found.document is None else found.document.state_file
        if os.path.normpath(os.path.join(where, named)) == os.path.normpath(self.state_file):
            return True
        # A document of an earlier runloop names the state file without saying how far up it is.
        is_bare = os.path.basename(named) == named
        return is_bare and not os.path.lexists(os.path.join(self.folder, where, named))

    def owns(self, found: DataFile) -> bool:
        """Whether the file's document says that it was saved under this state file."""
        where = os.path.dirname(found.name)
        return found.document is not None and (
            self._may_own(found, where) if where else found.document.state_file == self.state_file
        )

    def _is_certain(self, found: DataFile) -> bool:
        """Whether an unlisted file belongs to the state file beyond doubt."""
        where = os.path.dirname(found.name)
        if not where:
            return True
        if found.document is None:
            return False
        named = os.path.normpath(os.path.join(where, found.document.state_file))
        return named == os.path.normpath(self.state_file)

    def _look_at(self, name: str, *, listed: bool) -> DataFile:
        path = self._prefix + name
        try:
            with CheckpointReader(path) as reader:
                return DataFile(name, listed, reader.size, len(reader.stored), reader.document)
        except CheckpointError as exc:
            try:
                size = os.lstat(path).st_size
            except OSError:
                size = None
            return DataFile(name, listed, size, problem=exc)

    def candidates(self) -> tuple[list[str], list[str]]:
        """Return what could be restored, the best first, and what is wrong with the folder.

        First what the state file calls the newest, then the others that it lists, from the newest;
        then the unlisted files that belong to it, in the reverse order of saving.

        Returns:
            ``(paths, problems)``: the listed paths need not exist, and none need be whole.

        Raises:
            CheckpointReadError: If the folder can't be listed.
        """
        problems = [] if self.problem is None else [str(self.problem)]
        names: dict[str, None] = {}
        if self.state is not None:
            for listed in (self.state.model_checkpoint_path, *reversed(self.names)):
                try:
                    names.setdefault(self._locate(listed))
                except CheckpointNotFoundError:
                    # The restore says that it is missing.
                    names.setdefault(listed if listed.endswith(SUFFIX) else listed + SUFFIX)
                except CheckpointError as exc:
                    problems.append(str(exc))
        others: list[tuple[int, str]] = []
        for found in self.unlisted():
            if self._is_certain(found):
                others.append((-1 if found.document is None else found.document.serial, found.name))
            else:
                problems.append(
                    str(found.problem)
                    if found.problem is not None
                    else f"{self._prefix}{found.name}: no state file lists it, and it may belong "
                    f"to this folder; restore it by its name, or move it away"
                )
        others.sort(reverse=True)
        return [self._prefix + name for name in (*names, *(name for _, name in others))], problems
