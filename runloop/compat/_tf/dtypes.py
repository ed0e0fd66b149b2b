"""``tf.as_dtype``."""

from __future__ import annotations

from typing import Any

import numpy as np

from runloop.graph.tensor_types import DType

__all__ = ["NAMES", "as_dtype"]

NAMES = (
    "bfloat16", "bool", "complex64", "complex128", "float16", "float32", "float64", "int8", "int16",
    "int32", "int64", "string", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
"""The element types that are members of ``tf``."""

_ALIASES = {"half": "float16", "float": "float32", "double": "float64"}


def as_dtype(type_value: Any) -> DType:
    """Return the element type of a ``DType``, a name, or a type of NumPy or Python.

    Raises:
        TypeError: If it is none of these.

    Follows ``tf.as_dtype`` of TensorFlow 2.21: ``float`` is ``float32``, and ``int`` is an error.
    """
    if type_value is float:
        return DType("float32")
    if isinstance(type_value, (str, type, DType, np.dtype)) and type_value is not int:
        found = DType.of(_ALIASES.get(str(type_value), type_value))
        if found.name in NAMES:
            return found
    raise TypeError(
        f"Cannot convert the argument `type_value`: {type_value!r} to a TensorFlow DType."
    )
