"""Helpers of the stock hooks: check fetches, find the global step, name a fetch."""

from __future__ import annotations

import warnings
from typing import Any

from runloop.graph import get_default_graph, get_global_step
from runloop.graph.elements import Variable
from runloop.plan.positions import keeps_position

__all__ = ["check_late_fetches", "label", "require_global_step", "warn_of_lost_positions"]


def check_late_fetches(session: Any, fetches: Any) -> None:
    """Check in ``after_create_session`` that fetches are valid, long before they are run.

    Sessions without ``check_request``, such as TensorFlow's, are not checked.

    Raises:
        TypeError: If a leaf of ``fetches`` is of a kind that can't be fetched.
        ValueError: If a name is unknown.
    """
    check = getattr(session, "check_request", None)
    if check is not None:
        check(fetches, names_only=True)


def require_global_step(hook: str) -> Variable:
    """Return the default graph's global step, for a hook's ``begin``.

    Args:
        hook: The hook's name in the error.

    Raises:
        RuntimeError: If the graph has none, with TensorFlow's text.
    """
    step = get_global_step()
    if step is None:
        error = RuntimeError(f"Global step should be created to use {hook}.")
        # A note, so that the message itself stays the one that tests written for TensorFlow match.
        error.add_note(
            "Define a train_op, or call runloop.get_or_create_global_step(), in the session's "
            "graph before the session is made."
        )
        raise error
    return step


def warn_of_lost_positions() -> None:
    """Warn of the default graph's inputs that start over after a restore, for a hook that saves.

    One ``UserWarning`` for each input that has no state, is not a sequence and is not replayed.
    """
    for source in get_default_graph().inputs:
        if not keeps_position(source):
            warnings.warn(
                f"input {source.names[0]!r}: {type(source.iterable).__name__} has no state, so its "
                f"position is not in the checkpoints and it starts over after a restore. Give a "
                f"list, an array or runloop.Batches, an iterable with state_dict() and "
                f"load_state_dict(), or graph.input(..., replay=True), which pulls and drops the "
                f"items that were used",
                UserWarning,
                stacklevel=2,
            )


def label(fetch: Any) -> str:
    """Return a fetch's display name: its ``name`` or ``__name__``, else ``str(fetch)``."""
    for attribute in ("name", "__name__"):
        name = getattr(fetch, attribute, None)
        if isinstance(name, str):
            return name
    return str(fetch)
