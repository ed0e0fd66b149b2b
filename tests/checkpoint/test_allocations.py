"""Memory runs out at any allocation of a save: everything is as it was, and the next save works."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runloop.checkpoint import Saver, files, restore_newest
from runloop.checkpoint.files import Files
from runloop.errors import CheckpointError
from tests.checkpoint.programs import make_session, set_step, step_of

ROOT = Path(__file__).parents[2]
_testcapi = pytest.importorskip("_testcapi")  # CPython's own: lets the n-th allocation fail


def open_files(folder):
    """How many files in the folder this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith(str(folder))
        except OSError:  # that of the listing itself
            continue
    return count


def fail_at_each_allocation(folder, *, is_background, stride, first=0):
    """Let each `stride`-th allocation of a save fail, one a save; print each, and whether it failed."""

    # In the background it begins in the thread. Before that, CPython's own Thread.start() waits for
    # ever for a thread that has no memory to reach its function (seen in 3.11.7): it can't be told
    # from a thread that is slow to start, so a program that is that short of memory may hang there.
    class Arming(Files):
        at = None

        def create(self, path):
            if self.at is not None:
                _testcapi.set_nomemory(self.at, self.at + 1)
                self.at = None
            return super().create(path)

    layer = Arming()
    with files.use(layer):
        saver = Saver(max_to_keep=2, background=is_background)
    session, found = make_session(), make_session(step=-1)
    path = str(folder / "m")  # os.fspath of a Path reports a failed allocation as a TypeError
    step = 0

    def save():
        saver.save(session, path, step)
        saver.wait()

    def next_step():
        nonlocal step
        step += 1
        set_step(session, step)

    for _ in range(3):  # imports and buffers are there
        next_step()
        save()
    before, at, quiet = open_files(folder), first, 0
    while quiet < 20:
        print(at, end=" ", flush=True)
        next_step()
        kept = set(os.listdir(folder))
        raised = None
        if is_background:
            layer.at = at
        else:
            _testcapi.set_nomemory(at, at + 1)
        try:
            save()
        except (MemoryError, CheckpointError, RuntimeError, TypeError, SystemError) as exc:
            _testcapi.remove_mem_hooks()
            # So CPython reports a lock, a thread or a buffer in bytes.join() that got no memory. A
            # SystemError is NumPy's: it passes on a failed allocation without an exception.
            assert type(exc) is not RuntimeError or str(exc).startswith("can't "), exc
            assert type(exc) is not TypeError or str(exc).startswith("sequence item "), exc
            raised = exc
        finally:
            _testcapi.remove_mem_hooks()
        if raised is not None:
            try:
                saver.wait()
            except (MemoryError, CheckpointError):  # it was the first wait that failed
                pass
        raised = raised is not None
        quiet = 0 if raised else quiet + 1
        assert open_files(folder) == before, at
        names = set(os.listdir(folder))
        assert not [name for name in names if name.endswith(".tmp")], at
        restore_newest(Saver(), found, folder)
        if raised:
            assert step_of(found) in (step - 1, step), at
            assert names - {f"m-{step}.safetensors"} <= kept, at
            assert f"m-{step - 1}.safetensors" in names, at
        else:
            assert step_of(found) == step, at
        next_step()
        save()
        restore_newest(Saver(), found, folder)
        assert step_of(found) == step, at
        print(int(raised), flush=True)
        at += stride
    saver.close()


def failures(folder, *, is_background, stride, first):
    """Run :func:`fail_at_each_allocation` in processes apart; return how many allocations failed.

    NumPy 2.4 does not check all of its allocations, and then the process crashes. The next process
    goes on behind that.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(ROOT)]),
    }
    failed, saves, crashes = 0, 0, 0
    while True:
        inner = folder / str(crashes)
        inner.mkdir()
        program = (
            f"from pathlib import Path; from tests.checkpoint import test_allocations as tests; "
            f"tests.fail_at_each_allocation(Path({str(inner)!r}), is_background={is_background}, "
            f"stride={stride}, first={first})"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line.split() for line in done.stdout.splitlines()]
        failed += sum(line[1:] == ["1"] for line in lines)
        saves += len(lines)
        if done.returncode == 0:
            assert crashes * 20 <= saves
            return failed
        assert done.returncode == -signal.SIGSEGV, done.stderr
        crashes += 1
        first = int(lines[-1][0]) + stride


@pytest.mark.parametrize("is_background", [False, True])
def test_no_allocation_of_a_save_can_fail_badly(tmp_path, is_background):
    assert failures(tmp_path, is_background=is_background, stride=19, first=7) > 10


@pytest.mark.long
@pytest.mark.parametrize("is_background", [False, True])
def test_none_of_all_allocations_of_a_save_can_fail_badly(tmp_path, is_background):
    failed = failures(tmp_path, is_background=is_background, stride=1, first=0)
    print(f"{failed} allocations failed")
    assert failed > 100
