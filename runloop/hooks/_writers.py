"""Who closes a hook's writer."""

from __future__ import annotations

from typing import Any

from runloop.summary import SummaryWriter

__all__ = ["release_at_close"]


def release_at_close(coord: Any, writer: SummaryWriter | None, own: SummaryWriter | None) -> None:
    """Register with ``coord`` that ``writer`` is closed if it is the hook's own, else flushed.

    Runloop's writers open again at the next scalar, so that a session which is re-created goes on
    with the same ones. ``coord`` is ``None`` where a hook is driven by hand.
    """
    if writer is not None and coord is not None:
        coord.callback(writer.close if writer is own else writer.flush)
