"""Writing a file, for example a checkpoint, completely or not at all."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runloop.checkpoint.files import Files, write_all
from runloop.checkpoint.layout import HeaderTemplate, Layout
from runloop.checkpoint.payload import Content
from runloop.errors import CheckpointFormatError, CheckpointWriteError
from runloop.messages import text_of

__all__ = ["FormatCheck", "make_dirs", "replace_file", "sweep", "temporaries", "write_checkpoint"]

_logger = logging.getLogger(__name__)
_TEMPORARY = r"\.runloop-[0-9a-f]{16}\.tmp"


class FormatCheck:
    """Final check before the rename: safetensors must open the first file of every layout.

    Files of one layout differ only in their numbers. Opening 10,000 tensors holds the GIL for some
    15 ms, so it is not done at every save.
    """

    def __init__(self) -> None:
        self._layout: Layout | None = None

    def check(self, path: str, layout: Layout) -> None:
        """Open ``path`` if its layout is not the one that was opened last.

        Args:
            path: The file, complete, under its temporary name.
            layout: How it was written.

        Raises:
            CheckpointFormatError: If safetensors can't open it or finds other tensors in it.
        """
        if layout is self._layout:
            return
        from safetensors import SafetensorError, safe_open  # only to save

        try:
            with safe_open(path, framework="numpy") as file:
                found = sorted(file.keys())
        except SafetensorError as exc:
            raise CheckpointFormatError(
                f"{path}: not saved: safetensors can't open what was written ({exc}). Older "
                f"checkpoints stand; please report this"
            ) from exc
        if found != sorted(entry.stored_name for entry in layout.entries):
            raise CheckpointFormatError(
                f"{path}: not saved: safetensors finds other tensors in it than were written: "
                f"{found!s:.200}. Older checkpoints stand; please report this"
            )
        self._layout = layout


def replace_file(
    files: Files,
    path: str,
    write: Callable[[int], None],
    check: Callable[[str], None] | None = None,
) -> None:
    """Replace the file at ``path`` in one step, or create it.

    Temporary file in the same folder, ``write``, fsync, ``check``, rename, fsync of the folder.
    If anything fails, the temporary is removed and what was at ``path`` stands.

    Args:
        files: The file layer.
        path: Its folder must be there.
        write: Writes the content to the open file whose descriptor it gets.
        check: Gets the temporary's path; raises if the file must not be renamed.

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
                exc.errno, f"not saved: {exc.strerror or text_of(exc)}", path
            ) from exc
        raise


def _discard(files: Files, temporary: str) -> None:
    try:
        files.unlink(temporary)
    except FileNotFoundError:  # it was not made
        pass
    except OSError as exc:
        _logger.warning("The temporary file %s can't be removed: %s", temporary, text_of(exc))


def make_dirs(files: Files, path: str) -> None:
    """Create a folder and its missing parents, each durable before anything is put into it.

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


def temporaries(folder: str) -> list[str]:
    """Return the paths of all temporaries in a folder, left over or still being written."""
    try:
        names = os.listdir(folder)
    except OSError:  # the next write raises it
        return []
    return [os.path.join(folder, name) for name in names if re.fullmatch(_TEMPORARY, name)]


def sweep(files: Files, left_over: Iterable[str]) -> None:
    """Remove temporaries that a killed process left behind. A failure is a warning.

    Args:
        files: The file layer.
        left_over: What :func:`temporaries` gave when nobody held the folder's lock.
    """
    for path in left_over:
        _logger.info("Removing %s, left over from a save that was cut off.", path)
        _discard(files, path)


def write_checkpoint(
    files: Files,
    path: str,
    content: Content,
    document: Mapping[str, Any],
    format_check: FormatCheck,
    may_write: Callable[[], None] = lambda: None,
) -> None:
    """Write a checkpoint file, all or nothing; see :func:`replace_file`.

    Args:
        files: The file layer.
        path: The data file; its folder must be there.
        content: The tensors.
        document: The rest of the document.
        format_check: Remembers which layout safetensors has opened.
        may_write: Called before the rename; raises if this process lost the folder's lock.

    Raises:
        CheckpointWriteError: If the system fails; names ``path``.
        CheckpointFormatError: If safetensors can't open what was written.
    """
    header = HeaderTemplate(content.layout, document)

    def write(fd: int) -> None:
        crcs = content.write(files, fd, header.size)
        # Last, so that a file that was cut off has no valid beginning.
        write_all(files, fd, header.render(crcs), 0)

    def check(file: str) -> None:
        format_check.check(file, content.layout)
        may_write()

    replace_file(files, path, write, check)
