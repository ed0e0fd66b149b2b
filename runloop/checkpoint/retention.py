"""Which checkpoints are kept: one pure function of what there is and of the rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

__all__ = ["KeepBest", "Record", "Rules", "keep", "last_preserved"]


class KeepBest:
    """Keep the checkpoints with the best values of a metric.

    Args:
        metric: What a listener's ``before_save`` gives under this name, else a fetch: evaluated
            when a checkpoint is saved. A fetch should read no input: it would take a batch away
            from the training.
        mode: ``"min"`` or ``"max"``: which values are better.
        count: How many to keep.

    Raises:
        ValueError: If ``mode`` or ``count`` is none of these.

    NaN is never best. Of equal values the earlier one is kept.
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
    """One checkpoint as retention sees it.

    Attributes:
        name: The data file, relative to the folder of the state file.
        serial: Its place in the order of saving, which need not be that of steps.
        step: Its global step, for what is shown.
        time: Seconds since 1970 when it was saved.
        metrics: ``{name: value}``.
    """

    name: str
    serial: int
    step: int | None = None
    time: float = 0.0
    metrics: Mapping[str, float] = MappingProxyType({})


class Rules(NamedTuple):
    """What is kept: all that one of the rules keeps, and always the newest.

    Attributes:
        max_to_keep: The last so many; all if 0 or ``None``.
        every_n_hours: One in so many hours of training.
        best: :class:`KeepBest`, or ``None``.
    """

    max_to_keep: int | None = 5
    every_n_hours: float = 10000.0
    best: KeepBest | None = None


def keep(records: Sequence[Record], rules: Rules, started: float) -> list[bool]:
    """Return for each checkpoint whether it is kept.

    Args:
        records: In the order of saving.
        rules: The rules.
        started: When the training began, seconds since 1970: the hours are counted from there.
    """
    count = len(records)
    first_kept = count - (rules.max_to_keep or count)
    kept = [index >= first_kept or index == count - 1 for index in range(count)]
    for index in _every_n_hours(records, rules, started):
        kept[index] = True
    if rules.best is not None:
        for index in _best(records, rules.best):
            kept[index] = True
    return kept


def last_preserved(records: Sequence[Record], rules: Rules, started: float) -> float | None:
    """Return the time of the newest checkpoint that the rule of hours keeps."""
    preserved = _every_n_hours(records, rules, started)
    return records[preserved[-1]].time if preserved else None


def _every_n_hours(records: Sequence[Record], rules: Rules, started: float) -> list[int]:
    # From the first one on, so that the choice stays the same as long as what it chose is there.
    # The limit moves on a fixed grid, as TensorFlow 2.21's Saver moves it.
    chosen = []
    due = started + rules.every_n_hours * 3600
    for index, record in enumerate(records):
        if record.time > due:
            chosen.append(index)
            due += rules.every_n_hours * 3600
    return chosen


def _best(records: Sequence[Record], best: KeepBest) -> list[int]:
    sign = 1 if best.mode == "min" else -1
    values = [
        (sign * record.metrics[best.name], index)
        for index, record in enumerate(records)
        if not math.isnan(record.metrics.get(best.name, math.nan))
    ]
    return [index for _, index in sorted(values)[: best.count]]
