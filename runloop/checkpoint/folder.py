"""A folder of checkpoints as who reads it sees it: which is newest, and which are whole."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.reader import CheckpointReader
from runloop.checkpoint.state_file import CheckpointState, get_checkpoint_state, read_state
from runloop.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    CheckpointReadError,
)

__all__ = [
    "candidates",
    "data_file",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "restore_newest",
    "unlisted",
]

_logger = logging.getLogger(__name__)
# What is wrong with one file and says nothing about the others.
_PASSED_OVER = (CheckpointFormatError, CheckpointNotFoundError, CheckpointReadError)

Path = str | os.PathLike[str]


def data_file(path: str) -> str | None:
    """Return the data file that ``path``, with or without its suffix, stands for, if it is there."""
    for candidate in (path + SUFFIX, path) if not path.endswith(SUFFIX) else (path,):
        if os.path.isfile(candidate):
            return candidate
    return None


def unlisted(folder: str, listed: set[str]) -> Iterator[tuple[str, CheckpointReader | Exception]]:
    """Yield the data files in a folder that are not listed, open, or why they can't be opened.

    Whole files that runloop did not write are left out.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        if not name.endswith(SUFFIX) or name in listed or not os.path.isfile(path):
            continue
        try:
            reader = CheckpointReader(path)
        except CheckpointError as exc:
            yield name, exc
            continue
        if reader.document is None:
            reader.close()
        else:
            yield name, reader


def candidates(checkpoint_dir: str) -> tuple[list[str], list[str]]:
    """Return what could be restored, the best first, and what is wrong with the state file.

    First what the state file calls the newest, then the others that it lists, from the newest;
    then the files in the folder that it does not list, in the reverse order of their saving.

    Returns:
        ``(paths, problems)``: the listed paths need not be there, none need be whole.
    """
    problems = []
    state: CheckpointState | None = None
    try:
        state = read_state(checkpoint_dir)
    except CheckpointError as exc:
        problems.append(str(exc))
    names: list[str] = []
    if state is not None:
        for name in (state.model_checkpoint_path, *reversed(state.all_model_checkpoint_paths)):
            if name not in names:
                names.append(name)
    listed = {name if name.endswith(SUFFIX) else name + SUFFIX for name in names}
    others: list[tuple[int, str]] = []
    for name, found in unlisted(checkpoint_dir, listed):
        if isinstance(found, CheckpointReader):
            with found:
                others.append((found.document.serial if found.document else 0, name))
        else:
            others.append((-1, name))
    others.sort(reverse=True)
    names += [name for _, name in others]
    return [os.path.join(checkpoint_dir, name) for name in names], problems


def latest_checkpoint(checkpoint_dir: Path, latest_filename: str | None = None) -> str | None:
    """Return the data file of the newest checkpoint in a folder, ``None`` if there is none.

    It is the one that the state file calls the newest; without state file, the one that was saved
    last. It is not opened: ``runloop verify`` and a restore find out whether it is whole.

    Args:
        checkpoint_dir: The folder.
        latest_filename: The state file's name, ``"checkpoint"`` by default.

    Raises:
        CheckpointFormatError: If the state file is damaged or names a file outside the folder.
        CheckpointReadError: If the state file can't be read.

    Follows ``tf.train.latest_checkpoint`` of TensorFlow 2.21: a state file that points into
    nothing gives ``None`` and a line in the log.
    """
    folder = os.fspath(checkpoint_dir)
    state = get_checkpoint_state(folder, latest_filename)
    if state is None:
        paths, _ = candidates(folder)
        return paths[0] if paths else None
    path = data_file(state.model_checkpoint_path)
    if path is None:
        _logger.error("The state file names %s, which is not there.", state.model_checkpoint_path)
    return path


def load_checkpoint(ckpt_dir_or_file: Path) -> CheckpointReader:
    """Open a checkpoint file, or the newest one of a folder.

    Raises:
        CheckpointNotFoundError: If there is none.
        CheckpointError: If it can't be read; see :class:`CheckpointReader`.

    Follows ``tf.train.load_checkpoint`` of TensorFlow 2.21.
    """
    path = os.fspath(ckpt_dir_or_file)
    if os.path.isdir(path):
        newest = latest_checkpoint(path)
        if newest is None:
            raise CheckpointNotFoundError(f"there is no checkpoint in the folder {path}")
        path = newest
    return CheckpointReader(path)


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
        saver: Whose ``restore(session, path)`` is called.
        session: What is restored.
        checkpoint_dir: The folder; need not be there.

    Returns:
        The data file that was restored; ``None`` if the folder has no checkpoint at all.

    Raises:
        CheckpointCorruptError: If there are some and none is whole: a training does not start
            from scratch in silence.
        CheckpointMismatchError: If the newest whole one does not fit the session.
    """
    folder = os.fspath(checkpoint_dir)
    paths, problems = candidates(folder)
    for problem in problems:
        _logger.warning("Passing over the state file: %s", problem)
    for path in paths:
        try:
            saver.restore(session, path)
        except _PASSED_OVER as exc:
            _logger.warning("Passing over %s: %s", path, exc)
            problems.append(str(exc))
            continue
        return data_file(path) or path
    if problems:
        reasons = "".join(f"\n  {problem}" for problem in problems)
        raise CheckpointCorruptError(
            f"no checkpoint in {folder} is whole; move the folder away to start anew:{reasons}"
        )
    return None
