"""Batches of NumPy arrays, with a position that checkpoints save."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Batches"]


class Batches:
    """An iterator over batches of arrays with a position that can be saved and restored.

        graph.input(("x", "y"), Batches((images, labels), 32, seed=1))

    A batch has the structure of ``arrays``. It is a copy: the caller may change it. Every epoch
    has each sample once; the last batch of an epoch is smaller if the batch size does not
    divide the number of samples. The order of an epoch depends only on the seed and the
    number of the epoch.

    As an input of a graph it is attached: every checkpoint holds its position, and a run that is
    resumed in the middle of an epoch gets the remaining batches of that epoch. It is its own
    iterator: ``iter()`` does not start it over.

    Args:
        arrays: An array, or a tuple, list or mapping of arrays, all of the same first length:
            the number of samples. Not copied; memory maps are read batch by batch.
        batch_size: Samples in a batch.
        shuffle: Whether to shuffle each epoch differently; else the order of the arrays.
        seed: Seed of the shuffling: an ``int``, or ``None`` for a random one.
        epochs: Number of epochs before ``StopIteration``; ``None`` for no limit.

    Raises:
        TypeError: If ``batch_size``, ``seed`` or ``epochs`` is not an integer.
        ValueError: If the arrays or samples are missing, the lengths differ, or ``batch_size`` or
            ``epochs`` is less than 1.
    """

    def __init__(
        self,
        arrays: Any,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int | None = 0,
        epochs: int | None = None,
    ) -> None:
        # Kept as one dict; _like() restores the given structure.
        self._given = arrays
        if isinstance(arrays, Mapping):
            named = {key: np.asarray(value) for key, value in arrays.items()}
        elif isinstance(arrays, (tuple, list)):
            named = {index: np.asarray(value) for index, value in enumerate(arrays)}
        else:
            named = {0: np.asarray(arrays)}
        self._arrays: dict[Any, np.ndarray[Any, Any]] = named
        self._length = _common_length(named)
        self._batch_size = _positive("batch_size", batch_size)
        self._epochs = None if epochs is None else _positive("epochs", epochs)
        self._shuffle = bool(shuffle)
        self._seed = _seed(seed)
        self._epoch = 0
        self._position = 0
        self._order: np.ndarray[Any, Any] | None = None

    @property
    def epoch(self) -> int:
        """The number of completed epochs."""
        return self._epoch + (self._position == self._length)

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        """Return the next batch.

        Raises:
            StopIteration: After ``epochs`` epochs.
        """
        if self._position == self._length:
            self._epoch, self._position, self._order = self._epoch + 1, 0, None
        if self._epochs is not None and self._epoch >= self._epochs:
            raise StopIteration
        start = self._position
        stop = min(start + self._batch_size, self._length)
        if self._shuffle:
            if self._order is None:
                rng = np.random.default_rng([self._seed, self._epoch])
                self._order = rng.permutation(self._length)
            chosen = self._order[start:stop]
            batch = {key: array[chosen] for key, array in self._arrays.items()}
        else:
            batch = {key: array[start:stop].copy() for key, array in self._arrays.items()}
        self._position = stop
        return self._like(batch)

    def state_dict(self) -> dict[str, Any]:
        """Return the position: a few plain numbers, independent of the data's size."""
        return {
            "epoch": self._epoch,
            "position": self._position,
            "samples": self._length,
            "seed": self._seed,
            "shuffle": self._shuffle,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a position from :meth:`state_dict`; it includes the seed.

        Raises:
            ValueError: If the position belongs to another number of samples or another
                ``shuffle``, or is invalid. Then nothing has changed.
        """
        missing = self.state_dict().keys() - state.keys()
        if missing:
            raise ValueError(f"Batches: the state has no {', '.join(sorted(missing))}")
        for name, mine in (("samples", self._length), ("shuffle", self._shuffle)):
            if state[name] != mine:
                raise ValueError(
                    f"Batches: the state was saved with {name}={state[name]!r}, these have "
                    f"{name}={mine!r}: positions in one do not carry over to the other. "
                    f"Use the same data, or start without the saved state"
                )
        epoch, position = int(state["epoch"]), int(state["position"])
        if epoch < 0 or not 0 <= position <= self._length:
            raise ValueError(
                f"Batches: position {position} in epoch {epoch} is invalid for {self._length} samples"
            )
        self._seed = _seed(state["seed"])
        self._epoch, self._position, self._order = epoch, position, None

    def _like(self, batch: dict[Any, np.ndarray[Any, Any]]) -> Any:
        given = self._given
        if isinstance(given, Mapping):
            return batch
        if isinstance(given, tuple) and hasattr(given, "_fields"):  # a named tuple
            return type(given)(*batch.values())
        if isinstance(given, (tuple, list)):
            return list(batch.values()) if isinstance(given, list) else tuple(batch.values())
        return batch[0]


def _common_length(arrays: Mapping[Any, np.ndarray[Any, Any]]) -> int:
    if not arrays:
        raise ValueError("Batches needs at least one array, got none")
    for key, array in arrays.items():
        if not array.ndim:
            raise ValueError(f"Batches: array {key!r} has no first dimension to take samples of")
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"Batches: the arrays must be of one length, got {lengths}")
    length = next(iter(lengths.values()))
    if not length:
        raise ValueError("Batches needs at least one sample, got arrays of length 0")
    return length


def _positive(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError as exc:
        raise TypeError(f"Batches: {name} must be an integer, got {value!r}") from exc
    if number < 1:
        raise ValueError(f"Batches: {name} must be at least 1, got {value!r}")
    return number


def _seed(value: Any) -> int:
    if value is None:
        return int(np.random.SeedSequence().entropy)  # type: ignore[arg-type]  # an int without arguments
    try:
        number = operator.index(value)
    except TypeError as exc:
        raise TypeError(f"Batches: seed must be an integer or None, got {value!r}") from exc
    if number < 0:
        raise ValueError(f"Batches: seed must not be negative, got {value!r}")
    return number
