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
        fd = open_regular(str(tmp_path / name), follow=follow)
        try:
            assert os.read(fd, 9) == b"abc"
        finally:
            os.close(fd)


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
    with pytest.raises(IsADirectoryError):
        open_regular(".")
    with pytest.raises(FileNotFoundError):
        open_regular("nowhere")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with pytest.raises(CheckpointFormatError):
        open_regular("pipe")
    assert not before or len(os.listdir("/proc/self/fd")) == before
