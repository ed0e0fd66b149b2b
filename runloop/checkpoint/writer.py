"""Writing one file so that it is there whole or not at all, and a checkpoint in that way."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from runloop.checkpoint.accept import FormatCheck
from runloop.checkpoint.crc import Checksums
from runloop.checkpoint.files import Files, write_all
from runloop.checkpoint.layout import HeaderTemplate, plan_entries
from runloop.checkpoint.rawbytes import is_plain, pieces
from runloop.errors import CheckpointWriteError

__all__ = ["make_dirs", "replace_file", "sweep", "write_checkpoint"]

_log = logging.getLogger(__name__)
_TEMPORARY = r"\.runloop-[0-9a-f]{16}\.tmp"
_BATCH_BYTES = 1 << 20  # small tensors are written together up to this size
_LARGE_BYTES = 16 << 20


def replace_file(
    files: Files,
    path: str,
    write: Callable[[int], None],
    check: Callable[[str], None] | None = None,
) -> None:
    """Put a new file in the place of ``path`` in one step.

    Temporary file in the same folder, ``write``, fsync, ``check``, rename, fsync of the folder.
    If anything fails, the temporary is removed and what was at ``path`` stands.

    Args:
        files: The file layer.
        path: Its folder must be there.
        write: Writes the content to the open file whose descriptor it gets.
        check: Is given the temporary's path and raises if it must not take the place.

    Raises:
        CheckpointWriteError: If the system fails; names ``path``.
    """
    folder = os.path.dirname(path) or "."
    temporary = os.path.join(folder, f".runloop-{os.urandom(8).hex()}.tmp")
    renamed = False
    try:
        fd = files.create(temporary)
        try:
            write(fd)
            files.sync(fd)
        finally:
            files.close(fd)
        if check is not None:
            check(temporary)
        files.rename(temporary, path)
        renamed = True
        files.sync_dir(folder)
    except BaseException as exc:
        if not renamed:
            _discard(files, temporary)
        if isinstance(exc, OSError):
            raise CheckpointWriteError(
                exc.errno, f"not saved: {exc.strerror or exc}", path
            ) from exc
        raise


def _discard(files: Files, temporary: str) -> None:
    try:
        files.unlink(temporary)
    except FileNotFoundError:  # it was not made
        pass
    except OSError as exc:
        _log.warning("The temporary file %s can't be removed: %s", temporary, exc)


def make_dirs(files: Files, path: str) -> None:
    """Make a folder and those above it, each durable before what is put into it.

    Raises:
        CheckpointWriteError: If the system fails; names ``path``.
    """
    missing = []
    folder = os.path.abspath(path)
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
        if folder == os.path.dirname(folder):
            break
    try:
        for folder in reversed(missing):
            files.make_dir(folder)
            files.sync_dir(os.path.dirname(folder))
    except OSError as exc:
        raise CheckpointWriteError(
            exc.errno, f"the folder can't be made: {exc.strerror}", path
        ) from exc


def sweep(files: Files, folder: str) -> None:
    """Remove the temporaries that a process left behind when it was killed.

    Only for who holds the folder's lock. A failure is a warning.
    """
    try:
        names = os.listdir(folder)
    except OSError:  # there is no such folder yet
        return
    for name in names:
        if re.fullmatch(_TEMPORARY, name):
            _log.info("Removing %s, left over from a save that was cut off.", name)
            _discard(files, os.path.join(folder, name))


def write_checkpoint(
    files: Files,
    path: str,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    document: Mapping[str, Any],
    *,
    alone: bool = True,
    format_check: FormatCheck | None = None,
) -> None:
    """Write a checkpoint file, all or nothing; see :func:`replace_file`.

    C-contiguous little-endian arrays are written from where they are; others in pieces.

    Args:
        files: The file layer.
        path: The data file; its folder must be there.
        arrays: The tensors by name.
        document: What stands in the document beside them.
        alone: Whether nobody else is at work: then the checksums get a thread of their own.
        format_check: Knows which structures safetensors has opened already.

    Raises:
        TypeError: If a dtype can't be stored; nothing is written then.
        CheckpointWriteError: If the system fails; names ``path``.
        CheckpointFormatError: If safetensors can't open what was written.
    """
    entries = plan_entries(arrays)
    header = HeaderTemplate(entries, document)

    def write(fd: int) -> None:
        sums = Checksums(len(entries), beside=alone)
        offset = header.size
        small: list[np.ndarray[Any, Any]] = []
        waiting = 0
        try:
            for index, entry in enumerate(entries):
                array = arrays[entry.name]
                is_copy = not is_plain(array, entry.storage)
                for piece in pieces(array, entry.storage):
                    sums.add(index, piece, is_copy=is_copy)
                    if piece.size < _BATCH_BYTES:
                        small.append(piece)
                        waiting += piece.size
                        if waiting < _BATCH_BYTES:
                            continue
                        piece = np.concatenate(small)  # noqa: PLW2901
                        small, waiting = [], 0
                    elif small:
                        offset = write_all(files, fd, np.concatenate(small), offset)
                        small, waiting = [], 0
                    offset = write_all(files, fd, piece, offset)
            if small:
                offset = write_all(files, fd, np.concatenate(small), offset)
            if alone and offset >= _LARGE_BYTES:
                # The disk works while the checksums are finished. What makes the save durable is
                # the sync after the header.
                files.sync(fd)
            raw = header.render(sums.results())
        finally:
            sums.stop()
        # Last, so that a file that was cut off has no valid beginning.
        write_all(files, fd, raw, 0)

    opened = format_check or FormatCheck()
    names = [entry.stored_name for entry in entries]
    replace_file(files, path, write, lambda file: opened.check(file, header.structure, names))
