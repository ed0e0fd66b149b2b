"""Sessions, scaffolds, savers and summaries by TensorFlow's names."""

import json

import numpy as np
import pytest

import runloop.compat.tf as tf
from runloop.testing import FakeClock

from .programs import standard
from .test_hooks import events


@pytest.fixture(autouse=True)
def graph(monkeypatch):
    with standard().as_default() as graph:
        yield graph
    tf.summary.FileWriterCache.clear()


def test_a_training_session_has_the_usual_hooks_and_writes_what_tensorflow_writes(tmp_path, graph):
    clock = FakeClock()
    tf.summary.scalar("q", "loss")
    with (
        clock.use(),
        tf.train.MonitoredTrainingSession(
            checkpoint_dir=str(tmp_path),
            save_checkpoint_steps=2,
            save_summaries_steps=2,
            log_step_count_steps=2,
            hooks=[tf.train.StopAtStepHook(5)],
            chief_only_hooks=[tf.train.NanTensorHook("loss")],
        ) as session,
    ):
        names = [type(hook).__name__ for hook in session.hooks]
        while not session.should_stop():
            session.run("train")
            clock.advance(1)
    assert names == [
        "NanTensorHook", "StepCounterHook", "SummarySaverHook", "CheckpointSaverHook",
        "StopAtStepHook",
    ]  # fmt: skip
    # The order and the steps of TensorFlow 2.21's event file for the same program.
    assert [(tag, step) for tag, _, step in events(tmp_path)] == [
        ("CHECKPOINT", 0), ("START", 1), ("q", 1), ("CHECKPOINT", 2), ("global_step/sec", 3),
        ("q", 3), ("CHECKPOINT", 4), ("global_step/sec", 5), ("q", 5), ("CHECKPOINT", 5),
    ]  # fmt: skip
    tags = [
        json.loads(line)["tag"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    assert tags.count("q") == 3


def test_triggers_that_are_none_or_0_leave_their_hooks_out(tmp_path):
    with tf.train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path),
        save_checkpoint_secs=None,
        save_summaries_steps=None,
        log_step_count_steps=0,
    ) as session:
        assert session.hooks == ()
    with tf.train.MonitoredTrainingSession(
        is_chief=False, checkpoint_dir=str(tmp_path), chief_only_hooks=[3]
    ) as session:
        assert session.hooks == ()
    with tf.train.MonitoredTrainingSession(summary_dir=str(tmp_path)) as session:
        assert len(session.hooks) == 2


def test_a_session_comes_back_from_its_newest_checkpoint(tmp_path):
    for expected in (0, 2):
        with tf.train.MonitoredTrainingSession(
            checkpoint_dir=str(tmp_path), save_checkpoint_steps=100
        ) as session:
            assert session.run("global_step") == expected
            session.run("train")
            session.run("train")
    with tf.train.SingularMonitoredSession(checkpoint_dir=str(tmp_path)) as session:
        assert session.raw_session().run("global_step") == 4


def test_a_scaffold_puts_its_saver_and_summary_op_into_the_collections(graph):
    tf.summary.scalar("q", "loss")
    scaffold = tf.train.Scaffold()
    creator = tf.train.ChiefSessionCreator(scaffold)
    with tf.train.MonitoredSession(creator) as session:
        (saver,) = tf.get_collection(tf.GraphKeys.SAVERS)
        (op,) = tf.get_collection(tf.GraphKeys.SUMMARY_OP)
        assert isinstance(saver, tf.train.Saver)
        assert (scaffold.saver, scaffold.summary_op) == (saver, op)
        found = tf.train.Scaffold.get_or_default(
            "summary_op", tf.GraphKeys.SUMMARY_OP, tf.summary.merge_all
        )
        assert found is op  # and nothing was added to the finalized graph
        assert tf.Summary.FromString(session.run(op)).value[0].tag == "q"
    with tf.train.MonitoredSession(tf.train.ChiefSessionCreator(tf.train.Scaffold())):
        assert tf.get_collection(tf.GraphKeys.SAVERS) == [saver]


def test_a_worker_that_waits_too_long_raises_tensorflows_error(monkeypatch):
    scaffold = tf.train.Scaffold(ready_op=lambda: ["w"])
    with FakeClock().use():
        creator = tf.train.WorkerSessionCreator(scaffold, max_wait_secs=65)
    with pytest.raises(
        tf.errors.DeadlineExceededError, match="Session was not ready after waiting 65 secs"
    ):
        creator.create_session()


def test_lost_sessions_are_made_again_and_the_metadata_are_those_of_tensorflow():
    raised = []

    class Hook(tf.train.SessionRunHook):
        def after_run(self, run_context, run_values):
            assert isinstance(run_values.run_metadata, tf.RunMetadata)
            if not raised:
                raised.append(1)
                raise tf.errors.AbortedError(None, None, "lost")

    with tf.train.MonitoredSession(hooks=[Hook()]) as session:
        assert session.run("global_step", run_metadata=tf.RunMetadata()) == 0
        session.run("train")
        assert session.run("global_step") == 1
    with pytest.raises(tf.errors.AbortedError), tf.train.SingularMonitoredSession() as session:
        raised.clear()
        raise tf.errors.AbortedError(None, None, "lost")


# -- sessions --------------------------------------------------------------------------------------


def test_a_session_is_the_default_one_inside_its_with(graph):
    assert tf.get_default_session() is None
    other = standard()
    with tf.Session(graph=other) as session:
        assert tf.get_default_session() is session
        assert tf.get_default_graph() is other
        session.run(tf.global_variables_initializer())
        session.run([tf.compat.v1.local_variables_initializer(), tf.tables_initializer()])
        step = session.make_callable("metrics/scaled:0", ["lr:0"])
        assert step(2.0) == 2.0
    assert session.closed
    assert tf.get_default_graph() is graph
    session = tf.Session()
    with session.as_default():
        assert tf.get_default_session() is session
    assert not session.closed
    session.close()


def test_the_default_graph_can_be_reset(graph):
    tf.reset_default_graph()
    assert tf.get_default_graph() is not graph
    assert tf.global_variables() == []


def test_the_global_step_by_all_its_functions(graph):
    step = tf.train.get_global_step()
    assert step is tf.train.get_or_create_global_step() is tf.contrib.framework.get_global_step()
    assert (step.name, step.op.name, step.dtype) == ("global_step:0", "global_step", "int64")
    tf.train.assert_global_step(step)
    with pytest.raises(ValueError, match='"global_step" already exists.'):
        tf.train.create_global_step()
    with pytest.raises(TypeError, match="the global step must be an integer, got <dtype: 'float"):
        tf.train.assert_global_step(graph.variable_handle("layer/w"))
    graph.variable("many", np.zeros(2, int))
    with pytest.raises(TypeError, match=r"must be a scalar, got shape \(2,\)"):
        tf.train.assert_global_step(graph.variable_handle("many"))
    with tf.Session() as session:
        session.run("train")
        assert tf.train.global_step(session, step) == 1
    with tf.Graph().as_default():
        assert tf.train.get_global_step() is None
        assert tf.train.create_global_step().name == "global_step:0"


def test_a_session_that_calls_hooks_and_nothing_else_is_for_tests(graph):
    calls = []

    class Hook(tf.train.SessionRunHook):
        def begin(self):
            calls.append("begin")

        def before_run(self, run_context):
            return tf.train.SessionRunArgs("loss:0")

        def after_run(self, run_context, run_values):
            calls.append(float(run_values.results))
            if len(calls) == 2:
                run_context.request_stop()

    with tf.Session() as session:
        hook = Hook()
        hooked = tf.python.training.monitored_session._HookedSession(session, [hook])
        assert hooked.graph is graph
        for _ in range(2):
            assert not hooked.should_stop()
            hooked.run("train")
        assert hooked.should_stop()
        with pytest.raises(RuntimeError, match="Run called even after should_stop requested."):
            hooked.run("train")
        hooked.close()
        assert session.closed
    assert calls == [1.0, 0.5]
    with pytest.raises(TypeError, match="is not a hook"):
        tf.python.training.monitored_session._HookedSession(session, [3])


def test_the_session_below_is_found_by_the_private_names_that_programs_use():
    with tf.train.MonitoredSession() as session:
        raw = session
        while type(raw).__name__ != "Session":
            raw = raw._sess
        assert raw is session._tf_sess() is session.raw_session()
        assert isinstance(raw, tf.Session)
        assert not isinstance(session, tf.Session)


# -- summaries -------------------------------------------------------------------------------------


def test_summaries_are_merged_as_bytes(graph):
    first = tf.summary.scalar("a", "loss:0")
    tf.summary.scalar("lr", graph.get_tensor_by_name("metrics/scaled:0"), family="f")
    tf.summary.scalar("apart", "loss", collections=["mine"])
    graph.summary("native", "lr")  # without the shim
    merged = tf.summary.merge_all()
    pair = tf.summary.merge([first, first], collections=["m"], name="pair")
    assert tf.get_collection("m") == [pair]
    assert pair.op.name == "pair"
    with tf.Session() as session:
        found = tf.Summary.FromString(session.run(merged))
        assert len(tf.Summary.FromString(session.run(pair)).value) == 2
    assert [(v.tag, v.simple_value) for v in found.value] == [
        ("a", 1.0), ("f/lr", 0.5), ("native", 0.5),
    ]  # fmt: skip
    assert first.op.name == "a"
    assert tf.summary.merge_all("nothing") is None
    assert tf.summary.merge_all("mine").op.name == "Merge/MergeSummary_1"


def test_a_leaf_of_attached_state_can_be_summarised(graph):
    graph.attach("state", {"deep": {"lr": np.float64(0.25)}})
    merged = tf.summary.merge([tf.summary.scalar("lr_tag", "state/deep/lr")])
    with tf.Session() as session:
        assert tf.Summary.FromString(session.run(merged)).value[0].simple_value == 0.25


def test_a_tag_may_be_an_ops_name_and_a_second_one_is_numbered(graph):
    tags = [tf.summary.scalar("loss", "loss") for _ in range(2)]
    with tf.Session() as session:
        found = [tf.Summary.FromString(session.run(tag)).value[0].tag for tag in tags]
    assert found == ["loss", "loss_1"]
    assert list(graph.summaries) == ["loss", "loss_1"]
    with pytest.raises(KeyError, match="los:0"):
        tf.summary.scalar("x", "los")
    graph.finalize()
    with pytest.raises(RuntimeError, match="finalized"):
        tf.summary.scalar("y", "loss")


# -- savers ----------------------------------------------------------------------------------------


def test_paths_are_prefixes_as_tensorflows_checkpoints_are(tmp_path, graph):
    folder = str(tmp_path)
    saver = tf.train.Saver(max_to_keep=2, save_relative_paths=True)
    with tf.Session() as session:
        for _ in range(3):
            session.run("train")
            path = saver.save(
                session, f"{folder}/model.ckpt", tf.train.get_global_step(), write_meta_graph=False
            )
        assert path == tf.train.latest_checkpoint(folder) == f"{folder}/model.ckpt-3"
        assert int(path.rsplit("-", 1)[1]) == 3
        assert saver.last_checkpoints == [f"{folder}/model.ckpt-2", path]
        state = tf.train.get_checkpoint_state(folder)
        assert state.model_checkpoint_path == path
        assert state.all_model_checkpoint_paths == saver.last_checkpoints
        saver.recover_last_checkpoints([path])
        saver.set_last_checkpoints([path])
        saver.set_last_checkpoints_with_time([(path, 1.0)])
        saver.build()
        session.run("train")
        saver.restore(sess=session, save_path=path)
        with pytest.raises(ValueError, match="save_path is None; latest_checkpoint"):
            saver.restore(session, tf.train.latest_checkpoint(str(tmp_path / "none")))
        with pytest.raises(ValueError, match="Saver.restore: .*none"):
            saver.restore(session, f"{folder}/none")
        assert session.run("global_step") == 3
    assert tf.train.checkpoint_exists(path)
    assert len(tf.train.get_checkpoint_mtimes([path, f"{folder}/none"])) == 1
    assert tf.train.list_variables(folder)[0] == ("global_step", [])
    assert tf.train.load_variable(path, "global_step") == 3
    assert tf.train.NewCheckpointReader(path).get_tensor("seen") == 3
    tf.train.remove_checkpoint(path)
    tf.train.remove_checkpoint(path)
    assert not tf.train.checkpoint_exists(path)
    assert tf.train.latest_checkpoint(str(tmp_path / "empty")) is None
    assert tf.train.get_checkpoint_state(str(tmp_path / "empty")) is None


def test_two_savers_share_a_folder_under_state_files_of_their_own(tmp_path):
    folder = str(tmp_path)
    saver, best = tf.train.Saver(max_to_keep=1), tf.train.Saver(max_to_keep=1)
    with tf.Session() as session:
        for step in (1, 2):
            saver.save(session, f"{folder}/model.ckpt", step)
            best.save(session, f"{folder}/best", step, latest_filename="checkpoint_best")
    assert tf.train.latest_checkpoint(folder) == f"{folder}/model.ckpt-2"
    assert tf.train.latest_checkpoint(folder, "checkpoint_best") == f"{folder}/best-2"
    kept = sorted(path.stem for path in tmp_path.glob("*.safetensors"))
    assert kept == ["best-2", "model.ckpt-2"]


def test_a_saver_is_made_from_another_ones_definition_and_of_some_variables(tmp_path, graph):
    first = tf.train.Saver({"w": graph.variable_handle("layer/w")}, max_to_keep=7)
    second = tf.train.Saver(saver_def=first.as_saver_def())
    assert second.saver_def == first.saver_def
    with tf.Session() as session:
        path = second.save(session, str(tmp_path / "c"))
    assert tf.train.list_variables(path) == [("w", [2, 3])]
    for option in ("reshape", "pad_step_number"):
        with pytest.raises(ValueError, match=f"Saver: {option}=True is not supported"):
            tf.train.Saver(**{option: True})
    with tf.Session() as session, pytest.raises(ValueError, match="write_state=False is not"):
        second.save(session, str(tmp_path / "c"), write_state=False)


def test_agraph_is_written_as_text_and_passed_on_as_a_meta_graph(tmp_path, graph):
    util = tf.python.training.training_util
    path = util.write_graph(graph.as_graph_def(add_shapes=True), str(tmp_path / "g"), "g.pbtxt")
    assert 'name: "metrics/scaled"' in (tmp_path / "g" / "g.pbtxt").read_text()
    assert path == tf.train.write_graph(graph, str(tmp_path / "g"), "g.pbtxt")
    meta = tf.python.framework.meta_graph.create_meta_graph_def(saver_def=3)
    assert meta.saver_def == 3
    assert len(meta.graph_def.node) == len(graph.elements)


# -- tf.test ---------------------------------------------------------------------------------------


class Case(tf.test.TestCase):
    """Run by the test below."""

    def runTest(self):
        assert tf.global_variables() == []
        folder = self.get_temp_dir()
        assert folder == self.get_temp_dir()
        Case.folder = folder
        graph = tf.get_default_graph()
        graph.variable("w", np.ones(2))
        with self.cached_session() as session, self.test_session(use_gpu=False):
            assert self.evaluate("w").sum() == 2
            assert tf.get_default_session() is not session
        with self.session(graph=standard()) as session:
            assert self.evaluate("lr") == 0.5
        assert self.evaluate("w").sum() == 2
        self.assertAllEqual([1, np.nan], np.array([1, np.nan]))
        self.assertAllClose({"a": [1.0, 2.0]}, {"a": np.array([1.0, 2.0 + 1e-7])})
        self.assertAllClose([np.zeros(1), np.zeros((2, 2))], [np.zeros(1), np.zeros((2, 2))])
        self.assertNotAllClose(1.0, 1.1)
        self.assertNotAllEqual([1], [2])
        self.assertAllGreater([2, 3], 1)
        self.assertAllLess([2, 3], 4)
        self.assertAllGreaterEqual([2, 3], 2)
        self.assertAllLessEqual([2, 3], 3)
        self.assertAllInRange([2, 3], 2, 3)
        self.assertShapeEqual(np.zeros((2, 3)), standard().variable_handle("layer/w"))
        self.assertBetween(1, 0, 1)
        self.assertContainsSubset([1], [1, 2])
        self.assertSameElements([1, 1, 2], [2, 1])
        self.assertEndsWith("abc", "bc")
        with self.assertRaisesWithLiteralMatch(ValueError, "x"):
            raise ValueError("x")
        self.assertNear(1.0, 1.1, 0.2)
        self.assertEmpty([])
        self.assertNotEmpty([1])
        self.assertLen("ab", 2)
        self.assertStartsWith("abc", "ab")
        self.assertItemsEqual([1, 2], [2, 1])
        self.assertProtoEquals(tf.Summary(), tf.Summary())
        with self.assertRaisesOpError("gone"):
            raise tf.errors.NotFoundError(None, None, "it is gone")
        with self.assertRaisesWithPredicateMatch(ValueError, lambda e: "x" in str(e)):
            raise ValueError("x")
        for wrong in (
            lambda: self.assertAllEqual([1], [[1]]),
            lambda: self.assertAllClose([1.0], [1.1]),
            lambda: self.assertAllClose({"a": 1}, {"b": 1}),
            lambda: self.assertNotAllClose(1.0, 1.0),
            lambda: self.assertNotAllEqual(1, 1),
            lambda: self.assertLen("ab", 3),
        ):
            with self.assertRaises(AssertionError):
                wrong()
        with self.assertRaisesRegex(TypeError, "assertProtoEquals takes a message, got the string"):
            self.assertProtoEquals("", tf.Summary())


def test_the_test_case_gives_a_freshgraph_a_folder_and_asserts(tmp_path):
    import os

    result = Case().run()
    assert result.wasSuccessful(), result.errors + result.failures
    assert not os.path.exists(Case.folder)
    assert os.path.isdir(tf.test.get_temp_dir())
    assert tf.test.mock.Mock


def test_the_context_manager_called_test_session_is_no_test():
    result = Case("test_session").run()
    assert [reason for _, reason in result.skipped] == ["not a test"]
