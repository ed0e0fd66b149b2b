"""docs/from-tensorflow.md: its tables against the shim, its ports run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import runloop.compat.tf as tf
from runloop.compat._tf.left_out import LEFT_OUT
from runloop.compat._tf.table import NAMES

from . import page

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from-tensorflow.md").read_text("utf-8")
TENSORFLOW = json.loads((Path(__file__).parent / "tensorflow_names.json").read_text("utf-8"))


def block(mark):
    found = re.findall(
        rf"^<!-- port: {mark} -->\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )
    assert len(found) == 1, f"{len(found)} blocks are marked {mark!r}"
    return found[0]


def section(space):
    """The part of the page after a mark, up to the next one."""
    return PAGE.split(f"<!-- names: {space} -->")[1].split("<!-- ")[0]


def rows(space):
    """{name: (status, remark)} of a table."""
    found = re.findall(r"^\| `(\w+)` \| ([\w ]+) \| ?(.*?) ?\|$", section(space), re.MULTILINE)
    assert len({name for name, _, _ in found}) == len(found)
    return {name: (status, remark) for name, status, remark in found}


SPACES = {"tf.compat.v1.train": "train", "tf.estimator": "estimator"}
ROWS = [(space, name, *row) for space in SPACES for name, row in rows(space).items()]


@pytest.mark.parametrize(("space", "name", "status", "remark"), ROWS)
def test_every_row_is_true(space, name, status, remark):
    module = getattr(tf, SPACES[space])
    if status == "left out":
        assert remark == LEFT_OUT[f"{SPACES[space]}.{name}"]
        assert not hasattr(module, name)
        return
    assert status in {"same", "differs"}
    assert hasattr(module, name)
    assert remark or status == "same"  # a difference is said


def test_every_public_name_of_tensorflow_is_on_the_page():
    named = set(rows("tf.compat.v1.train"))
    others = section("tf.compat.v1.train").split("Not part of the lifecycle")[1]
    others = set(re.findall(r"`(\w+)`", others))
    assert not named & others
    assert named | others == set(TENSORFLOW["tf.compat.v1.train"])
    assert not [name for name in others if hasattr(tf.train, name)]


@pytest.mark.parametrize("space", SPACES)
def test_everything_that_is_left_out_or_there_is_on_the_page(space):
    prefix = SPACES[space] + "."
    out = {name.removeprefix(prefix) for name in LEFT_OUT if name.startswith(prefix)}
    assert out == {name for name, (status, _) in rows(space).items() if status == "left out"}
    # Private modules have the first; the others had other names before 1.0.
    own = {"NeverTriggerTimer", "SummaryWriter", "SummaryWriterCache"}
    public = {name for name in NAMES[SPACES[space]] if not name.startswith("_")} - own
    assert public <= set(rows(space))


def test_the_page_lists_the_differences_that_the_conformance_suite_knows():
    found = page.LIST.search(PAGE)
    assert found[2] == page.wanted()  # `python -m tests.compat.page` writes it


def test_the_ported_script_learns_and_comes_back(tmp_path):
    (tmp_path / "train.py").write_text(block("script"))
    for _ in range(2):
        command = [sys.executable, "train.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model.ckpt-200.safetensors").exists()
    values = tf.train.load_checkpoint(str(tmp_path / "run"))
    assert abs(values.get_tensor("w").item() - 2) < 0.05
    assert abs(values.get_tensor("b").item() - 1) < 0.05


def test_the_ported_hook_test_passes(tmp_path):
    (tmp_path / "best_loss.py").write_text(block("hook"))
    (tmp_path / "test_best_loss.py").write_text(block("test"))
    command = [sys.executable, "-m", "runloop.compat.tf", "-m", "pytest", "-q", "-W", "error"]
    lean = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=lean, capture_output=True, text=True, check=False
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
