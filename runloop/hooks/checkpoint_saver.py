"""Save checkpoints while training, and tell others about it.

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
from runloop.errors import CheckpointError, CheckpointWriteError
from runloop.graph import get_default_graph
from runloop.graph.tensorflow_names import SAVERS
from runloop.hooks._shared import require_global_step
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues
from runloop.timers import SecondOrStepTimer

__all__ = ["CheckpointSaverHook", "CheckpointSaverListener"]

_logger = logging.getLogger(__name__)


class CheckpointSaverListener:
    """Is told about every checkpoint of a :class:`CheckpointSaverHook`; does nothing by itself.

    A listener need not inherit from it, but must have the four methods.

    Follows ``tf.train.CheckpointSaverListener`` of TensorFlow 2.21.
    """

    def begin(self) -> None:
        """Called in the hook's ``begin``: the graph can still be added to."""

    def before_save(self, session: Any, global_step_value: int) -> Mapping[str, float] | None:
        """Called before each save.

        Args:
            session: The session below the hooks.
            global_step_value: The step that is about to be saved.

        Returns:
            ``{name: value}`` of metrics, kept with the checkpoint and used by ``KeepBest``; or
            ``None``.
        """

    def after_save(self, session: Any, global_step_value: int) -> bool | None:
        """Called after each save, once the checkpoint is on disk; not after one that failed.

        With a saver in the background that is in a later call of the hook, on the training's
        thread: ``session`` may be further than ``global_step_value`` by then.

        Returns:
            A true value to ask that the training stop; ignored after the first save and the one
            at the end.
        """

    def end(self, session: Any, global_step_value: int) -> None:
        """Called in the hook's ``end``, after the last save.

        Args:
            session: The session below the hooks, still open.
            global_step_value: The last step.
        """


class CheckpointSaverHook(SessionRunHook):
    """Saves a checkpoint after the session is created, on its trigger, and at the end.

    At the end only if the last step is not saved yet. If hooks have state of their own, a save
    waits until every hook has seen the step. The timer starts anew only when a save succeeded, so
    that after a failed save whose error is caught the next step tries again; a state that
    ``reject_nonfinite`` refuses is looked at again when the interval is over.

    With a saver in the background, an error of the writing is raised by the hook's next method, or
    by ``end``. Whichever way the session is left, the writing is waited for, as long as the
    session's ``stop_grace_period_secs`` allow; if that is not enough, an error in the log says so.

    Args:
        checkpoint_dir: The folder.
        save_secs: Seconds between saves.
        save_steps: Steps between saves. Exactly one of the two must be given.
        saver: Any object with TensorFlow's ``save(session, path, global_step=step)``; by default
            the scaffold's, else the one in the graph's collection ``"savers"``.
        checkpoint_basename: What the files are called, without step; may contain a folder.
        scaffold: Whose saver is used.
        listeners: :class:`CheckpointSaverListener` objects, called in their order.
        save_graph_def: For TensorFlow's signature; ignored, there is no graph definition.

    Raises:
        ValueError: If both ``saver`` and ``scaffold`` are given, or none or both of ``save_secs``
            and ``save_steps``.
        RuntimeError: From ``begin``, if the graph has no global step; at the first save, if there
            is no saver or more than one in the collection.

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
        self._steps_per_run = 1_000_000  # more than any run makes
        self._has_companions = False
        self._is_first = False
        self._grace_secs: float | None = None
        # Of a save in the background that nobody has waited for: (step, whether it may stop).
        self._written_later: tuple[Any, bool] | None = None

    # -- the lifecycle --------------------------------------------------------------------------

    def begin(self) -> None:
        """Find the global step, and let the listeners add to the graph."""
        self._global_step_tensor = require_global_step("CheckpointSaverHook")
        for listener in self._listeners:
            listener.begin()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Save the state as it was created or restored."""
        if hasattr(coord, "callback"):
            coord.callback(self._on_close)
        self._grace_secs = getattr(coord, "stop_grace_period_secs", None)
        self._finish_pending(session)
        state = getattr(session, "state", None)
        self._has_companions = callable(state) and bool(getattr(state(), "companions", None))
        global_step = session.run(self._global_step_tensor)
        self._is_first = True
        try:
            self._save(session, global_step)
        finally:
            self._is_first = False
        self._note_saved(global_step)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the global step; see whether a save in the background is done."""
        self._poll(run_context)
        return RunArgs(self._global_step_tensor)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Save, if it is time."""
        if self._written_later is not None:
            self._poll(run_context)
        # The step fetched with the run is the one before it. If the timer would not trigger however
        # far the run went, the step after it need not be read.
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
        should_stop = self._save(run_context.session, global_step)
        self._note_saved(global_step)
        if should_stop:
            run_context.request_stop()

    def end(self, session: Any) -> None:
        """Save the last step, unless that is done; then call the listeners' ``end``."""
        try:
            self._finish_pending(session)
        except CheckpointWriteError:
            # What failed was another save: the last step gets its own before that is raised.
            self._save_last(session)
            raise
        last_step = self._save_last(session)
        for listener in self._listeners:
            listener.end(session, last_step)

    def _save_last(self, session: Any) -> Any:
        last_step = session.run(self._global_step_tensor)
        if last_step != self._timer.last_triggered_step():
            self._save(session, last_step)
            self._finish_pending(session)
            self._note_saved(last_step)
        return last_step

    # -- saving ---------------------------------------------------------------------------------

    def _save(self, session: Any, step: Any) -> bool:
        """Save ``step`` with the listeners around it; return whether one of them asks to stop."""
        self._finish_pending(session)
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
        path = saver.save(
            session,
            self._save_path,
            global_step=step,
            checkpoint_dir=self._checkpoint_dir,
            metrics=metrics,
        )
        if path is None:  # refused, and logged by the saver
            return False
        if saver.background:
            self._written_later = (step, not self._is_first)
            return False
        # Before the listeners are told: what one of them raises does not undo the save. Also for a
        # step that was saved before: a session made anew starts the interval anew.
        self._timer.update_last_triggered_step(step)
        return self._announce(session, step)

    def _note_saved(self, step: Any) -> None:
        """Start the timer anew, unless that is done: a subclass's ``_save`` need not do it."""
        if self._timer.last_triggered_step() != step:
            self._timer.update_last_triggered_step(step)

    def _announce(self, session: Any, step: Any) -> bool:
        should_stop = False
        for listener in self._listeners:
            if listener.after_save(session, step):
                _logger.info("%s asked after the checkpoint of step %d to stop.", listener, step)
                should_stop = True
        return should_stop

    def _poll(self, run_context: RunContext) -> None:
        """Announce a save in the background if it is done; raise its error."""
        if self._written_later is None or self._get_saver().busy:
            return
        if self._finish_pending(run_context.session):
            run_context.request_stop()

    def _finish_pending(self, session: Any) -> bool:
        """Wait for a save in the background and announce it; return whether it asks to stop."""
        if self._written_later is None:
            return False
        step, may_stop = self._written_later
        self._wait()
        return self._announce(session, step) and may_stop

    def _wait(self) -> None:
        try:
            self._get_saver().wait(self._grace_secs)
        except TimeoutError:  # it is still being written
            raise
        except BaseException:
            self._written_later = None
            self._timer.reset()  # that step was not saved: the next one is tried
            raise
        self._written_later = None

    def _on_close(self) -> None:
        """Called at close, whichever way the session is left."""
        if self._written_later is not None:
            step, _ = self._written_later
            # What is on disk now is announced by the next session's hook, if there is one.
            try:
                self._get_saver().wait(self._grace_secs)
            except CheckpointError as exc:
                # Raised, it would hide why the session is closed; a normal end raised it already.
                _logger.error("The checkpoint of step %d: %s", step, exc)  # noqa: TRY400  # as above
                self._written_later = None
        saver = self._saver if self._scaffold is None else self._scaffold.saver
        if isinstance(saver, Saver):
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
