"""The messages against protobuf's own: TensorBoard brings the same .proto files, compiled."""

import copy
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runloop.compat._tf import protos
from runloop.compat._tf.protos import (
    ConfigProto,
    Event,
    LogMessage,
    SessionLog,
    Summary,
    SummaryMetadata,
    TensorProto,
    make_ndarray,
    make_tensor_proto,
)
from runloop.compat._tf.wire import DecodeError

event_pb2 = pytest.importorskip("tensorboard.compat.proto.event_pb2")
summary_pb2 = pytest.importorskip("tensorboard.compat.proto.summary_pb2")
config_pb2 = pytest.importorskip("tensorboard.compat.proto.config_pb2")
tensor_pb2 = pytest.importorskip("tensorboard.compat.proto.tensor_pb2")
tensor_util = pytest.importorskip("tensorboard.util.tensor_util")

KINDS = {
    1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string",
    11: "message", 12: "bytes", 14: "enum",
}  # fmt: skip
PAIRS = [
    (protos.Event, event_pb2.Event),
    (protos.LogMessage, event_pb2.LogMessage),
    (protos.SessionLog, event_pb2.SessionLog),
    (protos.TaggedRunMetadata, event_pb2.TaggedRunMetadata),
    (protos.Summary, summary_pb2.Summary),
    (protos.Summary.Value, summary_pb2.Summary.Value),
    (protos.Summary.Image, summary_pb2.Summary.Image),
    (protos.Summary.Audio, summary_pb2.Summary.Audio),
    (protos.SummaryMetadata, summary_pb2.SummaryMetadata),
    (protos.SummaryDescription, summary_pb2.SummaryDescription),
    (protos.TensorProto, tensor_pb2.TensorProto),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_every_field_has_the_number_kind_and_group_of_the_real_one(ours, theirs):
    real = {field.name: field for field in theirs.DESCRIPTOR.fields}
    for field in ours.FIELDS:
        other = real[field.name]
        kind = "message" if isinstance(field.kind, type) else field.kind
        group = other.containing_oneof.name if other.containing_oneof else None
        assert (field.number, kind, field.oneof) == (other.number, KINDS[other.type], group)


def test_enumerations_have_the_real_numbers():
    for name in ("STATUS_UNSPECIFIED", "START", "STOP", "CHECKPOINT"):
        assert getattr(SessionLog, name) == getattr(event_pb2.SessionLog, name)
    for name in ("UNKNOWN", "DEBUGGING", "INFO", "WARN", "ERROR", "FATAL"):
        assert getattr(LogMessage, name) == getattr(event_pb2.LogMessage, name)


floats = st.floats(width=32)
doubles = st.floats()
text = st.text(max_size=20)
int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
histograms = st.fixed_dictionaries(
    {"min": doubles, "num": doubles, "bucket": st.lists(doubles, max_size=3)}
)
images = st.fixed_dictionaries({"height": int32, "encoded_image_string": st.binary(max_size=9)})
values = st.one_of(
    st.fixed_dictionaries({"tag": text, "simple_value": floats}),
    st.fixed_dictionaries({"tag": text, "image": images}),
    st.fixed_dictionaries({"tag": text, "node_name": text, "histo": histograms}),
    st.fixed_dictionaries({"tag": text, "metadata": st.just({"display_name": "x"})}),
)
whats = st.one_of(
    st.fixed_dictionaries({"summary": st.fixed_dictionaries({"value": st.lists(values)})}),
    st.fixed_dictionaries(
        {
            "session_log": st.fixed_dictionaries(
                {"status": st.sampled_from([0, 1, 2, 3]), "msg": text}
            )
        }
    ),
    st.fixed_dictionaries({"file_version": text}),
    st.fixed_dictionaries({"graph_def": st.binary(max_size=20)}),
)


def build(kind, fields):
    """One of our messages from nested dictionaries, lists of them among it."""
    if kind is Event and "summary" in fields:
        members = [Summary.Value(**value) for value in fields["summary"]["value"]]
        return Event(**{**fields, "summary": Summary(value=members)})
    return kind(**fields)


@given(wall_time=doubles, step=int64, what=whats)
def test_bytes_are_those_of_protobuf_and_are_read_back(wall_time, step, what):
    fields = {"wall_time": wall_time, "step": step, **what}
    ours = build(Event, fields)
    real = event_pb2.Event(**fields)

    assert ours.SerializeToString() == real.SerializeToString(deterministic=True)
    assert (
        Event.FromString(real.SerializeToString()).SerializeToString() == ours.SerializeToString()
    )


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_a_decode_error(data):
    try:
        Event.FromString(data)
    except DecodeError:
        return


def test_a_cut_message_is_an_error_and_an_unknown_field_is_kept():
    whole = event_pb2.Event(wall_time=1.0, file_version="x")
    with pytest.raises(DecodeError, match="ends in the middle of field 3"):
        Event.FromString(whole.SerializeToString()[:-1])

    whole.source_metadata.writer = "someone"
    kept = Event.FromString(whole.SerializeToString())
    assert event_pb2.Event.FromString(kept.SerializeToString()) == whole


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x0a", "ends in the middle of a number"),
        (b"\xff" * 11, "more than 10 bytes"),
        (b"\x00\x00", "the number 0"),
        (b"\x0b", "wire type 3, which is not supported"),
        (b"\x1a\x01\xff", "not UTF-8"),
    ],
)
def test_what_is_wrong_with_the_bytes_is_said(data, problem):
    with pytest.raises(DecodeError, match=problem):
        Event.FromString(data)


def test_packed_numbers_must_fill_their_list():
    with pytest.raises(DecodeError, match="a packed list of 3 bytes can't hold members of 8 bytes"):
        protos.HistogramProto.FromString(b"\x32\x03abc")


def test_a_number_that_came_in_another_wire_type_is_kept_as_unknown():
    data = b"\x15" + struct.pack("<f", 1.0)  # field 2 as a 32-bit number; it is a varint
    assert Event.FromString(data).step == 0
    assert Event.FromString(data).SerializeToString() == data


def test_members_come_to_be_when_they_are_written_to():
    event = Event()
    assert not event.HasField("summary")
    assert len(event.summary.value) == 0
    assert not event.HasField("summary")  # looking changed nothing

    event.summary.value.add(tag="loss", simple_value=0.1)
    assert event.WhichOneof("what") == "summary"
    value = event.summary.value[0]
    value.metadata.plugin_data.plugin_name = "scalars"
    assert event.summary.value[0].metadata.plugin_data.plugin_name == "scalars"
    assert value.simple_value == np.float32(0.1)  # what a float field keeps
    added = event.summary.value.add()
    added.tag = "later"
    assert event.summary.value[1].tag == "later"


def test_setting_one_member_of_a_group_unsets_the_others():
    value = Summary.Value(simple_value=1.0)
    value.image.height = 3
    assert value.WhichOneof("value") == "image"
    assert value.simple_value == 0.0
    value.simple_value = 0.0
    assert value.HasField("simple_value")


def test_a_message_that_is_appended_is_copied():
    value = Summary.Value(tag="a", simple_value=1)
    summary = Summary(value=[value])
    summary.value.extend([value])
    value.tag = "b"
    assert [v.tag for v in summary.value] == ["a", "a"]


def test_messages_are_compared_copied_merged_cleared_and_shown_by_value():
    one = Summary(value=[Summary.Value(tag='q"', simple_value=1.5)])
    other = Summary()
    other.CopyFrom(one)
    assert one == other
    assert one != SessionLog()
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    other.MergeFrom(one)
    assert len(other.value) == 2
    assert other.ByteSize() == len(other.SerializeToString())
    assert str(one) == 'value {\n  tag: "q\\042"\n  simple_value: 1.5\n}\n'
    other.ClearField("value")
    assert other == Summary()
    one.Clear()
    assert one.ListFields() == []
    assert one.IsInitialized()
    assert other.ParseFromString(Summary(value=[Summary.Value()]).SerializeToString()) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize(
    ("make", "error", "problem"),
    [
        (lambda: Summary(foo=1), ValueError, "Summary has no field 'foo'; its fields are value"),
        (lambda: Summary().foo, AttributeError, "Summary has no field 'foo'"),
        (lambda: setattr(Summary(), "value", []), AttributeError, r"use extend\(\)"),
        (lambda: setattr(Event(), "summary", Summary()), AttributeError, r"use CopyFrom\(\)"),
        (lambda: Summary(value=[3]), TypeError, "value must be _Value, got 3 of type int"),
        (lambda: Summary.Value(tag=3), TypeError, "tag must be string, got 3 of type int"),
        (lambda: Summary.Value(simple_value="1"), TypeError, "simple_value must be float"),
        (lambda: Event(step=1.5), TypeError, "step must be int64, got 1.5 of type float"),
        (lambda: Event(step=2**63), ValueError, "out of range for int64"),
        (lambda: Event(graph_def="x"), TypeError, "graph_def must be bytes"),
        (lambda: Summary().HasField("value"), ValueError, "repeated: use its len"),
        (lambda: Summary().WhichOneof("what"), ValueError, "Summary has no oneof 'what'"),
        (lambda: Summary.FromString("x"), TypeError, "Summary: expected bytes, got 'x'"),
    ],
)
def test_mistakes_are_said(make, error, problem):
    with pytest.raises(error, match=problem):
        make()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(4), np.float64(0.5), np.array(True),
        np.array(["a", "bc"]), np.array([], np.int32), np.uint8(7), "text", [1.5, 2.5], 3,
    ],
)  # fmt: skip
def test_arrays_become_messages_that_tensorboard_reads(array):
    proto = make_tensor_proto(array)
    real = tensor_pb2.TensorProto.FromString(proto.SerializeToString())

    there, back = tensor_util.make_ndarray(real), make_ndarray(proto)
    np.testing.assert_array_equal(there, back)
    assert there.shape == back.shape == np.shape(array)


def test_arrays_are_read_from_lists_of_numbers_too():
    filled = TensorProto(dtype=1, float_val=[1.5])
    filled.tensor_shape.dim.add(size=3)
    np.testing.assert_array_equal(make_ndarray(filled), np.full(3, 1.5, np.float32))
    np.testing.assert_array_equal(make_ndarray(TensorProto(dtype=9)), np.int64(0))
    assert make_tensor_proto(5, dtype=np.int64, shape=[1]).tensor_shape.dim[0].size == 1


def test_element_types_without_a_place_are_refused():
    with pytest.raises(TypeError, match="an array of type complex64 can't be stored"):
        make_tensor_proto(np.zeros(1, np.complex64))
    with pytest.raises(TypeError, match="can't read a TensorProto with dtype number 99"):
        make_ndarray(TensorProto(dtype=99))


def test_settings_can_be_written_at_any_depth():
    config = ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    assert config.gpu_options.allow_growth
    assert "allow_soft_placement=True" in repr(config)
    assert not hasattr(config, "__fspath__")


def test_text_is_taken_as_bytes_and_numbers_of_numpy_as_numbers():
    assert Summary.Value(tag=b"a").tag == "a"
    assert Event(step=np.int64(3), wall_time=np.array(1.5)).step == 3
    assert SummaryMetadata(plugin_data={"content": bytearray(b"x")}).plugin_data.content == b"x"
    shape = protos.TensorProto()
    shape.tensor_shape.unknown_rank = True
    assert shape.tensor_shape.unknown_rank is True
    assert "unknown_rank: true" in str(shape)


def test_lists_of_integers_are_packed_and_read_in_both_forms():
    real = tensor_pb2.TensorProto(dtype=3, int_val=[-1, 300], bool_val=[True], int64_val=[-(2**63)])
    ours = TensorProto(dtype=3, int_val=[-1, 300], bool_val=[True], int64_val=[-(2**63)])
    assert ours.SerializeToString() == real.SerializeToString(deterministic=True)
    back = TensorProto.FromString(ours.SerializeToString())
    assert (back.int_val, back.bool_val, back.int64_val) == ([-1, 300], [True], [-(2**63)])
    assert TensorProto.FromString(b"\x38\x05\x38\x06").int_val == [5, 6]  # one by one
    doubles = protos.HistogramProto(bucket=[0.5, 1.5])
    assert protos.HistogramProto.FromString(doubles.SerializeToString()).bucket == [0.5, 1.5]


def test_what_is_none_is_not_set():
    value = Summary.Value(tag="a", simple_value=None, metadata=None)
    assert value.WhichOneof("value") is None
    assert not value.HasField("metadata")
