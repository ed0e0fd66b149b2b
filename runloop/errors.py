"""Every exception class that runloop defines.

    RunloopError
    +-- OutOfRangeError                   the data is exhausted                 (also EOFError)
    +-- AbortedError                      try again with a new session          (also RuntimeError)
    +-- UnavailableError                  try again with a new session          (also RuntimeError)
    +-- NanLossDuringTrainingError        a watched value is NaN                (also RuntimeError)
    +-- CheckpointError                   a checkpoint can't be written or read
        +-- CheckpointNotFoundError       the file does not exist               (also FileNotFoundError)
        +-- CheckpointFormatError         not a checkpoint, or not this version (also ValueError)
        |   +-- CheckpointCorruptError    the file is damaged
        +-- CheckpointMismatchError       whole, but does not fit the program   (also ValueError)
        +-- CheckpointReadError           the system failed to read it          (also OSError)
        +-- CheckpointWriteError          the system failed to write it         (also OSError)
        +-- CheckpointLockedError         another process saves in the folder   (also RuntimeError)
        +-- CheckpointTimeoutError        a background save takes too long      (also TimeoutError)

Each also inherits the builtin exception that a caller would expect, so code that does not know
runloop catches it too. Wrong arguments raise plain ``TypeError`` and ``ValueError``; calls in the
wrong order raise a plain ``RuntimeError``.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AbortedError",
    "CheckpointCorruptError",
    "CheckpointError",
    "CheckpointFormatError",
    "CheckpointLockedError",
    "CheckpointMismatchError",
    "CheckpointNotFoundError",
    "CheckpointReadError",
    "CheckpointTimeoutError",
    "CheckpointWriteError",
    "NanLossDuringTrainingError",
    "OutOfRangeError",
    "RunloopError",
    "UnavailableError",
]


class RunloopError(Exception):
    """Base of every exception class that runloop defines."""


class _OperationError(RunloopError):
    """An error of a run, made from ``(message)`` or TensorFlow's ``(node_def, op, message)``.

    Args:
        args: Either the message alone, or three values of which the last is the message. The
            first two are kept as ``node_def`` and ``op``; runloop does not use them.
        named: The same by keyword.

    Raises:
        TypeError: If neither one nor three arguments are given, or no message.

    Attributes:
        error_code: TensorFlow's number of this kind of error.

    Follows ``tf.errors.OpError`` of TensorFlow 2.21.
    """

    error_code: ClassVar[int] = 2

    def __init__(self, *args: Any, **named: Any) -> None:
        if named:
            names = ("node_def", "op", "message")
            given = {**named, **dict(zip(names, args, strict=False))}
            if len(given) != len(named) + len(args) or not {"message"} <= {*given} <= {*names}:
                raise TypeError(
                    f"{type(self).__name__} takes (message) or (node_def, op, message), "
                    f"got {len(args)} arguments and the named {', '.join(named)}"
                )
            args = tuple(map(given.get, names))
        if len(args) == 1:
            args = (None, None, args[0])
        if len(args) != 3:
            raise TypeError(
                f"{type(self).__name__} takes (message) or (node_def, op, message), "
                f"got {len(args)} arguments"
            )
        super().__init__(*args)
        self.node_def, self.op, self.message = args

    def __str__(self) -> str:
        return str(self.message)


class OutOfRangeError(_OperationError, EOFError):
    """The data is exhausted. Leaving a monitored session with this error is a normal end.

    Follows ``tf.errors.OutOfRangeError`` of TensorFlow 2.21.
    """

    error_code = 11


class AbortedError(_OperationError, RuntimeError):
    """The run was interrupted and may succeed in a new session; ``MonitoredSession`` retries it.

    Follows ``tf.errors.AbortedError`` of TensorFlow 2.21.
    """

    error_code = 10


class UnavailableError(_OperationError, RuntimeError):
    """A resource of the run is temporarily unavailable; ``MonitoredSession`` retries the run.

    Follows ``tf.errors.UnavailableError`` of TensorFlow 2.21.
    """

    error_code = 14


class NanLossDuringTrainingError(RunloopError, RuntimeError):
    """A value that ``NanTensorHook`` watches became NaN.

    Follows ``tf.train.NanLossDuringTrainingError`` of TensorFlow 2.21, its text included.
    """

    def __str__(self) -> str:
        return "NaN loss during training."


class CheckpointError(RunloopError):
    """Base of checkpoint errors. The message names the file and, if known, the tensor."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """The checkpoint file does not exist."""


class CheckpointFormatError(CheckpointError, ValueError):
    """The file is not a checkpoint, or not one that this version of runloop can read."""


class CheckpointCorruptError(CheckpointFormatError):
    """The checkpoint is damaged: it was truncated or extended, or bytes of it changed."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """The checkpoint is intact, but its names, shapes or dtypes differ from the session's.

    Attributes:
        report: The :class:`~runloop.checkpoint.RestoreReport` with the differences, or ``None``.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class CheckpointReadError(CheckpointError, OSError):
    """The system failed to read a checkpoint file; see ``errno`` and ``filename``."""


class CheckpointWriteError(CheckpointError, OSError):
    """The system failed to write a checkpoint; see ``errno`` and ``filename``.

    The older checkpoints are unchanged.
    """


class CheckpointLockedError(CheckpointError, RuntimeError):
    """Another process saves in the same folder; the message has its process id and host."""


class CheckpointTimeoutError(CheckpointError, TimeoutError):
    """A background save did not finish in time; the older checkpoints are unchanged."""
