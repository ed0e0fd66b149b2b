"""Helpers of the stock hooks: check fetches, find the global step, name a fetch."""

from __future__ import annotations

from typing import Any

from runloop.graph import get_global_step
from runloop.graph.elements import Variable

__all__ = ["check_late_fetches", "label", "require_global_step"]


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


def label(fetch: Any) -> str:
    """Return a fetch's display name: its ``name`` or ``__name__``, else ``str(fetch)``."""
    for attribute in ("name", "__name__"):
        name = getattr(fetch, attribute, None)
        if isinstance(name, str):
            return name
    return str(fetch)
