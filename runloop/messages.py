"""Helpers for messages: nearest name, the user's line of code, exceptions of other people."""

from __future__ import annotations

import sys
from collections.abc import Iterable

__all__ = ["add_note", "caller_site", "describe", "nearest", "printable", "text_of"]

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


def printable(text: object) -> str:
    """Return text that can be shown anywhere: a name from a file may hold control characters.

    They are shown as Python's escapes, as is what UTF-8 can't encode.
    """
    shown = str(text)
    if shown.isprintable() and shown.isascii():
        return shown
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown
    ).encode("utf-8", "backslashreplace").decode()  # fmt: skip


def text_of(exc: BaseException) -> str:
    """Return ``str(exc)``; never raises, whatever the exception's own methods do."""
    try:
        return str.__str__(str(exc))
    except Exception as failed:
        return f"<its text can't be had: {type(failed).__name__}>"


def describe(exc: BaseException) -> str:
    """Return ``"Type: text"``, or ``"Type"`` for an exception without text; never raises."""
    text = text_of(exc)
    name = type(exc).__name__
    return f"{name}: {text}" if text else name


def add_note(exc: BaseException, note: str) -> None:
    """Add a note to an exception, unless it has it; never raises.

    An exception that takes no attributes, such as a frozen dataclass, stays without the note.
    """
    try:
        if note not in getattr(exc, "__notes__", ()):
            exc.add_note(note)
    except Exception:  # its own methods raised; the exception itself is what matters
        return
