"""Scalars as JSON Lines: one line each, readable by people, ``tail -f`` and any JSON parser."""

from __future__ import annotations

import logging
import math
import operator
import os
from io import FileIO
from typing import TYPE_CHECKING, Any

from runloop.summary.writer import FileWriter, SummaryWriter, make_folder, scalar

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JsonLinesWriter", "default_writer"]

_logger = logging.getLogger(__name__)
_TAIL = 1 << 16  # block size in bytes of the backward search for the last line


class JsonLinesWriter(FileWriter):
    """Appends one JSON object per scalar to ``<logdir>/metrics.jsonl``.

        {"step": 100, "tag": "loss", "value": 0.5, "time": 1767225600.0}

    ``time`` is in seconds since 1970. Every line is strict JSON: a value that is not finite is
    the string ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``, which ``float()`` reads. Each line
    is one ``write`` to the end of the file, which others can read at once; several writers, even
    in several processes, may append to the same file.

    A restarted run appends to the file; if it repeats a step, the later line of that step and tag
    is the valid one. The file is opened at the first scalar, and again at the first scalar after
    :meth:`close`. An incomplete last line, left by a crash, is removed when the file is opened.

    Args:
        logdir: The folder, created if it does not exist.
        filename: The file's name in the folder.

    Raises:
        OSError: If the folder can't be created; from ``add_scalar``, if the file can't be opened
            or written.
    """

    def __init__(self, logdir: str | os.PathLike[str], *, filename: str = "metrics.jsonl") -> None:
        from pathlib import Path  # imported late: it slows the import of runloop

        super().__init__(Path(logdir, filename))
        make_folder(self._path.parent, "metrics")

    @property
    def path(self) -> Path:
        """The file's path."""
        return self._path

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        """Append one line.

        Args:
            tag: The scalar's name.
            value: A number, or an array of any library with exactly one element.
            step: A Python or NumPy integer.

        Raises:
            TypeError: If ``value`` is not a scalar or ``step`` is not an integer.
            OSError: If the file can't be opened or written.
        """
        import json  # imported late, like pathlib

        number = scalar(f"the value of {tag!r}", value)
        line = json.dumps(
            {
                "step": _integer(tag, step),
                "tag": tag,
                "value": number if math.isfinite(number) else _NOT_FINITE[str(number)],
                "time": self._clock.time(),
            },
            ensure_ascii=False,
            allow_nan=False,
        )
        with self._lock:
            if self._file is None:
                self._file = _open(self._path)
            # A tag may contain a lone surrogate; JSON and Python escape it the same way.
            data = memoryview((line + "\n").encode("utf-8", "backslashreplace"))
            while data:  # a write may be short; then the next one raises the reason
                data = data[self._file.write(data) :]


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _integer(tag: str, step: Any) -> int:
    try:
        return operator.index(step)
    except TypeError as exc:
        raise TypeError(f"the step of {tag!r} must be an integer, got {step!r}") from exc


def _open(path: Path) -> FileIO:
    file = FileIO(path, "a+")
    try:
        _mend(file, path)
    except BaseException:
        file.close()
        raise
    return file


def _mend(file: FileIO, path: Path) -> None:
    """Make the file end with a complete line."""
    end = file.seek(0, os.SEEK_END)
    start, tail = end, b""
    while start > 0 and b"\n" not in tail:
        block = min(_TAIL, start)
        start = file.seek(start - block)
        tail = (file.read(block) or b"") + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    if not last:
        return
    import json  # imported late, like pathlib

    try:
        json.loads(last)
    except ValueError:
        file.truncate(end - len(last))
        _logger.warning("%s: removed an incomplete last line of %d bytes", path, len(last))
    else:
        file.write(b"\n")  # only the line break is missing, as some editors leave it


def default_writer(logdir: str | os.PathLike[str]) -> SummaryWriter:
    """Return the writer that hooks create for ``output_dir=``: a :class:`JsonLinesWriter`."""
    return JsonLinesWriter(logdir)
