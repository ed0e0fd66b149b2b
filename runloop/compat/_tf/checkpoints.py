"""``tf.train.Saver`` and the functions that read checkpoints: runloop's, with TensorFlow's signatures.

Paths have no ``.safetensors`` at the end. TensorFlow's checkpoints are prefixes, and hooks read the
step from the end of the path.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from runloop import checkpoint
from runloop.compat._tf import clock
from runloop.errors import CheckpointNotFoundError

__all__ = [
    "Saver",
    "SaverDef",
    "checkpoint_exists",
    "get_checkpoint_mtimes",
    "get_checkpoint_state",
    "latest_checkpoint",
    "remove_checkpoint",
]

_SUFFIX = ".safetensors"


class SaverDef(NamedTuple):
    """A saver's settings.

    Attributes:
        var_list: Its variables, ``None`` for all.
        max_to_keep: How many checkpoints are kept.
        keep_checkpoint_every_n_hours: In addition, one checkpoint per this many hours is kept.
    """

    var_list: Any
    max_to_keep: int | None
    keep_checkpoint_every_n_hours: float


@clock.timed_by_wall_clock
class Saver(checkpoint.Saver):
    """:class:`runloop.Saver` with TensorFlow's parameters.

    Args:
        var_list: Which variables: a list, or ``{name in the checkpoint: variable}``; all if
            ``None``.
        reshape: For TensorFlow's signature; must be false.
        sharded: For TensorFlow's signature; ignored.
        max_to_keep: How many checkpoints are kept; 0 or ``None`` for all.
        keep_checkpoint_every_n_hours: In addition, one checkpoint per this many hours of training
            is kept.
        name: For TensorFlow's signature; ignored.
        restore_sequentially: Ignored.
        saver_def: The result of another saver's :meth:`as_saver_def`; replaces ``var_list``,
            ``max_to_keep`` and ``keep_checkpoint_every_n_hours``.
        builder: Ignored.
        defer_build: Ignored.
        allow_empty: Ignored.
        write_version: Ignored.
        pad_step_number: Must be false.
        save_relative_paths: Ignored: the state file's names are always relative.
        filename: Ignored.

    Raises:
        ValueError: If ``reshape`` or ``pad_step_number`` is true.

    Follows ``tf.compat.v1.train.Saver`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        var_list: Iterable[Any] | Mapping[str, Any] | None = None,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        saver_def: SaverDef | None = None,
        builder: Any = None,
        defer_build: bool = False,
        allow_empty: bool = False,
        write_version: Any = None,
        pad_step_number: bool = False,
        save_relative_paths: bool = False,
        filename: str | None = None,
    ) -> None:
        for option, value in (("reshape", reshape), ("pad_step_number", pad_step_number)):
            if value:
                raise ValueError(f"Saver: {option}={value!r} is not supported; leave it out")
        if saver_def is None:
            saver_def = SaverDef(var_list, max_to_keep, keep_checkpoint_every_n_hours)
        self._saver_def = saver_def
        self._kept: list[str] = []
        super().__init__(
            saver_def.var_list,
            max_to_keep=saver_def.max_to_keep,
            keep_checkpoint_every_n_hours=saver_def.keep_checkpoint_every_n_hours,
        )

    def save(
        self,
        sess: Any,
        save_path: str | os.PathLike[str],
        global_step: Any = None,
        latest_filename: str | None = None,
        meta_graph_suffix: str = "meta",
        write_meta_graph: bool = True,
        write_state: bool = True,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
        *,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> str | None:
        """Save; see :meth:`runloop.Saver.save`. No meta graph is written.

        Args:
            sess: A session, or a monitored session.
            save_path: The file's path, without step and suffix.
            global_step: A number, a handle or a name.
            latest_filename: The state file's name, ``"checkpoint"`` if ``None``.
            meta_graph_suffix: For TensorFlow's signature; ignored.
            write_meta_graph: Ignored.
            write_state: Must be true.
            strip_default_attrs: Ignored.
            save_debug_info: Ignored.
            checkpoint_dir: The state file's folder; that of the data file if ``None``.
            metrics: ``{name: value}``, stored with the checkpoint.

        Returns:
            The path without ``.safetensors``.

        Raises:
            ValueError: If ``write_state`` is false.
        """
        if not write_state:
            raise ValueError(
                "Saver.save: write_state=False is not supported; save into a separate folder instead"
            )
        path = super().save(
            sess,
            save_path,
            global_step,
            checkpoint_dir=checkpoint_dir,
            metrics=metrics,
            latest_filename=latest_filename or "checkpoint",
        )
        self._kept = super().last_checkpoints
        return None if path is None else _prefix(path)

    def restore(  # type: ignore[override]  # TensorFlow's names
        self, sess: Any, save_path: str | os.PathLike[str] | None, **options: Any
    ) -> checkpoint.RestoreReport:
        """Restore; see :meth:`runloop.Saver.restore`.

        Args:
            sess: A session, or a monitored session.
            save_path: A path that :meth:`save` or :func:`latest_checkpoint` returned.
            **options: Those of :meth:`runloop.Saver.restore`.

        Raises:
            ValueError: If the checkpoint does not exist, or ``save_path`` is ``None``.
            CheckpointError: If it is damaged, or does not fit this program.
        """
        if save_path is None:
            raise ValueError(
                "Saver.restore: save_path is None; latest_checkpoint() gives None for a folder "
                "without checkpoints"
            )
        try:
            return super().restore(sess, save_path, **options)
        except CheckpointNotFoundError as exc:
            raise ValueError(f"Saver.restore: {exc}") from exc

    @property
    def last_checkpoints(self) -> list[str]:
        """The checkpoints kept after the last save, the oldest first, without ``.safetensors``."""
        return [_prefix(path) for path in self._kept]

    def set_last_checkpoints(self, last_checkpoints: Sequence[str]) -> None:
        """Do nothing: the first save reads from the folder which checkpoints exist."""

    def set_last_checkpoints_with_time(
        self, last_checkpoints_with_time: Sequence[tuple[str, float]]
    ) -> None:
        """Do nothing: as :meth:`set_last_checkpoints`."""

    def build(self) -> None:
        """Do nothing: a saver needs no building."""

    def recover_last_checkpoints(self, checkpoint_paths: Sequence[str]) -> None:
        """Do nothing: as :meth:`set_last_checkpoints`."""

    @property
    def saver_def(self) -> SaverDef:
        """The saver's settings."""
        return self._saver_def

    def as_saver_def(self) -> SaverDef:
        """Return :attr:`saver_def`."""
        return self._saver_def


def _prefix(path: str) -> str:
    return path.removesuffix(_SUFFIX)


def latest_checkpoint(
    checkpoint_dir: str | os.PathLike[str], latest_filename: str | None = None
) -> str | None:
    """Return the newest checkpoint of a folder, without ``.safetensors``; ``None`` if it has none.

    Follows ``tf.train.latest_checkpoint`` of TensorFlow 2.21.
    """
    found = checkpoint.latest_checkpoint(os.fspath(checkpoint_dir), latest_filename)
    return None if found is None else _prefix(found)


def get_checkpoint_state(
    checkpoint_dir: str | os.PathLike[str], latest_filename: str | None = None
) -> checkpoint.CheckpointState | None:
    """Return the state file's contents, paths without ``.safetensors``; ``None`` without that file.

    Follows ``tf.train.get_checkpoint_state`` of TensorFlow 2.21.
    """
    state = checkpoint.get_checkpoint_state(checkpoint_dir, latest_filename)
    if state is None:
        return None
    return checkpoint.CheckpointState(
        _prefix(state.model_checkpoint_path),
        map(_prefix, state.all_model_checkpoint_paths),
        state.all_model_checkpoint_timestamps,
        state.last_preserved_timestamp,
    )


def checkpoint_exists(checkpoint_prefix: str | os.PathLike[str]) -> bool:
    """Return whether the checkpoint exists. Follows ``tf.compat.v1.train.checkpoint_exists``."""
    return os.path.isfile(_data_file(checkpoint_prefix))


def get_checkpoint_mtimes(checkpoint_prefixes: Iterable[str]) -> list[float]:
    """Return the modification times of the checkpoints that exist, in seconds since 1970.

    Follows ``tf.compat.v1.train.get_checkpoint_mtimes`` of TensorFlow 2.21.
    """
    paths = map(_data_file, checkpoint_prefixes)
    return [os.stat(path).st_mtime for path in paths if os.path.isfile(path)]


def remove_checkpoint(
    checkpoint_prefix: str | os.PathLike[str],
    checkpoint_format_version: Any = None,  # noqa: ARG001
    meta_graph_suffix: str = "meta",  # noqa: ARG001
) -> None:
    """Delete a checkpoint if it exists; the state file stays as it is.

    Follows ``tf.compat.v1.train.remove_checkpoint`` of TensorFlow 2.21.
    """
    if checkpoint_exists(checkpoint_prefix):
        os.unlink(_data_file(checkpoint_prefix))


def _data_file(prefix: str | os.PathLike[str]) -> str:
    return _prefix(os.fspath(prefix)) + _SUFFIX
