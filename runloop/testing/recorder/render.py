"""A list of events as a table, as JSON, and as a Chrome trace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

from runloop.run import RunArgs
from runloop.testing.events import Event, describe, show

__all__ = ["chrome_trace", "cut", "json_text", "rows", "table"]

_HEADINGS = ("step", "who", "what", "ms", "details")


def cut(text: str, width: int) -> str:
    """Return ``text`` in at most ``width`` characters."""
    return text if len(text) <= width else text[: max(0, width - 3)] + "..."


def rows(events: Sequence[Event]) -> list[tuple[str, ...]]:
    """Return step, who, what, milliseconds and details of each event as texts."""
    found: list[tuple[str, ...]] = []
    for event in events:
        details = event.details
        if event.who in {"loop", "session"} and event.results is not None:
            details = f"{details} -> {show(event.results)}"
        step = "" if event.step is None else str(event.step)
        what = "  " * event.depth + event.what
        found.append((step, event.who, what, f"{event.secs * 1e3:.2f}", details))
    return found


def table(events: Sequence[Event], width: int | None = None) -> str:
    """Return a table with one line for each event; see ``LifecycleRecorder.table``."""
    width = shutil.get_terminal_size((100, 24)).columns if width is None else width
    cells = [_HEADINGS, *rows(events)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = []
    for step, who, what, millis, details in cells:
        line = (
            f"{step:>{widths[0]}}  {who:<{widths[1]}}  {what:<{widths[2]}}  "
            f"{millis:>{widths[3]}}  {details}"
        )
        lines.append(cut(line.rstrip(), width))
    return "\n".join(lines)


def json_text(events: Sequence[Event]) -> str:
    """Return a JSON array with one object for each event; see ``LifecycleRecorder.json``."""
    return json.dumps([_document(event) for event in events], indent=1)


def _document(event: Event) -> dict[str, Any]:
    args = event.args if isinstance(event.args, RunArgs) else RunArgs(None)
    return {
        "text": str(event),
        "who": event.who,
        "what": event.what,
        "by": event.by,
        "step": event.step,
        "fetches": None if args.fetches is None else show(args.fetches),
        "feeds": None if args.feed_dict is None else show(dict(args.feed_dict)),
        "results": None if event.results is None else show(event.results),
        "requests_stop": event.stop,
        "error": None if event.error is None else describe(event.error),
        "session": event.life,
        "depth": event.depth,
        "start_secs": event.start,
        "secs": event.secs,
    }


def chrome_trace(events: Sequence[Event]) -> str:
    """Return one span for each event, a row for each ``who``; see the recorder's method."""
    origin = min((event.start for event in events), default=0.0)
    names = list(dict.fromkeys(event.who for event in events))
    sessions = sorted({event.life for event in events})
    found: list[dict[str, Any]] = []
    for life in sessions:
        found.append(_meta("process_name", life, 0, f"session {life + 1}"))
        found += [_meta("thread_name", life, names.index(n) + 1, n) for n in names]
    found += [
        {
            "ph": "X",
            "pid": event.life + 1,
            "tid": names.index(event.who) + 1,
            "name": event.what,
            "cat": "lifecycle",
            "ts": (event.start - origin) * 1e6,
            "dur": event.secs * 1e6,
            "args": {"step": event.step, "text": str(event)},
        }
        for event in events
    ]
    return json.dumps({"traceEvents": found, "displayTimeUnit": "ms"})


def _meta(what: str, life: int, row: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": life + 1, "tid": row, "name": what, "args": {"name": name}}
