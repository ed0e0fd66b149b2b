"""A tqdm bar in a terminal: laid out by width, with printed and logged lines above it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["LinesAboveBar", "layout"]

_SHORTEST_BAR = 10  # columns
_SPARE = 4  # columns: tqdm's last drawing shows the overall rate, which may be a longer number


def layout(bar: Any, metrics: Sequence[str]) -> str | None:
    """Return the tqdm ``bar_format`` that shows as much as fits into the terminal's width.

    The bar keeps at least 10 columns. What does not fit is left out whole: first the rate, then
    the times, then the metrics from the last one on, then the bar itself.

    Args:
        bar: The tqdm bar.
        metrics: Texts such as ``"loss=0.5"``.

    Returns:
        The format; ``None``, for tqdm's own format, if the width is unknown.
    """
    width = bar.format_dict["ncols"]
    if not width:
        return None
    choices = list(_formats(bool(bar.total), [_escaped(metric) for metric in metrics]))
    for choice in choices:
        fixed = bar.format_meter(
            **{**bar.format_dict, "ncols": None, "bar_format": choice.replace("{bar}", "")}
        )
        fixed_width = len(fixed) + _SPARE * ("{rate_fmt}" in choice)
        if fixed_width + _SHORTEST_BAR * ("{bar}" in choice) <= width:
            return choice
    return choices[-1]


def _formats(has_total: bool, metrics: Sequence[str]) -> Iterator[str]:
    count = "{n_fmt}/{total_fmt}" if has_total else "{n_fmt}{unit}"
    head = "{l_bar}{bar}| " + count if has_total else count
    times = "{elapsed}<{remaining}" if has_total else "{elapsed}"
    yield _line(head, [times, "{rate_fmt}", *metrics])
    yield _line(head, [times, *metrics])
    for shown in range(len(metrics), -1, -1):
        yield _line(head, metrics[:shown])
    yield count


def _line(head: str, details: Sequence[str]) -> str:
    return f"{head} [{', '.join(details)}]" if details else head


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


class LinesAboveBar:
    """Puts what the program prints and logs to the terminal above the bar, while the bar is open.

    ``sys.stdout`` and ``sys.stderr`` and the stream handlers of ``logging`` get a stream in front
    of the real one, if both that one and the bar's are terminals. :meth:`close` restores them.

    Args:
        bar: An open tqdm bar.
    """

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._streams: list[_Stream] = []
        self._handlers: list[tuple[logging.StreamHandler[Any], _Stream]] = []
        if not _is_terminal(bar.fp):
            return
        for name in ("stdout", "stderr"):
            real = getattr(sys, name)
            # A bar that is open already, of another session, has put its own stream there.
            if _is_terminal(real) and not isinstance(real, _Stream):
                stream = _Stream(real, bar, name)
                self._streams.append(stream)
                setattr(sys, name, stream)
        for handler in _stream_handlers():
            for stream in self._streams:
                if handler.stream is stream.real:
                    handler.setStream(stream)
                    self._handlers.append((handler, stream))

    @property
    def line_is_open(self) -> bool:
        """Whether an unfinished line, such as a prompt, is on the screen in place of the bar."""
        return any(stream.line_is_open for stream in self._streams)

    def close(self) -> None:
        """Write what is pending and restore the streams; a second call does nothing."""
        for handler, stream in self._handlers:
            if handler.stream is stream:
                handler.setStream(stream.real)
        for stream in self._streams:
            stream.finish()
            if getattr(sys, stream.name) is stream:
                setattr(sys, stream.name, stream.real)
        self._handlers.clear()
        self._streams.clear()


class _Stream:
    """A text stream that clears the bar, writes whole lines to the real stream, and redraws it."""

    def __init__(self, real: Any, bar: Any, name: str) -> None:
        self.real = real
        self.name = name
        self.line_is_open = False
        self._bar: Any = bar
        self._pending = ""

    def write(self, text: str) -> int:
        """Write the lines that are complete now; the rest waits for its end or for ``flush``."""
        bar = self._bar
        if bar is None:
            return int(self.real.write(text))
        with bar.get_lock():
            lines, line_break, rest = (self._pending + text).rpartition("\n")
            self._pending = rest
            if line_break:
                self._above(bar, lines + line_break, line_is_open=False)
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        """Write each of the strings."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Show an unfinished line, such as a prompt; the bar waits until the line is finished."""
        bar = self._bar
        if bar is not None:
            with bar.get_lock():
                if self._pending:
                    text, self._pending = self._pending, ""
                    self._above(bar, text, line_is_open=True)
        self.real.flush()

    def finish(self) -> None:
        """Write what is pending and end the line; from now on pass everything to the real stream."""
        bar, self._bar = self._bar, None
        with bar.get_lock():
            if self._pending or self.line_is_open:
                self._above(bar, self._pending + "\n", line_is_open=False)
            self._pending = ""

    def _above(self, bar: Any, text: str, *, line_is_open: bool) -> None:
        # Every bar of this terminal: those of sessions inside this one stand below this one's.
        bars = sorted(
            (other for other in type(bar)._instances if getattr(other, "fp", None) == bar.fp),  # noqa: SLF001  # as tqdm.write
            key=lambda other: abs(other.pos),
        )
        if not self.line_is_open:
            for other in bars:
                other.clear(nolock=True)
        self.real.write(text)
        self.real.flush()
        self.line_is_open = line_is_open
        if not line_is_open:
            for other in bars:
                other.refresh(nolock=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None under pythonw; a closed stream
        return False


def _stream_handlers() -> Iterator[logging.StreamHandler[Any]]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = {
        id(handler): handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
    }
    return (item for item in handlers.values() if isinstance(item, logging.StreamHandler))
