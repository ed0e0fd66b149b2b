"""One writer in front of several."""

from __future__ import annotations

from typing import Any, Self

from runloop.summary.writer import SummaryWriter

__all__ = ["FanOutWriter"]


class FanOutWriter:
    """Hands everything on to several writers, in order.

    A writer that fails does not rob the later ones: each is called, then the first error is
    raised and the others are notes on it.

    Args:
        writers: The writers. They are closed by :meth:`close`.

    Raises:
        TypeError: If one has no ``add_scalar``, ``flush`` or ``close``.
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
        """The writers behind this one, in order."""
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _each(self, method: str, *args: Any) -> None:
        first: Exception | None = None
        for writer in self._writers:
            try:
                getattr(writer, method)(*args)
            except Exception as exc:  # whatever it is, the later writers get their call
                if first is None:
                    first = exc
                else:
                    first.add_note(f"{method} of {writer!r} failed, too: {exc!r}")
        if first is not None:
            raise first
