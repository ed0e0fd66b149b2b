"""What the stock hooks ask of the graph."""

from __future__ import annotations

from typing import Any

from runloop.graph import get_global_step
from runloop.graph.elements import Variable
from runloop.plan.lookup import check_fetches
from runloop.session import Session

__all__ = ["check_late_fetches", "label", "require_global_step"]


def check_late_fetches(session: Any, fetches: Any) -> None:
    """Check in ``after_create_session`` what is fetched much later, perhaps at the very end.

    A session that is not runloop's knows by itself what it can fetch, and is not asked.

    Raises:
        TypeError: If a leaf of ``fetches`` is of a kind that can't be fetched.
        ValueError: If a name is not known.
    """
    if isinstance(session, Session):
        check_fetches(session.graph, fetches)


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
    """Return what a fetch is called where it is shown: a name is its own."""
    for attribute in ("name", "__name__"):
        name = getattr(fetch, attribute, None)
        if isinstance(name, str):
            return name
    return str(fetch)
