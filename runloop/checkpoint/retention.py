"""Which checkpoints are kept: one pure function of the checkpoints and the rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

__all__ = ["KeepBest", "Kept", "Record", "Rules", "keep"]


class KeepBest:
    """Keep the checkpoints with the best values of a metric.

    Args:
        metric: A name that a listener's ``before_save`` gives a value for, or a fetch that is
            evaluated at each save. The fetch should not read input: it would take a batch away
            from the training.
        mode: ``"min"`` or ``"max"``: which values are better.
        count: How many to keep.

    Raises:
        ValueError: If ``mode`` is another string, or ``count`` is below 1.

    NaN is never best. Among equal values the earlier one is kept.
    """

    def __init__(self, metric: Any, mode: str = "min", count: int = 1) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"KeepBest: mode must be 'min' or 'max', got {mode!r}")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"KeepBest: count must be an int of at least 1, got {count!r}")
        self.metric = metric
        self.mode = mode
        self.count = count

    def __repr__(self) -> str:
        return f"KeepBest({self.metric!r}, mode={self.mode!r}, count={self.count})"

    @property
    def name(self) -> str:
        """The metric's name in the checkpoint."""
        return str(getattr(self.metric, "name", self.metric))


class Record(NamedTuple):
    """One checkpoint, as retention sees it.

    Attributes:
        name: The data file, relative to the folder of the state file.
        serial: Its place in the order of saving, which may differ from the order of steps.
        step: Its global step, for messages.
        time: Seconds since 1970 when it was saved.
        metrics: ``{name: value}``.
    """

    name: str
    serial: int
    step: int | None = None
    time: float = 0.0
    metrics: Mapping[str, float] = MappingProxyType({})


class Rules(NamedTuple):
    """A checkpoint is kept if one of the rules keeps it, and the newest always is.

    Attributes:
        max_to_keep: How many of the latest are kept; all if 0 or ``None``.
        every_n_hours: One checkpoint is kept for every so many hours of training.
        best: :class:`KeepBest`, or ``None``.
    """

    max_to_keep: int | None = 5
    every_n_hours: float = 10000.0
    best: KeepBest | None = None


class Kept(NamedTuple):
    """What the rules say.

    Attributes:
        flags: For each checkpoint, whether it is kept.
        last_preserved: When the newest checkpoint that ``every_n_hours`` keeps was saved, seconds
            since 1970; ``None`` if it keeps none.
    """

    flags: list[bool]
    last_preserved: float | None


def keep(records: Sequence[Record], rules: Rules, started: float) -> Kept:
    """Decide for each checkpoint whether it is kept.

    Args:
        records: The checkpoints, in the order of saving.
        rules: The rules.
        started: When the training began, seconds since 1970: the hours are counted from there.
    """
    count = len(records)
    latest = min(rules.max_to_keep or count, count)
    flags = [False] * (count - latest) + [True] * latest
    preserved = _every_n_hours(records, rules, started)
    for index in preserved:
        flags[index] = True
    if rules.best is not None:
        for index in _best(records, rules.best):
            flags[index] = True
    return Kept(flags, records[preserved[-1]].time if preserved else None)


def _every_n_hours(records: Sequence[Record], rules: Rules, started: float) -> list[int]:
    # Counted from the first one on, so that a checkpoint once chosen stays chosen. The limit moves
    # on a fixed grid, as in TensorFlow 2.21's Saver.
    chosen = []
    interval = rules.every_n_hours * 3600
    due = started + interval
    for index, (_, _, _, time, _) in enumerate(records):
        if time > due:
            chosen.append(index)
            due += interval
    return chosen


def _best(records: Sequence[Record], best: KeepBest) -> list[int]:
    sign = 1 if best.mode == "min" else -1
    values = [
        (sign * record.metrics[best.name], index)
        for index, record in enumerate(records)
        if not math.isnan(record.metrics.get(best.name, math.nan))
    ]
    return [index for _, index in sorted(values)[: best.count]]
