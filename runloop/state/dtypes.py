"""Which dtypes can be stored, and as what.

On one side stand NumPy's and those of ``ml_dtypes``, on the other safetensors' codes.

What has a code that every safetensors reader of NumPy knows is stored under it. The rest is
stored as something that every reader opens, and its own dtype stands in the checkpoint's document:

* ``complex128`` as pairs of ``F64`` (safetensors 0.8.0 refuses it);
* ``datetime64`` and ``timedelta64`` as ``I64``;
* ``float8_*`` and the other types of ``ml_dtypes`` as bytes: safetensors 0.8.0 has codes for some
  of them, but then its NumPy reader fails on the whole file;
* ``longdouble`` and ``clongdouble`` as bytes, for machines with the same format.

Bytes are little-endian in the file; the byte order of an array is part of its dtype here, and so
comes back.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

__all__ = ["CODES", "Storage", "dtype_of_code", "named", "same_but_for_order", "storage_of"]

# Code of safetensors -> (name of the dtype, bytes per element).
CODES: dict[str, tuple[str, int]] = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E8M0": ("float8_e8m0fnu", 1),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 1),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 1),
    "I16": ("int16", 2),
    "U16": ("uint16", 2),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I32": ("int32", 4),
    "U32": ("uint32", 4),
    "F32": ("float32", 4),
    "C64": ("complex64", 8),
    "F64": ("float64", 8),
    "I64": ("int64", 8),
    "U64": ("uint64", 8),
}
_NATIVE = {
    name: code
    for code, (name, _) in CODES.items()
    if not name.startswith("float8")  # unreadable through safetensors' NumPy face
}
# Compiled at first use (re keeps them): compiling costs start-up time.
_TIME = r"(datetime64|timedelta64)(\[[0-9A-Za-z]{1,24}\])?"
_LONG = r"(c?longdouble)/(\d{1,4})"
_ML_NAME = r"(bfloat16|u?int[124]|float[468]_[a-z0-9]{1,16})"


class Storage(NamedTuple):
    """How an array of one dtype lies in the file.

    Attributes:
        code: safetensors' code.
        logical: The name of the dtype itself, with its byte order if it is big-endian.
        trailing: What the shape in the file has at its end more than the array's.
        swap: Whether the bytes of each number must be reversed.
        itemsize: Bytes per element of the array.
        align: Bytes per element in the file.
    """

    code: str
    logical: str
    trailing: tuple[int, ...]
    swap: bool
    itemsize: int
    align: int


@lru_cache(maxsize=256)
def storage_of(dtype: np.dtype[Any]) -> Storage:
    """Return how arrays of ``dtype`` are stored.

    Raises:
        TypeError: If they can't be: object, string, void and structured dtypes.
    """
    swap = dtype.byteorder == ">" or (dtype.byteorder == "=" and _BIG_MACHINE)
    name = dtype.name
    logical = f">{name}" if dtype.byteorder == ">" else name
    code = _NATIVE.get(name)
    if code is not None:
        return Storage(code, logical, (), swap, dtype.itemsize, CODES[code][1])
    if name == "complex128":
        return Storage("F64", logical, (2,), swap, 16, 8)
    if dtype.kind in "mM":
        return Storage("I64", logical, (), swap, 8, 8)
    if dtype.kind in "fc" and dtype.char in "gG":
        prefix = ">" if dtype.byteorder == ">" else ""
        logical = f"{prefix}{'c' * (dtype.char == 'G')}longdouble/{_long_bits()}"
        return Storage("U8", logical, (dtype.itemsize,), swap, dtype.itemsize, 1)
    if re.fullmatch(_ML_NAME, name) and dtype.type.__module__.startswith("ml_dtypes"):
        trailing = () if dtype.itemsize == 1 else (dtype.itemsize,)
        return Storage("U8", logical, trailing, False, dtype.itemsize, 1)
    raise TypeError(f"dtype {dtype} can't be stored; only numbers, bool and dates can")


def named(logical: str) -> np.dtype[Any]:
    """Return the dtype that :attr:`Storage.logical` names; nothing but known names is looked up.

    Raises:
        ValueError: If this machine has no such dtype; says what would help.
    """
    order: Literal[">", "="] = ">" if logical.startswith(">") else "="
    name = logical.removeprefix(">")
    if name == "complex128" or (name in _NATIVE and name != "bfloat16"):
        return np.dtype(name).newbyteorder(order)
    if match := re.fullmatch(_TIME, name):
        try:
            return np.dtype(match.group()).newbyteorder(order)
        except TypeError as exc:
            raise ValueError(f"unknown dtype {logical!r}") from exc
    if match := re.fullmatch(_LONG, name):
        if int(match[2]) != _long_bits():
            raise ValueError(
                f"dtype {logical!r} is of a machine with another long double; here it has "
                f"{_long_bits()} bits of mantissa"
            )
        return np.dtype(match[1]).newbyteorder(order)
    if re.fullmatch(_ML_NAME, name):
        try:
            import ml_dtypes
        except ImportError as exc:
            raise ValueError(f"dtype {logical!r} needs the package ml_dtypes: install it") from exc
        if hasattr(ml_dtypes, name):
            dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
            return dtype
    raise ValueError(f"unknown dtype {logical!r}")


def dtype_of_code(code: str) -> np.dtype[Any]:
    """Return the dtype of a tensor that has nothing but safetensors' code.

    Raises:
        ValueError: If this machine has no such dtype; says what would help.
    """
    return named(CODES[code][0])


def same_but_for_order(one: np.dtype[Any], other: np.dtype[Any]) -> bool:
    """Whether two dtypes are the same, or differ in their byte order only."""
    return one == other or one.newbyteorder("=") == other.newbyteorder("=")


_BIG_MACHINE = np.dtype("=i4") == np.dtype(">i4")


def _long_bits() -> int:
    return int(np.finfo(np.longdouble).nmant)
