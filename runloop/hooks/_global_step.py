"""The global step as the stock hooks need it."""

from __future__ import annotations

from runloop.elements import Variable
from runloop.graph import get_global_step

__all__ = ["require_global_step"]


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
