"""One process at a time saves into a folder."""

import copy
import gc
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest

from runloop.checkpoint import Saver, files
from runloop.checkpoint.files import Files
from runloop.checkpoint.lock import LOCK_FILE, FolderLock, holder_of
from runloop.errors import CheckpointLockedError, CheckpointWriteError
from tests.checkpoint.programs import make_session

pytestmark = pytest.mark.skipif(os.name == "nt", reason="flock and signals of POSIX")

HOLDER = """
    import os, sys
    from runloop.checkpoint.lock import FolderLock
    lock = FolderLock(sys.argv[1])
    lock.acquire()
    child = 0
    if len(sys.argv) > 2:
        child = os.fork()
        if child == 0:
            sys.stdin.read()  # lives on with the lock's file open until the test lets it go
            os._exit(0)
    print(child, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start():
    started = []

    def run(folder, *more):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLDER), str(folder), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        process.stdout.readline()
        return process

    yield run
    for process in started:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_second_process_is_refused_before_it_touches_anything(tmp_path, start):
    process = start(tmp_path)
    before = sorted(os.listdir(tmp_path))
    (tmp_path / ".runloop-0123456789abcdef.tmp").write_text("the other's work")
    with pytest.raises(CheckpointLockedError) as caught:
        Saver().save(make_session(), tmp_path / "m", 1)
    assert f"process {process.pid} on {socket.gethostname()} saves into" in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == sorted([*before, ".runloop-0123456789abcdef.tmp"])
    assert holder_of(tmp_path)["pid"] == process.pid


def test_a_lock_left_by_a_dead_process_is_taken_over(tmp_path, start):
    process = start(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / LOCK_FILE).exists()
    assert holder_of(tmp_path) is None
    Saver().save(make_session(), tmp_path / "m", 1)


def test_a_child_by_fork_does_not_keep_the_lock_of_its_dead_parent(tmp_path, start):
    process = start(tmp_path, "fork")
    process.send_signal(signal.SIGKILL)
    process.wait()
    saver = Saver()
    saver.save(make_session(), tmp_path / "m", 1)
    assert holder_of(tmp_path)["pid"] == os.getpid()
    saver.save(make_session(), tmp_path / "m", 2)


def test_savers_of_one_process_share_a_folder(tmp_path):
    one, two = Saver(), Saver()
    one.save(make_session(), tmp_path / "m", 1)
    two.save(make_session(), tmp_path / "m", 2)
    one.close()
    two.save(make_session(), tmp_path / "m", 3)
    assert holder_of(tmp_path)["pid"] == os.getpid()


class Held(Files):
    """The renaming of the first file waits until it is let go."""

    def __init__(self):
        self.there, self.go = threading.Event(), threading.Event()

    def rename(self, source, target):
        self.there.set()
        assert self.go.wait(30)
        super().rename(source, target)


def test_a_saver_leaves_alone_what_another_of_its_process_is_writing(tmp_path):
    layer = Held()
    with files.use(layer):
        one = Saver(background=True)
    one.save(make_session(), tmp_path / "one", 1)
    assert layer.there.wait(30)
    Saver().save(make_session(), tmp_path / "two", 1, latest_filename="two")
    layer.go.set()
    one.wait()
    assert (tmp_path / "one-1.safetensors").exists()


def test_the_lock_is_given_back(tmp_path):
    saver = Saver()
    saver.save(make_session(), tmp_path / "m", 1)
    assert (tmp_path / LOCK_FILE).exists()
    saver.close()
    assert not (tmp_path / LOCK_FILE).exists()
    saver.save(make_session(), tmp_path / "m", 2)
    del saver  # so does a saver that nobody has any more
    assert not (tmp_path / LOCK_FILE).exists()


@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_a_lock_that_nobody_refers_to_closes_its_file_without_a_warning(tmp_path, in_a_cycle):
    lock = FolderLock(str(tmp_path))
    lock.acquire()
    held = lock._held
    lock._held = None  # as a Ctrl-C in the middle of a release leaves it
    fd = held.file.fileno()
    if in_a_cycle:
        held.itself = held
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del held
        gc.collect()
    assert not caught
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_child_by_fork_does_not_hold_its_parents_lock(tmp_path):
    lock = FolderLock(str(tmp_path))
    assert lock.acquire()
    assert not lock.acquire()
    child = os.fork()
    if child == 0:
        try:
            lock.acquire()
        except CheckpointLockedError:
            os._exit(7)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert lock.held
    lock.release()
    lock.release()
    assert not lock.held


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', "\0" * 100])
def test_a_damaged_lock_file_that_nobody_holds_is_taken_over(tmp_path, content):
    (tmp_path / LOCK_FILE).write_text(content)
    assert holder_of(tmp_path) is None
    assert FolderLock(str(tmp_path)).acquire()


STALE = {
    "another boot": {"pid": os.getpid(), "host": socket.gethostname(), "began": "1@another boot"},
    "our pid": {"pid": os.getpid(), "host": socket.gethostname()},
    "pid 1": {"pid": 1, "host": socket.gethostname()},
    "another host": {"pid": 1, "host": "another", "began": "1"},
    "nonsense": {"pid": 10**40, "host": "x\x1b[2J"},
}
FREE_PID = {"pid": 2**22 + 1, "host": socket.gethostname()}


@pytest.mark.parametrize("who", STALE.values(), ids=STALE)
def test_a_file_that_nobody_locks_is_no_lock_whatever_it_says(tmp_path, who):
    (tmp_path / LOCK_FILE).write_text(json.dumps(who))
    assert holder_of(tmp_path) is None
    lock = FolderLock(str(tmp_path))
    assert lock.acquire()
    assert holder_of(tmp_path)["pid"] == os.getpid()


@pytest.mark.parametrize("who", [*STALE.values(), FREE_PID], ids=[*STALE, "a free pid"])
def test_a_lock_is_not_taken_from_its_holder_whatever_the_file_says(tmp_path, start, who):
    # In another pid namespace the holder's number is nobody's, or somebody else's.
    start(tmp_path)
    (tmp_path / LOCK_FILE).write_text(json.dumps(who))
    with pytest.raises(
        CheckpointLockedError, match=r"saves into .*; nothing was touched"
    ) as caught:
        FolderLock(str(tmp_path)).acquire()
    assert str(caught.value).isprintable()
    assert json.loads((tmp_path / LOCK_FILE).read_text()) == who


def test_a_lock_whose_holder_has_not_said_who_it_is(tmp_path, start):
    start(tmp_path)
    (tmp_path / LOCK_FILE).write_text("")
    with pytest.raises(CheckpointLockedError, match="another process saves into"):
        FolderLock(str(tmp_path)).acquire()


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe", "link to a pipe"])
def test_a_lock_file_that_is_not_ours_is_refused_and_left_alone(tmp_path, kind):
    thesis, lock = tmp_path / "thesis.tex", tmp_path / "ckpt" / LOCK_FILE
    lock.parent.mkdir()
    thesis.write_text("years of work")
    os.mkfifo(tmp_path / "pipe")
    if kind == "hard link":
        os.link(thesis, lock)
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        target = {"link": "thesis.tex", "dangling link": "new.txt", "link to a pipe": "pipe"}[kind]
        lock.symlink_to(tmp_path / target)
    with pytest.raises(
        CheckpointWriteError, match=r"can't be locked: the lock file is .*; remove it"
    ):
        Saver().save(make_session(), lock.parent / "m", 1)
    assert holder_of(lock.parent) is None
    assert thesis.read_text() == "years of work"
    assert os.path.lexists(lock)
    assert sorted(os.listdir(tmp_path)) == ["ckpt", "pipe", "thesis.tex"]
    assert os.listdir(lock.parent) == [LOCK_FILE]


def test_a_lock_file_that_is_replaced_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr("runloop.checkpoint.lock._is_at", lambda *_: False)
    with pytest.raises(CheckpointWriteError, match="the lock file is replaced again and again"):
        FolderLock(str(tmp_path)).acquire()


def test_a_system_without_flock_warns(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("runloop.checkpoint.lock.fcntl", None)
    assert FolderLock(str(tmp_path)).acquire()
    assert "This system has no flock" in caplog.text
    assert holder_of(tmp_path) is None


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors")
@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_of_a_lock_is_not_held_and_closes_nothing(tmp_path, clone):
    lock = FolderLock(str(tmp_path))
    lock.acquire()
    other = clone(lock)
    assert not other.held
    before = descriptors()
    other.release()
    del other
    gc.collect()
    assert descriptors() == before
    assert lock.is_current
    other = clone(lock)
    assert not other.acquire()  # both are of this process
    lock.release()
    assert other.is_current
    stranger = os.open(tmp_path, os.O_RDONLY)
    lock.release()
    other.release()
    os.fstat(stranger)
    os.close(stranger)


def test_the_first_of_a_process_is_told_before_another_gets_the_lock(tmp_path):
    order = []
    locks = [FolderLock(str(tmp_path)) for _ in range(8)]
    barrier = threading.Barrier(8)

    def work(lock):
        barrier.wait()
        lock.acquire(lambda: order.append("first"))
        order.append("in")

    threads = [threading.Thread(target=work, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == ["first", *["in"] * 8]
    locks[0].release()
    assert not FolderLock(str(tmp_path)).acquire(lambda: order.append("again"))
    assert order.count("again") == 0


def replace_lock(folder):
    os.unlink(os.path.join(folder, LOCK_FILE))
    with open(os.path.join(folder, LOCK_FILE), "w"):
        pass


def replace_folder(folder):
    os.rename(folder, f"{folder}.old")
    os.mkdir(folder)


DISTURBANCES = {
    "removed": lambda folder: os.unlink(os.path.join(folder, LOCK_FILE)),
    "replaced": replace_lock,
    "moved": lambda folder: os.rename(folder, f"{folder}.old"),
    "folder replaced": replace_folder,
}


@pytest.mark.parametrize("how", DISTURBANCES)
def test_a_holder_notices_that_its_lock_is_gone(tmp_path, how):
    folder = tmp_path / "ckpt"
    folder.mkdir()
    lock = FolderLock(str(folder))
    lock.acquire()
    lock.check()
    DISTURBANCES[how](folder)
    with pytest.raises(
        CheckpointLockedError, match=r"is lost: its file .runloop.lock or the folder"
    ):
        lock.check()
    there = folder.exists() and os.listdir(folder)
    lock.release()
    assert (folder.exists() and os.listdir(folder)) == there  # nothing of another's was removed


def test_a_folder_that_cant_be_locked(tmp_path):
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(CheckpointWriteError, match="the folder can't be locked"):
        Saver().save(make_session(), tmp_path / "m", 1)


def test_temporaries_of_a_killed_process_are_swept(tmp_path, caplog):
    left = tmp_path / ".runloop-0123456789abcdef.tmp"
    left.write_text("half a checkpoint")
    (tmp_path / ".runloop-mine.tmp").write_text("not ours")
    saver = Saver()
    saver.save(make_session(), tmp_path / "m", 1)
    assert not left.exists()
    assert (tmp_path / ".runloop-mine.tmp").exists()
