"""``tf.RunMetadata`` and ``timeline``: how long the ops of a run took."""

from __future__ import annotations

import json
from typing import Any

from runloop import run
from runloop.compat._tf.messages import Field, Message
from runloop.hooks._timeline import chrome_trace

__all__ = ["RunMetadata", "Timeline"]


class _NodeExecStats(Message):
    """When one op ran; microseconds."""

    FIELDS = (
        Field("node_name", 1, "string"),
        Field("all_start_micros", 2, "int64"),
        Field("op_end_rel_micros", 4, "int64"),
        Field("all_end_rel_micros", 5, "int64"),
    )


class _DeviceStepStats(Message):
    """The ops of one device."""

    FIELDS = (Field("device", 1, "string"), Field("node_stats", 2, _NodeExecStats, repeated=True))


class _StepStats(Message):
    """The ops of one run."""

    FIELDS = (Field("dev_stats", 1, _DeviceStepStats, repeated=True),)


class _RunMetadataProto(Message):
    """The message form of a :class:`RunMetadata`."""

    FIELDS = (Field("step_stats", 1, _StepStats),)


class RunMetadata(run.RunMetadata):
    """:class:`runloop.RunMetadata` that can be serialized as TensorFlow's message.

    Follows ``tf.compat.v1.RunMetadata`` of TensorFlow 2.21.
    """

    def SerializeToString(self) -> bytes:  # noqa: N802  # protobuf's name
        """Return the ops' times as the bytes of TensorFlow's message."""
        proto = _RunMetadataProto()
        if self.step_stats:
            device = proto.step_stats.dev_stats.add(device="/device:CPU:0")
            for op in self.step_stats:
                device.node_stats.add(
                    node_name=op.name,
                    all_start_micros=int(op.start_us),
                    op_end_rel_micros=int(op.duration_us),
                    all_end_rel_micros=int(op.duration_us),
                )
        return proto.SerializeToString()


class Timeline:
    """A run as a Chrome trace.

    Args:
        step_stats: ``run_metadata.step_stats``.
        graph: For TensorFlow's signature; ignored.

    Follows ``Timeline`` of TensorFlow 2.21's ``tensorflow.python.client.timeline``.
    """

    def __init__(self, step_stats: Any, graph: Any = None) -> None:
        self._ops = tuple(step_stats)

    def generate_chrome_trace_format(
        self, show_dataflow: bool = True, show_memory: bool = False
    ) -> str:
        """Return the JSON text; see :class:`runloop.ProfilerHook` for the two switches."""
        document = chrome_trace(
            0, self._ops, (), show_dataflow=show_dataflow, show_memory=show_memory
        )
        return json.dumps(document)
