"""The last word on a file before it gets its name: safetensors opens it."""

from __future__ import annotations

from collections.abc import Iterable

from runloop.errors import CheckpointFormatError

__all__ = ["FormatCheck"]


class FormatCheck:
    """Has safetensors itself open the first file of every structure.

    Files of one structure (names, dtypes, shapes, places) differ in their numbers alone. Opening
    10,000 tensors keeps the interpreter's lock for some 15 ms, so it is not done at every save.
    """

    def __init__(self) -> None:
        self._structure: str | None = None

    def check(self, path: str, structure: str, names: Iterable[str]) -> None:
        """Open ``path`` if its structure is not the one that was opened last.

        Args:
            path: The file, complete, under its temporary name.
            structure: Says the same for files of the same structure only.
            names: What the tensors are called in the file.

        Raises:
            CheckpointFormatError: If safetensors can't open it or finds other tensors in it.
        """
        if structure == self._structure:
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
        if found != sorted(names):
            raise CheckpointFormatError(
                f"{path}: not saved: safetensors finds other tensors in it than were written: "
                f"{found!s:.200}. Older checkpoints stand; please report this"
            )
        self._structure = structure
