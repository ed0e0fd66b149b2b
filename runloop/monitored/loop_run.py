"""One ``with rl.Loop(...)``: each pass of the program's ``for`` is one run.

The hooks are asked before the body and told after it, by the dispatcher of monitored sessions.
"""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any

from runloop.errors import CheckpointMismatchError
from runloop.hooks import CheckpointSaverHook
from runloop.monitored.loop_passes import Passes
from runloop.monitored.loop_positions import EPOCHS, Positions, Record
from runloop.monitored.loop_session import LoopCreator, LoopSession
from runloop.monitored.loop_sources import Source, fingerprint
from runloop.monitored.loop_state import LoopState
from runloop.monitored.monitored import SingularMonitoredSession

__all__ = ["LoopRun"]

_FINGERPRINT_SECS = 0.001

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
        self._creator = creator
        self._state = state
        self._save_epochs = save_epochs
        self._saves_passes = saves_passes
        self._savers = [h for h in hooks.hooks if isinstance(h, CheckpointSaverHook)]
        self.passes = Passes(life, hooks, state, positions)
        self.left: list[Record] = []
        self._problem: BaseException | None = None
        self._epochs: Record | None = None
        self._steps: Record | None = None
        self._refused = False
        self._save_wanted = False
        self._served: list[Any] = []
        self._last_seen = 0.0
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
        self._check_served(record, source)
        found = self.positions.find(record, records, outer)
        records.append(record)
        self._enter(record, found)
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
        self._enter(record, found)
        if record.end is None:
            self._epochs = record
        return record

    def _enter(self, record: Record, found: str) -> None:
        positions = self.positions
        if found in {"here", "again"}:
            _say_if_fewer(record, is_inside=found == "again")
        if found == "done":
            positions.put(record.after or {})
        elif found == "new":
            self._go_live(None)
        elif found == "more":
            after = (record.saved or {})["after"]
            if record.source is not None:
                record.source.skip({"position": record.position, "seen": []})
            self._go_live(after)
        elif found == "here":
            self._skip(record)
            self._go_live(None)
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

    def _go_live(self, small: Any) -> None:
        """The program is where the save was: put all state to what was saved, then ``small``."""
        positions = self.positions
        if positions.live:
            return
        self._restore()
        if small is not None:
            positions.put(small)
        positions.live = True
        positions.finished = False
        if self._epochs is not None:
            self._epochs.saved = None
        self.session.saving_waits = False

    def _restore(self) -> None:
        self.session.again = True
        try:
            saver: Any = self._creator.scaffold.saver
            saver.restore(self.session, self.session.restored_from)
        finally:
            self.session.again = False

    def _check_served(self, record: Record, source: Source) -> None:
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
            self._look_at(record, item)
        self.passes.begin(record)
        return item

    def _look_at(self, record: Record, item: Any) -> None:
        """Take a fingerprint of the first item, and of the last one before a save."""
        position = record.position
        if not record.seen:
            record.seen = [[position, fingerprint(item)]]
            return
        now = time.perf_counter()
        if now - self._last_seen < _FINGERPRINT_SECS:
            step = self.session.step + 1
            for hook in self._savers:
                if hook._timer.should_trigger_for_step(step):  # noqa: SLF001  # an extension point
                    break
            else:
                return
        self._last_seen = now
        record.seen = [record.seen[0], [position, fingerprint(item)]]

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
                self._restore()
            elif not stopping and exc is None:
                positions.check_reached(positions.records, None)
            session.saving_waits = True
        elif self._refused:
            session.saving_waits = True
        else:
            positions.finished = True
            for hook in self._savers:
                hook._timer.reset()  # noqa: SLF001  # so that its end saves

    def abandon(self, exc: BaseException | None) -> None:
        """On any other way out."""
        self.closed = True
        self.passes.drop(exc)


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
