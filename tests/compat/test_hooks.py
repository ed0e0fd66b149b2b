"""What hooks written for TensorFlow do, as seen in public repositories, on the shim."""

import abc
import logging
import time

import numpy as np
import pytest

import runloop as rl
import runloop.compat.tf as tf
from runloop.compat._tf.graphs import get_or_create_global_step_read
from runloop.testing import HookHarness

from .programs import Moment, standard


def train(hooks, steps=6, graph=None, **creator):
    """Runs the program under the hooks; gives what the caller's own fetches gave."""
    graph = graph or standard()
    results = []
    with graph.as_default():
        hooks = hooks(graph) if callable(hooks) else hooks
        chief = tf.train.ChiefSessionCreator(**creator)
        with tf.train.MonitoredSession(session_creator=chief, hooks=hooks) as session:
            while not session.should_stop() and len(results) < steps:
                results.append(session.run({"train": "train", "loss": "loss:0"})["loss"])
    return results


def events(folder):
    """(kind or tag, value, step) of all events of a folder, in order."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in tf.train.summary_iterator(path):
            if event.HasField("session_log"):
                status = {1: "START", 3: "CHECKPOINT"}[event.session_log.status]
                found.append((status, None, event.step))
            for value in event.summary.value:
                found.append((value.tag, value.simple_value, event.step))
    return found


@pytest.fixture(autouse=True)
def _writers():
    yield
    tf.summary.FileWriterCache.clear()


# -- fetches, handles, contexts --------------------------------------------------------------------


def test_results_have_the_structure_asked_for_and_tensorflows_types():
    seen = []

    class Hook(tf.train.SessionRunHook):
        def before_run(self, ctx):
            step = tf.train.get_global_step()
            return tf.train.SessionRunArgs(
                {"s": [[], step], 50: {"l": "loss"}, step.name: "global_step:0"}
            )

        def after_run(self, ctx, values):
            seen.append(values.results)

    train([Hook()], steps=2)
    assert seen[1] == {"s": [[], 1], 50: {"l": np.float32(0.5)}, "global_step:0": 1}
    assert isinstance(seen[1]["s"][1], np.int64)
    assert seen[1][50]["l"].dtype == np.float32


def test_names_may_be_given_with_and_without_0_and_with_slashes():
    class Hook(tf.train.SessionRunHook):
        def before_run(self, ctx):
            return tf.train.SessionRunArgs(["metrics/scaled:0", "metrics/scaled", "layer/w:0"])

        def after_run(self, ctx, values):
            one, other, weights = values.results
            assert one == other
            assert weights.shape == (2, 3)

    train([Hook()], steps=2)


def test_the_step_fetched_with_the_run_is_stale_and_the_session_below_gives_the_real_one():
    pairs = []

    class Hook(tf.train.SessionRunHook):
        def begin(self):
            read = tf.python.training.training_util._get_or_create_global_step_read()
            self.step = read or None  # the handle is true, also at step 0

        def before_run(self, run_context):
            assert run_context.original_args[0]["train"] == "train"
            assert run_context.original_args[1] is None
            return tf.train.SessionRunArgs(self.step)

        def after_run(self, run_context, run_values):
            pairs.append((run_values.results, run_context.session.run(self.step)))

    train([Hook()], steps=3)
    assert pairs == [(0, 1), (1, 2), (2, 3)]


def test_handles_feed_and_a_second_feed_of_the_same_is_refused():
    class Feeder(tf.train.SessionRunHook):
        def before_run(self, run_context):
            lr = run_context.session.graph.get_tensor_by_name("lr:0")
            return tf.train.SessionRunArgs("metrics/scaled", feed_dict={lr: 2.0})

        def after_run(self, run_context, run_values):
            assert run_values.results >= 2.0

    train([Feeder()], steps=2)
    with (
        standard().as_default(),
        tf.train.MonitoredSession(hooks=[Feeder()]) as session,
        pytest.raises(RuntimeError, match="Same tensor is fed by a SessionRunHook and user"),
    ):
        session.run("train", feed_dict={"lr:0": 1.0})


def test_a_value_can_be_loaded_into_a_variable_from_a_hook():
    class Hook(tf.train.SessionRunHook):
        def after_create_session(self, session, coord):
            (weights,) = tf.global_variables("layer")
            assert weights.op.name == "layer/w"
            weights.load(np.full(weights.shape.as_list(), 3.0), session)

        def end(self, session):
            assert session.run("layer/w").sum() == 18
            assert tf.train.get_global_step().eval(session=session) == 2

    train([Hook()], steps=2)


def test_the_graph_of_the_session_can_be_entered_and_looked_into():
    class Hook(tf.train.SessionRunHook):
        def after_create_session(self, session, coord):
            with session.graph.as_default():
                assert tf.get_collection("losses")[0].name == "loss:0"
                assert [v.name for v in tf.trainable_variables()] == ["layer/w:0"]
                names = [v.name for v in tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)]
                assert names == ["global_step:0", "layer/w:0", "seen:0"]
            with tf.Graph().as_default():
                assert tf.global_variables() == []
            assert session.graph is tf.get_default_graph()
            assert tf.train.get_or_create_global_step().graph is session.graph
            count = sum(
                int(np.prod([d.value for d in v.get_shape()])) for v in tf.global_variables()
            )
            assert count == 1 + 6 + 1

    graph = standard()
    with graph.as_default():
        tf.add_to_collection("losses", graph.get_tensor_by_name("loss:0"))
        tf.add_to_collections(["a", "b"], 3)
        tf.add_to_collections("c", 4)
        tf.get_collection_ref("a").append(5)
        assert (tf.get_collection("a"), tf.get_collection("c")) == ([3, 5], [4])
        assert tf.local_variables() == []
    train([Hook()], steps=1, graph=graph)


def test_a_native_session_runs_hooks_of_the_shim(tmp_path):
    class Hook(tf.train.SessionRunHook):
        def before_run(self, run_context):
            graph = run_context.session.graph
            return tf.train.SessionRunArgs(graph.get_operation_by_name("loss").outputs[0])

        def after_run(self, run_context, run_values):
            assert run_values.results == 1.0

    hooks = [Hook(), tf.train.StepCounterHook(output_dir=str(tmp_path))]
    with rl.MonitoredSession(hooks=hooks, graph=standard()) as session:
        session.run("train")


# -- classes ---------------------------------------------------------------------------------------


def test_hooks_may_skip_every_base_init_and_rename_every_parameter():
    class Skips(tf.train.StepCounterHook):
        def __init__(self):
            self._timer = tf.train.SecondOrStepTimer(every_steps=2)
            self._summary_writer = self._output_dir = self._last_global_step = None
            self.logged = []

        def after_create_session(self, sess=None, c=None):
            super().after_create_session(sess, c)

        def before_run(self, _ctx):
            return super().before_run(_ctx)

        def after_run(self, _ctx, _vals):
            super().after_run(_ctx, _vals)

        def _log_and_record(self, elapsed_steps, elapsed_time, global_step):
            self.logged.append((elapsed_steps, global_step))

    class Saves(tf.train.SummarySaverHook):
        def __init__(self, folder):
            tf.summary.scalar("l", "loss")
            self._summary_op = tf.summary.merge_all()
            self._summary_writer, self._output_dir = None, folder
            self._timer = tf.train.SecondOrStepTimer(every_steps=3)

    hook = Skips()
    train([hook], steps=6)
    assert hook.logged == [(2, 3), (2, 5)]
    train(lambda graph: [Saves(None)], steps=3)


def test_a_checkpoint_saver_that_skips_the_base_init_saves(tmp_path):
    class Saver(tf.train.CheckpointSaverHook):
        def __init__(self, folder):
            self._checkpoint_dir, self._save_path = folder, f"{folder}/model.ckpt"
            self._saver, self._scaffold, self._listeners = tf.train.Saver(), None, []
            self._timer = tf.train.SecondOrStepTimer(every_steps=2)

    train(lambda graph: [Saver(str(tmp_path))], steps=3)
    assert tf.train.latest_checkpoint(str(tmp_path)) == f"{tmp_path}/model.ckpt-3"


def test_abc_and_metaclasses_of_six_are_fine():
    made = []

    class Meta(type):
        def __new__(mcs, name, bases, members):
            made.append(name)
            return super().__new__(mcs, name, bases, members)

    class One(tf.train.SessionRunHook, metaclass=Meta):
        pass

    class Abstract(tf.train.SessionRunHook, metaclass=abc.ABCMeta):
        @abc.abstractmethod
        def what(self): ...

    class Concrete(Abstract):
        def what(self): ...

    assert len(train([One(), Concrete()], steps=2)) == 2
    assert made == ["One"]
    with pytest.raises(TypeError, match="abstract"):
        Abstract()


def test_a_hook_may_forward_only_a_part_of_the_lifecycle_to_another():
    class EveryOther(tf.train.SessionRunHook):
        def __init__(self, inner):
            self.inner, self.runs = inner, 0

        def begin(self):
            self.inner.begin()

        def before_run(self, run_context):
            self.runs += 1
            return self.inner.before_run(run_context) if self.runs % 2 == 0 else None

        def after_run(self, run_context, run_values):
            if run_values.results is not None:
                self.inner.after_run(run_context, run_values)

    stop = EveryOther(tf.train.StopAtStepHook(last_step=3))
    assert len(train([stop], steps=9)) == 4


def test_a_hook_without_the_base_class_and_without_a_hash_is_fine():
    class Duck:
        __hash__ = None

        def begin(self): ...
        def after_create_session(self, session, coord): ...
        def before_run(self, run_context): ...
        def after_run(self, run_context, run_values): ...
        def end(self, session): ...

        def __eq__(self, other):
            return True

    assert len(train([Duck(), Duck()], steps=2)) == 2


def test_the_end_of_the_data_raised_by_a_hook_ends_the_training():
    class Ends(tf.train.SessionRunHook):
        ended = False

        def before_run(self, run_context):
            raise tf.errors.OutOfRangeError(None, None, "no more")

        def end(self, session):
            self.ended = True

    hook = Ends()
    assert train([hook]) == []
    assert hook.ended


# -- time ------------------------------------------------------------------------------------------


def test_timers_and_stock_hooks_follow_time_time(monkeypatch, caplog):
    moment = Moment()
    monkeypatch.setattr(time, "time", moment)
    timer = tf.train.SecondOrStepTimer(2)
    assert timer.should_trigger_for_step(0)
    assert timer.update_last_triggered_step(0) == (None, None)
    moment.now += 1.5
    assert not timer.should_trigger_for_step(1)
    moment.now += 0.5
    assert timer.should_trigger_for_step(1)
    assert timer.update_last_triggered_step(1) == (2.0, 1)

    class Tick(tf.train.SessionRunHook):
        def before_run(self, run_context):
            moment.now += 0.25

    with caplog.at_level(logging.INFO):
        hooks = [
            tf.train.LoggingTensorHook(["loss:0"], every_n_secs=0.5),
            tf.train.StepCounterHook(every_n_steps=2),
            Tick(),
        ]
        train(hooks, steps=5)
    values = [m for m in caplog.messages if "=" in m or "/sec" in m]
    assert values == [
        "loss:0 = 1.0", "global_step/sec: 4", "loss:0 = 0.25 (0.750 sec)", "global_step/sec: 4",
    ]  # fmt: skip


def test_a_clock_that_runloop_was_given_comes_before_time_time():
    class Still:
        def monotonic(self):
            return 5.0

        time = monotonic

        def sleep(self, secs): ...

    with rl.clock.use(Still()):
        timer = tf.train.SecondOrStepTimer(every_secs=1)
        hook = tf.train.LoggingTensorHook(["loss"], every_n_secs=1)
    for one in (timer, hook._timer):
        one.update_last_triggered_step(0)
        assert one.update_last_triggered_step(1) == (0.0, 1)


def test_the_timer_of_a_stock_hook_can_be_used_before_begin():
    class Eager(tf.train.LoggingTensorHook):
        def begin(self):
            assert self._timer.last_triggered_step() is None
            self._timer.update_last_triggered_step(0)
            super().begin()

    assert len(train([Eager(["loss"], every_n_iter=2)], steps=2)) == 2
    assert tf.train.NeverTriggerTimer().should_trigger_for_step(1) is False


def test_modules_that_tests_patch_are_where_they_look_for_them(monkeypatch):
    moment = Moment(7.0)
    basic = tf.python.training.basic_session_run_hooks
    monkeypatch.setattr(basic.time, "time", moment)
    assert tf.train.SecondOrStepTimer(1)._clock.monotonic() == 7.0


# -- stock hooks as bases --------------------------------------------------------------------------


def test_names_are_looked_up_at_begin_with_tensorflows_errors():
    graph = standard()
    for tensors, error in (
        (["no_such"], KeyError),
        ([3.0], ValueError),
        ([standard().get_tensor_by_name("loss:0")], ValueError),
    ):
        with pytest.raises(error):
            train([tf.train.LoggingTensorHook(tensors, every_n_iter=1)], graph=graph)
    with graph.as_default():
        loss = graph.get_tensor_by_name("loss:0")
        lookup = tf.python.training.basic_session_run_hooks._as_graph_element
        assert lookup("loss") is lookup("loss:0") is lookup(loss) is loss
        with pytest.raises(
            ValueError, match="Passed 3.0 should have graph attribute that is equal"
        ):
            lookup(3.0)


def test_a_logging_hook_gives_handles_and_its_documented_members():
    class Mine(tf.train.LoggingTensorHook):
        def _log_tensors(self, values):
            assert self._tag_order == ["l", "s"]
            assert self._current_tensors["l"].name == "loss:0"
            self.seen = [*getattr(self, "seen", []), (self._iter_count, values["s"])]
            self._timer.update_last_triggered_step(self._iter_count)

    hook = Mine({"s": "global_step", "l": "loss"}, every_n_iter=2, at_end=True)
    train([hook], steps=3)
    assert hook.seen == [(0, 0), (2, 2), (3, 3)]


def test_a_step_counter_writes_summaries_of_its_own(tmp_path):
    class Mine(tf.train.StepCounterHook):
        def _log_and_record(self, elapsed_steps, elapsed_time, global_step):
            summary = tf.Summary()
            summary.value.add(tag="examples/sec", simple_value=elapsed_steps)
            self._summary_writer.add_summary(summary, global_step)
            assert self._global_step_tensor.op.name == "global_step"

    train([Mine(every_n_steps=2, output_dir=str(tmp_path))], steps=5)
    assert events(tmp_path) == [("examples/sec", 2.0, 3), ("examples/sec", 2.0, 5)]
    assert (tmp_path / "metrics.jsonl").read_text().count("examples/sec") == 2


def test_summaries_are_bytes_at_the_real_step_with_a_start(tmp_path):
    got = []

    class Mine(tf.train.SummarySaverHook):
        def before_run(self, run_context):
            args = super().before_run(run_context)
            got.append(sorted(args.fetches))
            return args

        def after_run(self, run_context, run_values):
            for summary in run_values.results.get("summary", ()):
                got.append(tf.Summary.FromString(summary).value[0].tag)
            super().after_run(run_context, run_values)

    def hooks(graph):
        tf.summary.scalar("q", graph.get_tensor_by_name("loss:0"))
        return [Mine(3, output_dir=str(tmp_path), summary_op=tf.summary.merge_all())]

    train(hooks, steps=4)
    assert events(tmp_path) == [("START", None, 1), ("q", 1.0, 1), ("q", 0.25, 4)]
    assert got == [
        ["global_step", "summary"], "q", ["global_step"], ["global_step"],
        ["global_step", "summary"], "q",
    ]  # fmt: skip


def test_summaries_of_runloops_kind_are_written_too(tmp_path):
    added = []

    class Plain:
        def add_scalar(self, tag, value, step):
            added.append((tag, value, step))

        def flush(self): ...
        def close(self): ...

    op = {"l": "loss"}
    hooks = [
        tf.train.SummarySaverHook(save_steps=1, output_dir=str(tmp_path), summary_op=op),
        tf.train.SummarySaverHook(save_steps=1, summary_writer=Plain(), summary_op=op),
        tf.train.SummarySaverHook(save_steps=1, summary_op=op),  # writes nothing
    ]
    train(hooks, steps=2)
    assert events(tmp_path)[1:] == [("l", 1.0, 1), ("l", 0.5, 2)]
    assert added == [("l", 1.0, 1), ("l", 0.5, 2)]


def test_a_checkpoint_saver_calls_save_and_notes_it_in_the_event_file(tmp_path):
    calls = []

    class Mine(tf.train.CheckpointSaverHook):
        def _save(self, session, step):
            calls.append((type(step), int(step)))
            super()._save(session, step)

    class Listener(tf.train.CheckpointSaverListener):
        def before_save(self, session, step):
            calls.append(("before", session.run(tf.train.get_global_step())))

        def after_save(self, session, step):
            calls.append(("after", int(step)))
            return step >= 4

    hook = Mine(str(tmp_path), save_steps=2, saver=None, scaffold=None, listeners=[Listener()])
    train([hook], steps=3)
    assert calls == [
        (np.int64, 0), ("before", 0), ("after", 0), (np.int64, 2), ("before", 2), ("after", 2),
        (np.int64, 3), ("before", 3), ("after", 3),
    ]  # fmt: skip
    assert events(tmp_path) == [("CHECKPOINT", None, step) for step in (0, 2, 3)]
    assert hook._get_saver().last_checkpoints[-1] == f"{tmp_path}/model.ckpt-3"


def test_a_listener_can_stop_the_training(tmp_path):
    class Listener(tf.estimator.CheckpointSaverListener):
        def after_save(self, session, step):
            return step >= 4

    hook = tf.train.CheckpointSaverHook(str(tmp_path), save_steps=2, listeners=[Listener()])
    assert len(train([hook], steps=9)) == 4


def test_the_other_stock_hooks_work_under_their_names(tmp_path):
    final = tf.train.FinalOpsHook({"s": "global_step:0"}, {"lr:0": 1.0})
    hooks = [
        tf.train.NanTensorHook("loss:0"),
        tf.train.GlobalStepWaiterHook(0),
        tf.train.FeedFnHook(lambda: {"lr:0": 0.25}),
        final,
        tf.train.ProfilerHook(save_steps=2, output_dir=str(tmp_path)),
        tf.train.StopAtStepHook(4),
    ]
    assert len(train(hooks, steps=9)) == 4
    assert final.final_ops_values == {"s": 4}
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "timeline-2.json", "timeline-4.json",
    ]  # fmt: skip


def test_hooks_say_what_they_miss_as_tensorflow_does():
    graph = rl.Graph()
    graph.op(lambda: 1, name="loss")
    for kind, arguments in (
        (tf.train.StopAtStepHook, {"last_step": 1}),
        (tf.train.StepCounterHook, {}),
        (tf.train.ProfilerHook, {"save_steps": 1}),
    ):
        with pytest.raises(RuntimeError, match=f"should be created to use {kind.__name__}"):
            train([kind(**arguments)], graph=graph)
    with graph.as_default():
        assert tf.train.get_global_step() is None


def test_a_stop_after_n_evaluations(caplog):
    hook = tf.python.training.evaluation._StopAfterNEvalsHook(3)
    graph = standard()
    graph.op(lambda global_step: global_step + 1, name="evals")
    hook._set_evals_completed_tensor(graph.get_tensor_by_name("evals:0"))
    with caplog.at_level(logging.INFO, "tensorflow"):
        assert len(train([hook], steps=9, graph=graph)) == 3
        endless = tf.python.training.evaluation._StopAfterNEvalsHook(None)
        graph = standard()
        graph.op(lambda global_step: global_step + 1, name="evals")
        endless._set_evals_completed_tensor("evals")
        assert len(train([endless], steps=1, graph=graph)) == 1
    assert caplog.messages == [
        "Evaluation [1/3]", "Evaluation [2/3]", "Evaluation [3/3]", "Evaluation [1]",
    ]  # fmt: skip


def test_lines_show_values_as_tensorflow_does(caplog):
    with caplog.at_level(logging.INFO):
        hook = tf.train.LoggingTensorHook({"s": "global_step", "l": "loss"}, every_n_iter=2)
        train([hook], steps=3)
    lines = [message for message in caplog.messages if message.startswith("l = ")]
    assert lines[0] == "l = 1.0, s = 0"
    assert lines[1].startswith("l = 0.33333334, s = 2 (")


def test_a_summary_op_can_be_found_when_it_is_first_needed(tmp_path):
    class Lazy(tf.train.SummarySaverHook):
        def __init__(self, folder):
            super().__init__(save_steps=1, output_dir=folder, scaffold=1)  # any will do

        def _get_summary_op(self):
            found = tf.train.Scaffold.get_or_default(
                "summary_op", tf.GraphKeys.SUMMARY_OP, tf.summary.merge_all
            )
            return found if isinstance(found, list) else [found]

    graph = standard()
    with graph.as_default():
        tf.summary.scalar("q", "loss")
    train([Lazy(str(tmp_path))], steps=2, graph=graph)
    assert events(tmp_path)[1:] == [("q", 1.0, 1), ("q", 0.5, 2)]


def test_a_stop_asked_of_a_context_that_is_over_does_nothing():
    class Late(tf.train.SessionRunHook):
        context = None

        def before_run(self, run_context):
            if self.context is not None:
                self.context.request_stop()
            self.context = run_context

    assert len(train([Late()], steps=4)) == 4


def test_summaries_are_written_once_at_the_end(tmp_path):
    with pytest.raises(ValueError, match="One of log_dir or summary_writer should be used"):
        tf.contrib.training.SummaryAtEndHook()
    assert tf.contrib.training.StopAfterNEvalsHook(3)._num_evals == 3

    graph = standard()
    with graph.as_default():
        tf.summary.scalar("loss", "loss")
    writer = tf.summary.FileWriter(str(tmp_path / "own"))
    hooks = [
        tf.contrib.training.SummaryAtEndHook(str(tmp_path / "logs")),
        tf.contrib.training.SummaryAtEndHook(summary_writer=writer, summary_op="loss_bytes"),
    ]
    graph.op(
        lambda lr: tf.Summary(
            value=[tf.Summary.Value(tag="fed", simple_value=lr)]
        ).SerializeToString(),
        name="loss_bytes",
    )
    hooks[1]._feed_dict = {"lr": np.float32(2)}
    train(hooks, steps=4, graph=graph)

    for folder, expected in (("logs", ("loss", 0.2)), ("own", ("fed", 2.0))):
        (path,) = (tmp_path / folder).glob("events*")
        found = [
            (event.step, value.tag, value.simple_value)
            for event in tf.train.summary_iterator(path)
            for value in event.summary.value
        ]
        assert found == [(4, expected[0], pytest.approx(expected[1]))]


# -- the metadata of runs --------------------------------------------------------------------------


def test_traces_of_a_run_are_written_as_tensorflow_writes_them(tmp_path):
    config_pb2 = pytest.importorskip("tensorboard.compat.proto.config_pb2")

    class Tracer(tf.train.SessionRunHook):
        def before_run(self, run_context, level=tf.RunOptions.FULL_TRACE):
            return tf.train.SessionRunArgs(None, options=tf.RunOptions(trace_level=level))

        def after_run(self, run_context, run_values):
            assert run_values.options.trace_level == tf.RunOptions.FULL_TRACE
            self.data = run_values.run_metadata.SerializeToString()
            tl = tf.python.client.timeline.Timeline(run_values.run_metadata.step_stats)
            self.trace = tl.generate_chrome_trace_format(show_memory=True)
            writer = tf.summary.FileWriterCache.get(str(tmp_path))
            writer.add_run_metadata(run_values.run_metadata, "step_0", 1)

    class Reader(tf.train.SessionRunHook):
        def after_run(self, run_context, run_values):
            assert run_values.options.timeout_in_ms == 0

    hook = Tracer()
    train([hook, Reader()], steps=1)
    (device,) = config_pb2.RunMetadata.FromString(hook.data).step_stats.dev_stats
    assert {node.node_name for node in device.node_stats} == {"loss", "train"}
    assert '"loss"' in hook.trace
    assert tf.RunMetadata().SerializeToString() == b""


def test_hooks_with_handles_of_unknown_shape_can_be_tested_with_the_kit():
    class Watch(tf.train.SessionRunHook):
        def begin(self):
            self.loss = tf.get_default_graph().get_tensor_by_name("loss:0")

        def before_run(self, run_context):
            return tf.train.SessionRunArgs(self.loss)

        def after_run(self, run_context, run_values):
            self.seen = run_values.results

    hook = Watch()
    harness = HookHarness(hook, graph=standard())
    harness.run()
    assert hook.seen == 1.0
    assert harness.events[-2] == "Watch.before_run step=0 asks=loss:0"


def test_the_profiler_hook_has_the_writer_of_its_folder(tmp_path):
    hook = tf.train.ProfilerHook(save_steps=1, output_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []  # opened when somebody asks for it
    assert hook._file_writer is tf.summary.FileWriterCache.get(str(tmp_path))
    assert hook._output_file == str(tmp_path / "timeline-{}.json")


def test_what_hooks_read_the_step_by_is_in_its_collection():
    with rl.Graph().as_default(), tf.Graph().as_default() as graph:
        assert get_or_create_global_step_read() is None
        assert graph.get_collection("global_step_read_op_cache") == []
        step = tf.train.get_or_create_global_step()
        tf.train.StepCounterHook(1).begin()
        assert graph.get_collection("global_step_read_op_cache") == [step]
        assert get_or_create_global_step_read() is not None
        assert len(graph.get_collection("global_step_read_op_cache")) == 1
