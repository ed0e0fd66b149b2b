"""Session creators: create a session and make it ready to run."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from typing import Any

from runloop import clock
from runloop.checkpoint import Saver
from runloop.errors import CheckpointMismatchError
from runloop.graph import Graph, get_default_graph
from runloop.messages import add_note
from runloop.monitored.scaffold import Scaffold
from runloop.session import Session

__all__ = ["ChiefSessionCreator", "SessionCreator", "WorkerSessionCreator"]

_logger = logging.getLogger(__name__)

_POLL_SECS = 30.0


class SessionCreator(ABC):
    """Creates the sessions of a monitored session: the first, and one after each loss.

    The session needs ``run(fetches, feed_dict, options, run_metadata)`` and ``close()``.

    Follows ``tf.compat.v1.train.SessionCreator`` of TensorFlow 2.21.
    """

    @abstractmethod
    def create_session(self) -> Any:
        """Return a session that is ready to be run."""


class ChiefSessionCreator(SessionCreator):
    """Creates a session and restores it, or initialises it if there is no checkpoint.

    In this order: restore the newest usable checkpoint, or else run the scaffold's ``init_op``
    and ``init_fn``; check ``ready_for_local_init_op``; run ``local_init_op``; check ``ready_op``.

    Args:
        scaffold: How to initialise and save; a default :class:`~runloop.Scaffold` if ``None``.
        master: Part of TensorFlow's signature; must be empty.
        config: Part of TensorFlow's signature; ignored.
        checkpoint_dir: Folder whose newest whole checkpoint is restored, if there is one.
        checkpoint_filename_with_path: The file to restore; not together with
            ``checkpoint_dir``.
        graph: The graph; the default graph at the time of the call if ``None``.

    Follows ``tf.compat.v1.train.ChiefSessionCreator`` of TensorFlow 2.21.
    """

    _what_helps = (
        "to start over, give it another folder; to keep what fits, give it another folder and the "
        "scaffold an init_fn that restores with strict=False"
    )

    def __init__(
        self,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_filename_with_path: str | os.PathLike[str] | None = None,
        *,
        graph: Graph | None = None,
    ) -> None:
        self._scaffold = scaffold or Scaffold()
        self._master = master
        self._config = config
        self._checkpoint_dir = checkpoint_dir
        self._checkpoint_file = checkpoint_filename_with_path
        self.graph = graph

    def create_session(self) -> Session:
        """Finalize the scaffold and the graph, create a session, restore or initialise it.

        Raises:
            ValueError: If both a folder and a file to restore from are given.
            RuntimeError: If something is not ready after initialising; the message says what.
            CheckpointError: If there are checkpoints but none is usable.
        """
        if self._checkpoint_dir and self._checkpoint_file:
            raise ValueError(
                "Can not provide both checkpoint_dir and checkpoint_filename_with_path."
            )
        graph = self.graph or get_default_graph()
        with graph.as_default():
            scaffold = self._scaffold.finalize()
            session = self._new_session(graph)
            try:
                if not self._restore(session):
                    scaffold.initialize(session)
                self._check(scaffold.initialize_locally(session), " for local_init", "")
                local = f", local_init_op: {scaffold.local_init_op!r}"
                self._check(scaffold.not_ready(session), "", local)
            except BaseException:
                session.close()
                raise
        return session

    def _new_session(self, graph: Graph) -> Session:
        return Session(self._master, graph, self._config)

    def _restore(self, session: Session) -> bool:
        saver = self._scaffold.saver or Saver()
        if self._checkpoint_file:
            saver.restore(session, self._checkpoint_file)
            session.restored_from = os.fspath(self._checkpoint_file)
            return True
        if not self._checkpoint_dir:
            return False
        from runloop.checkpoint import (
            restore_newest,
        )  # imported late: most programs need no restore

        try:
            session.restored_from = restore_newest(saver, session, self._checkpoint_dir)
        except CheckpointMismatchError as exc:
            add_note(
                exc,
                f"(this session restores from checkpoint_dir={os.fspath(self._checkpoint_dir)!r}: "
                f"{self._what_helps})",
            )
            raise
        return session.restored_from is not None

    def _check(self, missing: str | None, what: str, more: str) -> None:
        if missing is not None:
            raise RuntimeError(
                f"Init operations did not make model ready{what}.  "
                f"{self._scaffold.describe()}{more}, error: {missing}"
            )


class WorkerSessionCreator(SessionCreator):
    """Creates a session and waits until it is ready; it neither restores nor initialises.

    Args:
        scaffold: How to initialise and save; a default :class:`~runloop.Scaffold` if ``None``.
        master: Part of TensorFlow's signature; must be empty.
        config: Part of TensorFlow's signature; ignored.
        max_wait_secs: Maximum wait in seconds.
        graph: The graph; the default graph at the time of the call if ``None``.

    Follows ``tf.compat.v1.train.WorkerSessionCreator`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        max_wait_secs: float = 30 * 60,
        *,
        graph: Graph | None = None,
    ) -> None:
        self._scaffold = scaffold or Scaffold()
        self._master = master
        self._config = config
        self._max_wait_secs = max_wait_secs
        self._clock = clock.current()
        self.graph = graph

    def create_session(self) -> Session:
        """Finalize the scaffold and the graph, create a session, wait until it is ready.

        Raises:
            TimeoutError: If it is not ready after ``max_wait_secs``; the message says what is missing.
        """
        graph = self.graph or get_default_graph()
        deadline = self._clock.monotonic() + self._max_wait_secs
        with graph.as_default():
            scaffold = self._scaffold.finalize()
            while True:
                session = Session(self._master, graph, self._config)
                try:
                    missing = scaffold.initialize_locally(session) or scaffold.not_ready(session)
                except BaseException:
                    session.close()
                    raise
                if missing is None:
                    return session
                session.close()
                if deadline - self._clock.monotonic() < _POLL_SECS:
                    raise TimeoutError(
                        f"Session was not ready after waiting {self._max_wait_secs} secs. {missing}"
                    )
                _logger.info("Waiting for model to be ready. %s", missing)
                self._clock.sleep(_POLL_SECS)
