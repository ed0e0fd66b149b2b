"""How long the ops of a run took: for Python, and in the form of TensorFlow's ``StepStats``."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "AllocationDescription",
    "DeviceStats",
    "NodeOutput",
    "NodeStats",
    "OpStats",
    "StepStats",
    "TensorDescription",
    "serialized",
]


class OpStats(NamedTuple):
    """The times of one op.

    Attributes:
        name: The op's name.
        start_us: Microseconds from the start of the run to its start.
        duration_us: Microseconds that it took.
        inputs: Names of the ops that it depends on.
        output_bytes: Size of the arrays that it returned; 0 for other values.
    """

    name: str
    start_us: float
    duration_us: float
    inputs: tuple[str, ...] = ()
    output_bytes: int = 0


class AllocationDescription(NamedTuple):
    """The size of an op's result in bytes. Follows TensorFlow's message of this name."""

    requested_bytes: int
    allocated_bytes: int


class TensorDescription(NamedTuple):
    """An op's result. Follows TensorFlow's message of this name."""

    allocation_description: AllocationDescription


class NodeOutput(NamedTuple):
    """One result of an op. Follows TensorFlow's message of this name."""

    slot: int
    tensor_description: TensorDescription


class NodeStats(NamedTuple):
    """One op's times, by the names of TensorFlow's ``NodeExecStats``.

    Attributes:
        node_name: The op's name.
        all_start_micros: Microseconds from the start of the run (in TensorFlow: since 1970).
        op_start_rel_micros: 0: an op starts as soon as it is scheduled.
        op_end_rel_micros: Microseconds from its start to its end.
        all_end_rel_micros: The same.
        output: One member with the bytes of the result, in
            ``tensor_description.allocation_description``; empty for a result without a size.
        timeline_label: ``"name = Op(inputs)"``.
    """

    node_name: str
    all_start_micros: int
    op_start_rel_micros: int
    op_end_rel_micros: int
    all_end_rel_micros: int
    output: tuple[NodeOutput, ...]
    timeline_label: str


class DeviceStats(NamedTuple):
    """The ops of one device, by the names of TensorFlow's ``DeviceStepStats``."""

    device: str
    node_stats: tuple[NodeStats, ...]


class StepStats(tuple[OpStats, ...]):
    """The :class:`OpStats` of one run, in the order in which the ops ran."""

    __slots__ = ()

    @property
    def dev_stats(self) -> tuple[DeviceStats, ...]:
        """The same as TensorFlow's ``StepStats.dev_stats`` has it: one device, or none."""
        return (DeviceStats("/device:CPU:0", tuple(map(_node, self))),) if self else ()


def _node(op: OpStats) -> NodeStats:
    size, took = op.output_bytes, round(op.duration_us)
    described = TensorDescription(AllocationDescription(size, size))
    return NodeStats(
        op.name,
        round(op.start_us),
        0,
        took,
        took,
        (NodeOutput(0, described),) if size else (),
        f"{op.name} = Op({', '.join(op.inputs)})",
    )


# The numbers of the fields in TensorFlow 2.21's .proto files.
_NUMBERS: dict[type, tuple[int, ...]] = {
    DeviceStats: (1, 2),
    NodeStats: (1, 2, 3, 4, 5, 7, 8),
    NodeOutput: (1, 3),
    TensorDescription: (4,),
    AllocationDescription: (1, 2),
}


def serialized(step_stats: StepStats) -> bytes:
    """Return the bytes of a TensorFlow ``RunMetadata`` message with these times."""
    devices = b"".join(_field(1, device) for device in step_stats.dev_stats)
    return _field(1, devices)


def _field(number: int, value: Any) -> bytes:
    """Encode a field of a protocol buffer; a default value is left out, as in proto3."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value) if value else b""
    if isinstance(value, str):
        value = value.encode()
    elif type(value) in _NUMBERS:
        value = b"".join(map(_field, _NUMBERS[type(value)], value))
    elif isinstance(value, tuple):
        return b"".join(_field(number, item) for item in value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value if value else b""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
