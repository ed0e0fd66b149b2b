"""FaultyFilesystem: a disk that fails when it is told to."""

import errno
import os

import numpy as np
import pytest

import runloop as rl
from runloop.testing import FaultyFilesystem
from tests.checks import fails


@pytest.fixture
def session():
    graph = rl.Graph()
    graph.variable("w", np.arange(4.0))
    with rl.Session(graph=graph) as session:
        yield session


def save(disk, session, folder):
    with disk.use():
        saver = rl.Saver()
    try:
        saver.save(session, folder / "m", 1)
    finally:
        saver.close()


def test_it_counts_what_a_save_does(tmp_path, session):
    disk = FaultyFilesystem()
    save(disk, session, tmp_path)
    names = [name for name, _ in disk.operations]
    assert [n for n in names if n == "rename"] == ["rename", "rename"]
    assert disk.operations[-1][0] in {"unlink", "fsync", "close"}
    assert ("rename", "m-1.safetensors") in disk.operations
    assert disk.failed == 0
    assert rl.latest_checkpoint(tmp_path)


@pytest.mark.parametrize("operation", ["create", "write", "fsync", "close", "rename"])
def test_the_nth_call_fails_with_the_errno_that_was_chosen(tmp_path, session, operation):
    for nth in (1, 2):
        folder = tmp_path / f"{operation}{nth}"
        folder.mkdir()
        disk = FaultyFilesystem(operation, nth, errno.EDQUOT)
        with pytest.raises(OSError, match=r"not saved") as info:
            save(disk, session, folder)
        assert info.value.errno == errno.EDQUOT
        assert disk.failed == 1
        assert [name for name, _ in disk.operations].count(operation) >= nth


def test_a_folder_that_can_not_be_made(tmp_path, session):
    disk = FaultyFilesystem("mkdir", error=errno.EACCES)
    with pytest.raises(OSError, match="the folder can't be made"):
        save(disk, session, tmp_path / "new")
    assert disk.operations == [("mkdir", "new")]


def test_it_fails_as_often_as_it_is_told_to(tmp_path):
    disk = FaultyFilesystem("unlink", 2, times=2)
    outcomes = []
    for name in "abcd":
        path = tmp_path / name
        path.touch()
        try:
            disk.unlink(os.fspath(path))
            outcomes.append("done")
        except OSError as exc:
            outcomes.append(errno.errorcode[exc.errno])
    assert outcomes == ["done", "ENOSPC", "ENOSPC", "done"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "c"]
    for_ever = FaultyFilesystem("unlink", times=None)
    for _ in range(3):
        with pytest.raises(OSError):
            for_ever.unlink(os.fspath(tmp_path / "b"))
    assert for_ever.failed == 3


def test_it_can_be_told_later(tmp_path, session):
    disk = FaultyFilesystem()
    save(disk, session, tmp_path)
    disk.fail("rename", 2, errno.EIO)
    with pytest.raises(OSError, match="not saved") as info:
        save(disk, session, tmp_path)
    assert (info.value.errno, disk.failed) == (errno.EIO, 1)


def test_a_file_whose_close_fails_is_closed(tmp_path):
    disk = FaultyFilesystem("close")
    fd = disk.create(os.fspath(tmp_path / "x"))
    assert disk.write(fd, b"abc", 0) == 3
    with pytest.raises(OSError):
        disk.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert disk.operations == [("create", "x"), ("write", "x"), ("close", "x")]


def test_it_knows_its_operations():
    with fails(
        ValueError,
        "FaultyFilesystem: operation must be one of mkdir, create, write, fsync, close, rename, "
        "unlink, got 'read'",
    ):
        FaultyFilesystem("read")
    with fails(ValueError, "FaultyFilesystem: nth counts from 1, got 0"):
        FaultyFilesystem("write", 0)
