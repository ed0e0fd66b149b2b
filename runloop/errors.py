"""Every exception that runloop raises of its own.

    RunloopError
    +-- OutOfRangeError                   the data has come to its end          (also EOFError)
    +-- AbortedError                      try again with a new session          (also RuntimeError)
    +-- UnavailableError                  try again with a new session          (also RuntimeError)
    +-- NanLossDuringTrainingError        a watched value is NaN                (also RuntimeError)
    +-- CheckpointError                   a checkpoint can't be written or read
        +-- CheckpointNotFoundError       there is no such file                 (also FileNotFoundError)
        +-- CheckpointFormatError         the file is not what it should be     (also ValueError)
        |   +-- CheckpointCorruptError    it was cut, or bytes of it changed
        +-- CheckpointMismatchError       whole, but of another program         (also ValueError)
        +-- CheckpointReadError           the system could not read it          (also OSError)
        +-- CheckpointWriteError          the system could not write it         (also OSError)
        +-- CheckpointLockedError         another process saves there           (also RuntimeError)
        +-- CheckpointTimeoutError        a background save takes too long      (also TimeoutError)

Each also inherits the builtin that a caller would expect, so that code which knows nothing of
runloop catches it too. Wrong arguments raise plain ``TypeError`` and ``ValueError``, a wrong
order of calls a plain ``RuntimeError``.
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
    """Base of every exception that runloop raises of its own."""


class _OperationError(RunloopError):
    """An error of a run, made from ``(message)`` or TensorFlow's ``(node_def, op, message)``.

    Args:
        args: Either the message alone, or three values of which the last is the message. The
            first two are kept as ``node_def`` and ``op`` and mean nothing to runloop.
        named: The same by name.

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
    """The data has come to its end; leaving a monitored session by it is a normal end.

    Follows ``tf.errors.OutOfRangeError`` of TensorFlow 2.21.
    """

    error_code = 11


class AbortedError(_OperationError, RuntimeError):
    """The run was cut off and may succeed if it is tried again; ``MonitoredSession`` does so.

    Follows ``tf.errors.AbortedError`` of TensorFlow 2.21.
    """

    error_code = 10


class UnavailableError(_OperationError, RuntimeError):
    """Something a run needs is away for now; ``MonitoredSession`` tries again.

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
    """Base of what can go wrong with a checkpoint; says which file and, where known, which tensor."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no such checkpoint file."""


class CheckpointFormatError(CheckpointError, ValueError):
    """The file is no checkpoint that this version of runloop can read."""


class CheckpointCorruptError(CheckpointFormatError):
    """The file was a checkpoint, but was cut, extended, or bytes of it have changed."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """The checkpoint is whole, but its names, shapes or dtypes are not those of the session.

    Attributes:
        report: The :class:`~runloop.checkpoint.RestoreReport` that says what differs, or ``None``.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class CheckpointReadError(CheckpointError, OSError):
    """The system could not read a checkpoint file; ``errno`` and ``filename`` say why and which."""


class CheckpointWriteError(CheckpointError, OSError):
    """A checkpoint could not be written; ``errno`` and ``filename`` say why and which.

    The older checkpoints stand as they were.
    """


class CheckpointLockedError(CheckpointError, RuntimeError):
    """Another process saves into the same folder; says its process id and host."""


class CheckpointTimeoutError(CheckpointError, TimeoutError):
    """A background save was not done in the time given; the older checkpoints stand."""
