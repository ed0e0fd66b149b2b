"""``tf.compat.as_bytes`` and its relatives."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["as_bytes", "as_str_any", "as_text"]


def as_bytes(bytes_or_text: Any, encoding: str = "utf-8") -> bytes:
    """Return bytes unchanged, and text or a path encoded.

    Raises:
        TypeError: If it is not bytes, text or a path.
    """
    value = os.fspath(bytes_or_text) if hasattr(bytes_or_text, "__fspath__") else bytes_or_text
    if isinstance(value, str):
        return value.encode(encoding)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    raise TypeError(f"expected bytes or text, got {bytes_or_text!r}")


def as_text(bytes_or_text: Any, encoding: str = "utf-8") -> str:
    """Return text unchanged, and bytes or a path decoded.

    Raises:
        TypeError: If it is not bytes, text or a path.
    """
    return as_bytes(bytes_or_text, encoding).decode(encoding)


def as_str_any(value: Any, encoding: str = "utf-8") -> str:
    """Return bytes decoded, and ``str(value)`` for anything else."""
    return as_text(value, encoding) if isinstance(value, (bytes, bytearray)) else str(value)
