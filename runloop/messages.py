"""Helpers for messages: the nearest known name, and the user's line of code."""

from __future__ import annotations

import sys
from collections.abc import Iterable

__all__ = ["caller_site", "nearest"]

_PACKAGE = __name__.partition(".")[0]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the names nearest to ``name``, after a space, or ``""``."""
    import difflib  # needed only for messages

    names = sorted(set(known))
    close = [n for n in names if n.lower() == name.lower()]
    close = close or difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f" Did you mean {' or '.join(repr(n) for n in close)}?"
    if not names:
        return ""
    shown = ", ".join(repr(n) for n in names[:10])
    return f" Known names: {shown}" + (", ..." if len(names) > 10 else ".")


def caller_site() -> str:
    """Return ``file:line`` of the innermost frame outside of runloop."""
    frame = sys._getframe(1)  # noqa: SLF001  # inspect.currentframe() is the same, after a slow import
    while (
        frame.f_back is not None
        and str(frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE
    ):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
