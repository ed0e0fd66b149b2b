"""What a save warns of: attached state that was rebound, or that changed its form."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from runloop.checkpoint.array_bytes import pieces
from runloop.errors import CheckpointError
from runloop.graph import Graph
from runloop.session import SessionState
from runloop.state.dtypes import storage_of

__all__ = ["mistakes"]


def mistakes(
    graph: Graph,
    state: SessionState,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    document: Mapping[str, Any],
    form: Any,
    step: int | None,
    last: str | None,
) -> list[str]:
    """Return what there is to warn of, each once for a name.

    Args:
        graph: What is saved belongs to it.
        state: What is saved.
        arrays: Its arrays by name.
        document: The rest of it.
        form: The same object as long as names, shapes and dtypes of the arrays are the same.
        step: The global step.
        last: The newest checkpoint so far; ``None`` if there is none.
    """
    if not state.attached:
        return []
    graph.watch.start(state.attached)
    return graph.watch.look(
        state.attached,
        document["attached"],
        arrays,
        step,
        form=form,
        constant=graph.constant,
        entries=state.entries,
        replaceable=frozenset() if state.rebindable is None else state.rebindable.entry_names(),
        first_change=lambda names: _first_change(last, arrays, names),
    )


def _first_change(
    path: str | None, tensors: Mapping[str, np.ndarray[Any, Any]], names: Sequence[str]
) -> str | None:
    """Return the first tensor of these that is not bit for bit the one in a checkpoint.

    ``None`` if all are the same. Where there is no checkpoint that can be read, that is the first.
    """
    from runloop.checkpoint.reader import CheckpointReader  # seldom needed

    if path is None:
        return names[0]
    try:
        with CheckpointReader(path) as reader:
            stored = reader.stored
    except CheckpointError:
        return names[0]
    for name in names:
        storage = storage_of(tensors[name].dtype)
        crc = 0
        for piece in pieces(tensors[name], storage):
            crc = zlib.crc32(piece.data, crc)
        if name not in stored or stored[name].crc != crc:
            return name
    return None
