"""``tf.errors``, the errors of a run. Those that sessions handle are runloop's own classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runloop import errors

__all__ = [
    "CLASSES",
    "CODES",
    "AlreadyExistsError",
    "CancelledError",
    "DataLossError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "OpError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "UnauthenticatedError",
    "UnimplementedError",
    "UnknownError",
    "error_code_from_exception_type",
    "exception_type_from_error_code",
]

OpError = errors._OperationError  # noqa: SLF001  # the base has no public name below the shim


class CancelledError(OpError):
    """An operation was cancelled. Follows ``tf.errors.CancelledError`` of TensorFlow 2.21."""

    error_code = 1


class UnknownError(OpError):
    """Anything else. Follows ``tf.errors.UnknownError`` of TensorFlow 2.21."""

    error_code = 2


class InvalidArgumentError(OpError, ValueError):
    """An argument is wrong. Follows ``tf.errors.InvalidArgumentError`` of TensorFlow 2.21."""

    error_code = 3


class DeadlineExceededError(OpError, TimeoutError):
    """It took too long. Follows ``tf.errors.DeadlineExceededError`` of TensorFlow 2.21."""

    error_code = 4


class NotFoundError(OpError, FileNotFoundError):
    """Something does not exist. Follows ``tf.errors.NotFoundError`` of TensorFlow 2.21."""

    error_code = 5


class AlreadyExistsError(OpError, FileExistsError):
    """Something exists already. Follows ``tf.errors.AlreadyExistsError`` of TensorFlow 2.21."""

    error_code = 6


class PermissionDeniedError(OpError, PermissionError):
    """It is not allowed. Follows ``tf.errors.PermissionDeniedError`` of TensorFlow 2.21."""

    error_code = 7


class UnauthenticatedError(OpError):
    """Credentials are missing. Follows ``tf.errors.UnauthenticatedError`` of TensorFlow 2.21."""

    error_code = 16


class ResourceExhaustedError(OpError, MemoryError):
    """A resource is exhausted. Follows ``tf.errors.ResourceExhaustedError`` of TensorFlow 2.21."""

    error_code = 8


class FailedPreconditionError(OpError, RuntimeError):
    """The state does not allow it. Follows ``tf.errors.FailedPreconditionError`` of TensorFlow 2.21."""

    error_code = 9


class UnimplementedError(OpError, NotImplementedError):
    """It is not implemented. Follows ``tf.errors.UnimplementedError`` of TensorFlow 2.21."""

    error_code = 12


class InternalError(OpError, RuntimeError):
    """An invariant is broken. Follows ``tf.errors.InternalError`` of TensorFlow 2.21."""

    error_code = 13


class DataLossError(OpError, OSError):
    """Data is damaged. Follows ``tf.errors.DataLossError`` of TensorFlow 2.21."""

    error_code = 15


CLASSES: Mapping[str, Any] = {
    "CANCELLED": CancelledError,
    "UNKNOWN": UnknownError,
    "INVALID_ARGUMENT": InvalidArgumentError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": AlreadyExistsError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "RESOURCE_EXHAUSTED": ResourceExhaustedError,
    "FAILED_PRECONDITION": FailedPreconditionError,
    "ABORTED": errors.AbortedError,
    "OUT_OF_RANGE": errors.OutOfRangeError,
    "UNIMPLEMENTED": UnimplementedError,
    "INTERNAL": InternalError,
    "UNAVAILABLE": errors.UnavailableError,
    "DATA_LOSS": DataLossError,
    "UNAUTHENTICATED": UnauthenticatedError,
}
"""``{name of the code: class}``."""

CODES: Mapping[str, int] = {"OK": 0, **{n: kind.error_code for n, kind in CLASSES.items()}}
"""``{name: number}`` of the codes, such as ``OUT_OF_RANGE``: 11."""


def exception_type_from_error_code(error_code: int) -> Any:
    """Return the class of a code.

    Raises:
        KeyError: If no class has this code.
    """
    return {kind.error_code: kind for kind in CLASSES.values()}[error_code]


def error_code_from_exception_type(cls: Any) -> int | None:
    """Return the code of a class, ``None`` if it has none."""
    return next((kind.error_code for kind in CLASSES.values() if kind is cls), None)
