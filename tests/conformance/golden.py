"""Golden traces on disk: JSON with TensorFlow's version, one line of text per event."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "golden"


def write(group: str, version: str, traces: dict[str, list[str]]) -> None:
    """Write the traces of one group of hand-written scenarios."""
    content = {"tensorflow": version, "traces": traces}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (FOLDER / f"{group}.json").write_text(text + "\n", encoding="utf-8")


def read(group: str) -> dict[str, list[str]]:
    """Read them back."""
    content = json.loads((FOLDER / f"{group}.json").read_text(encoding="utf-8"))
    traces: dict[str, list[str]] = content["traces"]
    return traces


def write_random(version: str, programs: list[tuple[str, list[str]]]) -> None:
    """Write the traces of the random programs, in order, each with its program's checksum.

    Traces of random programs are alike, so each different line stands once in a table, and a trace
    is the list of its lines' places.
    """
    places: dict[str, int] = {}
    rows = []
    for checksum, trace in programs:
        rows.append([checksum, *(places.setdefault(line, len(places)) for line in trace)])
    head = json.dumps({"tensorflow": version}, ensure_ascii=False)[:-1]
    table = ",\n ".join(json.dumps(line, ensure_ascii=False) for line in places)
    body = ",\n ".join(json.dumps(row, separators=(",", ":")) for row in rows)
    text = f'{head},\n"lines": [\n {table}\n],\n"traces": [\n {body}\n]}}\n'
    (FOLDER / "random.json").write_text(text, encoding="utf-8")


def read_random() -> list[tuple[str, list[str]]]:
    """Read them back: checksum and trace of each."""
    content: dict[str, Any] = json.loads((FOLDER / "random.json").read_text(encoding="utf-8"))
    lines = content["lines"]
    return [(row[0], [lines[place] for place in row[1:]]) for row in content["traces"]]


def write_differences(traces: dict[str, list[str]]) -> None:
    """Write runloop's own traces of the scenarios in which it differs on purpose."""
    text = json.dumps(traces, indent=1, ensure_ascii=False)
    (FOLDER / "differences.json").write_text(text + "\n", encoding="utf-8")


def read_differences() -> dict[str, list[str]]:
    """Read them back."""
    traces: dict[str, list[str]] = json.loads(
        (FOLDER / "differences.json").read_text(encoding="utf-8")
    )
    return traces
