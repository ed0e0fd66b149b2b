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


def block(mark):
    """The code block under an HTML comment."""
    found = re.findall(rf"^<!-- {mark} -->\n```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"README.md has {len(found)} blocks marked {mark!r}"
    return found[0]


def run_example(folder):
    return subprocess.run(
        [sys.executable, "-P", "-c", block("example") + "\nprint('end')"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_runs_and_resumes(tmp_path):
    first = run_example(tmp_path)

    assert (first.returncode, first.stdout) == (0, "end\n"), first.stderr
    # Whoever pastes it sees something: the library itself prints nothing.
    assert len(re.findall(r"^loss = [\d.e-]+", first.stderr, re.MULTILINE)) == 4
    assert (tmp_path / "ckpt" / "model.ckpt-200.safetensors").exists()

    again = run_example(tmp_path)

    assert (again.returncode, again.stdout) == (0, "end\n"), again.stderr
    assert "model.ckpt-200" in again.stderr


def test_the_example_has_at_most_20_lines():
    lines = [line for line in block("example").splitlines() if line.strip()]

    assert len(lines) <= 20


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
