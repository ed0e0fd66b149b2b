"""``MonitoredTrainingSession``: a monitored session with the usual hooks, put together."""

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
    """Stands for a value that was not given, where ``None`` means "off"."""

    def __repr__(self) -> str:
        return "USE_DEFAULT"


USE_DEFAULT: Any = _UseDefault()
"""What the triggers of :func:`MonitoredTrainingSession` are by default."""


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

    In a chief the hooks are, in this order: ``chief_only_hooks``; with ``summary_dir`` (or
    ``checkpoint_dir`` in its place) a ``StepCounterHook`` and a ``SummarySaverHook``; with
    ``checkpoint_dir`` a ``CheckpointSaverHook``; then ``hooks``. ``None`` or 0 for a trigger
    leaves its hook out.

    Args:
        master: For TensorFlow's signature; must be empty.
        is_chief: ``False`` leaves all hooks but ``hooks`` out, and restores nothing.
        checkpoint_dir: Folder to restore from and save to.
        scaffold: The parts; a default :class:`~runloop.Scaffold` if ``None``.
        hooks: Hooks of every session.
        chief_only_hooks: Hooks of the chief's session alone.
        save_checkpoint_secs: Seconds between checkpoints; 600 if neither of the two is given.
        save_summaries_steps: Steps between summaries; 100 if neither of the two is given.
        save_summaries_secs: Seconds between summaries.
        config: For TensorFlow's signature; ignored.
        stop_grace_period_secs: Seconds that the coordinator's threads get at close.
        log_step_count_steps: Steps between lines of ``global_step/sec``.
        max_wait_secs: Seconds that a session that is not the chief's waits until it is ready.
        save_checkpoint_steps: Steps between checkpoints.
        summary_dir: Folder for summaries, ``checkpoint_dir`` if ``None``.
        save_graph_def: For TensorFlow's signature; ignored, there is no graph definition.
        graph: The graph; the default graph if ``None``.
        summary_writer: Where scalars go in place of ``metrics.jsonl``; stays yours to close.

    Raises:
        TypeError: If something is not a hook.
        ValueError: If both seconds and steps are given for one trigger.
        RuntimeError: If a default hook needs the global step and there is none.
        OSError: If ``summary_dir`` can't be made.
        CheckpointError: If there are checkpoints and none can be used, or the first one can't be
            written (that is an ``OSError``, too).

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
    """Return seconds and steps of one trigger: what was given, or both defaults if neither was."""
    if secs is USE_DEFAULT and steps is USE_DEFAULT:
        return default
    return (None if secs is USE_DEFAULT else secs, None if steps is USE_DEFAULT else steps)
