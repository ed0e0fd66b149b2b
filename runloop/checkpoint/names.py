"""What things are called in and around a checkpoint file."""

from __future__ import annotations

__all__ = ["HOOKS", "SUFFIX"]

SUFFIX = ".safetensors"
"""What the name of a data file ends in."""
HOOKS = "hooks"
"""The group of the hooks' state in the document, and the first part of their tensors' names."""
