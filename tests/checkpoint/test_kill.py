"""Killed at any moment and started again, a run ends in the same bits as one that never was."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runloop.checkpoint import Saver, restore_newest
from runloop.checkpoint.lock import holder_of
from runloop.checkpoint.scan import Scan

VICTIM = Path(__file__).with_name("victim.py")


def start(folder, steps, options):
    return subprocess.Popen(
        [sys.executable, str(VICTIM), str(folder), str(steps), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def undisturbed(folder, steps, options):
    begin = time.monotonic()
    out, err = start(folder, steps, options).communicate()
    assert out, err
    return out.strip(), time.monotonic() - begin


def campaign(tmp_path, kills, steps, options, seed):
    """Kill a training at random moments, `kills` times over as many trainings as that takes.

    Returns how many kills there were, how many came in the middle of a save, and how many
    trainings were run to their end.
    """
    expected, duration = undisturbed(tmp_path / "undisturbed", steps, options)
    rng = random.Random(seed)
    killed = in_save = ended = 0
    while killed < kills:
        folder = tmp_path / f"run{ended}"
        while True:
            process = start(folder, steps, options)
            patience = rng.uniform(0.25, 1.0) * duration if killed < kills else None
            try:
                out, err = process.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                killed += 1
                in_save += (
                    any(n.endswith(".tmp") for n in os.listdir(folder)) if folder.exists() else 0
                )
                continue
            break
        assert process.returncode == 0, err
        assert out.strip() == expected
        assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]
        # A run that was killed after its last save leaves the file, and the next one saves nothing.
        assert holder_of(folder) is None
        ended += 1
    return killed, in_save, ended


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("options", [(), ("background",)], ids=["at once", "background"])
def test_killed_and_restarted_it_ends_in_the_same_bits(tmp_path, options):
    killed, in_save, ended = campaign(tmp_path, kills=5, steps=150, options=options, seed=1)
    assert killed == 5
    print(f"{killed} kills, {in_save} in a save, {ended} trainings to their end")


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("options", [(), ("background",)], ids=["at once", "background"])
def test_killed_and_restarted_a_hundred_times_it_ends_in_the_same_bits(tmp_path, options):
    killed, in_save, ended = campaign(tmp_path, kills=100, steps=300, options=options, seed=2)
    assert killed == 100
    print(f"{killed} kills, {in_save} in a save, {ended} trainings to their end")


def test_candidates_of_a_folder_that_is_not_there():
    assert Scan("nowhere at all").candidates() == ([], [])
    assert restore_newest(Saver(), None, "nowhere at all") is None
