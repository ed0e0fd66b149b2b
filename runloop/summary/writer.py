"""The protocol of summary writers, and what the writers share."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from runloop import clock

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ClosingWriter", "FileWriter", "SummaryWriter", "make_folder", "scalar"]


@runtime_checkable
class SummaryWriter(Protocol):
    """The writer protocol of the hooks; the writers of torch and tensorboardX satisfy it.

    Hooks pass positional arguments, because those two libraries name the parameters differently.
    """

    def add_scalar(self, tag: str, value: Any, step: int, /) -> Any:
        """Record that ``tag`` had the scalar ``value`` at ``step``."""

    def flush(self) -> Any:
        """Make everything recorded so far readable by others."""

    def close(self) -> Any:
        """Flush, and close files."""


class ClosingWriter(ABC):
    """A writer that is a context manager: leaving the ``with`` block closes it."""

    @abstractmethod
    def close(self) -> None:
        """Flush, and close files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FileWriter(ClosingWriter):
    """Base of writers with one file, which is opened at the first scalar and after ``close``.

    A subclass takes ``_lock`` in ``add_scalar``, opens ``_file`` if it is ``None``, and hands each
    scalar to the system before it returns.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clock = clock.current()
        self._lock = threading.Lock()
        self._file: Any = None

    def flush(self) -> None:
        """Do nothing: ``add_scalar`` already hands each scalar to the system."""

    def close(self) -> None:
        """Close the file if it is open."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"


def make_folder(path: Path, purpose: str) -> None:
    """Create a folder and its parents.

    Args:
        path: The folder.
        purpose: What the folder is for, in the error message.

    Raises:
        OSError: If it can't be created; names the path that is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OSError(
            exc.errno, f"{exc.strerror}: can't create a folder for {purpose} here", exc.filename
        ) from exc


def scalar(name: str, value: Any) -> float:
    """Return ``value`` as a Python ``int`` or ``float``.

    Args:
        name: The value's name in the error message.
        value: A number, or an array of any library with exactly one element.

    Raises:
        TypeError: If it is neither.
    """
    number = value
    if not isinstance(number, (int, float)):
        try:
            # Arrays of every library have item(), which refuses more than one element.
            number = value.item() if hasattr(value, "item") else value
            number = number if isinstance(number, int) else float(number)
        except (TypeError, ValueError, RuntimeError) as exc:
            shape = getattr(value, "shape", None)
            shown = f"an array of shape {tuple(shape)}" if shape else repr(value)
            raise TypeError(f"{name} must be a scalar, got {shown}") from exc
    return int(number) if isinstance(number, int) else float(number)
