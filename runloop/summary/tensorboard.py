"""Scalars as TensorBoard event files, with the extra ``tensorboard``."""

from __future__ import annotations

import operator
import os
from typing import Any, Self

from runloop.summary.writer import scalar

__all__ = ["TensorBoardWriter"]


class TensorBoardWriter:
    """Writes event files that TensorBoard shows, through tensorboardX.

    The first scalar opens a new event file in ``logdir``, also the first one after
    :meth:`close`. It tells TensorBoard to forget what earlier files hold of that step and later
    ones, so that a run which was started again shows one curve. TensorBoard follows one file a
    folder: give hooks that write to one folder the same writer.

    Args:
        logdir: The folder, made if it is not there.

    Raises:
        ImportError: If tensorboardX is not installed.

    The clock of event files is the machine's; :mod:`runloop.clock` has no part in it.
    """

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as exc:
            raise ImportError(
                "TensorBoardWriter needs tensorboardX, which is not installed: "
                "install runloop-hooks[tensorboard]",
                name="tensorboardX",
            ) from exc
        self._logdir = os.fspath(logdir)
        self._make = SummaryWriter
        self._writer: Any = None

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        """Write one scalar; TensorBoard keeps it as a 32-bit float.

        Args:
            tag: What the scalar is called.
            value: A number, or an array of any library with exactly one element.
            step: An integer of any kind.

        Raises:
            TypeError: If ``value`` is no scalar.
        """
        number, at = float(scalar(f"the value of {tag!r}", value)), operator.index(step)
        if self._writer is None:
            self._writer = self._make(self._logdir, purge_step=at)
        self._writer.add_scalar(tag, number, at)

    def flush(self) -> None:
        """Hand everything to the system, where TensorBoard finds it."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Flush and close the event file, if one is open."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"TensorBoardWriter({self._logdir!r})"
