"""Copies and checks of arrays, NumPy's and other libraries'."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["as_array", "behind", "conform", "copy_array", "describe", "read_only"]

# The kinds of dtype that each type of Python scalar converts to: the weak scalars of NumPy 2 (NEP 50).
_WEAK_KINDS = {bool: "b", int: "iufc", float: "fc", complex: "c"}


def as_array(value: Any) -> Any:
    """Return ``value`` if it has a shape and a dtype, else ``np.asarray(value)``.

    Arrays of other libraries (PyTorch, JAX) are returned unchanged; NumPy scalars become 0-d
    arrays.
    """
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, np.generic):
        return value
    return np.asarray(value)


def read_only(value: Any) -> Any:
    """Return a read-only view of a NumPy array; anything else, and a read-only array, as it is."""
    if not isinstance(value, np.ndarray) or not value.flags.writeable:
        return value
    view = value.view()
    view.setflags(write=False)
    return view


def behind(value: Any) -> Any:
    """Return the writable array of which ``value`` is a whole, read-only view; else ``value``."""
    if not isinstance(value, np.ndarray) or value.flags.writeable:
        return value
    base = value.base
    same = (
        isinstance(base, np.ndarray)
        and type(base) is type(value)
        and base.flags.writeable
        and base.shape == value.shape
        and base.strides == value.strides
        and base.dtype == value.dtype
        and base.ctypes.data == value.ctypes.data
    )
    return base if same else value


def copy_array(value: Any) -> Any:
    """Return an independent copy with the same layout; NumPy scalars are returned unchanged."""
    if isinstance(value, np.ndarray):
        return value.copy("K")
    if isinstance(value, np.generic):
        return value
    if hasattr(value, "detach") and hasattr(value, "clone"):  # a PyTorch tensor
        return value.detach().clone()
    import copy  # needed only for arrays of other libraries

    return copy.deepcopy(value)


def describe(value: Any) -> str:
    """Return dtype and shape for a message, e.g. ``float32 of shape (64, 10)``."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return f"{type(value).__name__} {value!r:.60}"


def conform(value: Any, like: Any, what: str) -> Any:
    """Return ``value`` as an array of the shape and dtype of ``like``.

    Only a Python scalar is converted, where NumPy's rules for weak scalars allow it: an ``int``
    or ``float`` for a floating 0-d variable, not a ``float`` for an integer one.

    Args:
        value: The replacement for ``like``.
        like: The current array.
        what: Names the replacement in the message: ``"variable 'w': the update by op 'train'"``.

    Raises:
        ValueError: If shape or dtype differ; names ``what``, the expected and the given.
    """
    kinds = _WEAK_KINDS.get(type(value))
    dtype = like.dtype
    if kinds is not None and isinstance(dtype, np.dtype) and not tuple(like.shape):
        if dtype.kind not in kinds:
            raise _mismatch(what, like, f"the {type(value).__name__} {value!r}")
        try:
            return np.asarray(value, dtype)
        except OverflowError as exc:
            raise _mismatch(what, like, f"{value!r}, which is out of its range") from exc
    if value is None:
        raise ValueError(
            f"{what}: expected {describe(like)}, got None, the result of a function "
            f"without a return"
        )
    try:
        array = as_array(value)
    except ValueError as exc:
        got = f"{value!r:.60}, whose parts differ in shape"
        raise _mismatch(what, like, got) from exc
    if tuple(array.shape) != tuple(like.shape) or array.dtype != dtype:
        raise _mismatch(what, like, describe(array))
    return array


def _mismatch(what: str, like: Any, got: str) -> ValueError:
    return ValueError(
        f"{what}: expected {describe(like)}, got {got}. Convert it (x.astype({str(like.dtype)!r}), "
        f"x.reshape(...)), or make the variable with validate=False if it is meant to change"
    )
