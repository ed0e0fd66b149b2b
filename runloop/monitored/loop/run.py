"""One ``with rl.Loop(...)``: each pass of the program's ``for`` is one run.

The hooks are asked before the body and told after it, by the dispatcher of monitored sessions.
"""

from __future__ import annotations

import logging
from typing import Any

from runloop.hooks import CheckpointSaverHook
from runloop.monitored.loop.coming_back import Return
from runloop.monitored.loop.creator import LoopCreator
from runloop.monitored.loop.passes import Passes
from runloop.monitored.loop.positions import EPOCHS, Positions, Record
from runloop.monitored.loop.session import LoopSession
from runloop.monitored.loop.sources import Source
from runloop.monitored.loop.state import LoopState
from runloop.monitored.monitored import SingularMonitoredSession

__all__ = ["LoopRun"]


_logger = logging.getLogger(__name__)


class LoopRun:
    """What happens between entering and leaving a loop.

    Args:
        lifecycle: The monitored session that was made.
        creator: Made its session.
        state: The loop's state.
        positions: Where the loop is.
        save_epochs: Save after so many epochs.
        saves_passes: Whether anything is saved inside an epoch.
    """

    def __init__(
        self,
        lifecycle: SingularMonitoredSession,
        creator: LoopCreator,
        state: LoopState,
        positions: Positions,
        *,
        save_epochs: int | None,
        saves_passes: bool,
    ) -> None:
        self.positions = positions
        self._lifecycle = lifecycle
        life: Any = lifecycle._life  # noqa: SLF001  # the loop drives the same parts
        self._life = life
        self._coord_stops = life.coord.should_stop
        hooks: Any = lifecycle._hooks  # noqa: SLF001  # as above
        self.session: LoopSession = life.session
        self._state = state
        self._save_epochs = save_epochs
        self._saves_passes = saves_passes
        self._savers = [h for h in hooks.hooks if isinstance(h, CheckpointSaverHook)]
        self.passes = Passes(life, hooks, state, positions)
        self._return = Return(self.session, creator, state, positions, self._savers)
        self.left: list[Record] = []
        self._problem: BaseException | None = None
        self._epochs: Record | None = None
        self._steps: Record | None = None
        self._refused = False
        self._save_wanted = False
        self.closed = False
        positions.start(restored=self.session.restored_from is not None)

    # -- entering ---------------------------------------------------------------------------------

    def enter_steps(self, source: Source) -> Record:
        """Enter a ``steps()``."""
        self.settle()
        if self._steps is not None:
            raise RuntimeError(
                f"steps() inside {self._steps.place}, which is still going on. If it was left by "
                f"break, something holds its iterator, such as a progress bar: delete that first"
            )
        outer = self._epochs
        records = self.positions.records
        if outer is not None and outer.inner is not None:
            records = outer.inner
        place = f"steps() number {len(records) + 1}"
        place += "" if outer is None else f" of epoch {outer.position}"
        record = Record(source.kind, place, source)
        self._return.check_served(record, source)
        found = self.positions.find(record, records, outer)
        records.append(record)
        self._return.enter(record, found, self._epochs)
        if record.end is None:
            self._steps = record
        return record

    def enter_epochs(self, limit: int | None) -> Record:
        """Enter an ``epochs()``."""
        self.settle()
        for other in (self._steps, self._epochs):
            if other is not None:
                raise RuntimeError(
                    f"epochs() inside {other.place}, which is still going on. If it was left by "
                    f"break, something holds its iterator, such as a progress bar: delete that "
                    f"first"
                )
        records = self.positions.records
        record = Record(EPOCHS, f"epochs() number {len(records) + 1}", None, limit)
        found = self.positions.find(record, records, None)
        records.append(record)
        self._return.enter(record, found, self._epochs)
        if record.end is None:
            self._epochs = record
        return record

    # -- passes -----------------------------------------------------------------------------------

    def next_item(self, record: Record) -> Any:
        """Finish the pass, and begin the next one; returns its item."""
        passes = self.passes
        if passes.current is not None:
            passes.finish(exact=True)
            if self._save_wanted and (self._saves_passes or self._epochs is None):
                self.save_now(unless_saved=True)
            if self._life.stop_requested or self._coord_stops():
                if self._saves_passes:
                    self.save_now(unless_saved=True)
                self._refuse(record)
                raise StopIteration
        elif self._life.stop_requested or self._coord_stops():
            if record.end is None:
                self._refuse(record)
            raise StopIteration
        if record.end is not None or self.closed:
            raise StopIteration
        source: Any = record.source
        try:
            item = source.pull()
        except StopIteration:
            self._exhaust(record)
            raise
        if source.checked:
            self._return.look_at(record, item)
        self.passes.begin(record)
        return item

    # -- the ends ---------------------------------------------------------------------------------

    def _refuse(self, record: Record) -> None:
        """Give nothing more, since a stop was asked for."""
        self._life.coord.raise_requested_exception()
        if record.left() is False:
            self._exhaust(record)
            return
        self._refused = True
        if self._steps is record:
            self._steps = None
        if self._epochs is record:
            self._epochs = None
        record.dropped = True

    def _exhaust(self, record: Record) -> None:
        record.end = "exhausted"
        record.after = self.positions.take()
        if self._steps is record:
            self._steps = None
        if self._epochs is record:
            self._epochs = None

    def dropped(self, record: Record) -> None:
        """The iterator is gone: it was left by ``break``, or by an exception. Runs no hook."""
        if record.end is not None or record.dropped or self.closed:
            return
        record.dropped = True
        try:
            record.after = {"state": self._state.take_small()}
            self.passes.copy_reports()
        except Exception as exc:  # raised by the next call: here nobody could catch it
            self._problem = exc
        self.left.append(record)

    def settle(self) -> None:
        """Finish what was left by ``break``: its pass counts."""
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem
        while self.left:
            record = self.left.pop(0)
            current = self.passes.current
            if current is not None and current[0] is record:
                self.passes.finish(exact=False)
            if record.kind == EPOCHS and record.inner is not None:
                record.position += 1
                record.inner = None
            record.end = "broken"
            record.after = {**(record.after or {}), **self.positions.take_values()}
            if self._steps is record:
                self._steps = None
            if self._epochs is record:
                self._epochs = None

    def next_epoch(self, record: Record) -> int:
        """Finish the epoch, and begin the next one; returns its number."""
        self.settle()
        if record.end is not None or self.closed:
            raise StopIteration
        if self._steps is not None:  # its iterator is still held by something
            self.dropped(self._steps)
            self.settle()
        if record.inner is not None:
            self._finish_epoch(record)
        positions = self.positions
        stopping = self._life.stop_requested or self._coord_stops()
        if not positions.live and record.saved is not None:
            # The interrupted epoch, entered even if it is stopped at once.
            record.inner = []
            record.began = record.saved["began"]
            positions.put(record.began or {})
            return record.position
        if record.limit is not None and record.position >= record.limit:
            self._exhaust(record)
            raise StopIteration
        if stopping:
            self._refuse(record)
            raise StopIteration
        positions.means.clear()
        record.inner = []
        record.began = positions.take()
        return record.position

    def _finish_epoch(self, record: Record) -> None:
        positions = self.positions
        life = self._life
        stopping = life.stop_requested or self._coord_stops()
        if not stopping:
            positions.check_reached(record.inner or [], record)
        record.inner = None
        record.saved = None
        record.position += 1
        self.passes.end_epoch()
        every = self._save_epochs
        due = every is not None and record.position % every == 0
        if positions.live and not self._refused and (due or self._save_wanted or stopping):
            self.save_now()

    # -- saving and stopping ----------------------------------------------------------------------

    def save_now(self, *, unless_saved: bool = False) -> None:
        """Save, at a moment at which a restart is exact."""
        self._save_wanted = False
        session = self.session
        step = session.step
        for hook in self._savers:
            if unless_saved and hook._timer.last_triggered_step() == step:  # noqa: SLF001
                continue
            if hook._save(session, step):  # noqa: SLF001  # an extension point
                self._life.stop_requested = True
            hook._note_saved(step)  # noqa: SLF001  # as above

    def want_save(self) -> None:
        """Save at the next moment at which a restart is exact."""
        self._save_wanted = True

    @property
    def can_save(self) -> bool:
        """Whether a hook saves checkpoints."""
        return bool(self._savers)

    def request_stop(self) -> None:
        """Give no further pass."""
        self.settle()
        self._life.stop_requested = True

    def should_stop(self) -> bool:
        """Whether a stop was asked for."""
        self.settle()
        return bool(self._life.stop_requested or self._coord_stops())

    # -- reports ----------------------------------------------------------------------------------

    def report(self, values: dict[str, Any]) -> None:
        """Take reported values; they are checked."""
        if self.left:
            self.settle()
        if self.passes.current is not None:
            self.passes.reports.update(values)
        else:
            self.passes.report_between(values)

    def mean(self, name: str) -> float:
        """Return the mean over the passes of this epoch."""
        self.settle()
        total, count = self.positions.means.get(name, (float("nan"), 1))
        return float(total / count)

    # -- leaving ----------------------------------------------------------------------------------

    def finish(self, exc: BaseException | None) -> None:
        """Make ready for the hooks' ``end``, on a normal way out.

        Args:
            exc: The ``OutOfRangeError`` or ``StopIteration`` by which the loop is left, if any: then
                the pass under way is one that raised.
        """
        positions, session = self.positions, self.session
        if exc is not None:
            self.passes.drop(exc)
        for record in (self._steps, self._epochs):
            if record is not None:
                self.dropped(record)
        self.settle()
        self.closed = True
        self.passes.end()
        stopping = self._life.stop_requested or self._coord_stops()
        if not positions.live:
            if positions.finished:
                self._return.restore()
            elif not stopping and exc is None:
                positions.check_reached(positions.records, None)
            session.saving_waits = True
        elif self._refused or self._life.coord.requested_exception is not None:
            # A thread that failed is raised behind ``end``: then the loop is not finished, and the
            # next start continues at the last checkpoint.
            session.saving_waits = True
        else:
            positions.finished = True
            for hook in self._savers:
                hook._timer.reset()  # noqa: SLF001  # so that its end saves

    def abandon(self, exc: BaseException | None) -> None:
        """On any other way out."""
        self.closed = True
        self.passes.drop(exc)
