"""Only regular files are opened for reading, and opening never waits."""

import os
import socket

import pytest

from runloop.checkpoint.files import open_regular
from runloop.errors import CheckpointFormatError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes and links of POSIX")


def test_a_regular_file_is_opened(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    (tmp_path / "link").symlink_to(path)
    for name, follow in (("file", False), ("file", True), ("link", True)):
        with open_regular(str(tmp_path / name), follow=follow) as file:
            assert file.read(9) == b"abc"


def test_anything_else_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        os.symlink("pipe", "link")
        for name in ("pipe", "socket", "/dev/null"):
            with pytest.raises(CheckpointFormatError, match=f"{name}: not a regular file"):
                open_regular(name)
        with pytest.raises(CheckpointFormatError, match="link: not a regular file"):
            open_regular("link", follow=True)
    for target in ("pipe", "nowhere", "link"):
        os.unlink("link")
        os.symlink(target, "link")
        with pytest.raises(CheckpointFormatError, match="link: a symbolic link, which is not foll"):
            open_regular("link")
    with pytest.raises(IsADirectoryError) as info:
        open_regular(".")
    assert info.value.filename == "."
    with pytest.raises(FileNotFoundError):
        open_regular("nowhere")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for name, error in (("pipe", CheckpointFormatError), (".", IsADirectoryError)):
        with pytest.raises(error):
            open_regular(name)
    assert not before or len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["file", "."])
def test_an_allocation_that_fails_while_opening_leaves_no_open_file(tmp_path, name):
    testcapi = pytest.importorskip("_testcapi", reason="this Python has no test hooks for memory")
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not list open files")
    (tmp_path / "file").write_bytes(b"abc")
    path = str(tmp_path / name)
    failed = 0
    before = len(os.listdir("/proc/self/fd"))
    for at in range(1000):
        testcapi.set_nomemory(at, at + 1)
        try:
            open_regular(path).close()
        except (MemoryError, SystemError):  # for a folder, CPython 3.11 loses one MemoryError
            failed += 1
            is_over = False
        except IsADirectoryError:
            is_over = True
        else:
            is_over = True
        finally:
            testcapi.remove_mem_hooks()
        assert len(os.listdir("/proc/self/fd")) == before, at
        if is_over:
            break
    assert failed > 5
