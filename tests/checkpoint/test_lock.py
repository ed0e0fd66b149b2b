"""One process at a time saves into a folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading

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


def test_a_lock_that_a_dead_processs_child_still_has_open_is_taken_over(tmp_path, start):
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


def test_a_lock_of_another_process_with_the_same_number_is_stale(tmp_path):
    who = {"pid": os.getpid(), "host": socket.gethostname(), "began": "1@another boot"}
    (tmp_path / LOCK_FILE).write_text(json.dumps(who))
    assert holder_of(tmp_path) is None


def test_a_holder_on_another_host_is_believed_to_live(tmp_path):
    who = {"pid": 1, "host": "another", "began": "1"}
    (tmp_path / LOCK_FILE).write_text(json.dumps(who))
    assert holder_of(tmp_path) == who


def test_a_lock_whose_holder_has_not_said_who_it_is(tmp_path, start):
    start(tmp_path)
    (tmp_path / LOCK_FILE).write_text("")
    with pytest.raises(CheckpointLockedError, match="another process saves into"):
        FolderLock(str(tmp_path)).acquire()


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
