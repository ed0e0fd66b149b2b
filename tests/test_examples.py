"""Each example runs as a reader would run it, and does what its text says."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

EXAMPLES = Path(__file__).parents[1] / "examples"

# Runs an example with one more hook that ends the process, in the middle of a chosen step.
INTERRUPTED = """
import os, runpy, sys
import runloop as rl

script, step, signum, *sys.argv[1:] = sys.argv[1:]

class Interrupt(rl.SessionRunHook):
    def before_run(self, run_context):
        return rl.RunArgs("global_step")

    def after_run(self, run_context, run_values):
        if run_values.results == int(step):
            os.kill(os.getpid(), int(signum))

make = rl.Loop
rl.Loop = lambda *given, hooks, **named: make(*given, hooks=[*hooks, Interrupt()], **named)
runpy.run_path(script, run_name="__main__")
"""

WITHOUT_TQDM = """
import runpy, sys

sys.modules["tqdm"] = None  # Python's own way to make an import fail
script, *sys.argv[1:] = sys.argv[1:]
runpy.run_path(script, run_name="__main__")
"""


# Set here too, because some of the programs above import NumPy before the example does.
ONE_THREAD = {f"{blas}_NUM_THREADS": "1" for blas in ("OPENBLAS", "MKL", "BLIS", "OMP")}


def run(*arguments, env=ONE_THREAD):
    # -P keeps a script's own folder out of the path, but one example imports another.
    path = os.pathsep.join(filter(None, (str(EXAMPLES), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-P", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path, **env},
    )


def run_digits(folder, steps, *more, script="digits.py"):
    return run(EXAMPLES / script, "--dir", folder, "--steps", steps, "--save-steps", 200, *more)


def outcome(result):
    """The accuracy and the digest that the digits example prints last."""
    assert result.returncode == 0, result.stderr
    accuracy, digest = re.search(
        r"held-out accuracy ([\d.]+)%.*\nweights (\w{64})\n$", result.stdout
    ).groups()
    return float(accuracy), digest


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A digits run of 1,500 steps in one go: its folder and its outcome."""
    folder = tmp_path_factory.mktemp("digits")
    return folder, outcome(run_digits(folder, 1500))


def test_digits_learns_the_held_out_fifth(undisturbed):
    _, (accuracy, _) = undisturbed

    assert accuracy >= 96


def test_the_graph_of_the_digits_ends_in_the_same_weights(undisturbed, tmp_path):
    _, expected = undisturbed
    run_digits(tmp_path, 700, script="digits_graph.py")

    assert outcome(run_digits(tmp_path, 1500, script="digits_graph.py")) == expected


def test_digits_does_not_depend_on_the_number_of_blas_threads(undisturbed, tmp_path):
    _, expected = undisturbed
    two = dict.fromkeys(ONE_THREAD, "2")  # as a machine with two cores has it
    script = EXAMPLES / "digits.py"
    result = run(script, "--dir", tmp_path, "--steps", 1500, "--save-steps", 200, env=two)
    assert outcome(result) == expected


def test_digits_writes_metrics_as_json_lines(undisturbed):
    folder, _ = undisturbed
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["value"] for line in lines if line["tag"] == "loss"]

    assert len(losses) >= 15
    assert losses[-1] < losses[0]


def test_digits_writes_its_weights_as_a_safetensors_file(undisturbed):
    folder, _ = undisturbed
    weights = load_file(folder / "model.ckpt-1500.safetensors")

    assert weights["weights/w1"].shape == (64, 128)
    assert weights["weights/w1"].dtype == np.float32


def test_digits_run_again_with_more_steps_resumes(undisturbed, tmp_path):
    _, expected = undisturbed
    run_digits(tmp_path, 700)

    assert outcome(run_digits(tmp_path, 1500)) == expected


def test_digits_run_again_when_done_trains_no_further(undisturbed, tmp_path):
    first = outcome(run_digits(tmp_path, 300))
    files = {path: path.read_bytes() for path in tmp_path.glob("model*")}
    again = outcome(run_digits(tmp_path, 300))

    assert again == first
    assert (tmp_path / "model.ckpt-300.safetensors").exists()
    assert {path: path.read_bytes() for path in tmp_path.glob("model*")} == files


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_digits_killed_twice_ends_in_the_same_weights(undisturbed, tmp_path):
    _, expected = undisturbed
    arguments = ("--dir", tmp_path, "--steps", 1500, "--save-steps", 200)
    for step in (330, 950):
        killed = run(
            "-c", INTERRUPTED, EXAMPLES / "digits.py", step, int(signal.SIGKILL), *arguments
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr

    assert outcome(run_digits(tmp_path, 1500)) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_digits_saves_before_it_obeys_a_termination_signal(undisturbed, tmp_path):
    _, expected = undisturbed
    arguments = ("--dir", tmp_path, "--steps", 1500, "--save-steps", 200)
    result = run("-c", INTERRUPTED, EXAMPLES / "digits.py", 430, int(signal.SIGTERM), *arguments)

    assert result.returncode == -signal.SIGTERM, result.stderr
    steps = sorted(int(path.stem.split("-")[1]) for path in tmp_path.glob("*.safetensors"))
    assert steps[-1] in {431, 432}
    assert outcome(run_digits(tmp_path, 1500)) == expected


def test_digits_stops_early_if_told_to(tmp_path):
    result = run_digits(tmp_path, 20_000, "--patience", 30)

    outcome(result)
    steps = sorted(int(path.stem.split("-")[1]) for path in tmp_path.glob("*.safetensors"))
    assert 30 < steps[-1] < 20_000


def test_digits_logs_where_tqdm_is_missing(tmp_path):
    arguments = ("--dir", tmp_path, "--steps", 1100)
    result = run("-c", WITHOUT_TQDM, EXAMPLES / "digits.py", *arguments)

    outcome(result)
    assert "progress" in result.stderr  # the extra to install
    assert re.search(r"^loss = [\d.]+", result.stderr, re.MULTILINE)


def test_the_digits_are_the_ones_that_are_described():
    tensors = load_file(EXAMPLES / "data" / "digits.safetensors")

    assert {name: (t.dtype.name, t.shape) for name, t in tensors.items()} == {
        "images": ("uint8", (1797, 8, 8)),
        "labels": ("uint8", (1797,)),
    }
    assert tensors["images"].max() == 16
    # The class sizes that the source gives for this set.
    assert np.bincount(tensors["labels"]).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180
    ]  # fmt: skip


def test_embed_existing_loop_ends_in_the_same_weights():
    result = run(EXAMPLES / "embed_existing_loop.py")

    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("same bits: True\n")


def test_custom_hook_stops_the_loop():
    result = run(EXAMPLES / "custom_hook.py")

    assert result.returncode == 0, result.stderr
    assert result.stdout == "below 0.01 since step 19\nstopped after 21 steps\n"


def test_epochs_stops_early_and_resumes_exactly():
    result = run(EXAMPLES / "epochs.py")

    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("same bits: True\n")
    epochs = [int(epoch) for epoch in re.findall(r"^epoch (\d+)", result.stdout, re.MULTILINE)]
    last = max(epochs)
    assert 5 < last < 39
    assert epochs == [*range(last + 1), *range(last + 1)]  # in one go, and in two


@pytest.mark.parametrize(
    ("name", "needs"), [("torch_module", ("torch",)), ("jax_pytree", ("jax", "optax"))]
)
def test_an_example_of_another_library_resumes_exactly(name, needs):
    missing = [module for module in needs if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    result = run(EXAMPLES / f"{name}.py")

    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("same bits: True\n")
