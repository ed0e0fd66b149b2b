"""Scalars as TensorBoard event files, with the extra ``tensorboard``."""

from __future__ import annotations

import operator
import os
from typing import Any

from runloop.summary.writer import FileWriter, make_folder, scalar

__all__ = ["TensorBoardWriter"]


class TensorBoardWriter(FileWriter):
    """Writes event files for TensorBoard, encoded by tensorboardX.

    Each scalar is handed to the system when it is added, so TensorBoard sees it at once and a
    killed process loses none. The first scalar, and the first after :meth:`close`, opens a new
    event file, which tells TensorBoard to drop earlier files' values of that step and later: a
    restarted run shows one curve. TensorBoard follows one file per folder, so pass the same writer
    to all hooks that write to one folder.

    Args:
        logdir: The folder, created if it does not exist.

    Raises:
        ImportError: If tensorboardX is not installed.
        OSError: If the folder can't be created; from ``add_scalar``, if a file can't be opened or
            written.
    """

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        from pathlib import Path  # imported late: it slows the import of runloop

        try:
            # Not tensorboardX's SummaryWriter: its flush() leaves events in a queue, and its
            # second file within one second overwrites the first (2.6.5).
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto import event_pb2
        except ImportError as exc:
            raise ImportError(
                "TensorBoardWriter needs tensorboardX, which is not installed: "
                "install runloop-hooks[tensorboard]",
                name="tensorboardX",
            ) from exc
        super().__init__(Path(logdir))
        self._events_writer = EventsWriter
        self._proto = event_pb2
        make_folder(self._path, "metrics")

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        """Write one scalar; event files keep it as a 32-bit float.

        Args:
            tag: The scalar's name.
            value: A number, or an array of any library with exactly one element.
            step: A Python or NumPy integer.

        Raises:
            TypeError: If ``value`` is not a scalar.
            OSError: If the file can't be opened or written.
        """
        number, at = float(scalar(f"the value of {tag!r}", value)), operator.index(step)
        event = self._event(at)
        event.summary.value.add(tag=tag, simple_value=number)
        with self._lock:
            if self._file is None:
                self._file = self._open(at)
            self._file.write_event(event)
            self._file.flush()

    def _event(self, step: int) -> Any:
        return self._proto.Event(wall_time=self._clock.time(), step=step)

    def _open(self, step: int) -> Any:
        # TensorBoard reads a folder's files in name order. Names begin with the time in seconds;
        # the number orders files of the same second.
        number = len(list(self._path.glob("events.out.tfevents.*")))
        writer = self._events_writer(str(self._path / "events"), f".{number:06d}")
        start = self._event(step)
        start.session_log.status = start.session_log.START
        writer.write_event(start)
        return writer
