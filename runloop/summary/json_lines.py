"""Scalars as JSON Lines: readable by a person, by ``tail -f``, and by everything else."""

from __future__ import annotations

import logging
import math
import operator
import os
import threading
from io import FileIO
from typing import TYPE_CHECKING, Any, Self

from runloop import clock
from runloop.summary.writer import SummaryWriter, make_folder, scalar

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JsonLinesWriter", "default_writer"]

_logger = logging.getLogger(__name__)
_TAIL = 1 << 16  # bytes looked at, at a time, for the beginning of an unfinished last line


class JsonLinesWriter:
    """Appends one JSON object a scalar to ``<logdir>/metrics.jsonl``.

        {"step": 100, "tag": "loss", "value": 0.5, "time": 1767225600.0}

    ``time`` is in seconds since 1970. Every line is strict JSON: a value that is not finite is
    the string ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``, which ``float()`` reads. Each line
    is one ``write`` to the end of the file and can be read at once by others, so that several
    writers, of several processes too, may append to one file.

    The file goes on where it ended: a run that is started again appends, and where it repeats
    steps the later line of a step and tag is the valid one. A last line that a crash cut off is
    taken away when the file is opened. It is opened at the first scalar, also at the first one
    after :meth:`close`.

    Args:
        logdir: The folder, made if it is not there.
        filename: The file's name in it.

    Raises:
        OSError: If the folder can't be made; and from ``add_scalar``, if the file can't be
            opened or written.
    """

    def __init__(self, logdir: str | os.PathLike[str], *, filename: str = "metrics.jsonl") -> None:
        from pathlib import Path  # only who writes pays for the import

        self._path = Path(logdir, filename)
        self._clock = clock.current()
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        make_folder(self._path.parent, "metrics")

    @property
    def path(self) -> Path:
        """The file's path."""
        return self._path

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        """Append one line.

        Args:
            tag: What the scalar is called.
            value: A number, or an array of any library with exactly one element.
            step: An integer of any kind.

        Raises:
            TypeError: If ``value`` is no scalar or ``step`` no integer.
            OSError: If the file can't be opened or written.
        """
        import json  # as pathlib

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
            # A tag may hold a lone surrogate; JSON's escape for it is the same as Python's.
            data = memoryview((line + "\n").encode("utf-8", "backslashreplace"))
            while data:  # a write may be short; the next one then says why
                data = data[self._file.write(data) :]

    def flush(self) -> None:
        """Do nothing: each line is handed to the system when it is added."""

    def close(self) -> None:
        """Close the file, if it is open."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"JsonLinesWriter({str(self._path)!r})"


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
    """Make the file end with a whole line."""
    end = file.seek(0, os.SEEK_END)
    start, tail = end, b""
    while start > 0 and b"\n" not in tail:
        block = min(_TAIL, start)
        start = file.seek(start - block)
        tail = (file.read(block) or b"") + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    if not last:
        return
    import json  # as pathlib

    try:
        json.loads(last)
    except ValueError:
        file.truncate(end - len(last))
        _logger.warning("%s: took away an unfinished last line of %d bytes", path, len(last))
    else:
        file.write(b"\n")  # whole but for its end, as an editor may leave it


def default_writer(logdir: str | os.PathLike[str]) -> SummaryWriter:
    """Return the writer that hooks make for ``output_dir=``: JSON Lines, no dependency."""
    return JsonLinesWriter(logdir)
