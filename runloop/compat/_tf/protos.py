"""The messages that hooks write and read, with the fields of TensorFlow 2.21's ``.proto`` files."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from runloop.compat._tf.messages import Field, Message

__all__ = [
    "ConfigProto",
    "Event",
    "HistogramProto",
    "LogMessage",
    "SessionLog",
    "Summary",
    "SummaryDescription",
    "SummaryMetadata",
    "TaggedRunMetadata",
    "TensorProto",
    "make_ndarray",
    "make_tensor_proto",
]


class _PluginData(Message):
    """Which TensorBoard plugin shows a value."""

    FIELDS = (Field("plugin_name", 1, "string"), Field("content", 2, "bytes"))


class SummaryMetadata(Message):
    """How to show a value. Follows ``tf.compat.v1.SummaryMetadata`` of TensorFlow 2.21."""

    PluginData = _PluginData
    FIELDS = (
        Field("plugin_data", 1, _PluginData),
        Field("display_name", 2, "string"),
        Field("summary_description", 3, "string"),
        Field("data_class", 4, "enum"),
    )


class SummaryDescription(Message):
    """Follows ``tf.compat.v1.summary.SummaryDescription`` of TensorFlow 2.21."""

    FIELDS = (Field("type_hint", 1, "string"),)


class HistogramProto(Message):
    """A histogram. Follows ``tf.compat.v1.HistogramProto`` of TensorFlow 2.21."""

    FIELDS = (
        Field("min", 1, "double"),
        Field("max", 2, "double"),
        Field("num", 3, "double"),
        Field("sum", 4, "double"),
        Field("sum_squares", 5, "double"),
        Field("bucket_limit", 6, "double", repeated=True),
        Field("bucket", 7, "double", repeated=True),
    )


class _Dim(Message):
    """One size of a shape."""

    FIELDS = (Field("size", 1, "int64"), Field("name", 2, "string"))


class _TensorShapeProto(Message):
    """A shape."""

    Dim = _Dim
    FIELDS = (Field("dim", 2, _Dim, repeated=True), Field("unknown_rank", 3, "bool"))


class TensorProto(Message):
    """An array. Follows ``TensorProto`` of TensorFlow 2.21; rarer members are kept as bytes."""

    FIELDS = (
        Field("dtype", 1, "enum"),
        Field("tensor_shape", 2, _TensorShapeProto),
        Field("version_number", 3, "int32"),
        Field("tensor_content", 4, "bytes"),
        Field("float_val", 5, "float", repeated=True),
        Field("double_val", 6, "double", repeated=True),
        Field("int_val", 7, "int32", repeated=True),
        Field("string_val", 8, "bytes", repeated=True),
        Field("int64_val", 10, "int64", repeated=True),
        Field("bool_val", 11, "bool", repeated=True),
    )


class _Image(Message):
    """An encoded image."""

    FIELDS = (
        Field("height", 1, "int32"),
        Field("width", 2, "int32"),
        Field("colorspace", 3, "int32"),
        Field("encoded_image_string", 4, "bytes"),
    )


class _Audio(Message):
    """An encoded audio clip."""

    FIELDS = (
        Field("sample_rate", 1, "float"),
        Field("num_channels", 2, "int64"),
        Field("length_frames", 3, "int64"),
        Field("encoded_audio_string", 4, "bytes"),
        Field("content_type", 5, "string"),
    )


class _Value(Message):
    """One tagged value of a summary."""

    FIELDS = (
        Field("tag", 1, "string"),
        Field("simple_value", 2, "float", oneof="value"),
        Field("obsolete_old_style_histogram", 3, "bytes", oneof="value"),
        Field("image", 4, _Image, oneof="value"),
        Field("histo", 5, HistogramProto, oneof="value"),
        Field("audio", 6, _Audio, oneof="value"),
        Field("node_name", 7, "string"),
        Field("tensor", 8, TensorProto, oneof="value"),
        Field("metadata", 9, SummaryMetadata),
    )


class Summary(Message):
    """Tagged values. Follows ``tf.compat.v1.Summary`` of TensorFlow 2.21."""

    Image = _Image
    Audio = _Audio
    Value = _Value
    FIELDS = (Field("value", 1, _Value, repeated=True),)


class SessionLog(Message):
    """A session's start, stop or checkpoint. Follows ``tf.compat.v1.SessionLog`` of TensorFlow 2.21."""

    STATUS_UNSPECIFIED: ClassVar[int] = 0
    START: ClassVar[int] = 1
    STOP: ClassVar[int] = 2
    CHECKPOINT: ClassVar[int] = 3
    FIELDS = (
        Field("status", 1, "enum"),
        Field("checkpoint_path", 2, "string"),
        Field("msg", 3, "string"),
    )


class LogMessage(Message):
    """A log line in an event file. Follows ``tf.compat.v1.LogMessage`` of TensorFlow 2.21."""

    UNKNOWN: ClassVar[int] = 0
    DEBUGGING: ClassVar[int] = 10
    INFO: ClassVar[int] = 20
    WARN: ClassVar[int] = 30
    ERROR: ClassVar[int] = 40
    FATAL: ClassVar[int] = 50
    FIELDS = (Field("level", 1, "enum"), Field("message", 2, "string"))


class TaggedRunMetadata(Message):
    """Follows ``tf.compat.v1.summary.TaggedRunMetadata`` of TensorFlow 2.21."""

    FIELDS = (Field("tag", 1, "string"), Field("run_metadata", 2, "bytes"))


class Event(Message):
    """One record of an event file. Follows ``tf.compat.v1.Event`` of TensorFlow 2.21."""

    FIELDS = (
        Field("wall_time", 1, "double"),
        Field("step", 2, "int64"),
        Field("file_version", 3, "string", oneof="what"),
        Field("graph_def", 4, "bytes", oneof="what"),
        Field("summary", 5, Summary, oneof="what"),
        Field("log_message", 6, LogMessage, oneof="what"),
        Field("session_log", 7, SessionLog, oneof="what"),
        Field("tagged_run_metadata", 8, TaggedRunMetadata, oneof="what"),
        Field("meta_graph_def", 9, "bytes", oneof="what"),
    )


class ConfigProto:
    """A session's settings. Any field can be set and read; none has an effect.

    A field that was not set reads as another ``ConfigProto``, so that
    ``config.gpu_options.allow_growth = True`` works.

    Args:
        **values: Fields.

    Follows ``tf.compat.v1.ConfigProto`` of TensorFlow 2.21.
    """

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = ConfigProto()
        setattr(self, name, found)
        return found

    def __repr__(self) -> str:
        return f"ConfigProto({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


# TensorFlow's numbers for the dtypes that summaries hold.
_NUMBERS = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "string": 7,
    "int64": 9, "bool": 10, "uint16": 17, "float16": 19, "uint32": 22, "uint64": 23,
}  # fmt: skip


def make_tensor_proto(
    values: Any,
    dtype: Any = None,
    shape: Any = None,
    verify_shape: bool = False,  # noqa: ARG001
) -> TensorProto:
    """Return an array, a number, a string or a nesting of these as a message.

    Args:
        values: The values to store. As in TensorFlow, ``float`` becomes ``float32``, and ``int``
            becomes ``int32`` if it fits.
        dtype: A NumPy type, or its name.
        shape: The shape, that of ``values`` if ``None``.
        verify_shape: For TensorFlow's signature; ignored: a wrong shape is always an error.

    Raises:
        TypeError: If the message can't hold this element type.

    Follows ``tf.make_tensor_proto`` of TensorFlow 2.21.
    """
    array = np.asarray(values, getattr(dtype, "as_numpy_dtype", dtype))
    if dtype is None and not hasattr(values, "dtype"):
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        elif array.dtype == np.int64 and np.all(array == array.astype(np.int32)):
            array = array.astype(np.int32)
    if shape is not None:
        array = array.reshape(tuple(shape))
    name = "string" if array.dtype.kind in "OSU" else array.dtype.name
    if name not in _NUMBERS:
        raise TypeError(f"an array of type {name} can't be stored in a TensorProto")
    proto = TensorProto(dtype=_NUMBERS[name])
    proto.tensor_shape.dim.extend(_Dim(size=size) for size in array.shape)
    if not array.ndim:
        proto.tensor_shape.unknown_rank = False
    if name == "string":
        proto.string_val.extend(
            item.encode() if isinstance(item, str) else bytes(item) for item in array.ravel()
        )
    else:
        proto.tensor_content = np.ascontiguousarray(
            array.astype(array.dtype.newbyteorder("<"))
        ).tobytes()
    return proto


def make_ndarray(tensor: TensorProto) -> np.ndarray[Any, Any]:
    """Return the array that a message holds.

    Raises:
        TypeError: If :func:`make_tensor_proto` does not store its element type.

    Follows ``tf.make_ndarray`` of TensorFlow 2.21.
    """
    names = {number: name for name, number in _NUMBERS.items()}
    if tensor.dtype not in names:
        raise TypeError(f"can't read a TensorProto with dtype number {tensor.dtype}")
    name = names[tensor.dtype]
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if name == "string":
        values = np.array(list(tensor.string_val), dtype=object)
        size = int(np.prod(shape))
        return (np.repeat(values, size) if values.size == 1 else values).reshape(shape)
    dtype = np.dtype(name)
    if tensor.tensor_content:
        return (
            np.frombuffer(tensor.tensor_content, dtype.newbyteorder("<"))
            .astype(dtype)
            .reshape(shape)
        )
    fields = ("float_val", "double_val", "int_val", "int64_val", "bool_val")
    numbers: list[Any] = next((list(v) for v in (getattr(tensor, f) for f in fields) if v), [])
    # As in TensorFlow: the last number is repeated for the missing ones.
    size = int(np.prod(shape))
    numbers += numbers[-1:] * (size - len(numbers)) if numbers else [0] * size
    return np.array(numbers, dtype).reshape(shape)
