"""What the commands print: plain tables that fit a terminal, and JSON."""

from __future__ import annotations

import datetime as dt
import json
import math
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from runloop.messages import printable

__all__ = ["number", "print_cut", "print_json", "print_table", "size", "when"]

_GAP = "  "
_LEAST = 8  # characters; no column is cut further


def size(count: int) -> str:
    """Return a number of bytes in words: ``"1.5 MiB"``."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def when(seconds: float) -> str:
    """Return seconds since 1970 as UTC, to the second."""
    try:
        moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return "-"
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def number(value: Any) -> str:
    """Return a number in at most 11 characters, ``-`` for ``None``."""
    if value is None:
        return "-"
    if isinstance(value, complex):
        return f"{value.real:.4g}{value.imag:+.4g}j"
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)


def print_json(value: Any) -> None:
    """Print JSON; NaN and infinity, which JSON does not have, as strings."""
    print(json.dumps(_plain(value), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    return value


def print_cut(text: object) -> None:
    """Print one line, cut to the width of the terminal."""
    line = printable(text) if text else ""
    width = shutil.get_terminal_size((80, 24)).columns
    print(line if len(line) <= width else f"{line[: width - 3]}...")


def print_table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Iterable[int] = (),
    whole: Iterable[int] = (),
) -> None:
    """Print a table that fits the width of the terminal.

    Args:
        head: The columns' titles.
        rows: The rows, as long as ``head``.
        right: Columns that are aligned to the right.
        whole: Columns that are not cut.

    The widest columns are cut, with ``...`` in their middle, until the rest fits.
    """
    lines = [[*head], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    room = shutil.get_terminal_size((80, 24)).columns - len(_GAP) * (len(head) - 1)
    to_cut = [i for i in range(len(head)) if i not in set(whole)]
    while sum(widths) > room and max(widths[i] for i in to_cut) > _LEAST:
        widest = max(to_cut, key=widths.__getitem__)
        others = sum(widths) - widths[widest]
        widths[widest] = max(_LEAST, room - others, widths[widest] // 2)
    flush = set(right)
    for line in lines:
        cells = [
            _cut(cell, width).rjust(width) if i in flush else _cut(cell, width).ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print(_GAP.join(cells).rstrip())


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    left = (width - 3) // 2
    return f"{text[:left]}...{text[len(text) - (width - 3 - left) :]}"
