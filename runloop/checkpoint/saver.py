"""``Saver``: a session's state to a file and back."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from runloop import clock, observers
from runloop.checkpoint import files
from runloop.checkpoint.background import Worker
from runloop.checkpoint.layout import HOOKS, SUFFIX
from runloop.checkpoint.retention import KeepBest, Rules
from runloop.checkpoint.state_file import STATE_FILE
from runloop.checkpoint.writer import FormatCheck
from runloop.graph import GLOBAL_STEP
from runloop.messages import nearest
from runloop.session import Session, SessionState
from runloop.state import pack, to_numpy
from runloop.state.dtypes import storage_of

if TYPE_CHECKING:
    from runloop.checkpoint.layout import Layout
    from runloop.checkpoint.manager import CheckpointManager
    from runloop.checkpoint.payload import Copies
    from runloop.checkpoint.restore import RestoreReport

__all__ = ["Saver"]

Array = np.ndarray[Any, Any]

_logger = logging.getLogger(__name__)


class Saver:
    """Saves the state of a session and restores it.

    Saved are the variables, the attached state and the hooks' state. A save is all or nothing: the
    data file first, then the state file, then old checkpoints are deleted; each is on disk before
    the next begins. The first save into a folder locks it against other processes until
    :meth:`close`, or until the saver is gone.

    Args:
        var_list: Which variables: a list of variables or names, or ``{name in the checkpoint:
            variable or name}``. ``None``, the default, is all. Attached state and hooks' state are
            always saved.
        max_to_keep: How many checkpoints are kept; 0 or ``None`` for all.
        keep_checkpoint_every_n_hours: One in so many hours of training is kept besides.
        keep_best: :class:`KeepBest`: the best ones are kept besides.
        background: Whether :meth:`save` returns once the state is copied, and a thread writes it.
            The copy takes as much memory as the state, allocated at the first save and used again.
        reject_nonfinite: Whether a state with NaN or infinity in a variable or attached array is
            refused: :meth:`save` then logs an error, returns ``None`` and counts nothing.

    Raises:
        TypeError: If an argument is of a wrong type.
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
        self._keeper: CheckpointManager | None = None
        self._format_check = FormatCheck()
        self._layout: Layout | None = None
        self._copies: Copies | None = None
        self._worker = Worker()

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

        With ``background=True`` a save that is under way is waited for first.

        Args:
            session: A ``Session``, or a monitored session.
            save_path: What the data file is called, without step and suffix; its folder is made.
            global_step: Goes into the name (``model.ckpt-100.safetensors``) and the document: an
                int, or a variable or name of one.
            checkpoint_dir: Where the state file is, by default the folder of the data file; one
                above that.
            metrics: ``{name: value}`` to be kept with the checkpoint and for ``keep_best``.
            latest_filename: The state file's name. Savers that save into one folder under
                different names keep each its own checkpoints; as a step is one file, they
                should give them different names, too.

        Returns:
            The path of the data file; ``None`` if ``reject_nonfinite`` refused the state.

        Raises:
            TypeError: If ``session`` is none, or something can't be stored; names it. Nothing was
                written.
            ValueError: If ``var_list`` names what is not there or one thing twice, two tensors have
                one name, or ``checkpoint_dir`` is not above the data file.
            CheckpointLockedError: If another process saves into the folder.
            CheckpointWriteError: If the system fails. The older checkpoints stand. With
                ``background=True`` it is raised by the next :meth:`save` or :meth:`wait`.
        """
        raw = _raw_session(session, "save")
        self.wait()
        step = None if global_step is None else _step_of(raw, global_step)
        folder, name = _place(save_path, step, checkpoint_dir)
        state = raw.state()
        if global_step is None:
            counted = state.variables.get(GLOBAL_STEP)
            step = None if counted is None else int(counted)
        arrays, document = self._collect(raw, state)
        layout = self._layout_of(raw, arrays)
        if self._reject_nonfinite and self._is_nonfinite(arrays, step):
            return None
        values = self._metrics(raw, metrics)
        manager = self._keeper
        if manager is None or (manager.folder, manager.state_file) != (folder, latest_filename):
            self.close()
            from runloop.checkpoint.manager import (
                CheckpointManager,  # only to save, as what follows
            )

            manager = self._keeper = CheckpointManager(
                self._files, folder, self._rules, latest_filename, self._format_check
            )
        manager.open(os.path.join(os.path.dirname(name), os.path.basename(os.fspath(save_path))))
        record = manager.next_record(name, step, self._clock.time(), values)
        path = os.path.join(folder, name)
        from runloop.checkpoint.payload import Copies, LiveArrays

        if not self._background:
            manager.save(record, LiveArrays(layout, arrays), document)
        else:
            copies = self._copies = self._copies or Copies()
            copies.take(layout, arrays)
            self._worker.start(lambda: manager.save(record, copies, document))
        return path

    def wait(self, timeout_secs: float | None = None) -> None:
        """Return once the background save that is under way, if any, is on disk.

        Args:
            timeout_secs: How long at most; ``None`` for as long as it takes.

        Raises:
            CheckpointTimeoutError: If it takes longer. The writing goes on.
            CheckpointWriteError: If the save failed; raised once.
        """
        self._worker.wait(timeout_secs)

    @property
    def busy(self) -> bool:
        """Whether a background save is being written at this moment."""
        return self._worker.busy

    @property
    def background(self) -> bool:
        """Whether :meth:`save` returns before the checkpoint is on disk."""
        return self._background

    @property
    def last_checkpoints(self) -> list[str]:
        """The data files that are kept in the folder of the last save, the oldest first."""
        if self._keeper is None:
            return []
        return [os.path.join(self._keeper.folder, r.name) for r in self._keeper.records]

    def close(self) -> None:
        """Wait for a background save, and let other processes save into the folder.

        Raises:
            CheckpointWriteError: If the background save failed.
        """
        try:
            self.wait()
        finally:
            self.release()

    def release(self) -> None:
        """Let other processes save into the folder, unless a save is still under way."""
        if self._keeper is not None and not self.busy:
            self._keeper.close()
            self._keeper = None

    def _layout_of(self, session: Session, arrays: Mapping[str, Array]) -> Layout:
        if self._layout is None or not self._layout.fits(arrays):
            from runloop.checkpoint.layout import Layout

            for name, saved_name in self._chosen(session).items():
                try:
                    storage_of(arrays[saved_name].dtype)
                except TypeError as exc:
                    raise TypeError(f"variable {name!r} can't be saved: {exc}") from exc
            self._layout = Layout(arrays)
        return self._layout

    def _collect(
        self, session: Session, state: SessionState
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return the live arrays by name, and the document without what the manager adds."""
        chosen = {} if self._var_list is None else self._chosen(session)
        arrays: dict[str, Array] = {saved: state.variables[name] for name, saved in chosen.items()}
        if self._var_list is None:  # mostly; the training waits, and there may be 10,000
            arrays = dict(state.variables)
        for name, value in arrays.items():
            if type(value) is not np.ndarray:
                try:
                    arrays[name] = to_numpy(value)
                except TypeError as exc:
                    raise TypeError(f"variable {name!r} can't be saved: {exc}") from exc
        owners: dict[str, str] = {}
        document: dict[str, Any] = {"attached": {}, "hooks": {}}
        groups = [("attached", name, name, obj) for name, obj in state.attached.items()]
        groups += [(HOOKS, name, f"{HOOKS}/{name}", o) for name, o in state.companions.items()]
        for group, name, prefix, obj in groups:
            tensors, node = pack(prefix, obj)
            for tensor_name, array in tensors.items():
                if tensor_name in arrays:
                    names = {saved: name for name, saved in self._chosen(session).items()}
                    other = owners.get(tensor_name) or f"variable {names[tensor_name]!r}"
                    raise ValueError(
                        f"two tensors would be called {tensor_name!r} in the checkpoint: {other} "
                        f"and one of {group} {name!r}; rename one"
                    )
                owners[tensor_name] = f"one of {group} {name!r}"
                arrays[tensor_name] = array
            document[group][name] = node
        return arrays, document

    def _chosen(self, session: Session) -> dict[str, str]:
        """Return ``{name of a variable: its name in checkpoints}``."""
        known = {variable.name for variable in session.graph.variables}
        if self._var_list is None:
            return {variable.name: variable.name for variable in session.graph.variables}
        pairs: Iterator[tuple[Any, Any]]
        if isinstance(self._var_list, Mapping):
            pairs = ((v, str(k)) for k, v in self._var_list.items())
        else:
            pairs = ((v, None) for v in self._var_list)
        chosen = {}
        for variable, saved_name in pairs:
            name = str(getattr(variable, "name", variable)).removesuffix(":0")
            if name not in known:
                raise ValueError(
                    f"var_list: the graph has no variable {name!r}.{nearest(name, known)}"
                )
            if name in chosen:
                raise ValueError(f"var_list: variable {name!r} is there twice")
            chosen[name] = saved_name or name
        if len(set(chosen.values())) < len(chosen):
            raise ValueError("var_list: two variables have one name in the checkpoint")
        return chosen

    def _metrics(self, session: Session, given: Mapping[str, float] | None) -> dict[str, float]:
        values = {str(name): float(value) for name, value in (given or {}).items()}
        best = self._rules.best
        if best is not None and best.name not in values:
            value = session.run(best.metric)
            try:
                values[best.name] = float(value)
            except (TypeError, ValueError) as exc:
                raise TypeError(
                    f"keep_best: the metric {best.name!r} must be a number, got {value!r:.80}"
                ) from exc
        return values

    def _is_nonfinite(self, arrays: Mapping[str, np.ndarray[Any, Any]], step: int | None) -> bool:
        found = [
            name
            for name, array in arrays.items()
            if not name.startswith(f"{HOOKS}/") and not _all_finite(array)
        ]
        if found:
            _logger.error(
                "The state at step %s is not saved: NaN or infinity in %s%s.",
                step,
                ", ".join(found[:5]),
                f" and {len(found) - 5} more" if len(found) > 5 else "",
            )
        return bool(found)

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
        touched. Arrays that are there are written into, unless they are read-only or share
        memory. A file that runloop did not write is restored by names alone.

        Args:
            session: A ``Session``, or a monitored session.
            path: The data file, with or without ``.safetensors``.
            strict: Whether it is an error if something is missing, unexpected or mismatched. If
                not, what fits is restored.
            include: Patterns of the names here that are restored, as in a shell; all by default.
            exclude: Patterns of names that are not.
            rename: ``{name in the file: name here}``; with a ``/`` at the end of both, everything
                below it.

        Returns:
            What was restored and what was not.

        Raises:
            TypeError: If ``session`` is none.
            ValueError: With ``strict``, if a pattern of ``include`` matches no name.
            CheckpointNotFoundError: If there is no such file.
            CheckpointMismatchError: With ``strict``, if it does not fit; carries the report.
            CheckpointCorruptError: If the file was cut off or changed; names the tensor.
            CheckpointFormatError: If it can't be understood.
        """
        from runloop.checkpoint.reader import CheckpointReader  # only to restore
        from runloop.checkpoint.restore import NameFilter, restore

        raw = _raw_session(session, "restore")
        name_filter = NameFilter(include, exclude, rename)
        self.wait()
        with CheckpointReader(path) as reader:
            report = restore(
                raw,
                reader,
                self._chosen(raw),
                name_filter,
                strict=strict,
                whole=self._var_list is None,
            )
        _logger.info("Restored %s.", report)
        return report


def _raw_session(session: Any, verb: str) -> Session:
    raw = session
    if not isinstance(raw, Session) and callable(getattr(session, "raw_session", None)):
        raw = session.raw_session()
    if not isinstance(raw, Session):
        raise TypeError(
            f"Saver can {verb} a runloop Session or a monitored session of one, got {session!r:.80}"
        )
    return raw


def _step_of(session: Session, global_step: Any) -> int:
    value = global_step
    if not isinstance(value, (int, np.integer)):
        value = session.run(value)
    return int(value)


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


def _all_finite(array: np.ndarray[Any, Any]) -> bool:
    if array.dtype.kind in "biumM":
        return True
    from runloop.checkpoint.array_bytes import CHUNK_BYTES

    flat = array.reshape(-1) if array.flags.c_contiguous else array.ravel(order="K")
    size = max(1, CHUNK_BYTES // max(1, array.itemsize))
    try:
        return all(bool(np.isfinite(flat[i : i + size]).all()) for i in range(0, flat.size, size))
    except TypeError:  # a dtype for which the question has no answer: small integers of ml_dtypes
        return True
