"""Session creators: make a session and bring it to where it can be run."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from typing import Any

from runloop import clock
from runloop.checkpoint import Saver
from runloop.errors import CheckpointMismatchError
from runloop.graph import Graph, get_default_graph
from runloop.monitored.scaffold import Scaffold
from runloop.session import Session

__all__ = ["ChiefSessionCreator", "SessionCreator", "WorkerSessionCreator"]

_logger = logging.getLogger(__name__)

_POLL_SECS = 30.0


class SessionCreator(ABC):
    """Makes sessions for a monitored session: once, and again whenever one is lost.

    What it returns needs ``run(fetches, feed_dict, options, run_metadata)`` and ``close()``.

    Follows ``tf.compat.v1.train.SessionCreator`` of TensorFlow 2.21.
    """

    @abstractmethod
    def create_session(self) -> Any:
        """Return a session that is ready to be run."""


class ChiefSessionCreator(SessionCreator):
    """Makes a session and restores it, or initialises it where there is nothing to restore.

    In this order: the newest usable checkpoint is restored, else ``init_op`` and ``init_fn``
    of the scaffold run; then ``ready_for_local_init_op`` is checked, ``local_init_op`` run,
    and ``ready_op`` checked.

    Args:
        scaffold: The parts; a default :class:`~runloop.Scaffold` if ``None``.
        master: For TensorFlow's signature; must be empty.
        config: For TensorFlow's signature; ignored.
        checkpoint_dir: Folder whose newest whole checkpoint is restored, if it has one.
        checkpoint_filename_with_path: The file to restore; not both of the two.
        graph: The graph; the default graph at the time of the call if ``None``.

    Follows ``tf.compat.v1.train.ChiefSessionCreator`` of TensorFlow 2.21.
    """

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
        """Finalize the scaffold and the graph, make a session, restore or initialise it.

        Raises:
            ValueError: If both a folder and a file to restore from are given.
            RuntimeError: If something is not ready after initialising; says what.
            CheckpointError: If there are checkpoints and none can be used.
        """
        if self._checkpoint_dir and self._checkpoint_file:
            raise ValueError(
                "Can not provide both checkpoint_dir and checkpoint_filename_with_path."
            )
        graph = self.graph or get_default_graph()
        with graph.as_default():
            scaffold = self._scaffold.finalize()
            session = Session(self._master, graph, self._config)
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

    def _restore(self, session: Session) -> bool:
        saver = self._scaffold.saver or Saver()
        if self._checkpoint_file:
            saver.restore(session, self._checkpoint_file)
            return True
        if not self._checkpoint_dir:
            return False
        from runloop.checkpoint import restore_newest  # imported late there, too

        try:
            return restore_newest(saver, session, self._checkpoint_dir) is not None
        except CheckpointMismatchError as exc:
            exc.add_note(
                f"(this session restores from checkpoint_dir={os.fspath(self._checkpoint_dir)!r}: "
                f"to begin anew, give it another folder; to keep what fits, give the scaffold an "
                f"init_fn that restores with strict=False, and another folder)"
            )
            raise

    def _check(self, missing: str | None, what: str, more: str) -> None:
        if missing is not None:
            raise RuntimeError(
                f"Init operations did not make model ready{what}.  "
                f"{self._scaffold.describe()}{more}, error: {missing}"
            )


class WorkerSessionCreator(SessionCreator):
    """Makes a session and waits until it is ready, without restoring or initialising anything.

    Args:
        scaffold: The parts; a default :class:`~runloop.Scaffold` if ``None``.
        master: For TensorFlow's signature; must be empty.
        config: For TensorFlow's signature; ignored.
        max_wait_secs: Seconds to wait at most.
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
        """Finalize the scaffold and the graph, make a session, wait until it is ready.

        Raises:
            TimeoutError: If it is not ready after ``max_wait_secs``; says what is missing.
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
