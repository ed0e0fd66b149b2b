"""``Saver``: a session's state to a file and back."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from runloop import clock, observers
from runloop.checkpoint import files
from runloop.checkpoint.background import Worker
from runloop.checkpoint.collect import (
    Array,
    choose_variables,
    collect,
    nonfinite,
    outdated_step,
    raw_session,
    step_of,
)
from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.mistakes import mistakes
from runloop.checkpoint.retention import KeepBest, Rules
from runloop.checkpoint.state_file import STATE_FILE
from runloop.checkpoint.writer import FormatCheck
from runloop.session import NotReportedError, Session

if TYPE_CHECKING:
    from runloop.checkpoint.background import Done
    from runloop.checkpoint.layout import Layout
    from runloop.checkpoint.manager import CheckpointManager
    from runloop.checkpoint.payload import Copies
    from runloop.checkpoint.restore import RestoreReport

__all__ = ["Saver"]

_logger = logging.getLogger(__name__)


class Saver:
    """Saves the state of a session and restores it.

    A checkpoint holds the variables, the attached state and the hooks' state. A save is all or
    nothing: the data file is written first, then the state file, then old checkpoints are deleted;
    each step is durable before the next one starts. The first save into a folder locks it against
    other processes until :meth:`close`, or until the saver is garbage-collected.

    Several threads may use one saver: saves and restores take turns, and each file holds the
    variables of one moment. Its name says which, if ``global_step`` is a variable or its name.
    Attached objects and hooks' state are read after that moment, one after the other, while they
    are live: a thread that changes them during :meth:`save` (with ``background``, too: the copy is
    made before it returns) must be kept out by the program. A copy of a saver (``copy.deepcopy``, ``pickle``) has the same settings and
    shares nothing else.

    Args:
        var_list: Which variables: a list of variables or names, or ``{name in the checkpoint:
            variable or name}``. ``None``, the default, is all. Attached state and hooks' state are
            always saved.
        max_to_keep: How many checkpoints are kept; 0 or ``None`` for all.
        keep_checkpoint_every_n_hours: One checkpoint per this many hours of training is kept in
            addition.
        keep_best: :class:`KeepBest`: the best checkpoints are kept in addition.
        background: Whether :meth:`save` returns once the state is copied, and a thread writes it.
            The copy takes as much memory as the state, allocated at the first save and reused.
        reject_nonfinite: Whether a state with NaN or infinity in a variable or attached array is
            refused: :meth:`save` then logs an error, returns ``None`` and counts nothing.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If a number is negative.

    Follows ``tf.compat.v1.train.Saver`` of TensorFlow 2.21 in names and retention; the file format
    is safetensors.
    """

    def __init__(
        self,
        var_list: Iterable[Any] | Mapping[str, Any] | None = None,
        *,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        keep_best: KeepBest | None = None,
        background: bool = False,
        reject_nonfinite: bool = False,
    ) -> None:
        if max_to_keep is not None and (
            isinstance(max_to_keep, bool) or not isinstance(max_to_keep, int)
        ):
            raise TypeError(f"max_to_keep must be an int or None, got {max_to_keep!r}")
        if max_to_keep is not None and max_to_keep < 0:
            raise ValueError(f"max_to_keep must not be negative, got {max_to_keep}")
        if not keep_checkpoint_every_n_hours > 0:
            raise ValueError(
                f"keep_checkpoint_every_n_hours must be positive, got "
                f"{keep_checkpoint_every_n_hours!r}"
            )
        if keep_best is not None and not isinstance(keep_best, KeepBest):
            raise TypeError(f"keep_best must be a runloop.checkpoint.KeepBest, got {keep_best!r}")
        if isinstance(var_list, str):
            raise TypeError(f"var_list must be a list or a mapping, got {var_list!r}")
        self._var_list = (
            var_list if var_list is None or isinstance(var_list, Mapping) else [*var_list]
        )
        self._rules = Rules(max_to_keep, float(keep_checkpoint_every_n_hours), keep_best)
        self._background = background
        self._reject_nonfinite = reject_nonfinite
        self._clock = clock.current()
        self._files = files.current()
        self._start_fresh()

    def _start_fresh(self) -> None:
        """Make everything that belongs to this object alone: no copy of it may share it."""
        # One thread at a time saves, restores or closes. Reentrant, so that a second call from
        # within the first one (a signal handler, a state_dict) is refused and does not hang.
        self._turn = threading.RLock()
        self._doing = ""
        self._manager: CheckpointManager | None = None
        self._format_check = FormatCheck()
        self._layout: Layout | None = None
        self._unreported = 0  # checkpoints that were saved without a value of the metric
        self._copies: Copies | None = None
        self._worker = Worker()
        self._has_warned_of_step = False

    def __getstate__(self) -> dict[str, Any]:
        own = {"_turn", "_doing", "_manager", "_format_check", "_layout", "_copies", "_worker"}
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start_fresh()

    # -- saving ---------------------------------------------------------------------------------

    @observers.reported
    def save(
        self,
        session: Any,
        save_path: str | os.PathLike[str],
        global_step: Any = None,
        *,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        metrics: Mapping[str, float] | None = None,
        latest_filename: str = STATE_FILE,
    ) -> str | None:
        """Save the state of ``session`` as it is now.

        With ``background=True``, the previous save is waited for first.

        Args:
            session: A ``Session``, or a monitored session.
            save_path: The data file without step and suffix; its folder is created.
            global_step: Goes into the name (``model.ckpt-100.safetensors``) and the document: a
                variable or its name, for the value that is saved; or an int, taken as given. An
                int that the session has left behind is a ``UserWarning``, once.
            checkpoint_dir: Where the state file is: by default the folder of the data file, or a
                folder above it.
            metrics: ``{name: value}`` to be kept with the checkpoint and for ``keep_best``.
            latest_filename: The state file's name. Savers that save into one folder under
                different names keep their own checkpoints; since a step is one file, give their
                data files different names, too.

        Returns:
            The path of the data file; ``None`` if ``reject_nonfinite`` refused the state.

        Raises:
            TypeError: If ``session`` is not a session, or something can't be stored; names it.
                Nothing was written.
            ValueError: If ``var_list`` names an unknown variable or a duplicate, two tensors have
                one name, the header would be too large to be read, or ``checkpoint_dir`` is not
                above the data file.
            CheckpointLockedError: If another process saves into the folder.
            CheckpointWriteError: If the system fails. The older checkpoints are untouched. With
                ``background=True`` it is raised by the next :meth:`save`, :meth:`wait` or
                :meth:`poll`.
            RuntimeError: If this thread is saving or restoring with this saver already.
        """
        raw = raw_session(session, "save")
        with self._turn:
            self._begin("save")
            try:
                self._worker.wait(None)
                state = raw.state()
                step = step_of(raw, state, global_step)
                folder, name = _place(
                    save_path, None if global_step is None else step, checkpoint_dir
                )
                chosen = None if self._var_list is None else self._chosen(raw)
                arrays, document = collect(state, chosen)
                if self._reject_nonfinite and self._is_nonfinite(arrays, step):
                    return None
                layout = self._layout_of(arrays)
                last = None if self._manager is None else self._manager.newest
                warned = mistakes(raw.graph, state, arrays, document, layout, step, last)
                values = self._metrics(raw, metrics)
                manager = self._manager_of(folder, latest_filename)
                prefix = os.path.basename(os.fspath(save_path))
                manager.open(os.path.join(os.path.dirname(name), prefix))
                record = manager.next_record(name, step, self._clock.time(), values)
                if self._background:
                    copies = self._copy(layout, arrays)
                    self._worker.start(lambda: manager.save(record, copies, document))
                else:
                    from runloop.checkpoint.payload import LiveArrays  # only to save

                    manager.save(record, LiveArrays(layout, arrays), document)
                outdated = outdated_step(state, global_step)
                if outdated is not None and not self._has_warned_of_step:
                    self._has_warned_of_step = True
                    warned.append(outdated)
                for text in warned:  # last: where warnings are errors, the checkpoint is there
                    warnings.warn(text, UserWarning, stacklevel=3)
                return os.path.join(folder, name)
            finally:
                self._doing = ""

    def _begin(self, verb: str) -> None:
        if self._doing:
            raise RuntimeError(
                f"Saver.{verb} was called by the thread that is inside Saver.{self._doing} of the "
                f"same saver, for example by a signal handler or a state_dict; call it afterwards"
            )
        self._doing = verb

    def _chosen(self, session: Session) -> dict[str, str]:
        return choose_variables(self._var_list, [v.name for v in session.graph.variables])

    def _is_nonfinite(self, arrays: Mapping[str, Array], step: int | None) -> bool:
        found = nonfinite(arrays)
        if found:
            _logger.error(
                "The state at step %s is not saved: NaN or infinity in %s%s.",
                step,
                ", ".join(found[:5]),
                f" and {len(found) - 5} more" if len(found) > 5 else "",
            )
        return bool(found)

    def _layout_of(self, arrays: Mapping[str, Array]) -> Layout:
        if self._layout is None or not self._layout.fits(arrays):
            from runloop.checkpoint.layout import Layout

            self._layout = Layout(arrays)
        return self._layout

    def _metrics(self, session: Session, given: Mapping[str, float] | None) -> dict[str, float]:
        values = {str(name): _number("metrics", name, v) for name, v in (given or {}).items()}
        best = self._rules.best
        if best is not None and best.name not in values:
            try:
                value = session.run(best.metric)
            except NotReportedError:
                self._not_reported(best.name)
            else:
                values[best.name] = _number("keep_best", best.name, value)
        return values

    def _not_reported(self, metric: str) -> None:
        """Note a checkpoint without a value; the first one of a run is made before any report."""
        self._unreported += 1
        if self._unreported == 2:
            _logger.warning(
                "A checkpoint is saved without a value of %r, which was not reported yet: it is "
                "never one of the best. Report %r before a checkpoint is saved.",
                metric,
                metric,
            )

    def _manager_of(self, folder: str, state_file: str) -> CheckpointManager:
        """Return the manager of a folder; the folder before it is released."""
        manager = self._manager
        if manager is None or not manager.is_for(folder, state_file):
            from runloop.checkpoint.manager import CheckpointManager  # only to save

            self._release()
            manager = self._manager = CheckpointManager(
                self._files, folder, self._rules, state_file, self._format_check
            )
        return manager

    def _copy(self, layout: Layout, arrays: Mapping[str, Array]) -> Copies:
        from runloop.checkpoint.payload import Copies

        copies = self._copies = self._copies or Copies()
        copies.take(layout, arrays)
        return copies

    def wait(self, timeout_secs: float | None = None) -> None:
        """Return when the background save in progress, if any, is on disk.

        Args:
            timeout_secs: How long to wait at most; ``None`` for as long as it takes.

        Raises:
            CheckpointTimeoutError: If it takes longer. The writing continues.
            CheckpointWriteError: If the save failed; raised once, in every thread that waits.
        """
        self._worker.wait(timeout_secs)

    def when_done(self, callback: Done) -> None:
        """Call ``callback(None)`` when the last save is on disk, ``callback(error)`` if it failed.

        Without ``background`` that is at once. With it, the thread that calls :meth:`poll` after
        the writing calls it.

        Args:
            callback: A function of one argument.
        """
        if self._background:
            self._worker.when_done(callback)
        else:
            callback(None)

    def poll(self) -> None:
        """Call what :meth:`when_done` was given, for saves that are done; never waits.

        Raises:
            CheckpointWriteError: If a background save failed, unless :meth:`wait` raised it.
        """
        self._worker.poll()

    @property
    def busy(self) -> bool:
        """Whether a background save is being written right now."""
        return self._worker.busy

    @property
    def background(self) -> bool:
        """Whether :meth:`save` returns before the checkpoint is on disk."""
        return self._background

    @property
    def last_checkpoints(self) -> list[str]:
        """The data files that are kept in the folder of the last save, oldest first."""
        manager = self._manager
        if manager is None:
            return []
        return [os.path.join(manager.folder, r.name) for r in manager.records]

    def close(self) -> None:
        """Wait for a background save, and let other processes save into the folder.

        Raises:
            CheckpointWriteError: If the background save failed.
            RuntimeError: If this thread is saving or restoring with this saver.
        """
        with self._turn:
            self._begin("close")
            try:
                self._worker.wait(None)
            finally:
                self._release()
                self._doing = ""

    def release(self) -> None:
        """Let other processes save into the folder, unless a save is in progress."""
        if self._turn.acquire(blocking=False):
            try:
                if not self._doing:
                    self._release()
            finally:
                self._turn.release()

    def _release(self) -> None:
        manager = self._manager
        if manager is not None and not self.busy:
            manager.close()
            self._manager = None

    # -- restoring ------------------------------------------------------------------------------

    @observers.reported
    def restore(
        self,
        session: Any,
        path: str | os.PathLike[str],
        strict: bool = True,
        *,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        rename: Mapping[str, str] | None = None,
    ) -> RestoreReport:
        """Put a checkpoint into ``session``, all of it or nothing.

        Names, shapes and dtypes are compared and all checksums verified before anything is
        touched. Existing arrays are written into, unless they are read-only or share memory. A
        file that runloop did not write is restored by names alone.

        Args:
            session: A ``Session``, or a monitored session.
            path: The data file, with or without ``.safetensors``. It may be a symbolic link.
            strict: Whether missing, unexpected or mismatched names are an error. If not, what fits
                is restored.
            include: Patterns of the names here that are restored, as in a shell; all by default.
            exclude: Patterns of names that are not.
            rename: ``{name in the file: name here}``; with a ``/`` at the end of both, everything
                below it.

        Returns:
            What was restored and what was not.

        Raises:
            TypeError: If ``session`` is not a session.
            ValueError: With ``strict``, if a pattern of ``include`` matches no name.
            CheckpointNotFoundError: If the file does not exist.
            CheckpointMismatchError: With ``strict``, if it does not fit; carries the report.
            CheckpointCorruptError: If the file was cut off or changed; names the tensor.
            CheckpointFormatError: If it can't be understood.
            RuntimeError: If this thread is saving or restoring with this saver already.
        """
        from runloop.checkpoint.reader import CheckpointReader  # only to restore
        from runloop.checkpoint.restore import NameFilter, restore

        raw = raw_session(session, "restore")
        name_filter = NameFilter(include, exclude, rename)
        with self._turn:
            self._begin("restore")
            try:
                self._worker.wait(None)
                raw.graph.watch.start(raw.graph.attached)
                # Twice, for a Ctrl-C on the way into the first close(): a failed restore leaves
                # cycles, so that otherwise the file would stay open until they are collected.
                with CheckpointReader(path) as reader, reader:
                    report = restore(
                        raw,
                        reader,
                        self._chosen(raw),
                        name_filter,
                        strict=strict,
                        whole=self._var_list is None,
                    )
            finally:
                self._doing = ""
        _logger.info("Restored %s.", report)
        return report


def _number(argument: str, name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as exc:
        shown = f"{value!r:.80}" if not isinstance(value, int) else "an integer that is too large"
        raise TypeError(f"{argument}: the metric {name!r} must be a number, got {shown}") from exc


def _place(
    save_path: str | os.PathLike[str],
    step: int | None,
    checkpoint_dir: str | os.PathLike[str] | None,
) -> tuple[str, str]:
    """Return the folder of the state file, and the data file relative to it."""
    path = os.fspath(save_path)
    if not os.path.basename(path):
        raise ValueError(f"save_path must end with the name of a file, got {path!r}")
    if step is not None:
        path = f"{path.removesuffix(SUFFIX)}-{step}"
    if not path.endswith(SUFFIX):
        path += SUFFIX
    if checkpoint_dir is None:
        return os.path.dirname(path) or ".", os.path.basename(path)
    folder = os.fspath(checkpoint_dir) or "."
    name = os.path.relpath(path, folder)
    if name.split(os.sep)[0] == os.pardir:
        raise ValueError(f"checkpoint_dir {folder!r} must be above the data file {path!r}")
    return folder, name
