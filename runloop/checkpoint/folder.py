"""A checkpoint folder, from the reader's side: the newest checkpoint, and the newest whole one.

A training may save into the folder while it is read, and delete what was just found. So every
function here looks again if the folder has changed since its look.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np

from runloop.checkpoint.reader import CheckpointReader
from runloop.checkpoint.scan import Scan, locate
from runloop.checkpoint.state_file import STATE_FILE, newest_name
from runloop.errors import (
    CheckpointCorruptError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    CheckpointReadError,
)

__all__ = [
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "restore_newest",
]

_logger = logging.getLogger(__name__)
# What is wrong with one file and says nothing about the others.
_PASSED_OVER = (CheckpointFormatError, CheckpointNotFoundError, CheckpointReadError)
_ROUNDS = 1000  # looks at a folder that a training saves into all the time

Path = str | os.PathLike[str]


def latest_checkpoint(checkpoint_dir: Path, latest_filename: str | None = None) -> str | None:
    """Return the path of the newest checkpoint in a folder, ``None`` if there is none.

    It is the one that the first line of the state file names. Without a state file it is the one
    that was saved last. The file is not opened: ``runloop verify`` and a restore check it.

    Args:
        checkpoint_dir: The folder.
        latest_filename: The state file's name, ``"checkpoint"`` by default.

    Raises:
        CheckpointFormatError: If the beginning of the state file is damaged or names a file outside
            the folder, or if that file is a link or not a regular file.
        CheckpointReadError: If the state file can't be read, or there is none and the folder can't
            be listed.

    Follows ``tf.train.latest_checkpoint`` of TensorFlow 2.21: if the file that the state file names
    does not exist, the result is ``None``, and an error is logged.
    """
    folder = os.fspath(checkpoint_dir)
    before = None
    for _ in range(_ROUNDS):
        name = newest_name(folder, latest_filename)
        if name is None:
            paths, _ = Scan(folder, latest_filename or STATE_FILE).candidates()
            return paths[0] if paths else None
        try:
            return os.path.join(folder, locate(folder, name, {}))
        except CheckpointNotFoundError:
            if name == before:  # no training saved the next one in between
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
    """Restore the newest whole checkpoint of a folder.

    Each one that is passed over is logged with the reason.

    Args:
        saver: Its ``restore(session, path)`` is called.
        session: The session to restore.
        checkpoint_dir: The folder; it need not exist.

    Returns:
        The path of the file that was restored; ``None`` if the folder has no checkpoint at all.

    Raises:
        CheckpointCorruptError: If the folder has checkpoints and none is whole: a training never
            starts from scratch in silence.
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
    paths, problems = scan.candidates()
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
