"""What a tensor is said to be before it has a value: its element type and its shape.

Hooks that were written for TensorFlow read these from handles (:mod:`runloop.graph.handles`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

__all__ = ["DType", "Dimension", "TensorShape"]


class DType:
    """An element type, by TensorFlow's names.

    Equal to another, to its name and to NumPy's type: ``DType("float32") == np.float32``.

    Args:
        name: TensorFlow's name: a NumPy name, ``"string"``, or ``"unknown"``.

    Follows ``tf.DType`` of TensorFlow 2.21.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def of(cls, value: Any) -> DType:
        """Return the type of an array, a scalar, a NumPy type or a ``DType``."""
        if isinstance(value, DType):
            return value
        try:
            kind = np.dtype(value) if isinstance(value, (str, type, np.dtype)) else None
        except TypeError:
            return cls(str(value))
        if kind is None:
            kind = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
        is_text = getattr(kind, "kind", "") in "OSU" and getattr(kind, "kind", "") != ""
        return cls("string" if is_text else str(getattr(kind, "name", kind)))

    @property
    def as_numpy_dtype(self) -> Any:
        """NumPy's type; ``object`` for strings and where it is not known."""
        return object if self.name in {"string", "unknown"} else np.dtype(self.name).type

    @property
    def base_dtype(self) -> DType:
        """The type itself: there are no reference types."""
        return self

    @property
    def is_floating(self) -> bool:
        """Whether the values are real floating-point numbers."""
        return "float" in self.name

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers."""
        return "int" in self.name

    @property
    def size(self) -> int:
        """Bytes of one element; 1 for strings, as in TensorFlow."""
        return 1 if self.as_numpy_dtype is object else int(np.dtype(self.name).itemsize)

    def __eq__(self, other: object) -> bool:
        if other is None:
            return False
        try:
            return self.name == DType.of(other).name
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"tf.{self.name}"

    def __str__(self) -> str:
        return f"<dtype: {self.name!r}>"


class Dimension(int):
    """A size: an ``int`` that has TensorFlow 1.x's ``value``, too.

    Follows ``tf.compat.v1.Dimension`` of TensorFlow 2.21; a size that is not known is ``None``.
    """

    @property
    def value(self) -> int:
        """The size."""
        return int(self)


class TensorShape:
    """A shape of which parts, or all, may be unknown.

    Args:
        dims: The sizes, ``None`` for one that is not known; ``None`` where nothing is known.

    Follows ``tf.TensorShape`` of TensorFlow 2.21: sizes are :class:`Dimension` or ``None``.
    """

    def __init__(self, dims: Iterable[int | None] | TensorShape | None) -> None:
        if isinstance(dims, TensorShape):
            dims = dims.dims
        self.dims: tuple[int | None, ...] | None = (
            None if dims is None else tuple(None if d is None else Dimension(d) for d in dims)
        )

    @property
    def ndims(self) -> int | None:
        """The number of dimensions, ``None`` where it is not known."""
        return None if self.dims is None else len(self.dims)

    rank = ndims

    def as_list(self) -> list[int | None]:
        """Return the sizes as a list.

        Raises:
            ValueError: If the number of dimensions is not known.
        """
        return [None if d is None else int(d) for d in self._known()]

    def num_elements(self) -> int | None:
        """Return the product of the sizes, ``None`` where one is not known."""
        if self.dims is None:
            return None
        total = 1
        for dim in self.dims:
            if dim is None:
                return None
            total *= dim
        return total

    def is_fully_defined(self) -> bool:
        """Return whether every size is known."""
        return self.dims is not None and None not in self.dims

    def _known(self) -> tuple[int | None, ...]:
        if self.dims is None:
            raise ValueError(
                "as_list() is not defined on an unknown TensorShape: runloop knows the shapes of "
                "variables; for anything else say it with handle.set_shape(...)"
            )
        return self.dims

    def __iter__(self) -> Iterator[int | None]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())

    def __getitem__(self, key: Any) -> Any:
        found = self._known()[key]
        return TensorShape(found) if isinstance(key, slice) else found

    def __bool__(self) -> bool:
        return self.dims is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (TensorShape, list, tuple)):
            return other is None and self.dims is None
        return self.dims == TensorShape(other).dims

    def __hash__(self) -> int:
        return hash(self.dims)

    def __repr__(self) -> str:
        return f"TensorShape({None if self.dims is None else list(self.dims)})"

    def __str__(self) -> str:
        if self.dims is None:
            return "<unknown>"
        inner = ", ".join("?" if d is None else str(d) for d in self.dims)
        return f"({inner},)" if len(self.dims) == 1 else f"({inner})"
