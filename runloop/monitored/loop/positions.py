"""Where a loop is: which ``steps()`` and ``epochs()`` were entered, how far, and from what they began.

All of it rides along in every checkpoint under the name ``loop``. After a restart the program runs
again from its start; :class:`Positions` says what is done already until it is where the save was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from runloop.errors import CheckpointMismatchError
from runloop.graph import GLOBAL_STEP
from runloop.monitored.loop.sources import Source
from runloop.monitored.loop.state import LoopState

__all__ = ["EPOCHS", "Positions", "Record"]

_logger = logging.getLogger(__name__)

EPOCHS = "epochs"
_KINDS = {
    EPOCHS: "a loop over epochs",
    "count": "a loop over a count",
    "sequence": "a loop over a sequence",
    "iterable": "a loop over an iterable",
    "stream": "a loop over a stream (replay=False)",
    "batches": "a loop over Batches",
    "state": "a loop over an iterator with state",
}


class Record:
    """One ``steps()`` or ``epochs()`` that was entered.

    Args:
        kind: ``"epochs"``, or the kind of the source of ``steps()``.
        place: What messages call it.
        source: Where the items of ``steps()`` come from.
        limit: The number of epochs; ``None`` for no end.

    Attributes:
        position: How many passes or epochs are finished.
        end: ``None``, ``"exhausted"`` or ``"broken"``: left by ``break``.
        after: The small state when it was done.
        seen: Fingerprints ``[index, text]`` of the first item and of the last one.
        began: The small state at the start of this epoch.
        inner: The ``steps()`` of this epoch; ``None`` between epochs.
        saved: What the checkpoint says of it, until the program is where the save was.
    """

    def __init__(
        self, kind: str, place: str, source: Source | None = None, limit: int | None = None
    ) -> None:
        self.kind = kind
        self.place = place
        self.source = source
        self.limit = limit
        self.position = 0
        self.end: str | None = None
        self.after: dict[str, Any] | None = None
        self.seen: list[list[Any]] = []
        self.began: dict[str, Any] | None = None
        self.inner: list[Record] | None = None
        self.saved: Mapping[str, Any] | None = None
        self.dropped = False  # and its last pass is not finished yet

    def left(self) -> bool | None:
        """Whether there is more of it; ``None`` where only a pull would tell."""
        if self.source is not None:
            return self.source.left(self.position)
        return self.limit is None or self.position < self.limit

    def node(self) -> Any:
        """Return what a checkpoint holds."""
        if self.saved is not None:
            return self.saved
        node: dict[str, Any] = {"kind": self.kind, "position": self.position, "end": self.end}
        if self.end is not None:
            node["after"] = self.after
        elif self.source is not None:
            node.update(self.source.position(), seen=self.seen)
        elif self.inner is not None:
            node.update(began=self.began, inner=[record.node() for record in self.inner])
        return node


class Positions:
    """The positions, means and reported values of a loop, and how a restart comes back to them.

    Args:
        state: The loop's state.

    Attributes:
        session: The loop's session, once it is made.
        records: The outer ``steps()`` and ``epochs()`` of this process, in order.
        live: Whether the program is where the save was, or was not restarted.
        saved: What the checkpoint says, or ``None``.
        finished: Whether the ``with`` was left normally, with nothing refused.
        means: ``{name: [sum, number of passes]}`` of this epoch.
        reports: ``{name: last value}``.
        saves: Grows with each save.
    """

    def __init__(self, state: LoopState) -> None:
        self._state = state
        self.session: Any = None
        self.records: list[Record] = []
        self.live = True
        self.saved: Mapping[str, Any] | None = None
        self.finished = False
        self.begin: dict[str, Any] = {}
        self.means: dict[str, list[Any]] = {}
        self.reports: dict[str, Any] = {}
        self.saves = 0

    # -- in checkpoints ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the loop."""
        self.saves += 1
        entries = {
            "others": self._state.others(),
            "changed_forms": self._state.changed_forms(),
            "started_with": self._state.started_with(),
        }
        if not self.live and self.saved is not None:
            return {**self.saved, **entries}
        return {
            "version": 1,
            "begin": self.begin,
            "records": [record.node() for record in self.records],
            "finished": self.finished,
            "means": {name: [*mean] for name, mean in self.means.items()},
            "reports": dict(self.reports),
            **entries,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint holds."""
        if state.get("version") != 1:
            raise ValueError(
                f"the positions of the loop have version {state.get('version')!r}; this runloop "
                f"reads version 1"
            )
        self.saved = state
        self.live = False
        self._state.put_others(state["others"])
        self._put_values(state)

    # -- small state ------------------------------------------------------------------------------

    def take(self) -> dict[str, Any]:
        """Return the small state as it is now, with the step, means and reported values."""
        return {"state": self._state.take_small(), **self.take_values()}

    def take_values(self) -> dict[str, Any]:
        """Return the step, means and reported values."""
        return {
            "step": self.session.step,
            "means": {name: [*mean] for name, mean in self.means.items()},
            "reports": dict(self.reports),
        }

    def put(self, small: Mapping[str, Any]) -> None:
        """Put the small state back."""
        self._state.put_small(small["state"])
        self.session.assign({GLOBAL_STEP: np.int64(small["step"])})
        self._put_values(small)

    def _put_values(self, values: Mapping[str, Any]) -> None:
        self.means.clear()
        self.means.update((name, [*mean]) for name, mean in values["means"].items())
        self.reports.clear()
        self.reports.update(values["reports"])

    # -- coming back ------------------------------------------------------------------------------

    def created(self) -> None:
        """The session is made: from here on hooks may save."""
        if self.saved is None:
            self.begin = self.take()
        else:
            self.session.saving_waits = self.saved["finished"]

    def start(self, *, restored: bool) -> None:
        """Begin: from the start, or from what was restored."""
        if self.saved is None:
            if restored:
                _logger.warning(
                    "The checkpoint at step %d was not saved by a Loop: it has no positions, so "
                    "that every steps() and epochs() begins at its first item.",
                    self.session.step,
                )
            self.begin = self.take()
            return
        self.finished = self.saved["finished"]
        self.begin = self.saved["begin"]
        if not self.finished and not self.saved["records"]:
            self.live = True  # saved before anything was entered
        self.put(self.begin)

    def find(self, record: Record, records: list[Record], outer: Record | None) -> str:
        """Say what is to be done with a ``steps()`` or ``epochs()`` that is entered.

        Args:
            record: What is entered; not in ``records`` yet.
            records: Those that were entered before it, in this epoch or outside of epochs.
            outer: The ``epochs()`` around it, if any.

        Returns:
            ``"new"``: it was never entered. ``"done"``: it gives nothing more. ``"more"``: it was
            exhausted, but has more items now. ``"here"``: the save was made in it. ``"again"``: an
            ``epochs()`` whose epoch was interrupted.

        Raises:
            CheckpointMismatchError: If the checkpoint has something else here.
        """
        if self.live or self.saved is None:
            return "new"
        saved = self.saved["records"] if outer is None else (outer.saved or {})["inner"]
        index = len(records)
        if index >= len(saved):
            if self.finished:
                return "new"
            raise self._mismatch(record.place, "was not entered before the checkpoint was saved")
        mine = saved[index]
        if mine["kind"] != record.kind:
            raise self._mismatch(
                record.place,
                f"is {_KINDS[record.kind]}, and in the program that saved the checkpoint it is "
                f"{_KINDS.get(mine['kind'], 'of another kind')}",
            )
        record.saved = mine
        record.position = mine["position"]
        if mine["end"] is not None:
            is_last = index == len(saved) - 1
            if is_last and mine["end"] == "exhausted" and record.left():
                return "more"
            record.end, record.after = mine["end"], mine["after"]
            return "done"
        return "again" if "inner" in mine else "here"

    def _mismatch(self, place: str, what: str) -> CheckpointMismatchError:
        return CheckpointMismatchError(
            f"{place} {what}; nothing more is run: use the program that saved the checkpoint, or "
            f"another folder"
        )

    def check_reached(self, records: list[Record], outer: Record | None) -> None:
        """Raise if the program went past the place where the checkpoint was saved."""
        if self.live or self.finished or self.saved is None:
            return
        saved = self.saved["records"] if outer is None else (outer.saved or {})["inner"]
        kind = "epochs()" if saved[-1]["kind"] == EPOCHS else "steps()"
        where = "" if outer is None else f" of epoch {outer.position}"
        raise CheckpointMismatchError(
            f"the checkpoint was saved in {kind} number {len(saved)}{where}, and this program has "
            f"entered {len(records) or 'none'} there; nothing was saved: use the program that saved "
            f"it, or another folder"
        )
