"""``MonitoredTrainingSession``: a monitored session with the usual hooks."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from runloop.graph import Graph, get_default_graph
from runloop.hooks import CheckpointSaverHook, StepCounterHook, SummarySaverHook
from runloop.monitored.creators import ChiefSessionCreator, SessionCreator, WorkerSessionCreator
from runloop.monitored.dispatch import check_hooks
from runloop.monitored.monitored import MonitoredSession
from runloop.monitored.scaffold import Scaffold
from runloop.summary import SummaryWriter

__all__ = ["USE_DEFAULT", "MonitoredTrainingSession", "trigger"]


class _UseDefault:
    """Type of the default value of arguments where ``None`` means "off"."""

    def __repr__(self) -> str:
        return "USE_DEFAULT"


USE_DEFAULT: Any = _UseDefault()
"""Default value of the triggers of :func:`MonitoredTrainingSession`."""


def MonitoredTrainingSession(  # noqa: N802  # TensorFlow's name
    master: str = "",
    is_chief: bool = True,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    scaffold: Scaffold | None = None,
    hooks: Iterable[Any] | None = None,
    chief_only_hooks: Iterable[Any] | None = None,
    save_checkpoint_secs: float | None = USE_DEFAULT,
    save_summaries_steps: int | None = USE_DEFAULT,
    save_summaries_secs: float | None = USE_DEFAULT,
    config: Any = None,
    stop_grace_period_secs: float = 120,
    log_step_count_steps: int | None = 100,
    max_wait_secs: float = 7200,
    save_checkpoint_steps: int | None = USE_DEFAULT,
    summary_dir: str | os.PathLike[str] | None = None,
    save_graph_def: bool = True,  # noqa: ARG001  # TensorFlow's signature
    *,
    graph: Graph | None = None,
    summary_writer: SummaryWriter | None = None,
) -> MonitoredSession:
    """Return a :class:`~runloop.MonitoredSession` that restores, saves, counts and summarises.

    A chief's hooks are, in this order: ``chief_only_hooks``; with ``summary_dir`` or
    ``checkpoint_dir``, a ``StepCounterHook`` and a ``SummarySaverHook``; with ``checkpoint_dir``,
    a ``CheckpointSaverHook``; then ``hooks``. ``None`` or 0 for a trigger leaves its hook out.

    Args:
        master: Part of TensorFlow's signature; must be empty.
        is_chief: ``False`` keeps only ``hooks`` and does not restore.
        checkpoint_dir: Folder to restore from and save to.
        scaffold: How to initialise and save; a default :class:`~runloop.Scaffold` if ``None``.
        hooks: Hooks of every session.
        chief_only_hooks: Hooks of the chief's session only.
        save_checkpoint_secs: Seconds between checkpoints; 600 if neither this nor
            ``save_checkpoint_steps`` is given.
        save_summaries_steps: Steps between summaries; 100 if neither this nor
            ``save_summaries_secs`` is given.
        save_summaries_secs: Seconds between summaries.
        config: Part of TensorFlow's signature; ignored.
        stop_grace_period_secs: Seconds that the coordinator's threads get to end at close.
        log_step_count_steps: Steps between ``global_step/sec`` log lines.
        max_wait_secs: Seconds that a worker's session waits to become ready.
        save_checkpoint_steps: Steps between checkpoints.
        summary_dir: Folder for summaries, ``checkpoint_dir`` if ``None``.
        save_graph_def: Part of TensorFlow's signature; ignored, because runloop has no graph
            definition.
        graph: The graph; the default graph if ``None``.
        summary_writer: Writes the scalars instead of ``metrics.jsonl``; the caller closes it.

    Raises:
        TypeError: If one of the hooks is not a hook.
        ValueError: If both seconds and steps are given for one trigger.
        RuntimeError: If a default hook needs the global step and the graph has none.
        OSError: If ``summary_dir`` can't be created.
        CheckpointError: If there are checkpoints but none is usable, or the first save fails (also an
            ``OSError``).

    Follows ``tf.compat.v1.train.MonitoredTrainingSession`` of TensorFlow 2.21.
    """
    checkpoint_secs, checkpoint_steps = trigger(
        save_checkpoint_secs, save_checkpoint_steps, (600, None)
    )
    summary_secs, summary_steps = trigger(save_summaries_secs, save_summaries_steps, (None, 100))
    graph = graph or get_default_graph()
    scaffold = scaffold or Scaffold()
    creator: SessionCreator
    if not is_chief:
        creator = WorkerSessionCreator(
            scaffold, master, config, max_wait_secs=max_wait_secs, graph=graph
        )
        return MonitoredSession(creator, hooks, stop_grace_period_secs, graph=graph)
    creator = ChiefSessionCreator(scaffold, master, config, checkpoint_dir, graph=graph)
    every = [*check_hooks(chief_only_hooks or ())]
    summary_dir = summary_dir or checkpoint_dir
    if summary_dir or summary_writer is not None:
        output: dict[str, Any] = {"output_dir": summary_dir, "summary_writer": summary_writer}
        if _is_on(log_step_count_steps):
            every.append(StepCounterHook(log_step_count_steps, **output))
        if _is_on(summary_steps) or _is_on(summary_secs):
            every.append(
                SummarySaverHook(
                    save_steps=summary_steps, save_secs=summary_secs, scaffold=scaffold, **output
                )
            )
    if checkpoint_dir and (_is_on(checkpoint_secs) or _is_on(checkpoint_steps)):
        every.append(
            CheckpointSaverHook(
                checkpoint_dir, checkpoint_secs, checkpoint_steps, scaffold=scaffold
            )
        )
    every.extend(check_hooks(hooks or ()))
    return MonitoredSession(creator, every, stop_grace_period_secs, graph=graph)


def _is_on(every: float | None) -> bool:
    return every is not None and every > 0


def trigger(secs: Any, steps: Any, default: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return one trigger's (seconds, steps) as given, or ``default`` if neither was given."""
    if secs is USE_DEFAULT and steps is USE_DEFAULT:
        return default
    return (None if secs is USE_DEFAULT else secs, None if steps is USE_DEFAULT else steps)
