"""``FileWriter``: writes summaries as TensorBoard event files, and their scalars to ``metrics.jsonl``."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import warnings
from collections.abc import Mapping
from typing import Any, Self

from runloop.compat._tf import clock
from runloop.compat._tf.protos import Event, SessionLog, Summary, TaggedRunMetadata, make_ndarray
from runloop.compat._tf.records import frame
from runloop.summary import SummaryWriter, default_writer

__all__ = ["FileWriter", "FileWriterCache"]


class FileWriter:
    """Writes events to a folder for TensorBoard, and the scalars among them as JSON Lines.

    Each event is passed to the operating system when it is added, so killing the process loses
    none. It is also a :class:`~runloop.summary.SummaryWriter`.

    Args:
        logdir: The folder; it is made if it does not exist.
        graph: For TensorFlow's signature; ignored. :meth:`add_graph` does nothing either.
        max_queue: For TensorFlow's signature; ignored: there is no queue.
        flush_secs: For TensorFlow's signature; ignored.
        graph_def: For TensorFlow's signature; ignored.
        filename_suffix: Appended to the event file's name.
        session: For TensorFlow's signature; ignored.

    Raises:
        OSError: If the folder can't be made, or a file can't be opened.

    Follows ``tf.compat.v1.summary.FileWriter`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        logdir: str | os.PathLike[str],
        graph: Any = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        graph_def: Any = None,
        filename_suffix: str | None = None,
        session: Any = None,
    ) -> None:
        self._logdir = os.fspath(logdir)
        self._suffix = filename_suffix or ""
        self._clock = clock.current()
        self._lock = threading.Lock()
        self._file: Any = None
        self._run_tags: set[str] = set()
        self._scalars: SummaryWriter = default_writer(self._logdir)
        self._open()

    def get_logdir(self) -> str:
        """Return the folder."""
        return self._logdir

    def add_summary(
        self, summary: Summary | bytes | Mapping[str, Any], global_step: Any = None
    ) -> None:
        """Write a summary.

        Args:
            summary: A ``Summary``, its bytes, or a mapping of tag to scalar.
            global_step: An integer of any type; 0 if ``None``.

        Raises:
            TypeError: If ``summary`` is none of these.
            ValueError: If the bytes are not a ``Summary``.
        """
        if isinstance(summary, (bytes, bytearray)):
            summary = Summary.FromString(bytes(summary))
        elif isinstance(summary, Mapping):
            summary = Summary(
                value=[Summary.Value(tag=tag, simple_value=v) for tag, v in summary.items()]
            )
        elif not isinstance(summary, Summary):
            raise TypeError(
                f"add_summary takes a tf.Summary, its bytes or {{tag: scalar}}, got {summary!r:.80}"
            )
        self._add(Event(summary=summary), global_step)

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        """Write one scalar; runloop's own hooks write with this method."""
        self.add_summary({tag: value}, step)

    def add_event(self, event: Event) -> None:
        """Write an event unchanged."""
        self._write(event)

    def add_session_log(self, session_log: SessionLog, global_step: Any = None) -> None:
        """Write a session's start, stop or checkpoint."""
        self._add(Event(session_log=session_log), global_step)

    def add_run_metadata(self, run_metadata: Any, tag: str, global_step: Any = None) -> None:
        """Write a run's metadata under a new tag.

        Raises:
            ValueError: If the tag was used before.
        """
        if tag in self._run_tags:
            raise ValueError(f"The provided tag was already used for this event type: {tag!r}")
        self._run_tags.add(tag)
        serialize = getattr(run_metadata, "SerializeToString", bytes)
        tagged = TaggedRunMetadata(tag=tag, run_metadata=serialize())
        self._add(Event(tagged_run_metadata=tagged), global_step)

    def add_graph(self, graph: Any, global_step: Any = None, graph_def: Any = None) -> None:
        """Do nothing: runloop has no graph definition that TensorBoard could show."""

    def add_meta_graph(self, meta_graph_def: Any, global_step: Any = None) -> None:
        """Do nothing: runloop has no meta graph."""

    def flush(self) -> None:
        """Do nothing: each event is passed to the operating system when it is added."""

    def close(self) -> None:
        """Close the files. Events that are added afterwards are dropped with a warning."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
        self._scalars.close()

    def reopen(self) -> None:
        """Continue in a new event file after :meth:`close`."""
        if self._file is None:
            self._open()

    def __enter__(self) -> Self:
        self.reopen()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Hooks leave their writers open, as they may in TensorFlow.
        if "_scalars" in vars(self):
            self.close()

    def __repr__(self) -> str:
        return f"FileWriter({self._logdir!r})"

    def _open(self) -> None:
        now = self._clock.time()
        # TensorBoard reads the files of a folder in the order of their names. A name begins with
        # the time in seconds; the number orders the files of one second.
        stem = os.path.join(self._logdir, f"events.out.tfevents.{int(now):010d}.")
        host = socket.gethostname()
        os.makedirs(self._logdir, exist_ok=True)
        for number in itertools.count():
            path = f"{stem}{number:03d}.{host}{self._suffix}"
            try:
                self._file = open(path, "xb", buffering=0)  # noqa: SIM115  # closed by close()
                break
            except FileExistsError:
                continue
        self._write(Event(wall_time=now, file_version="brain.Event:2"))

    def _add(self, event: Event, global_step: Any) -> None:
        event.wall_time = self._clock.time()
        if global_step is not None:
            event.step = int(global_step)
        self._write(event)

    def _write(self, event: Event) -> None:
        data = frame(event.SerializeToString())
        with self._lock:
            if self._file is None:
                warnings.warn(
                    f"{self!r} is closed: events are dropped until reopen()", stacklevel=4
                )
                return
            self._file.write(data)
        if event.HasField("summary"):
            for value in event.summary.value:
                self._write_scalar(value, event.step)

    def _write_scalar(self, value: Any, step: int) -> None:
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            self._scalars.add_scalar(value.tag, value.simple_value, step)
        elif kind == "tensor" and not value.tensor.tensor_shape.dim:
            number = make_ndarray(value.tensor)
            if number.dtype.kind in "fiub":
                self._scalars.add_scalar(value.tag, number.item(), step)


class FileWriterCache:
    """One :class:`FileWriter` per folder for the whole process.

    Follows ``tf.compat.v1.summary.FileWriterCache`` of TensorFlow 2.21.
    """

    # The contract is one writer per folder in the process, so this is the process's state.
    _writers: dict[str, FileWriter] = {}  # noqa: RUF012
    _lock = threading.RLock()

    @staticmethod
    def get(logdir: str | os.PathLike[str]) -> FileWriter:
        """Return a folder's writer, created at the first call.

        Args:
            logdir: The folder; another spelling of the same path has a separate writer.
        """
        key = os.fspath(logdir)
        with FileWriterCache._lock:
            writer = FileWriterCache._writers.get(key)
            if writer is None:
                writer = FileWriterCache._writers[key] = FileWriter(key)
            elif not os.path.isdir(key):
                # The folder was deleted, and the open files with it: start again.
                writer.close()
                writer.reopen()
            return writer

    @staticmethod
    def clear() -> None:
        """Close all writers and forget them."""
        with FileWriterCache._lock:
            for writer in FileWriterCache._writers.values():
                writer.close()
            FileWriterCache._writers.clear()
