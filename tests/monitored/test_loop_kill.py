"""``kill -9`` at random moments: the last start ends in the bits of a run that was never killed."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The installed package comes first; the tests lie beside it in a clone.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(ROOT)])}


def run(folder, lines=None):
    """Run the victim, and kill it after so many lines; returns its last line."""
    command = [sys.executable, "-P", "-m", "tests.monitored.loop_victim", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=ENVIRONMENT
    ) as process:
        last = ""
        for number, line in enumerate(process.stdout):
            last = line.strip()
            if number == lines:
                process.kill()
                break
    return last


def check(folder, kills):
    undisturbed = run(folder / "undisturbed")
    assert undisturbed.startswith("end ")
    for lines in kills:
        run(folder / "killed", lines)
    assert run(folder / "killed") == undisturbed
    assert run(folder / "killed") == undisturbed


def test_a_killed_loop_ends_in_the_same_bits(tmp_path):
    check(tmp_path, [30, 3])


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_a_loop_that_is_killed_again_and_again_ends_in_the_same_bits(tmp_path, seed):
    rng = random.Random(seed)
    check(tmp_path, [rng.randrange(130) for _ in range(6)])
