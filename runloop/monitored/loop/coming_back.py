"""How a restart comes back to the place of the save, and how a wrong replay is found."""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any

from runloop.errors import CheckpointMismatchError
from runloop.monitored.loop.creator import LoopCreator
from runloop.monitored.loop.positions import EPOCHS, Positions, Record
from runloop.monitored.loop.session import LoopSession
from runloop.monitored.loop.sources import Source, fingerprint
from runloop.monitored.loop.state import LoopState

__all__ = ["Return"]

_FINGERPRINT_SECS = 0.001

_logger = logging.getLogger(__name__)


class Return:
    """What a restart compares and restores.

    Args:
        session: The loop's session.
        creator: Made it.
        state: The loop's state.
        positions: Where the loop is.
        savers: The hooks that save.
    """

    def __init__(
        self,
        session: LoopSession,
        creator: LoopCreator,
        state: LoopState,
        positions: Positions,
        savers: list[Any],
    ) -> None:
        self._session = session
        self._creator = creator
        self._state = state
        self._positions = positions
        self._savers = savers
        self._served: list[Any] = []
        self._last_seen = 0.0

    def enter(self, record: Record, found: str, epochs: Record | None) -> None:
        """Do what :meth:`Positions.find` said of a ``steps()`` or ``epochs()`` that is entered.

        Args:
            record: What is entered.
            found: What was said.
            epochs: The ``epochs()`` around it, if any.
        """
        positions = self._positions
        if found in {"here", "again"}:
            _say_if_fewer(record, is_inside=found == "again")
        if found == "done":
            positions.put(record.after or {})
        elif found == "new":
            self._go_live(None, epochs)
        elif found == "more":
            after = (record.saved or {})["after"]
            if record.source is not None:
                record.source.skip({"position": record.position, "seen": []})
            self._go_live(after, epochs)
        elif found == "here":
            self._skip(record)
            self._go_live(None, epochs)
        if found in {"new", "more", "here"}:
            record.saved = None

    def _skip(self, record: Record) -> None:
        """Go behind the items that were used, and compare some of them."""
        if record.source is None:
            return
        saved: Any = record.saved
        try:
            seen = record.source.skip(saved)
        except CheckpointMismatchError as exc:
            raise CheckpointMismatchError(
                f"{record.place} {exc}; use the data of the run that saved the checkpoint, or "
                f"another folder"
            ) from exc
        record.seen = [[*pair] for pair in saved["seen"]]
        for index, text in record.seen:
            if index in seen and seen[index] != text:
                warnings.warn(
                    f"{record.place}: item {index} is not the one of before the restart "
                    f"({seen[index]} now, {text} then), so that this run will not end as one that "
                    f"was never interrupted. Code before steps() that draws from a generator, "
                    f"shuffles in place or reads arrays makes the items: put the generator into "
                    f"the loop's state, or save whole epochs only (save_epochs).",
                    UserWarning,
                    stacklevel=5,
                )
                break

    def _go_live(self, small: Any, epochs: Record | None) -> None:
        """The program is where the save was: put all state to what was saved, then ``small``."""
        positions = self._positions
        if positions.live:
            return
        self.restore()
        if small is not None:
            positions.put(small)
        positions.live = True
        positions.finished = False
        if epochs is not None:
            epochs.saved = None
        self._session.saving_waits = False

    def restore(self) -> None:
        """Put all state to what was saved."""
        self._session.again = True
        try:
            saver: Any = self._creator.scaffold.saver
            saver.restore(self._session, self._session.restored_from)
        finally:
            self._session.again = False

    def check_served(self, record: Record, source: Source) -> None:
        """Warn of an iterator that serves twice, and that no checkpoint holds."""
        if source.repeats or source.kind == "stream":
            return
        given = source.given
        if any(given is other for other in self._served) and not self._state.holds(given):
            warnings.warn(
                f"{record.place}: this {type(given).__name__} has served an earlier steps(), and "
                f"is not in the loop's state, so that a restart can't bring it back to where it "
                f"was. Put it into the state, or give replay=False if it goes on by itself.",
                UserWarning,
                stacklevel=4,
            )
        self._served = [other for other in self._served if other is not given][-31:]
        self._served.append(given)

    def look_at(self, record: Record, item: Any) -> None:
        """Take a fingerprint of the first item, and of the last one before a save."""
        position = record.position
        if not record.seen:
            record.seen = [[position, fingerprint(item)]]
            return
        now = time.perf_counter()
        if now - self._last_seen < _FINGERPRINT_SECS:
            step = self._session.step + 1
            for hook in self._savers:
                if hook._timer.should_trigger_for_step(step):  # noqa: SLF001  # an extension point
                    break
            else:
                return
        self._last_seen = now
        record.seen = [record.seen[0], [position, fingerprint(item)]]


def _say_if_fewer(record: Record, *, is_inside: bool) -> None:
    """Say that a count is below the saved position: it is done, and nothing is repeated or lost."""
    limit = record.limit if record.source is None else record.source.given
    if record.kind == EPOCHS and limit is not None and limit < record.position + is_inside:
        where = f"in epoch {record.position}, which is finished first"
        if not is_inside:
            where = f"after {record.position}: it is done"
        _logger.warning(
            "%s asks for %d epochs, and the checkpoint was saved %s.", record.place, limit, where
        )
    elif record.kind == "count" and limit is not None and limit < record.position:
        _logger.warning(
            "%s asks for %d passes, and the checkpoint was saved after %d: it is done.",
            record.place,
            limit,
            record.position,
        )
