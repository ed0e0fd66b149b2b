"""docs/testing-hooks.md: its files run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "testing-hooks.md").read_text("utf-8")
FILES = dict(
    re.findall(r"^<!-- file: ([\w.]+) -->\n```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    for name, source in FILES.items():
        (folder / name).write_text(source, "utf-8")
    return folder


def test_the_files_of_the_page_pass(folder):
    # As a newcomer would: in an empty folder, with the plugin that comes with runloop.
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-v", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, "-p", "no:randomly", "-p", "no:xdist"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    tests = sum(source.count("\ndef test_") for source in FILES.values())
    assert re.search(rf"^=+ {tests} passed", result.stdout, re.MULTILINE)
    assert tests >= 15


def test_the_first_test_has_five_lines():
    body = FILES["test_good_enough.py"]
    lines = [line for line in body.splitlines() if line.strip() and not line.startswith("from")]
    assert len(lines) <= 5


def test_only_sketches_are_not_run():
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    sketches = [block for block in blocks if block not in FILES.values()]
    assert len(sketches) == 2  # the two ways, side by side at the end
    assert sketches[1].strip() in FILES["test_good_enough.py"]


def test_the_page_names_every_part_of_the_kit():
    import runloop.testing

    missing = [name for name in runloop.testing.__all__ if name not in TEXT]
    assert set(missing) <= {"Action", "Event", "FakeSessionCreator"}
