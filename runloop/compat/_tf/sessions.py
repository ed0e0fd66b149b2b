"""Monitored sessions and session creators under TensorFlow's names.

They are runloop's, with the shim's saver and hooks as defaults.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runloop import monitored, session
from runloop.compat._tf.checkpoints import Saver
from runloop.compat._tf.errors import DeadlineExceededError
from runloop.compat._tf.graphs import GraphKeys
from runloop.compat._tf.hooks import CheckpointSaverHook, StepCounterHook, SummarySaverHook
from runloop.compat._tf.summaries import merge_all
from runloop.graph import Graph
from runloop.messages import text_of
from runloop.monitored import creators, scaffold, training

__all__ = [
    "ChiefSessionCreator",
    "MonitoredSession",
    "MonitoredTrainingSession",
    "Scaffold",
    "SingularMonitoredSession",
    "WorkerSessionCreator",
]


class Scaffold(scaffold.Scaffold):
    """:class:`runloop.Scaffold` whose defaults are the shim's saver and ``merge_all()``.

    Follows ``tf.compat.v1.train.Scaffold`` of TensorFlow 2.21.
    """

    def finalize(self) -> Scaffold:
        """Fill in the defaults and finalize the default graph."""
        if self._summary_op is None:
            self._summary_op = Scaffold.get_or_default(
                "summary_op", GraphKeys.SUMMARY_OP, merge_all
            )
        if self._saver is None:
            self._saver = Scaffold.get_or_default("saver", GraphKeys.SAVERS, Saver)
        super().finalize()
        return self


class ChiefSessionCreator(creators.ChiefSessionCreator):
    """:class:`runloop.ChiefSessionCreator` with the shim's :class:`Scaffold` as the default.

    Follows ``tf.compat.v1.train.ChiefSessionCreator`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        scaffold: Any = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None,
        *,
        graph: Graph | None = None,
    ) -> None:
        super().__init__(
            scaffold or Scaffold(),
            master,
            config,
            checkpoint_dir,
            checkpoint_filename_with_path,
            graph=graph,
        )


class WorkerSessionCreator(creators.WorkerSessionCreator):
    """:class:`runloop.WorkerSessionCreator` with the shim's :class:`Scaffold` as the default.

    Follows ``tf.compat.v1.train.WorkerSessionCreator`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        scaffold: Any = None,
        master: str = "",
        config: Any = None,
        max_wait_secs: float = 30 * 60,
        *,
        graph: Graph | None = None,
    ) -> None:
        super().__init__(scaffold or Scaffold(), master, config, max_wait_secs, graph=graph)

    def create_session(self) -> session.Session:
        """Make a session and wait until it is ready.

        Raises:
            DeadlineExceededError: If it is not ready after ``max_wait_secs``.
        """
        try:
            return super().create_session()
        except TimeoutError as exc:
            raise DeadlineExceededError(None, None, text_of(exc)) from exc


class _WithRawSession:
    """The private names by which programs reach the session without hooks."""

    # As in TensorFlow, a hook that fetches an output of a train op makes it run.
    _hooks_may_train = True

    @property
    def _sess(self) -> Any:
        return self._tf_sess()

    def _tf_sess(self) -> Any:
        return self.raw_session()  # type: ignore[attr-defined]


class MonitoredSession(_WithRawSession, monitored.MonitoredSession):
    """:class:`runloop.MonitoredSession` with the shim's :class:`ChiefSessionCreator` as the default.

    Follows ``tf.compat.v1.train.MonitoredSession`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        session_creator: Any = None,
        hooks: Iterable[Any] | None = None,
        stop_grace_period_secs: float = 120,
        *,
        graph: Graph | None = None,
    ) -> None:
        creator = ChiefSessionCreator(graph=graph) if session_creator is None else session_creator
        super().__init__(creator, hooks, stop_grace_period_secs, graph=graph)


class SingularMonitoredSession(_WithRawSession, monitored.SingularMonitoredSession):
    """:class:`runloop.SingularMonitoredSession` with the shim's :class:`Scaffold` as the default.

    Follows ``tf.compat.v1.train.SingularMonitoredSession`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        hooks: Iterable[Any] | None = None,
        scaffold: Any = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | None = None,
        stop_grace_period_secs: float = 120,
        checkpoint_filename_with_path: str | None = None,
        *,
        graph: Graph | None = None,
    ) -> None:
        super().__init__(
            hooks,
            scaffold or Scaffold(),
            master,
            config,
            checkpoint_dir,
            stop_grace_period_secs,
            checkpoint_filename_with_path,
            graph=graph,
        )


def MonitoredTrainingSession(  # noqa: N802  # TensorFlow's name
    master: str = "",
    is_chief: bool = True,
    checkpoint_dir: str | None = None,
    scaffold: Any = None,
    hooks: Iterable[Any] | None = None,
    chief_only_hooks: Iterable[Any] | None = None,
    save_checkpoint_secs: float | None = training.USE_DEFAULT,
    save_summaries_steps: int | None = training.USE_DEFAULT,
    save_summaries_secs: float | None = training.USE_DEFAULT,
    config: Any = None,
    stop_grace_period_secs: float = 120,
    log_step_count_steps: int | None = 100,
    max_wait_secs: float = 7200,
    save_checkpoint_steps: int | None = training.USE_DEFAULT,
    summary_dir: str | None = None,
    save_graph_def: bool = True,  # noqa: ARG001  # TensorFlow's signature
    *,
    graph: Graph | None = None,
) -> MonitoredSession:
    """Return a :class:`MonitoredSession` with the shim's checkpoint, summary and step counter hooks.

    The parameters are those of :func:`runloop.MonitoredTrainingSession`.

    Follows ``tf.compat.v1.train.MonitoredTrainingSession`` of TensorFlow 2.21.
    """
    checkpoint_secs, checkpoint_steps = training.trigger(
        save_checkpoint_secs, save_checkpoint_steps, (600, None)
    )
    summary_secs, summary_steps = training.trigger(
        save_summaries_secs, save_summaries_steps, (None, 100)
    )
    scaffold = scaffold or Scaffold()
    if not is_chief:
        worker = WorkerSessionCreator(scaffold, master, config, max_wait_secs, graph=graph)
        return MonitoredSession(worker, hooks, stop_grace_period_secs, graph=graph)
    chief = ChiefSessionCreator(scaffold, master, config, checkpoint_dir, graph=graph)
    every: list[Any] = list(chief_only_hooks or ())
    summary_dir = summary_dir or checkpoint_dir
    if summary_dir and log_step_count_steps and log_step_count_steps > 0:
        every.append(StepCounterHook(log_step_count_steps, output_dir=summary_dir))
    if summary_dir and (summary_steps or summary_secs):
        every.append(
            SummarySaverHook(
                save_steps=summary_steps,
                save_secs=summary_secs,
                output_dir=summary_dir,
                scaffold=scaffold,
            )
        )
    if checkpoint_dir and (checkpoint_secs or checkpoint_steps):
        every.append(
            CheckpointSaverHook(
                checkpoint_dir, checkpoint_secs, checkpoint_steps, scaffold=scaffold
            )
        )
    return MonitoredSession(chief, [*every, *(hooks or ())], stop_grace_period_secs, graph=graph)
