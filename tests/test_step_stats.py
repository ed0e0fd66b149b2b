"""The times of a run's ops, for Python and in TensorFlow's form."""

import numpy as np
import pytest

import runloop as rl
from runloop.step_stats import OpStats, StepStats

OPS = StepStats([OpStats("a", 1000.4, 50.2, (), 800), OpStats("b", 2000.0, 0.1, ("a",), 0)])


class Traces(rl.SessionRunHook):
    def before_run(self, run_context):
        return rl.RunArgs(None, options=rl.RunOptions(trace_level=rl.RunOptions.FULL_TRACE))

    def after_run(self, run_context, run_values):
        self.metadata = run_values.run_metadata


def test_device_and_node_stats_have_tensorflows_names():
    (device,) = OPS.dev_stats
    first, second = device.node_stats

    assert device.device == "/device:CPU:0"
    assert (first.node_name, first.timeline_label) == ("a", "a = Op()")
    assert (second.node_name, second.timeline_label) == ("b", "b = Op(a)")
    assert (first.all_start_micros, first.op_start_rel_micros) == (1000, 0)
    assert (first.op_end_rel_micros, first.all_end_rel_micros) == (50, 50)
    assert first.output[0].tensor_description.allocation_description.requested_bytes == 800
    assert second.output == ()


def test_a_run_without_a_trace_has_no_devices():
    metadata = rl.RunMetadata()

    assert metadata.step_stats == metadata.step_stats.dev_stats == ()
    assert metadata.SerializeToString() == b""


def test_a_hook_of_a_native_session_reads_the_times_as_in_tensorflow():
    graph = rl.Graph()
    graph.op(lambda: np.zeros(8), name="loss")
    graph.train_op(lambda loss: None, name="train")
    hook = Traces()
    with rl.MonitoredSession(hooks=[hook], graph=graph) as session:
        session.run("train")

    (device,) = hook.metadata.step_stats.dev_stats
    assert [node.node_name for node in device.node_stats] == ["loss", "train"]
    assert [node.timeline_label for node in device.node_stats] == [
        "loss = Op()",
        "train = Op(loss)",
    ]
    assert device.node_stats[0].output[0].tensor_description.allocation_description == (64, 64)


def test_an_op_that_raises_is_in_the_trace():
    graph = rl.Graph()
    graph.op(lambda: 1 / 0, name="broken")
    metadata = rl.RunMetadata()
    with pytest.raises(ZeroDivisionError), rl.Session(graph=graph) as session:
        session.run("broken", None, rl.RunOptions(trace_level=3), metadata)

    assert [op.name for op in metadata.step_stats] == ["broken"]


def test_the_bytes_are_tensorflows_message():
    config_pb2 = pytest.importorskip("tensorboard.compat.proto.config_pb2")
    metadata = rl.RunMetadata()
    metadata.step_stats = OPS
    (device,) = config_pb2.RunMetadata.FromString(metadata.SerializeToString()).step_stats.dev_stats

    for ours, theirs in zip(OPS.dev_stats[0].node_stats, device.node_stats, strict=True):
        for name in ours._fields:
            if name != "output":
                assert getattr(theirs, name) == getattr(ours, name), name
    output = device.node_stats[0].output[0]
    assert output.tensor_description.allocation_description.requested_bytes == 800
    assert device.device == OPS.dev_stats[0].device
