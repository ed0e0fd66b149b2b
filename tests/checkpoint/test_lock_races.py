"""Whatever happens to a lock file and to those who hold it, two processes never hold one folder."""

import collections
import fcntl
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runloop.checkpoint import lock as lock_module
from runloop.checkpoint.lock import LOCK_FILE, FolderLock

CONTENDER = Path(__file__).with_name("contender.py")
HAS_PROC = os.path.isdir("/proc/self/fd")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="flock and fork of POSIX")


def contend(folder, processes, rounds, deaths, *options, seed=0, meanwhile=lambda running: None):
    """Let processes race; return how their rounds ended, and what each knew to be its time."""
    started = [
        subprocess.Popen(
            [sys.executable, str(CONTENDER), str(folder), str(rounds), str(seed * 100 + i), deaths,
             *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]  # fmt: skip
    meanwhile(lambda: any(process.poll() is None for process in started))
    outcomes, known = collections.Counter(), []
    for process in started:
        out, _ = process.communicate(timeout=500)
        assert process.returncode == 0
        found = json.loads(out)
        outcomes.update(found["outcomes"])
        known += found["known"]
    return outcomes, sorted(known)


def overlaps(known):
    """How many processes knew a lock to be theirs while another one did."""
    latest, count = 0, 0
    for start, end in known:
        count += start < latest
        latest = max(latest, end)
    return count


def vandal(folder, seed):
    """Remove, replace and link the lock file again and again."""
    rng = random.Random(seed)
    path, beside = os.path.join(folder, LOCK_FILE), f"{folder}.new"
    stale = json.dumps({"pid": 2**22 + 1, "host": "elsewhere"})

    def remove():
        os.unlink(path)

    def replace():
        Path(beside).write_text(stale)
        os.rename(beside, path)

    def symlink():
        os.symlink(f"{folder}.thesis", beside)
        os.rename(beside, path)

    def hard_link():
        os.link(f"{folder}.thesis", beside)
        os.rename(beside, path)

    def pipe():
        os.mkfifo(beside)
        os.rename(beside, path)

    def loop(running):
        while running():
            for do in (rng.choice([remove, replace, symlink, hard_link, pipe]), remove):
                threading.Event().wait(rng.random() * 0.004)
                try:
                    do()
                except FileNotFoundError:
                    pass

    return loop


STALE = (("kill,release", ()), ("kill,release", ("slow",)), ("orphan,release", ()))
MIXED = ("orphan,kill,exit,release", ("slow",))


def campaign(tmp_path, kinds, processes, rounds, seed):
    """All kinds of contention; returns what happened, for the record."""
    folder = tmp_path / f"{processes}-{seed}"
    folder.mkdir()
    total = collections.Counter()
    for index, (deaths, options) in enumerate(kinds):
        # Foreign, damaged, stale: what the file says decides nothing.
        (folder / LOCK_FILE).write_text(["[]", "", '{"pid": 1, "host": "another"}'][index % 3])
        outcomes, known = contend(folder, processes, rounds, deaths, *options, seed=seed + index)
        assert outcomes["two inside"] == outcomes["not ours"] == outcomes["lost"] == 0, outcomes
        assert overlaps(known) == 0
        assert outcomes["killed"] > 0
        total += outcomes
    Path(f"{folder}.thesis").write_text("years of work")
    Path(f"{folder}.vandal").write_text("")
    outcomes, known = contend(
        folder, processes, rounds, MIXED[0], seed=seed, meanwhile=vandal(folder, seed)
    )
    assert overlaps(known) == 0
    assert Path(f"{folder}.thesis").read_text() == "years of work"
    return total + outcomes


def test_two_processes_never_hold_one_folder(tmp_path):
    print(campaign(tmp_path, [MIXED], processes=2, rounds=40, seed=1))


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 8])
def test_two_processes_never_hold_one_folder_in_hundreds_of_rounds(tmp_path, processes):
    print(processes, campaign(tmp_path, [*STALE, MIXED], processes, rounds=500, seed=processes))


# -- Ctrl-C ---------------------------------------------------------------------------------------


class Interrupted:
    """Raises KeyboardInterrupt at the n-th line or instruction that runs in the lock's module."""

    def __init__(self, at, *, instructions):
        self.at, self.instructions, self.count = at, instructions, 0

    def trace(self, frame, event, arg):
        code = frame.f_code
        # Python swallows what a `__del__` raises, also a Ctrl-C.
        if code.co_filename != lock_module.__file__ or code.co_name == "__del__":
            return None
        frame.f_trace_opcodes = self.instructions
        if event in ("line", "opcode"):
            if self.count == self.at:
                self.count += 1
                raise KeyboardInterrupt
            self.count += 1
        return self.trace

    def run(self, function):
        """Return whether it was interrupted."""
        try:
            sys.settrace(self.trace)
            function()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False


def is_free(folder):
    """Whether a stranger, who knows only the kernel, could take the lock."""
    fd = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def take(folder, at, instructions):
    lock = FolderLock(str(folder))
    was_interrupted = Interrupted(at, instructions=instructions).run(lock.acquire)
    if not was_interrupted:
        assert lock.held
        assert not is_free(folder)
    return was_interrupted


def give_back(folder, at, instructions):
    lock = FolderLock(str(folder))
    lock.acquire()
    was_interrupted = Interrupted(at, instructions=instructions).run(lock.release)
    if not was_interrupted:
        assert not lock.held
        assert is_free(folder)
    else:
        # It can be given back again, and used again.
        lock.release()
        assert is_free(folder)
        lock.acquire()
        assert lock.is_current
        lock.check()
    return was_interrupted


@pytest.mark.skipif(not HAS_PROC, reason="counts descriptors")
@pytest.mark.parametrize("instructions", [False, True], ids=["lines", "instructions"])
@pytest.mark.parametrize("attempt", [take, give_back])
def test_ctrl_c_at_any_point_leaks_nothing(tmp_path, attempt, instructions, monkeypatch):
    # A trace can raise just before `with` leaves its mutex. A signal can't: CPython looks for
    # signals elsewhere. So later tests of this process get a mutex that no trace has touched.
    monkeypatch.setattr(lock_module._PROCESS, "mutex", threading.RLock())
    (tmp_path / LOCK_FILE).write_text('{"pid": 1, "host": "stale"}')
    FolderLock(str(tmp_path)).acquire()  # all that is imported once is imported
    before = sorted(os.listdir("/proc/self/fd"))
    at = 0
    while attempt(tmp_path, at, instructions):
        assert is_free(tmp_path), at
        assert sorted(os.listdir("/proc/self/fd")) == before, at
        lock = FolderLock(str(tmp_path))
        assert lock.acquire(), at
        lock.release()
        at += 1
    assert at > (100 if instructions else 10)
