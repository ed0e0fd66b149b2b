"""A failed save is loud, and costs nothing that was there."""

import errno
import itertools
import os
import subprocess

import numpy as np
import pytest

from runloop.checkpoint import Saver, files, latest_checkpoint, load_variable, restore_newest
from runloop.checkpoint.files import Files, write_all
from runloop.errors import CheckpointWriteError
from tests.checkpoint.programs import make_session, set_step, step_of

OPERATIONS = ("create", "write", "sync", "close", "rename", "sync_dir", "unlink")


class FailingFiles(Files):
    """Fails one operation, the `at`-th from when it is armed, with an errno or by writing less."""

    def __init__(self):
        self.at = None
        self.error = None
        self.count = 0
        self.failed = None

    def arm(self, at, error):
        self.at, self.error, self.count, self.failed = at, error, 0, None

    def _strikes(self, operation):
        if self.at is None:
            return False
        self.count += 1
        if self.count - 1 != self.at:
            return False
        self.failed = operation
        return True

    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        if name not in OPERATIONS:
            return method

        def operation(*args):
            if not self._strikes(name):
                return method(*args)
            if self.error == "short write":
                if name == "write":
                    fd, data, offset = args
                    return method(fd, data[: len(data) // 2], offset)
                return method(*args)
            if name == "close":
                method(*args)
            raise OSError(self.error, os.strerror(self.error))

        return operation


ERRORS = [
    errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENOMEM,
    errno.EINTR, "short write",
]  # fmt: skip


def error_id(error):
    return error if isinstance(error, str) else errno.errorcode[error]


def temporaries(folder):
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("error", "background"),
    [(error, background) for error in ERRORS for background in (False, True)],
    ids=lambda value: {False: "at once", True: "background"}.get(value) or error_id(value),
)
def test_a_fault_at_any_operation_is_raised_and_costs_nothing(tmp_path, error, background):
    seen = []
    for at in itertools.count():
        folder = tmp_path / f"{at}"
        layer = FailingFiles()
        with files.use(layer):
            saver = Saver(max_to_keep=2, background=background)
        session = make_session()
        for step in (1, 2):
            set_step(session, step)
            saver.save(session, folder / "m", global_step=step)
        saver.wait()
        layer.arm(at, error)
        set_step(session, 3)
        raised = None
        try:
            saver.save(session, folder / "m", global_step=3)
            saver.wait()
        except CheckpointWriteError as exc:
            raised = exc
        struck, layer.at = layer.failed, None
        # Nothing is left over, and the newest one is whole: 3 if it got that far, 2 otherwise.
        assert temporaries(folder) == []
        found = make_session(step=-1)
        assert restore_newest(Saver(), found, folder) is not None
        if raised is None:
            assert step_of(found) == 3
        else:
            assert raised.errno == error
            assert str(folder) in str(raised.filename)
            assert step_of(found) in (2, 3)
            assert (folder / "m-2.safetensors").exists()
        # The training goes on, and so does the saving.
        set_step(session, 4)
        saver.save(session, folder / "m", global_step=4)
        saver.wait()
        assert restore_newest(Saver(), found, folder) == str(folder / "m-4.safetensors")
        assert step_of(found) == 4
        assert len([n for n in os.listdir(folder) if n.startswith("m-")]) == 2
        saver.close()
        if struck is None:
            break
        assert (raised is None) == (error == "short write" or struck == "unlink")
        seen.append(struck)
    one = ["create", "write", "sync", "close", "rename", "sync_dir"]
    if error == "short write":
        return
    assert seen == [*one[:2], *one[1:], *one, "unlink"]


def test_a_write_that_writes_nothing_is_an_error(tmp_path):
    class Silent(Files):
        def write(self, fd, data, offset):
            return 0

    with open(tmp_path / "x", "wb") as file, pytest.raises(OSError, match="wrote nothing and gave"):
        write_all(Silent(), file.fileno(), b"abc", 0)


def test_a_failed_deletion_is_a_warning_and_tried_again(tmp_path, caplog):
    class Stubborn(Files):
        broken = True

        def unlink(self, path):
            if self.broken:
                raise PermissionError(errno.EACCES, "no")
            super().unlink(path)

    layer = Stubborn()
    with files.use(layer):
        saver = Saver(max_to_keep=1)
    session = make_session()
    saver.save(session, tmp_path / "m", 1)
    saver.save(session, tmp_path / "m", 2)
    assert "The old checkpoint m-1.safetensors can't be deleted" in caplog.text
    assert (tmp_path / "m-1.safetensors").exists()
    layer.broken = False
    saver.save(session, tmp_path / "m", 3)
    assert sorted(p.name for p in tmp_path.glob("m-*")) == ["m-3.safetensors"]


def test_a_temporary_that_cant_be_removed_is_a_warning(tmp_path, caplog):
    class Full(Files):
        def write(self, fd, data, offset):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def unlink(self, path):
            raise PermissionError(errno.EACCES, "no")

    with files.use(Full()):
        saver = Saver()
    with pytest.raises(CheckpointWriteError, match="not saved: No space left on device"):
        saver.save(make_session(), tmp_path / "m", 1)
    assert "can't be removed" in caplog.text


def test_interrupted_by_the_user_no_temporary_stays(tmp_path):
    class Interrupted(Files):
        def sync(self, fd):
            raise KeyboardInterrupt

    with files.use(Interrupted()):
        saver = Saver()
    with pytest.raises(KeyboardInterrupt):
        saver.save(make_session(), tmp_path / "m", 1)
    assert temporaries(tmp_path) == []
    assert latest_checkpoint(tmp_path) is None


def test_a_folder_that_cant_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointWriteError, match="the folder can't be made") as caught:
        Saver().save(make_session(), tmp_path / "file" / "ckpt" / "m", 1)
    assert caught.value.filename == str(tmp_path / "file" / "ckpt")


def test_what_cant_be_stored_is_refused_before_anything_is_written(tmp_path):
    session = make_session()
    session.state().attached["params"]["names"] = np.array(["a"], object)
    with pytest.raises(TypeError, match=r"params/names can't be stored: dtype object"):
        Saver().save(session, tmp_path / "ckpt" / "m", 1)
    assert not (tmp_path / "ckpt").exists()


def test_files_use_takes_only_a_file_layer():
    with pytest.raises(TypeError, match=r"files.use takes a runloop.checkpoint.files.Files, got 3"):
        with files.use(3):
            pass


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 1 MiB."""
    mount = tmp_path / "mount"
    mount.mkdir()
    done = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)],
            capture_output=True,
            check=False,
        )
        if os.path.exists("/bin/mount")
        else None
    )
    if done is None or done.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk(small_disk):
    session = make_session(size=40_000)  # 320 KB: three fit, and a fourth does not
    saver = Saver(max_to_keep=None)
    for step in (1, 2):
        set_step(session, step)
        saver.save(session, small_disk / "m", step)
    (small_disk / "ballast").write_bytes(b"x" * 200_000)
    set_step(session, 3)
    for _ in range(2):
        with pytest.raises(CheckpointWriteError, match="No space left on device"):
            saver.save(session, small_disk / "m", 3)
    assert temporaries(small_disk) == []
    assert (load_variable(small_disk, "w") == 2).all()
    (small_disk / "ballast").unlink()
    saver.save(session, small_disk / "m", 3)
    assert (load_variable(small_disk, "w") == 3).all()
    saver.close()
