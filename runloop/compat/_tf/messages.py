"""Protocol buffer messages, declared as a table of fields.

    class Point(Message):
        FIELDS = (Field("x", 1, "int64"), Field("tags", 2, "string", repeated=True))

They behave like messages that protobuf generates, as far as hooks use them: keyword arguments,
submessages that are created on first write, ``add()``, oneofs, unknown fields that are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from runloop.compat._tf.wire import BYTES, KINDS, parsed, scalar, tokens, unpack, varint

__all__ = ["Field", "Message", "Repeated"]

_RANGES = {
    "int64": (-(2**63), 2**63 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "enum": (-(2**31), 2**31 - 1),
    "uint64": (0, 2**64 - 1),
}


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        name: Its name.
        number: Its number on the wire.
        kind: ``double``, ``float``, ``int64``, ``int32``, ``uint64``, ``bool``, ``enum``,
            ``string``, ``bytes``, or the class of a message.
        repeated: Whether it is a list. Lists of numbers are packed, as in proto3.
        oneof: The name of its oneof group; at most one member of a group is set.
    """

    name: str
    number: int
    kind: Any
    repeated: bool = False
    oneof: str | None = None


class Repeated(list[Any]):
    """The list of a repeated field."""

    def __init__(self, field: Field, touch: Callable[[], None]) -> None:
        super().__init__()
        self._field = field
        self._touch = touch

    def add(self, **values: Any) -> Any:
        """Append a new message and return it."""
        message = self._field.kind(**values)
        super().append(message)
        self._touch()
        return message

    def append(self, value: Any) -> None:
        """Check and append a value; a message is copied, as in protobuf."""
        super().append(_checked(self._field, value))
        self._touch()

    def extend(self, values: Iterable[Any]) -> None:
        """Append all ``values``."""
        for value in values:
            self.append(value)


class Message:
    """Base class of messages; a subclass lists its ``FIELDS``.

    Args:
        **values: Fields by name. A message may be given as a dictionary; ``None`` leaves a field
            unset.

    Raises:
        ValueError: If the message has no field of that name.
        TypeError: If a value is not of the field's kind.
    """

    FIELDS: ClassVar[tuple[Field, ...]] = ()
    _by_name: ClassVar[Mapping[str, Field]] = {}
    _by_number: ClassVar[Mapping[int, Field]] = {}

    def __init_subclass__(cls) -> None:
        cls._by_name = {field.name: field for field in cls.FIELDS}
        cls._by_number = {field.number: field for field in cls.FIELDS}

    def __init__(self, **values: Any) -> None:
        self._start()
        for name, value in values.items():
            field = self._field(name, ValueError)
            if value is None:
                continue
            if field.repeated:
                getattr(self, name).extend(value)
            elif isinstance(field.kind, type):
                message = field.kind(**value) if isinstance(value, Mapping) else value
                self._set(field, _checked(field, message))
            else:
                setattr(self, name, value)

    def _start(self) -> None:
        vars(self).update(_values={}, _idle={}, _unknown=b"", _parent=None)

    # -- fields ---------------------------------------------------------------------------------

    @classmethod
    def _field(cls, name: str, error: type[Exception]) -> Field:
        try:
            return cls._by_name[name]
        except KeyError:
            raise error(
                f"{cls.__name__} has no field {name!r}; its fields are {', '.join(cls._by_name)}"
            ) from None

    def __getattr__(self, name: str) -> Any:
        # Python calls this only for what is not an ordinary attribute: fields, and mistakes.
        field = self._field(name, AttributeError)
        values = self._values
        if name in values:
            return values[name]
        if field.repeated:
            values[name] = Repeated(field, self._touch)
            return values[name]
        if isinstance(field.kind, type):
            # It belongs to this message, and counts as set once one of its fields is set.
            if name not in self._idle:
                self._idle[name] = field.kind()
                vars(self._idle[name])["_parent"] = (self, field)
            return self._idle[name]
        return KINDS[field.kind][1]

    def __setattr__(self, name: str, value: Any) -> None:
        field = self._field(name, AttributeError)
        if field.repeated or isinstance(field.kind, type):
            raise AttributeError(
                f"{type(self).__name__}.{name} can't be assigned to: use "
                f"{'extend()' if field.repeated else 'CopyFrom()'}"
            )
        self._set(field, _checked(field, value))

    def _set(self, field: Field, value: Any) -> None:
        if field.oneof is not None:
            for other in self.FIELDS:
                if other.oneof == field.oneof:
                    self._values.pop(other.name, None)
        self._values[field.name] = value
        self._idle.pop(field.name, None)
        self._touch()

    def _touch(self) -> None:
        """Mark this message as set in the message that it belongs to."""
        if self._parent is None:
            return
        parent, field = self._parent
        vars(self)["_parent"] = None
        parent._set(field, self)  # noqa: SLF001  # a message of the same family

    # -- reading --------------------------------------------------------------------------------

    def HasField(self, name: str) -> bool:  # noqa: N802  # protobuf's name, here and below
        """Return whether a submessage or a member of a oneof is set."""
        field = self._field(name, ValueError)
        if field.repeated:
            raise ValueError(f"{type(self).__name__}.{name} is repeated: use its len()")
        return name in self._values

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802
        """Return the name of the oneof's member that is set, ``None`` if none is.

        Raises:
            ValueError: If the message has no such oneof.
        """
        members = [field.name for field in self.FIELDS if field.oneof == group]
        if not members:
            raise ValueError(f"{type(self).__name__} has no oneof {group!r}")
        return next((name for name in members if name in self._values), None)

    def ListFields(self) -> list[tuple[Field, Any]]:  # noqa: N802
        """Return the fields that are set with their values, ordered by number."""
        fields = sorted(self.FIELDS, key=lambda field: field.number)
        return [(f, self._values[f.name]) for f in fields if self._is_set(f)]

    def ClearField(self, name: str) -> None:  # noqa: N802
        """Unset one field."""
        self._field(name, ValueError)
        self._values.pop(name, None)

    def Clear(self) -> None:  # noqa: N802
        """Unset everything."""
        self._values.clear()
        self._idle.clear()
        vars(self)["_unknown"] = b""

    def ByteSize(self) -> int:  # noqa: N802
        """Return the length of :meth:`SerializeToString` in bytes."""
        return len(self.SerializeToString())

    def IsInitialized(self) -> bool:  # noqa: N802
        """Return ``True``: no field is required."""
        return True

    def CopyFrom(self, other: Self) -> None:  # noqa: N802
        """Become equal to ``other``."""
        data = other.SerializeToString()
        self.Clear()
        self.MergeFromString(data)

    def MergeFrom(self, other: Self) -> None:  # noqa: N802
        """Copy the fields that are set in ``other``; lists are appended."""
        self.MergeFromString(other.SerializeToString())

    def _is_set(self, field: Field) -> bool:
        value = self._values.get(field.name)
        if field.repeated:
            return bool(value)
        if value is None:
            return False
        # As in proto3: a default value is not written, unless the field is in a oneof.
        explicit = field.oneof is not None or isinstance(field.kind, type)
        return explicit or value != KINDS[field.kind][1] or str(value) == "-0.0"

    # -- bytes ----------------------------------------------------------------------------------

    def SerializeToString(self, deterministic: bool = True) -> bytes:  # noqa: N802
        """Return the message's bytes, always in the order of the field numbers."""
        parts = []
        for field, value in self.ListFields():
            if field.repeated and field.kind in KINDS and KINDS[field.kind][0] != BYTES:
                data = b"".join(scalar(field.kind, item) for item in value)
                parts += [varint(field.number << 3 | BYTES), varint(len(data)), data]
                continue
            for item in value if field.repeated else (value,):
                parts.append(_one(field, item))
        unknown: bytes = self._unknown
        return b"".join(parts) + unknown

    @classmethod
    def FromString(cls, data: bytes) -> Self:  # noqa: N802
        """Parse ``data`` and return the message.

        Raises:
            DecodeError: If ``data`` is not a message.
            TypeError: If ``data`` is not bytes.
        """
        message = cls()
        message.MergeFromString(data)
        return message

    def ParseFromString(self, data: bytes) -> int:  # noqa: N802
        """Replace the contents by those of ``data``; return the number of bytes."""
        self.Clear()
        return self.MergeFromString(data)

    def MergeFromString(self, data: bytes) -> int:  # noqa: N802
        """Copy the fields that are set in ``data``; return the number of bytes."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"{type(self).__name__}: expected bytes, got {data!r:.80}")
        for number, wire, value, raw in tokens(bytes(data)):
            field = self._by_number.get(number)
            if field is None or not self._take(field, wire, value):
                vars(self)["_unknown"] += raw
        self._touch()
        return len(data)

    def _take(self, field: Field, wire: int, value: Any) -> bool:
        if isinstance(field.kind, type):
            if wire != BYTES:
                return False
            if field.repeated:
                getattr(self, field.name).append(field.kind.FromString(value))  # type: ignore[attr-defined]
            else:
                child = self._values.get(field.name) or field.kind()
                child.MergeFromString(value)
                self._set(field, child)
            return True
        expected = KINDS[field.kind][0]
        if wire == expected:
            found = [parsed(field.kind, value)]
        elif field.repeated and wire == BYTES:
            found = [parsed(field.kind, item) for item in unpack(expected, value)]
        else:
            return False
        if field.repeated:
            getattr(self, field.name).extend(found)
        else:
            self._set(field, found[0])
        return True

    # -- Python ---------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, Message)  # noqa: S101  # for the type checker
        return self.SerializeToString() == other.SerializeToString()

    __hash__ = None  # type: ignore[assignment]  # mutable, compared by value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).FromString, (self.SerializeToString(),)

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for field, value in self.ListFields():
            for item in value if field.repeated else (value,):
                if isinstance(item, Message):
                    yield f"{field.name} {{"
                    yield from (f"  {line}" for line in item._lines())  # noqa: SLF001
                    yield "}"
                else:
                    shown = _quoted(item) if isinstance(item, (str, bytes)) else str(item)
                    yield f"{field.name}: {shown.lower() if item is True else shown}"

    __repr__ = __str__


def _quoted(value: str | bytes) -> str:
    raw = value.encode() if isinstance(value, str) else value
    text = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03o}" for b in raw)
    return f'"{text}"'


def _checked(field: Field, value: Any) -> Any:
    """Return ``value`` converted to what the field stores."""
    kind = field.kind
    problem = TypeError(
        f"{field.name} must be {kind if isinstance(kind, str) else kind.__name__}, "
        f"got {value!r:.80} of type {type(value).__name__}"
    )
    if isinstance(kind, type):
        if not isinstance(value, kind):
            raise problem
        message: Any = value
        return field.kind.FromString(message.SerializeToString())
    if kind == "string":
        if isinstance(value, bytes):
            value = value.decode()
        if not isinstance(value, str):
            raise problem
        return value
    if kind == "bytes":
        if not isinstance(value, (bytes, bytearray)):
            raise problem
        return bytes(value)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if kind in {"double", "float"}:
        if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
            raise problem
        return float(np.float32(value)) if kind == "float" else float(value)
    if isinstance(value, (float, np.floating)) or not hasattr(value, "__index__"):
        raise problem
    if kind == "bool":
        return bool(value)
    low, high = _RANGES[kind]
    if not low <= int(value) <= high:
        raise ValueError(f"{field.name}: {int(value)} is out of range for {kind}")
    return int(value)


def _one(field: Field, value: Any) -> bytes:
    if isinstance(field.kind, type):
        wire, data = BYTES, value.SerializeToString()
    else:
        wire = KINDS[field.kind][0]
        if wire == BYTES:
            data = value.encode() if isinstance(value, str) else value
        else:
            data = scalar(field.kind, value)
    length = varint(len(data)) if wire == BYTES else b""
    return varint(field.number << 3 | wire) + length + bytes(data)
