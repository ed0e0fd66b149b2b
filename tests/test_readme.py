"""The README says only what works: its example runs, its commands are whole, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import runloop
from runloop.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
TEXTS = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "examples/**/*.md",
        "examples/**/*.py",
        "runloop/**/*.py",
    )
    for path in ROOT.glob(pattern)
)


def block(mark, text=README):
    """The code block under an HTML comment."""
    found = re.findall(rf"^<!-- {mark} -->\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"there are {len(found)} blocks marked {mark!r}"
    return found[0]


def run(folder, source):
    return subprocess.run(
        [sys.executable, "-P", "-c", source],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def run_example(folder):
    return run(folder, block("example") + "\nprint(w.tobytes().hex())")


@pytest.fixture(scope="module")
def undisturbed():
    """What the loop in the README's first block ends with."""
    result = run(ROOT, block("before") + "\nprint(w.tobytes().hex())")
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def test_the_loop_ends_in_the_same_bits_before_and_after(tmp_path, undisturbed):
    result = run_example(tmp_path)

    assert (result.returncode, result.stdout) == (0, undisturbed + "\n"), result.stderr
    # Whoever pastes it sees something: the library itself prints nothing.
    assert len(re.findall(r"^loss = [\d.e-]+", result.stderr, re.MULTILINE)) == 4
    assert (tmp_path / "ckpt" / "model.ckpt-200.safetensors").exists()


def test_only_the_lines_that_the_text_says_change():
    before, after = (
        {line.strip() for line in block(name).splitlines()} for name in ("before", "example")
    )

    assert {line for line in before - after if "print" not in line and "%" not in line} == {
        "for step in range(200):"
    }


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("step", [0, 37, 100, 150, 199, "after the last save"])
def test_the_example_killed_and_started_again_ends_in_the_same_bits(tmp_path, step, undisturbed):
    kill = "import os; os.kill(os.getpid(), 9)"
    source = block("example")
    if step == "after the last save":
        source += f"\n{kill}\n"
    else:
        source = source.rstrip() + f"\n        if step == {step}: {kill}\n"
    assert run(tmp_path, source).returncode == -9

    assert run_example(tmp_path).stdout == undisturbed + "\n"


def test_the_example_started_again_when_finished_changes_nothing(tmp_path, undisturbed):
    assert run_example(tmp_path).returncode == 0
    files = {path: path.read_bytes() for path in (tmp_path / "ckpt").glob("model*")}
    again = run_example(tmp_path)

    assert again.stdout == undisturbed + "\n"
    assert "loss" not in again.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "ckpt").glob("model*")} == files


def test_the_examples_have_at_most_20_lines():
    for mark in ("example", "graph"):
        lines = [line for line in block(mark).splitlines() if line.strip()]
        assert len(lines) <= 20, mark


def test_the_graph_runs_and_ends_where_the_loop_does(tmp_path, undisturbed):
    imports = "import numpy as np\nimport runloop as rl\n"
    end = """
with rl.Session(graph=graph) as session:
    rl.Saver().restore(session, rl.latest_checkpoint("graph"))
    print(session.run("w").tobytes().hex())
"""
    result = run(tmp_path, imports + block("graph") + end)

    assert (result.returncode, result.stdout) == (0, undisturbed + "\n"), result.stderr


BEFORE_EPOCHS = """
import numpy as np
import runloop as rl

rng = np.random.default_rng(0)
x = rng.normal(size=(500, 3))
y = x @ [1.0, 2.0, 3.0]
params = {"w": np.zeros(3)}
hooks = []

def update(params, x, y, rate):
    error = x @ params["w"] - y
    params["w"] -= rate * x.T @ error / len(y)
    return (error**2).mean()

def evaluate(params):
    return float(np.abs(x @ params["w"] - y).max() < 0.1)
"""


@pytest.mark.parametrize("page", ["README.md", "docs/loop.md"])
def test_the_loop_with_epochs_runs_and_is_finished_then(tmp_path, page):
    source = BEFORE_EPOCHS + block("epochs", (ROOT / page).read_text("utf-8")) + "\nprint(params)"
    first = run(tmp_path, source)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("\n") == 21  # a line an epoch
    assert (tmp_path / "ckpt" / "model.ckpt-1000.safetensors").exists()

    again = run(tmp_path, source)
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]


@pytest.mark.parametrize("name", ["main", "test"])
def test_a_command_is_one_line_that_does_all_the_set_up(name):
    (line,) = block(f"command: {name}").splitlines()
    venv, install, run = line.split(" && ")

    assert venv == "python3 -m venv .venv"
    assert re.fullmatch(r'\.venv/bin/pip install --quiet "\.\[\w+\]"', install)
    assert run.startswith(".venv/bin/python ")


def test_the_main_command_runs_a_file_that_is_there():
    script = block("command: main").split()[-1]

    assert (ROOT / script).is_file()


def test_no_text_installs_the_package_of_somebody_else():
    pattern = re.compile(r"pip3? install[^\n]*[\s\"'`]runloop(?!-hooks)\b(?![/-])")
    wrong = [str(path) for path in TEXTS if pattern.search(path.read_text("utf-8"))]

    assert wrong == []


@pytest.mark.parametrize(
    "path", [p for p in TEXTS if p.suffix == ".md"], ids=lambda path: path.name
)
def test_relative_links_lead_to_files(path):
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", path.read_text("utf-8"))

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_hook_and_its_test_run_as_printed():
    scope = {"rl": runloop}
    exec(block("hook"), scope)
    exec(block("hook test"), scope)
    scope["test_it_stops_below"]()


def test_the_commands_for_checkpoints_run_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_example(tmp_path).returncode == 0
    lines = [
        line.partition("#")[0].split()
        for line in README.splitlines()
        if line.startswith("python -m runloop ")
    ]
    assert [words[3] for words in lines] == ["list", "show", "verify", "diff", "export"]
    for words in lines:
        capsys.readouterr()
        assert main(words[3:]) == (words[3] == "diff"), words  # like diff(1), which found one
        assert capsys.readouterr().out


def test_contributing_names_files_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    paths = re.findall(r"`((?:runloop|tests|benchmarks|docs)/[\w./-]+)`", text)

    assert len(paths) > 40
    assert [path for path in paths if not (ROOT / path).exists()] == []
