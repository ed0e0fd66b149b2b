"""The ways in: install(), ``python -m runloop.compat.tf``, pytest's option."""

import os
import subprocess
import sys
import textwrap
import tomllib
import types
from pathlib import Path

import pytest

import runloop.compat.tf as tf
from runloop.compat.tf.__main__ import main

pytestmark = pytest.mark.usefixtures("without_tensorflow")

HOOK = """
import tensorflow as tf
from tensorflow.python.training import session_run_hook
assert tf.compat.v1.train.SessionRunHook is session_run_hook.SessionRunHook
"""
ADDER = """
import numpy as np
import runloop as rl

def make():
    graph = rl.Graph()
    graph.variable("w", np.zeros(2))
    graph.train_op(lambda w: w + 1, name="train", updates="w")
    return graph
"""


PLUGIN = ("-p", "pytest_runloop")  # the entry points may not be installed


def run(*arguments, folder):
    command = [sys.executable, *arguments]
    lean = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command, cwd=folder, env=lean, capture_output=True, text=True, check=False
    )


def write(folder, name, text):
    (folder / name).write_text(textwrap.dedent(text))
    return str(folder / name)


def test_install_puts_modules_in_and_takes_them_out_again():
    assert "tensorflow" not in sys.modules
    with tf.install() as installation:
        exec(compile(HOOK, "hook", "exec"), {})
        assert "tensorflow.python.training.session_run_hook" in sys.modules
        with tf.install():  # inside, nothing changes
            pass
        assert "tensorflow" in sys.modules
    assert not [name for name in sys.modules if name.startswith("tensorflow")]
    with pytest.raises(ImportError):
        import tensorflow.train
    installation.uninstall()  # again is fine
    installation = tf.install()
    import tensorflow

    assert tensorflow.train is tf.train
    installation.uninstall()


def test_install_refuses_where_the_real_one_is_imported(monkeypatch):
    real = types.ModuleType("tensorflow")
    real.__file__ = "/site/tensorflow/__init__.py"
    monkeypatch.setitem(sys.modules, "tensorflow", real)
    with pytest.raises(
        RuntimeError,
        match=r"tensorflow is already imported, from /site/.*: runloop.compat.tf.install\(\) must "
        "come before the first import of TensorFlow",
    ):
        tf.install()
    assert sys.modules["tensorflow"] is real


def test_a_module_that_somebody_put_in_its_place_is_left_alone():
    other = types.ModuleType("tensorflow.train")
    with tf.install():
        sys.modules["tensorflow.train"] = other
    assert sys.modules.pop("tensorflow.train") is other


def test_a_script_that_imports_tensorflow_runs_with_its_arguments(tmp_path):
    write(tmp_path, "beside.py", "NAME = 'beside'")
    script = write(
        tmp_path,
        "script.py",
        HOOK + "import sys, beside\nprint(sys.argv[1:], __name__, beside.NAME)\nsys.exit(3)\n",
    )
    done = run("-m", "runloop.compat.tf", script, "--a", "b", folder=tmp_path)
    assert (done.stdout, done.returncode) == ("['--a', 'b'] __main__ beside\n", 3), done.stderr


def test_a_module_runs_too_and_pytest_is_one(tmp_path):
    write(tmp_path, "adder.py", ADDER)
    test = write(
        tmp_path,
        "test_theirs.py",
        """
        import adder
        import tensorflow as tf

        class Counter(tf.train.SessionRunHook):
            steps = 0
            def before_run(self, run_context):
                return tf.train.SessionRunArgs(tf.train.get_global_step())
            def after_run(self, run_context, run_values):
                self.steps = run_values.results + 1

        class Test(tf.test.TestCase):
            def test_it(self):
                with adder.make().as_default():
                    hook = Counter()
                    with tf.train.MonitoredSession(hooks=[hook]) as session:
                        session.run("train")
                        session.run("train:0")
                self.assertEqual(hook.steps, 2)
        """,
    )
    done = run("-m", "runloop.compat.tf", "-m", "pytest", "-q", test, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout

    option = ["-m", "pytest", "-q", "--runloop-tf", *PLUGIN, test]
    done = run(*option, folder=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_option_comes_with_the_package():
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert "pytest_runloop" in project["entry-points"]["pytest11"].values()


def test_the_option_is_in_force_before_the_first_conftest(tmp_path):
    write(tmp_path, "conftest.py", "import tensorflow as tf\nSEEN = tf.train.SessionRunHook\n")
    write(tmp_path, "test_a.py", "def test_a():\n    import tensorflow\n")
    done = run("-m", "pytest", "-q", "--runloop-tf", *PLUGIN, folder=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    done = run("-m", "pytest", "-q", *PLUGIN, folder=tmp_path)
    assert "No module named 'tensorflow'" in done.stdout + done.stderr


def test_tensorboard_reads_with_the_shim_in_place_of_tensorflow(tmp_path):
    pytest.importorskip("tensorboard")
    script = write(
        tmp_path,
        "reads.py",
        """
        import tensorflow as tf
        from tensorboard.backend.event_processing import event_accumulator, event_multiplexer

        def add(step):
            summary = tf.Summary(value=[tf.Summary.Value(tag="a", simple_value=step)])
            tf.summary.FileWriterCache.get("ev").add_summary(summary, step)

        add(1)
        runs = event_multiplexer.EventMultiplexer({"run": "ev"})
        for step in (2, 3):
            runs.Reload()
            found = runs.GetAccumulator("run").Scalars("a")
            print([(event.step, event.value) for event in found])
            add(step)
        """,
    )
    done = run("-m", "runloop.compat.tf", script, folder=tmp_path)
    assert done.stdout == "[(1, 1.0)]\n[(1, 1.0), (2, 2.0)]\n", done.stderr


LOGS = """
import runloop as rl
import tensorflow as tf

with rl.Graph().as_default() as graph:
    graph.op(lambda: 0.5, name="loss")
    tf.logging.info("too early")
    {how}
    tf.logging.info("begin")
    hook = tf.train.LoggingTensorHook(["loss"], every_n_iter=1)
    with tf.train.MonitoredSession(hooks=[hook]) as session:
        session.run("loss")
"""


def test_log_lines_are_shown_from_the_level_that_is_set(tmp_path):
    script = write(tmp_path, "a.py", LOGS.format(how="tf.logging.set_verbosity(tf.logging.INFO)"))
    done = run("-m", "runloop.compat.tf", script, folder=tmp_path)
    assert done.stderr.splitlines() == [
        "INFO:tensorflow:begin",
        "INFO:runloop.hooks.logging_tensor:loss = 0.5",
    ]


def test_a_program_that_shows_them_by_itself_is_left_to_it(tmp_path):
    how = "import logging; logging.basicConfig(level='INFO', format='own %(message)s')"
    script = write(tmp_path, "a.py", LOGS.format(how=how))
    done = run("-m", "runloop.compat.tf", script, folder=tmp_path)
    assert done.stderr.splitlines() == ["own begin", "own loss = 0.5"]


def test_its_lifecycle_can_be_traced(tmp_path):
    script = write(tmp_path, "a.py", LOGS.format(how=""))
    trace = ["-m", "runloop", "trace", script]
    done = run("-m", "runloop.compat.tf", *trace, folder=tmp_path)
    assert done.stdout.splitlines()[0].startswith("step  who"), done.stderr
    assert "LoggingTensorHook    before_run" in done.stdout


def test_a_script_that_is_not_there(capsys):
    assert main(["none.py"]) == 2
    assert capsys.readouterr().err.endswith("no such script: none.py\n")


def test_a_wrong_command_line_shows_the_usage(capsys):
    assert main([]) == 2
    assert main(["-m"]) == 2
    assert main(["--help"]) == 0
    assert capsys.readouterr().err.count("usage: python -m runloop.compat.tf") == 3
