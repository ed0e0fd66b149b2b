"""The last word on a file before it gets its name: safetensors opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runloop.errors import CheckpointFormatError

if TYPE_CHECKING:
    from runloop.checkpoint.layout import Layout

__all__ = ["FormatCheck"]


class FormatCheck:
    """Has safetensors itself open the first file of every layout.

    Files of one layout differ in their numbers alone. Opening 10,000 tensors keeps the
    interpreter's lock for some 15 ms, so it is not done at every save.
    """

    def __init__(self) -> None:
        self._layout: Layout | None = None

    def check(self, path: str, layout: Layout) -> None:
        """Open ``path`` if its layout is not the one that was opened last.

        Args:
            path: The file, complete, under its temporary name.
            layout: How it was written.

        Raises:
            CheckpointFormatError: If safetensors can't open it or finds other tensors in it.
        """
        if layout is self._layout:
            return
        from safetensors import SafetensorError, safe_open  # only to save

        try:
            with safe_open(path, framework="numpy") as file:
                found = sorted(file.keys())
        except SafetensorError as exc:
            raise CheckpointFormatError(
                f"{path}: not saved: safetensors can't open what was written ({exc}). Older "
                f"checkpoints stand; please report this"
            ) from exc
        if found != sorted(entry.stored_name for entry in layout.entries):
            raise CheckpointFormatError(
                f"{path}: not saved: safetensors finds other tensors in it than were written: "
                f"{found!s:.200}. Older checkpoints stand; please report this"
            )
        self._layout = layout
