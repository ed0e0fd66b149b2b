"""Scalars as TensorBoard event files, with the extra ``tensorboard``."""

from __future__ import annotations

import operator
import os
import threading
from typing import Any, Self

from runloop import clock
from runloop.summary.writer import make_folder, scalar

__all__ = ["TensorBoardWriter"]


class TensorBoardWriter:
    """Writes event files that TensorBoard shows, in the encoding of tensorboardX.

    Each scalar is handed to the system when it is added: TensorBoard finds it, and killing the
    process loses none. The first scalar opens a new event file, also the first one after
    :meth:`close`; it tells TensorBoard to forget what earlier files hold of that step and later
    ones, so that a run which was started again shows one curve. TensorBoard follows one file a
    folder: give hooks that write to one folder the same writer.

    Args:
        logdir: The folder, made if it is not there.

    Raises:
        ImportError: If tensorboardX is not installed.
        OSError: If the folder can't be made; and from ``add_scalar``, if a file can't be opened
            or written.
    """

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        from pathlib import Path  # only who writes pays for the import

        try:
            # Not tensorboardX's SummaryWriter: its flush() leaves events behind in a queue, and
            # its second file within one second overwrites the first (2.6.5).
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto import event_pb2
        except ImportError as exc:
            raise ImportError(
                "TensorBoardWriter needs tensorboardX, which is not installed: "
                "install runloop-hooks[tensorboard]",
                name="tensorboardX",
            ) from exc
        self._logdir = Path(logdir)
        self._events_writer = EventsWriter
        self._proto = event_pb2
        self._clock = clock.current()
        self._lock = threading.Lock()
        self._writer: Any = None
        make_folder(self._logdir, "metrics")

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        """Write one scalar; event files keep it as a 32-bit float.

        Args:
            tag: What the scalar is called.
            value: A number, or an array of any library with exactly one element.
            step: An integer of any kind.

        Raises:
            TypeError: If ``value`` is no scalar.
            OSError: If the file can't be opened or written.
        """
        number, at = float(scalar(f"the value of {tag!r}", value)), operator.index(step)
        event = self._event(at)
        event.summary.value.add(tag=tag, simple_value=number)
        with self._lock:
            if self._writer is None:
                self._writer = self._open(at)
            self._writer.write_event(event)
            self._writer.flush()

    def flush(self) -> None:
        """Do nothing: each scalar is handed to the system when it is added."""

    def close(self) -> None:
        """Close the event file, if one is open."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"TensorBoardWriter({str(self._logdir)!r})"

    def _event(self, step: int) -> Any:
        return self._proto.Event(wall_time=self._clock.time(), step=step)

    def _open(self, step: int) -> Any:
        # TensorBoard reads the files of a folder in the order of their names, which begin with
        # the second: the number orders those of one second.
        number = len(list(self._logdir.glob("events.out.tfevents.*")))
        writer = self._events_writer(str(self._logdir / "events"), f".{number:06d}")
        start = self._event(step)
        start.session_log.status = start.session_log.START
        writer.write_event(start)
        return writer
