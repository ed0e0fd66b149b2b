"""Turn the times of a run into Chrome trace events, for Perfetto and chrome://tracing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from runloop.run import HookStats, OpStats

__all__ = ["chrome_trace"]

_PID = 1
_OPS, _HOOKS = 1, 2  # thread numbers: one row each


def chrome_trace(
    step: int,
    ops: Sequence[OpStats],
    hooks: Sequence[HookStats],
    *,
    show_dataflow: bool,
    show_memory: bool,
) -> dict[str, Any]:
    """Return the JSON document for one run.

    Args:
        step: The global step after the run, shown as the process's name.
        ops: Start and duration of each op, in microseconds. All times are shifted so that the
            earliest span begins at 0.
        hooks: Start and duration of each hook method, in microseconds.
        show_dataflow: Draw an arrow from each op to the ops that read its results.
        show_memory: Add a counter of the result bytes that some op has not read yet.
    """
    starts = [op.start_us for op in ops] + [hook.start_us for hook in hooks]
    start = min(starts, default=0.0)
    events = [
        _event("M", 0, "process_name", 0, args={"name": f"step {step}"}),
        _event("M", _OPS, "thread_name", 0, args={"name": "ops"}),
        _event("M", _HOOKS, "thread_name", 0, args={"name": "hooks"}),
    ]
    events += [
        _event(
            "X",
            _OPS,
            op.name,
            op.start_us - start,
            cat="op",
            dur=op.duration_us,
            args={"inputs": list(op.inputs), "output_bytes": op.output_bytes},
        )
        for op in ops
    ]
    events += [
        _event(
            "X",
            _HOOKS,
            f"{hook.hook}.{hook.method}",
            hook.start_us - start,
            cat="hook",
            dur=hook.duration_us,
        )
        for hook in hooks
    ]
    if show_dataflow:
        events.extend(_arrows(ops, start))
    if show_memory:
        events.extend(_memory(ops, start))
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"global_step": step}}


def _event(phase: str, thread: int, name: str, at: float, **more: Any) -> dict[str, Any]:
    return {"ph": phase, "pid": _PID, "tid": thread, "name": name, "ts": at, **more}


def _arrows(ops: Sequence[OpStats], start: float) -> Iterator[dict[str, Any]]:
    ran = {op.name: op for op in ops}
    pairs = [(ran[name], reader) for reader in ops for name in reader.inputs if name in ran]
    for number, (source, reader) in enumerate(pairs):
        # Each end lies in the middle of its span: viewers attach an arrow to the enclosing span.
        for phase, op, more in (("s", source, {}), ("f", reader, {"bp": "e"})):
            middle = op.start_us - start + op.duration_us / 2
            yield _event(phase, _OPS, source.name, middle, cat="dataflow", id=number, **more)


def _memory(ops: Sequence[OpStats], start: float) -> Iterator[dict[str, Any]]:
    last_reader = {name: reader for reader in ops for name in reader.inputs}
    changes: list[tuple[float, int]] = []
    for op in ops:
        changes.append((op.start_us + op.duration_us, op.output_bytes))
        reader = last_reader.get(op.name)
        if reader is not None:
            changes.append((reader.start_us + reader.duration_us, -op.output_bytes))
    total = 0
    for at, change in sorted(changes, key=lambda item: item[0]):
        total += change
        yield _event("C", _OPS, "bytes of results", at - start, args={"bytes": total})
