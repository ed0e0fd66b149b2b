"""Makes the session of a loop, and restores it."""

from __future__ import annotations

import os
from typing import Any

from runloop.graph import Graph
from runloop.monitored.creators import ChiefSessionCreator
from runloop.monitored.loop.session import LoopSession
from runloop.monitored.loop.state import LoopState
from runloop.monitored.scaffold import Scaffold

__all__ = ["LoopCreator"]


class LoopCreator(ChiefSessionCreator):
    """Makes the session of a loop and restores it from the newest whole checkpoint.

    Args:
        state: The loop's state.
        positions: What rides along in checkpoints under the name ``loop``.
        checkpoint_dir: The folder, or ``None``.
        scaffold: With the saver.
    """

    _what_helps = (
        "to go on, begin with the state of the program that saved it; to start over, give the loop "
        "another folder"
    )

    def __init__(
        self,
        state: LoopState,
        positions: Any,
        checkpoint_dir: str | os.PathLike[str] | None,
        scaffold: Scaffold,
    ) -> None:
        super().__init__(scaffold, checkpoint_dir=checkpoint_dir, graph=state.graph)
        self._state = state
        self._positions = positions
        self.scaffold = scaffold

    def _new_session(self, graph: Graph) -> LoopSession:
        session = LoopSession(graph, self._state)
        session.reports = self._positions.reports
        self._positions.session = session
        session.add_companions({"loop": self._positions})
        return session

    def create_session(self) -> LoopSession:
        """Create the session and restore it; its positions are ready to be saved."""
        session = super().create_session()
        assert isinstance(session, LoopSession)  # noqa: S101  # made above
        self._positions.created()
        return session
