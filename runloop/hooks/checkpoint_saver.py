"""Save checkpoints while training, and notify listeners.

with rl.MonitoredSession(hooks=[
    rl.CheckpointSaverHook("ckpt", save_steps=100, saver=rl.Saver(background=True)),
]) as session: ...
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

from runloop.checkpoint import Saver
from runloop.checkpoint.collect import CurrentStep
from runloop.checkpoint.layout import SUFFIX
from runloop.errors import CheckpointError, CheckpointWriteError
from runloop.graph import get_default_graph
from runloop.graph.tensorflow_names import SAVERS
from runloop.hooks._shared import require_global_step, warn_of_lost_positions
from runloop.hooks.base import SessionRunHook
from runloop.messages import text_of
from runloop.run import RunArgs, RunContext, RunValues
from runloop.timers import SecondOrStepTimer

__all__ = ["CheckpointSaverHook", "CheckpointSaverListener"]

_logger = logging.getLogger(__name__)


class CheckpointSaverListener:
    """Is called around every save of a :class:`CheckpointSaverHook`; does nothing by itself.

    A listener need not inherit from it, but must have the four methods.

    Follows ``tf.train.CheckpointSaverListener`` of TensorFlow 2.21.
    """

    def begin(self) -> None:
        """Called in the hook's ``begin``: the graph can still be added to."""

    def before_save(self, session: Any, global_step_value: int) -> Mapping[str, float] | None:
        """Called before each save.

        Args:
            session: The session below the hooks.
            global_step_value: The step that is about to be saved. If another thread trains at
                the same time, a later one may be saved; :meth:`after_save` is told which.

        Returns:
            ``{name: value}`` of metrics, kept with the checkpoint and used by ``KeepBest``; or
            ``None``.
        """

    def after_save(self, session: Any, global_step_value: int) -> bool | None:
        """Called after each save, when the checkpoint is on disk; not after a save that failed.

        With a background saver it is called in a later call of the hook, on the training's
        thread: by then, ``session`` may be ahead of ``global_step_value``.

        Returns:
            A true value to stop the training; ignored after the first save and the one at the
            end.
        """

    def end(self, session: Any, global_step_value: int) -> None:
        """Called in the hook's ``end``, after the last save.

        Args:
            session: The session below the hooks, still open.
            global_step_value: The last step.
        """


class CheckpointSaverHook(SessionRunHook):
    """Saves a checkpoint after the session is created, on its trigger, and at the end.

    At the end it saves only if the last step is not saved yet. If hooks have state, a save waits
    until every hook has seen the step. The timer restarts only when a save succeeded: after a
    failed save whose error is caught, the next step tries again. A state that
    ``reject_nonfinite`` refuses is tried again after the next interval.

    Other threads may train in the session: a file is called by the step of the variables in it. A
    saver that is not runloop's gets the step that was read before its ``save``.

    With a background saver, the next method of the hook raises an error of the writing, at the
    latest ``end``. On every way out of the session, the writing is waited for, for as long as the
    session's ``stop_grace_period_secs``; if that is not enough, the log has an error.

    Args:
        checkpoint_dir: The folder.
        save_secs: Seconds between saves.
        save_steps: Steps between saves. Give exactly one of the two.
        saver: Any object with TensorFlow's ``save(session, path, global_step=step)``; by default
            the scaffold's, else the one in the graph's collection ``"savers"``.
        checkpoint_basename: The file name without step; may contain a folder.
        scaffold: Its saver is used.
        listeners: :class:`CheckpointSaverListener` objects, called in their order.
        save_graph_def: For TensorFlow's signature; ignored: runloop has no graph definition.

    Raises:
        ValueError: If both ``saver`` and ``scaffold`` are given, or neither or both of
            ``save_secs`` and ``save_steps``.
        RuntimeError: From ``begin``, if the graph has no global step; at the first save, if the
            collection has no saver, or more than one.

    Follows ``tf.train.CheckpointSaverHook`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        checkpoint_dir: str | os.PathLike[str],
        save_secs: float | None = None,
        save_steps: int | None = None,
        saver: Any = None,
        checkpoint_basename: str = "model.ckpt",
        scaffold: Any = None,
        listeners: Iterable[Any] | None = None,
        save_graph_def: bool = True,
    ) -> None:
        if saver is not None and scaffold is not None:
            raise ValueError("You cannot provide both saver and scaffold.")
        self._saver = saver
        self._checkpoint_dir = os.fspath(checkpoint_dir)
        self._save_path = os.path.join(self._checkpoint_dir, checkpoint_basename)
        self._scaffold = scaffold
        self._timer = SecondOrStepTimer(every_secs=save_secs, every_steps=save_steps)
        self._listeners: Any = listeners or []
        self._save_graph_def = save_graph_def

    # Defaults here and not in __init__: a subclass need not call that.
    _steps_per_run = 1_000_000  # more than any run makes
    _has_companions = False
    _is_first = False
    _grace_secs: float | None = None
    _session: Any = None
    _pending_step: Any = None  # of a background save that is not announced yet
    _wants_stop = False  # a listener asked to stop
    _asked_step: Any = None  # of the last save; another thread may have trained before the copy
    _saved_step: Any = None

    def _set_steps_per_run(self, steps_per_run: int) -> None:
        """Say how many steps a run makes at most, so that the step is read less often."""
        self._steps_per_run = steps_per_run

    # -- the lifecycle --------------------------------------------------------------------------

    def begin(self) -> None:
        """Find the global step, and let the listeners add to the graph."""
        self._global_step_tensor = require_global_step("CheckpointSaverHook")
        warn_of_lost_positions()
        for listener in self._listeners:
            listener.begin()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Save the state as it was created or restored."""
        if hasattr(coord, "callback"):
            coord.callback(self._on_close)
        self._grace_secs = getattr(coord, "stop_grace_period_secs", None)
        self._session = session
        self._finish_pending()
        self._wants_stop = False
        state = getattr(session, "state", None)
        self._has_companions = callable(state) and bool(getattr(state(), "companions", None))
        global_step = session.run(self._global_step_tensor)
        if self._is_restored_from(session, global_step) and coord is not None and coord.finished():
            self._note_saved(global_step)  # a finished run started again: no bit changes
            return
        self._is_first = True
        try:
            self._save(session, global_step)
        finally:
            self._is_first = False
        self._note_saved(global_step)

    def _is_restored_from(self, session: Any, step: Any) -> bool:
        """Return whether the session was restored from the file that a save would write now."""
        source = getattr(session, "restored_from", None)
        path = f"{self._save_path}-{int(step)}{SUFFIX}"
        return source is not None and os.path.realpath(source) == os.path.realpath(path)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the global step; see whether a background save is done."""
        if self._pending_step is not None or self._wants_stop:
            self._poll(run_context)
        return RunArgs(self._global_step_tensor)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Save, if it is time."""
        if self._pending_step is not None or self._wants_stop:
            self._poll(run_context)
        # The fetched step is the one before the run. If no number of steps that a run can make
        # triggers the timer, the step after the run need not be read.
        if not self._timer.should_trigger_for_step(run_values.results + self._steps_per_run):
            return
        global_step = run_context.session.run(self._global_step_tensor)
        if not self._timer.should_trigger_for_step(global_step):
            return
        if self._has_companions and hasattr(run_context, "defer"):
            run_context.defer(lambda: self._save_on_time(run_context, global_step))
        else:
            self._save_on_time(run_context, global_step)

    def _save_on_time(self, run_context: RunContext, global_step: Any) -> None:
        if _waits(run_context.session):
            return  # the next step tries again
        should_stop = self._save(run_context.session, global_step)
        self._note_saved(global_step)
        if should_stop:
            run_context.request_stop()

    def end(self, session: Any) -> None:
        """Save the last step, unless that is done; then call the listeners' ``end``."""
        try:
            self._finish_pending()
        except CheckpointWriteError:
            # An earlier save failed: save the last step before that error is raised.
            self._save_last(session)
            raise
        last_step = self._save_last(session)
        for listener in self._listeners:
            listener.end(session, last_step)

    def _save_last(self, session: Any) -> Any:
        last_step = session.run(self._global_step_tensor)
        if last_step != self._timer.last_triggered_step():
            self._save(session, last_step)
            self._finish_pending()
            self._note_saved(last_step)
        return last_step

    # -- saving ---------------------------------------------------------------------------------

    def _save(self, session: Any, step: Any) -> bool:
        """Save ``step`` with the listeners around it; return whether one of them asks to stop."""
        if _waits(session):
            return False
        self._finish_pending()
        metrics: dict[str, float] = {}
        for listener in self._listeners:
            given = listener.before_save(session, step)
            if isinstance(given, Mapping):
                metrics.update(given)
        saver = self._get_saver()
        _logger.info("Saving checkpoints for %d into %s.", step, self._save_path)
        if not isinstance(saver, Saver):
            saver.save(session, self._save_path, global_step=step)
            self._timer.update_last_triggered_step(step)
            return self._announce(session, step)
        current = CurrentStep(step, str(self._global_step_tensor.name).removesuffix(":0"))
        path = saver.save(
            session,
            self._save_path,
            global_step=current,
            checkpoint_dir=self._checkpoint_dir,
            metrics=metrics,
        )
        if path is None:  # refused, and logged by the saver
            return False
        self._asked_step = step
        if current.saved != step:
            step = type(step)(current.saved)
        self._saved_step = step
        if saver.background:
            may_stop = not self._is_first
            self._pending_step = step
            saver.when_done(lambda error: self._background_done(step, error, may_stop=may_stop))
            return False
        # Before the listeners are called: what one of them raises does not undo the save. Also
        # for a step that was saved before: a new session starts a new interval.
        self._timer.update_last_triggered_step(step)
        return self._announce(session, step)

    def _background_done(self, step: Any, error: BaseException | None, *, may_stop: bool) -> None:
        """Called by the saver's ``poll``, on the training's thread."""
        self._pending_step = None
        if error is not None:
            self._timer.reset()  # the step was not saved: the next one tries again
        elif self._session is not None and self._announce(self._session, step) and may_stop:
            self._wants_stop = True

    def _note_saved(self, step: Any) -> None:
        """Restart the timer, unless that is done: a subclass's ``_save`` need not do it."""
        if self._asked_step is not None and step == self._asked_step:
            step = self._saved_step
        if self._timer.last_triggered_step() != step:
            self._timer.update_last_triggered_step(step)

    def _announce(self, session: Any, step: Any) -> bool:
        should_stop = False
        for listener in self._listeners:
            if listener.after_save(session, step):
                _logger.info("%s asked to stop after the checkpoint of step %d.", listener, step)
                should_stop = True
        return should_stop

    def _poll(self, run_context: RunContext) -> None:
        """Announce a background save if it is done; raise its error."""
        self._get_saver().poll()
        if self._wants_stop:
            self._wants_stop = False
            run_context.request_stop()

    def _finish_pending(self) -> None:
        """Wait for a background save and announce it; raise its error."""
        if self._pending_step is None:
            return
        saver = self._get_saver()
        try:
            saver.wait(self._grace_secs)
        except TimeoutError:  # still being written
            raise
        except BaseException:
            saver.poll()
            raise
        saver.poll()

    def _on_close(self) -> None:
        """Called at close, on every way out of the session."""
        self._session = None
        saver = self._saver if self._scaffold is None else self._scaffold.saver
        if not isinstance(saver, Saver):
            return
        try:
            if self._pending_step is not None:
                # What is on disk now is announced by the next session's hook, if there is one.
                saver.wait(self._grace_secs)
        except CheckpointError as exc:
            # Raising it would hide why the session is closed; a normal end has raised it before.
            _logger.error(  # noqa: TRY400  # as above
                "The checkpoint of step %d: %s", self._pending_step, text_of(exc)
            )
        finally:
            saver.release()

    def _get_saver(self) -> Any:
        """Return the saver: the one given, the scaffold's, or the one in the collection."""
        if self._saver is not None:
            return self._saver
        if self._scaffold is not None:
            return self._scaffold.saver
        savers = get_default_graph().get_collection(SAVERS)
        if not savers:
            raise RuntimeError(
                f"No items in collection {SAVERS}. Please add a saver to the collection or "
                f"provide a saver or scaffold."
            )
        if len(savers) > 1:
            raise RuntimeError(
                f"More than one item in collection {SAVERS}. Please indicate which one to use by "
                f"passing it to the constructor."
            )
        self._saver = savers[0]
        return self._saver


def _waits(session: Any) -> bool:
    """Whether a save must wait: the session is of a loop that was left by ``break``."""
    return getattr(session, "saving_waits", False) is True
