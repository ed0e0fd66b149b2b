"""A writer that passes everything to several writers."""

from __future__ import annotations

from typing import Any

from runloop.messages import add_note, describe
from runloop.summary.writer import ClosingWriter, SummaryWriter

__all__ = ["FanOutWriter"]


class FanOutWriter(ClosingWriter):
    """Passes everything to several writers, in order.

    If a writer fails, the later ones are still called; then the first error is raised, with the
    others as notes on it.

    Args:
        writers: The writers; :meth:`close` closes them.

    Raises:
        TypeError: If one lacks ``add_scalar``, ``flush`` or ``close``.
    """

    def __init__(self, *writers: SummaryWriter) -> None:
        for writer in writers:
            if not isinstance(writer, SummaryWriter):
                raise TypeError(
                    f"FanOutWriter: a writer needs add_scalar(tag, value, step), flush() and "
                    f"close(); got {writer!r}"
                )
        self._writers = writers

    @property
    def writers(self) -> tuple[SummaryWriter, ...]:
        """The writers, in order."""
        return self._writers

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        """Call ``add_scalar(tag, value, step)`` of each."""
        self._each("add_scalar", tag, value, step)

    def flush(self) -> None:
        """Call ``flush()`` of each."""
        self._each("flush")

    def close(self) -> None:
        """Call ``close()`` of each."""
        self._each("close")

    def _each(self, method: str, *args: Any) -> None:
        first: Exception | None = None
        for writer in self._writers:
            try:
                getattr(writer, method)(*args)
            except Exception as exc:  # raised below, after the later writers were called
                if first is None:
                    first = exc
                else:
                    add_note(first, f"{method} of {writer!r} failed too: {describe(exc)}")
        if first is not None:
            raise first
