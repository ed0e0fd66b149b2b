"""The protocol of summary writers, and what the writers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SummaryWriter", "make_folder", "scalar"]


@runtime_checkable
class SummaryWriter(Protocol):
    """What hooks ask of a writer; ``torch.utils.tensorboard`` and tensorboardX fit it as they are.

    Arguments are given by position, since those two name them differently.
    """

    def add_scalar(self, tag: str, value: Any, step: int, /) -> Any:
        """Note that ``tag`` had the scalar ``value`` at ``step``."""

    def flush(self) -> Any:
        """See to it that everything noted so far can be read by others."""

    def close(self) -> Any:
        """Flush, and let go of files."""


def make_folder(path: Path, purpose: str) -> None:
    """Make a folder and those above it; ``purpose`` is what the error says it was for.

    Raises:
        OSError: If it can't be made; names the path that is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OSError(
            exc.errno, f"{exc.strerror}: no folder for {purpose} can be made here", exc.filename
        ) from exc


def scalar(name: str, value: Any) -> float:
    """Return ``value`` as a Python ``int`` or ``float``.

    Args:
        name: What the error calls it.
        value: A number, or an array of any library with exactly one element.

    Raises:
        TypeError: If it is neither.
    """
    number = value
    if not isinstance(number, (int, float)):
        try:
            # Arrays of every library have item(); it refuses more than one element.
            number = value.item() if hasattr(value, "item") else value
            number = number if isinstance(number, int) else float(number)
        except (TypeError, ValueError, RuntimeError) as exc:
            shape = getattr(value, "shape", None)
            shown = f"an array of shape {tuple(shape)}" if shape else repr(value)
            raise TypeError(f"{name} must be a scalar, got {shown}") from exc
    return int(number) if isinstance(number, int) else float(number)
