"""The shim's names: the table, the spellings, and what is said about names that are not there."""

import importlib
import re
import subprocess
import sys

import numpy as np
import pytest

import runloop as rl
import runloop.compat.tf as tf
from runloop.compat._tf.left_out import GRAPH_BUILDING, LEFT_OUT
from runloop.compat._tf.modules import modules
from runloop.compat._tf.table import NAMES, SPELLINGS

# What files of the last years import; each is a module.
SPELLED = """
tensorflow tensorflow.compat.v1 tensorflow.estimator tensorflow.train tensorflow.compat.v1.train
tensorflow_estimator.python.estimator.hooks.session_run_hook
tensorflow_estimator.python.estimator.hooks.basic_session_run_hooks
tensorflow.python.training.session_run_hook tensorflow.python.training.basic_session_run_hooks
tensorflow.python.training.training_util tensorflow.python.training.monitored_session
tensorflow.python.training.summary_io tensorflow.python.training.saver
tensorflow.python.training.checkpoint_management tensorflow.python.training.coordinator
tensorflow.python.training.training tensorflow.python.training.evaluation
tensorflow.python.platform.tf_logging tensorflow.python.platform.gfile
tensorflow.python.framework.errors tensorflow.python.framework.errors_impl
tensorflow.python.framework.ops tensorflow.python.framework.meta_graph
tensorflow.python.summary.writer.writer_cache tensorflow.python.client.timeline
tensorflow.core.framework.summary_pb2 tensorflow.core.util.event_pb2
tensorflow.core.protobuf.config_pb2 tensorflow.contrib.framework tensorflow.python.util.tf_export
tensorflow.contrib.learn tensorflow.contrib.training
tensorflow.contrib.learn.python.learn.session_run_hook
tensorflow.contrib.learn.python.learn.basic_session_run_hooks
tensorflow.compat.v2 tensorflow.compat.v2.io.gfile tensorflow.compat.v2.estimator
tensorflow.python.framework.dtypes tensorflow.python.framework.tensor_util
tensorflow.python.client.session tensorflow.python.training.session_manager
tensorflow.python.data.ops.iterator_ops tensorflow.python.util.nest tensorflow.python.lib.io.file_io
tensorflow_estimator.python.estimator.early_stopping tensorflow_estimator.python.estimator.estimator
tensorflow_estimator.python.estimator.estimator_export
""".split()  # noqa: SIM905


def every_name():
    return [(space, name) for space, members in NAMES.items() for name in members]


def at(space, root=None):
    found = root or modules()["tensorflow"]
    for part in filter(None, space.split(".")):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize(("space", "name"), every_name())
def test_every_name_of_the_table_is_there(space, name):
    assert getattr(at(space), name) is not None
    assert name in dir(at(space))


@pytest.mark.usefixtures("without_tensorflow")
@pytest.mark.parametrize("name", SPELLED)
def test_real_files_spellings_are_modules(name):
    with tf.install():
        assert importlib.import_module(name) is modules()[name]
        assert importlib.util.find_spec(name).name


def test_a_class_is_one_object_under_every_spelling():
    found = {}
    for space, members in NAMES.items():
        for name, target in members.items():
            found.setdefault(target, set()).add(id(getattr(at(space), name)))
    assert [target for target, objects in found.items() if len(objects) > 1] == []
    assert tf.train.SessionRunHook is tf.estimator.SessionRunHook is rl.SessionRunHook
    assert tf.compat.v1.train.SecondOrStepTimer is tf.train.SecondOrStepTimer
    assert tf.compat.v1.compat.v1 is tf.compat.v1


def test_what_sessions_know_is_runloops_own():
    assert tf.train.SessionRunArgs is rl.RunArgs
    assert tf.train.SessionRunContext is rl.RunContext
    assert tf.train.SessionRunValues is rl.RunValues
    assert tf.errors.OutOfRangeError is rl.errors.OutOfRangeError
    assert tf.errors.AbortedError is rl.errors.AbortedError
    assert tf.train.NanLossDuringTrainingError is rl.errors.NanLossDuringTrainingError
    assert tf.Graph is rl.Graph
    for name in ("StopAtStepHook", "LoggingTensorHook", "CheckpointSaverHook", "Saver", "Scaffold"):
        assert issubclass(getattr(tf.train, name), getattr(rl, name))


@pytest.mark.parametrize("name", ["add", "Variable", "nn", "train.AdamOptimizer", "keras.layers"])
def test_names_that_build_graphs_are_out_of_scope_and_the_error_says_so(name):
    space, _, last = name.rpartition(".")
    if space == "keras":
        space, last = "", "keras"
    with pytest.raises(AttributeError, match=f"{last} builds TensorFlow graphs, .*runloop.Graph"):
        getattr(at(space), last)
    assert name.split(".")[0] in GRAPH_BUILDING or name in GRAPH_BUILDING


@pytest.mark.parametrize("name", LEFT_OUT)
def test_names_that_are_left_out_say_what_to_do_instead(name):
    space, _, last = name.rpartition(".")
    with pytest.raises(AttributeError) as caught:
        getattr(at(space), last)
    assert str(caught.value) == (
        f"tensorflow.{name} is not part of runloop.compat.tf: {LEFT_OUT[name]}."
    )


def test_any_other_name_is_no_part_of_the_lifecycle():
    with pytest.raises(
        AttributeError,
        match="tensorflow.train.Frobnicator is not part of the hook lifecycle, and "
        "runloop.compat.tf has nothing else: replace it",
    ):
        tf.train.Frobnicator
    with pytest.raises(AttributeError, match="tensorflow.frobnicate is not part"):
        tf.frobnicate
    assert not hasattr(tf, "__wrapped__")
    assert not hasattr(tf.train, "__wrapped__")


@pytest.mark.usefixtures("without_tensorflow")
def test_a_from_import_of_what_is_not_there_explains_itself():
    with tf.install():
        with pytest.raises(ImportError, match="tensorflow.python.ops.array_ops builds TensorFlow"):
            from tensorflow.python.ops import array_ops  # noqa: F401
        with pytest.raises(ImportError, match="tensorflow.keras builds TensorFlow graphs"):
            import tensorflow.keras.layers
        with pytest.raises(ImportError, match="tensorflow.frob is not part of the hook lifecycle"):
            import tensorflow.frob  # noqa: F401


def test_the_tree_is_there_below_runloop_compat_tf_too():
    from runloop.compat.tf.python.training.basic_session_run_hooks import _as_graph_element
    from runloop.compat.tf.train import SessionRunHook

    assert SessionRunHook is rl.SessionRunHook
    assert _as_graph_element is tf.train._as_graph_element
    assert "train" in dir(tf)
    assert "install" in dir(tf)
    assert repr(tf.train) == "<module 'tensorflow.train' from runloop.compat.tf>"


@pytest.mark.usefixtures("without_tensorflow")
def test_the_modules_take_attributes_as_projects_set_them():
    with tf.install():
        import tensorflow

        tensorflow.contrib.tpu = "theirs"
        try:
            assert tensorflow.contrib.tpu == "theirs"
        finally:
            del tensorflow.contrib.tpu


def test_the_older_names_for_files_are_there(tmp_path):
    from runloop.compat.tf.python.lib.io import file_io

    assert file_io.FileIO is tf.gfile.GFile
    file_io.recursive_create_dir(str(tmp_path / "a" / "b"))
    assert file_io.file_exists(str(tmp_path / "a"))
    assert file_io.get_matching_files(str(tmp_path / "*")) == [str(tmp_path / "a")]


def test_errors_have_tensorflows_codes():
    assert tf.errors.OUT_OF_RANGE == 11
    error = tf.errors.OutOfRangeError(None, None, "the end")
    assert (error.error_code, error.message, str(error)) == (11, "the end", "the end")
    for name in ("ABORTED", "UNAVAILABLE", "NOT_FOUND", "DATA_LOSS"):
        code = getattr(tf.errors, name)
        kind = tf.errors.exception_type_from_error_code(code)
        assert tf.errors.error_code_from_exception_type(kind) == kind.error_code == code
        assert issubclass(kind, tf.OpError)
    assert tf.errors.error_code_from_exception_type(KeyError) is None
    with pytest.raises(KeyError):
        tf.errors.exception_type_from_error_code(99)
    assert issubclass(tf.errors.NotFoundError, FileNotFoundError)


def test_switches_and_strings_are_there():
    tf.disable_v2_behavior()
    tf.compat.v1.disable_eager_execution()
    assert not tf.executing_eagerly()
    assert tf.__version__ == tf.version.VERSION == "2.21.0"
    assert tf.compat.as_bytes("ä") == b"\xc3\xa4"
    assert tf.compat.as_text(b"a") == tf.compat.as_str("a") == "a"
    assert tf.compat.as_str_any(3) == "3"
    assert tf.compat.as_str_any(b"x") == "x"
    with pytest.raises(TypeError, match="expected bytes or text, got 3"):
        tf.compat.as_bytes(3)
    assert tf.estimator.ModeKeys.PREDICT == "infer"
    with pytest.raises(TypeError, match="Estimator builds TensorFlow graphs"):
        tf.estimator.Estimator(model_fn=None)
    assert tf.float32 == "float32"
    assert tf.python.util.tf_export.tf_export("a.b", v1=[])(len) is len
    with tf.python.util.deprecation.silence():
        pass


def test_app_run_calls_main_and_exits():
    with pytest.raises(SystemExit) as caught:
        tf.app.run(len, ["a", "b"])
    assert caught.value.code == 2


def test_every_space_has_a_spelling_of_its_own():
    every = [name for spellings in SPELLINGS.values() for name in spellings]
    assert len(every) == len(set(every))
    assert set(SPELLINGS) == set(NAMES)


def test_importing_the_shim_is_cheap():
    code = (
        "import sys, runloop.compat.tf\n"
        "heavy = {'asyncio', 'tempfile', 'unittest', 'concurrent.futures'}\n"
        "print(sorted(heavy & set(sys.modules)), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"


@pytest.mark.usefixtures("without_tensorflow")
def test_what_is_missing_is_called_as_it_was_asked_for():
    with (
        tf.install(),
        pytest.raises(ModuleNotFoundError, match=r"^tensorflow_estimator\.python\.x "),
    ):
        importlib.import_module("tensorflow_estimator.python.x")
    with tf.install():
        hooks = importlib.import_module("tensorflow_estimator.python.estimator.hooks")
        with pytest.raises(
            AttributeError, match=r"^tensorflow_estimator\.python\.estimator\.hooks\.x "
        ):
            hooks.x


def test_the_names_of_the_last_versions_before_1_0():
    assert tf.train.SummaryWriterCache is tf.summary.FileWriterCache
    assert tf.train.SummaryWriter is tf.summary.FileWriter
    assert tf.contrib.learn.SessionRunHook is tf.train.SessionRunHook


@pytest.mark.usefixtures("without_tensorflow")
def test_a_file_that_spells_both_versions_gets_one_object_for_each_class():
    with tf.install():
        v2 = importlib.import_module("tensorflow.compat.v2")
        v1 = v2.compat.v1

        assert v1 is modules()["tensorflow"]
        assert v2.errors.OutOfRangeError is v1.errors.OutOfRangeError
        assert v2.io.gfile.GFile is v1.gfile.GFile
        assert v2.train.latest_checkpoint is v1.train.latest_checkpoint
        assert v2.estimator.SessionRunHook is v1.train.SessionRunHook
        assert v2.float32 == np.float32


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.SessionRunHook", "is a name of TensorFlow 1.x: use tensorflow.compat.v1.train."),
        ("summary", "use compat.v1.summary and its FileWriter"),
        ("Variable", "tensorflow.compat.v2.Variable builds TensorFlow graphs"),
        ("train.Checkpoint", "attach objects with graph.attach"),
        ("frobnicate", "tensorflow.compat.v2.frobnicate is not part of the hook lifecycle"),
    ],
)
def test_a_name_that_version_2_lacks_says_what_to_use(name, text):
    module = modules()["tensorflow.compat.v2"]
    *path, leaf = name.split(".")
    for part in path:
        module = getattr(module, part)

    with pytest.raises(AttributeError, match=re.escape(text)):
        getattr(module, leaf)


def test_what_modules_that_only_need_to_import_leave_out_is_explained():
    python = tf.python
    with pytest.raises(AttributeError, match="use a session creator: train.ChiefSessionCreator"):
        python.training.session_manager.SessionManager
    with pytest.raises(AttributeError, match=r"give the data as an input: graph.input"):
        python.data.ops.iterator_ops.Iterator


def test_element_types_by_name_and_by_type():
    assert [tf.as_dtype(x).name for x in ("half", "double", "float", "int64", "string")] == [
        "float16", "float64", "float32", "int64", "string"
    ]  # fmt: skip
    assert [tf.as_dtype(x).name for x in (float, bool, np.int8, np.dtype("u4"), tf.float32)] == [
        "float32", "bool", "int8", "uint32", "float32"
    ]  # fmt: skip
    for wrong in (int, "frob", object(), None):  # as in TensorFlow
        with pytest.raises(TypeError, match="Cannot convert the argument `type_value`"):
            tf.as_dtype(wrong)


def test_a_seed_is_stored_and_handles_are_tensors():
    with rl.Graph().as_default() as graph:
        assert tf.set_random_seed(3) is None
        assert graph.seed == 3
        step = tf.train.get_or_create_global_step()

        assert tf.is_tensor(step)
        assert tf.is_tensor(graph.get_tensor_by_name("global_step:0"))
        assert tf.is_tensor(rl.get_global_step())
        for other in (1, "a", np.zeros(1), step.op, tf.float32, tf.TensorShape([1])):
            assert not tf.is_tensor(other)
