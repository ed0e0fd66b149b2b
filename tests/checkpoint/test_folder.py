"""A folder is found again, foreign files in it are left alone, and one writer at a time has it."""

import copy
import errno
import json
import os
import pickle
import random
import subprocess
import sys
import threading

import numpy as np
import pytest
import safetensors.numpy

from runloop.__main__ import main
from runloop.checkpoint import (
    Saver,
    files,
    get_checkpoint_state,
    latest_checkpoint,
    load_checkpoint,
    restore_newest,
)
from runloop.checkpoint import records as records_module
from runloop.checkpoint import scan as scan_module
from runloop.checkpoint.files import Files
from runloop.checkpoint.header import MAX_SERIAL
from runloop.checkpoint.lock import LOCK_FILE
from runloop.checkpoint.manager import CheckpointManager
from runloop.checkpoint.retention import Kept, Rules
from runloop.checkpoint.scan import Scan
from runloop.checkpoint.state_file import CheckpointState, format_state, parse_state
from runloop.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointFormatError,
    CheckpointLockedError,
    CheckpointReadError,
    CheckpointWriteError,
)
from tests.checkpoint.hostile import Text, joined, parts_of
from tests.checkpoint.programs import make_session, set_step, step_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links, pipes and flock of POSIX")


def save(folder, *steps, base="m", saver=None, **more):
    own = saver or Saver(**more)
    session = make_session()
    for step in steps:
        set_step(session, step)
        own.save(session, folder / base, step, checkpoint_dir=folder)
    if saver is None:
        own.close()


def restored(folder):
    session = make_session(step=-1)
    path = restore_newest(Saver(), session, folder)
    return None if path is None else step_of(session)


def names(folder):
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*.safetensors") if path.is_file()
    )


# -- a folder in the basename --------------------------------------------------------------------


@pytest.mark.parametrize("base", ["run1/m", "a/b/m"])
@pytest.mark.parametrize("content", [None, "???", 'model_checkpoint_path: "gone"'])
def test_a_lost_or_damaged_state_file_loses_nothing_in_folders_below(tmp_path, base, content):
    save(tmp_path, 100, 200, 300, base=base)
    state = tmp_path / "checkpoint"
    state.unlink() if content is None else state.write_text(content)
    assert restored(tmp_path) == 300
    if content is None:
        assert latest_checkpoint(tmp_path) == str(tmp_path / f"{base}-300.safetensors")
    # What is saved next comes after them, whatever its step, and deletes the oldest.
    save(tmp_path, 1, base=base, max_to_keep=3)
    assert names(tmp_path) == sorted(f"{base}-{step}.safetensors" for step in (1, 200, 300))


def test_another_runs_folder_below_is_not_taken_for_ours(tmp_path):
    save(tmp_path / "other", 5)
    assert restored(tmp_path) is None
    assert latest_checkpoint(tmp_path) is None
    save(tmp_path / "other", 6)
    assert restored(tmp_path / "other") == 6


def test_what_may_be_ours_is_a_reason_not_to_start_from_scratch(tmp_path):
    save(tmp_path / "run1", 5)  # as an earlier runloop wrote it: it says "checkpoint", not where
    (tmp_path / "run1" / "checkpoint").unlink()
    with pytest.raises(CheckpointCorruptError, match=r"m-5.safetensors: no state file lists it"):
        restored(tmp_path)
    (tmp_path / "run1" / "m-5.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointCorruptError, match=r"m-5.safetensors: the file is empty"):
        restored(tmp_path)


class FailingOs:
    """The module `os` for one module: one folder can't be listed."""

    def __init__(self, folder, error):
        self._folder, self._error = folder, error

    def __getattr__(self, name):
        return getattr(os, name)

    def scandir(self, path):
        if str(path).rstrip("/") == self._folder:
            raise self._error
        return os.scandir(path)


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES])
def test_a_folder_that_cant_be_listed_is_an_error(tmp_path, monkeypatch, error):
    save(tmp_path, 1)
    (tmp_path / "checkpoint").unlink()
    monkeypatch.setattr(scan_module, "os", FailingOs(str(tmp_path), OSError(error, "no")))
    with pytest.raises(CheckpointReadError, match="the folder can't be listed"):
        restored(tmp_path)
    with pytest.raises(CheckpointReadError, match="the folder can't be listed"):
        latest_checkpoint(tmp_path)
    with pytest.raises(CheckpointReadError, match="the folder can't be listed"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert names(tmp_path) == ["m-1.safetensors"]


def test_a_folder_below_that_is_not_ours_to_list_is_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "lost+found").mkdir()
    failing = FailingOs(str(tmp_path / "lost+found"), PermissionError(errno.EACCES, "no"))
    monkeypatch.setattr(scan_module, "os", failing)
    assert restored(tmp_path) is None
    assert "Not looking for checkpoints in" in caplog.text


# -- what is not ours -----------------------------------------------------------------------------


def test_names_in_a_state_file_that_are_not_our_data_files_are_left_alone(tmp_path, caplog):
    folder, outside = tmp_path / "ckpt", tmp_path / "outside"
    outside.mkdir()
    save(folder, 1)
    (outside / "thesis.tex").write_text("years of work")
    os.rename(folder / "m-1.safetensors", outside / "m-9.safetensors")
    (folder / "metrics.jsonl").write_text("{}")
    (folder / "sub").symlink_to(outside)
    (folder / "m-8.safetensors").symlink_to(outside / "m-9.safetensors")
    os.mkfifo(folder / "m-7.safetensors")
    theirs = safetensors.numpy.save({"w": np.zeros(8)})
    (folder / "m-6.safetensors").write_bytes(theirs)
    listed = ["metrics.jsonl", "sub/thesis.tex", "sub/m-9", "m-8", "m-7", "m-6", "checkpoint", "."]
    (folder / "checkpoint").write_bytes(format_state(CheckpointState("sub/m-9", listed)))
    with pytest.raises(CheckpointFormatError, match="a symbolic link, which is not followed"):
        latest_checkpoint(folder)
    before = sorted(os.listdir(folder))
    save(folder, 2, 3, max_to_keep=1)
    assert sorted(os.listdir(folder)) == sorted([*before, "m-3.safetensors"])
    assert sorted(os.listdir(outside)) == ["m-9.safetensors", "thesis.tex"]
    assert "m-6.safetensors, which is not a checkpoint of this run (another program" in caplog.text
    assert restored(folder) == 3


def test_a_link_to_a_whole_checkpoint_outside_is_not_restored(tmp_path):
    save(tmp_path / "outside", 9)
    folder = tmp_path / "ckpt"
    folder.mkdir()
    (folder / "m-9.safetensors").symlink_to(tmp_path / "outside" / "m-9.safetensors")
    assert restored(folder) is None
    (folder / "checkpoint").write_text('model_checkpoint_path: "m-9"\n')
    with pytest.raises(CheckpointCorruptError, match="a symbolic link, which is not followed"):
        restored(folder)


def test_a_file_that_became_a_link_is_not_deleted(tmp_path, caplog):
    saver = Saver(max_to_keep=1)
    save(tmp_path / "ckpt", 1, saver=saver)
    os.rename(tmp_path / "ckpt" / "m-1.safetensors", tmp_path / "kept")
    (tmp_path / "ckpt" / "m-1.safetensors").symlink_to(tmp_path / "kept")
    save(tmp_path / "ckpt", 2, saver=saver)
    assert "Not deleting m-1.safetensors" in caplog.text
    assert (tmp_path / "ckpt" / "m-1.safetensors").is_symlink()


def test_a_data_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "ckpt" / "run1").symlink_to(tmp_path / "disk")
    for base in ("run1/m", "run1/deep/m"):
        with pytest.raises(CheckpointWriteError, match="the folder of the data files is a link"):
            save(tmp_path / "ckpt", 1, base=base)
    assert os.listdir(tmp_path / "disk") == []
    (tmp_path / "link").symlink_to(tmp_path / "ckpt")
    save(tmp_path / "link", 2)  # the folder itself is what the user says it is
    assert restored(tmp_path / "link") == 2


def test_a_pipe_makes_nobody_wait(tmp_path):
    pipes = ["checkpoint", LOCK_FILE, "m-1.safetensors"]
    for name in pipes:
        (tmp_path / name).mkdir()
        os.mkfifo(tmp_path / name / name)
    script = f"""
from pathlib import Path
from runloop.__main__ import main
from runloop.checkpoint import latest_checkpoint
from runloop.errors import CheckpointError
from tests.checkpoint.test_folder import restored, save
for name in {pipes!r}:
    folder = Path({str(tmp_path)!r}) / name
    for do in (restored, latest_checkpoint, lambda f: save(f, 2)):
        try:
            do(folder)
        except CheckpointError as exc:
            print(name, exc)
    main(["list", str(folder)])
    main(["verify", str(folder)])
print("done")
"""
    done = subprocess.run(  # in a process, because a test can't end a thread that hangs
        [sys.executable, "-c", script], timeout=60, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("done\n"), done.stderr
    for name in pipes[:2]:
        assert f"{name}: not a regular file" in done.stdout or "is not a regular" in done.stdout


@pytest.mark.parametrize("what", ["basename", "state file", "folder"])
def test_a_name_that_the_locale_cant_encode_is_refused_before_anything_is_written(tmp_path, what):
    name = "mod\ud800l"  # like é in a strictly ASCII locale
    folder = tmp_path / name if what == "folder" else tmp_path
    base, state_file = (name if what == "basename" else "m"), "checkpoint"
    if what == "state file":
        state_file = name
    with pytest.raises(CheckpointWriteError, match="the name can't be encoded for the file system"):
        Saver().save(make_session(), folder / base, 1, latest_filename=state_file)
    assert os.listdir(tmp_path) == []


# -- one writer -----------------------------------------------------------------------------------

OTHER = """
import json, sys
from pathlib import Path
from tests.checkpoint.test_folder import save
from runloop.checkpoint import Saver
held = []
for line in sys.stdin:
    held.clear()
    if line.strip():
        folder, step, base, holds = json.loads(line)
        saver, error = Saver(), ""
        try:
            save(Path(folder), step, base=base, saver=saver)
        except Exception as exc:
            error = f"{type(exc).__name__}: {exc}"
        if holds:
            held.append(saver)
        else:
            saver.close()
        del saver
    print(json.dumps(error if line.strip() else ""), flush=True)
"""


@pytest.fixture(scope="module")
def other_process():
    """Another process that saves where it is told to."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def ask(line):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


@pytest.fixture
def other_run(other_process):
    """Another process that saves into a folder, and goes on holding it if it is told to.

    Returns its error, as text.
    """

    def start(folder, step, base="m", *, holds=False):
        return other_process(json.dumps([str(folder), step, base, holds]))

    yield start
    other_process("")


def remove_lock(folder):
    os.unlink(folder / LOCK_FILE)


def replace_folder(folder):
    os.rename(folder, f"{folder}.old")
    folder.mkdir()


def move_folder(folder):
    os.rename(folder, f"{folder}.old")


DISTURBANCES = [remove_lock, replace_folder, move_folder]


@pytest.mark.parametrize("disturb", DISTURBANCES)
@pytest.mark.parametrize("holds", [True, False], ids=["still there", "come and gone"])
def test_a_run_that_lost_its_lock_does_not_save_beside_another(tmp_path, other_run, disturb, holds):
    folder, saver = tmp_path / "ckpt", Saver(max_to_keep=2)
    save(folder, 1, 2, saver=saver)
    disturb(folder)
    assert other_run(folder, 7, holds=holds) == ""
    before = names(folder)
    for _ in range(2):
        with pytest.raises(CheckpointLockedError, match=r"saves into|another run has saved into"):
            save(folder, 3, saver=saver)
        assert names(folder) == before
    saver.close()


@pytest.mark.parametrize("disturb", DISTURBANCES)
def test_a_run_that_lost_its_lock_to_nobody_takes_it_again(tmp_path, disturb, caplog):
    folder, saver = tmp_path / "ckpt", Saver(max_to_keep=2)
    save(folder, 1, 2, saver=saver)
    disturb(folder)
    save(folder, 3, 4, saver=saver)
    assert restored(folder) == 4
    assert caplog.text.count("this run goes on saving") == 1
    saver.close()


def test_a_lock_lost_while_a_save_is_written_stops_it_before_the_rename(tmp_path):
    class Disturbed(Files):
        armed = False

        def sync(self, fd):
            super().sync(fd)
            if self.armed:
                os.unlink(tmp_path / LOCK_FILE)
                self.armed = False

    with files.use(Disturbed()) as layer:
        saver = Saver()
    save(tmp_path, 1, saver=saver)
    layer.armed = True
    with pytest.raises(CheckpointLockedError, match=r"the lock of .* is lost"):
        save(tmp_path, 2, saver=saver)
    assert names(tmp_path) == ["m-1.safetensors"]
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    saver.close()


def test_a_relative_folder_is_fixed_when_it_is_first_saved_into(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    go, there = threading.Event(), threading.Event()

    class Held(Files):
        def create(self, path):
            there.set()
            assert go.wait(30)
            return super().create(path)

    with files.use(Held()):
        saver = Saver(background=True)
    saver.save(make_session(), os.path.join("ckpt", "m"), 1)
    assert there.wait(30)
    monkeypatch.chdir(tmp_path / "b")
    go.set()
    saver.wait()
    assert names(tmp_path) == ["a/ckpt/m-1.safetensors"]
    saver.save(make_session(), os.path.join("ckpt", "m"), 2)  # another folder, with its own lock
    saver.wait()
    assert (tmp_path / "b" / "ckpt" / LOCK_FILE).exists()
    assert not (tmp_path / "a" / "ckpt" / LOCK_FILE).exists()
    saver.close()


def test_every_folder_that_is_written_is_locked(tmp_path, other_run):
    saver = Saver()
    save(tmp_path / "d", 1, base="sub/m", saver=saver)
    assert "process" in other_run(tmp_path / "d" / "sub", 1)
    assert "CheckpointLockedError" in other_run(tmp_path / "d", 1)
    saver.close()
    assert other_run(tmp_path / "d" / "sub", 1) == ""


def test_deleting_in_another_runs_folder_waits_for_its_lock(tmp_path, other_run, caplog):
    save(tmp_path, 1, base="sub/m")
    other_run(tmp_path / "sub", 9, base="n", holds=True)
    save(tmp_path, 2, max_to_keep=1)
    assert "The old checkpoint sub/m-1.safetensors can't be deleted" in caplog.text
    assert (tmp_path / "sub" / "m-1.safetensors").exists()


def test_a_savers_close_leaves_the_lock_and_the_temporaries_of_another(tmp_path, other_run):
    go, there = threading.Event(), threading.Event()

    class Held(Files):
        def rename(self, source, target):
            there.set()
            assert go.wait(30)
            super().rename(source, target)

    first = Saver()
    save(tmp_path, 1, base="one", saver=first)
    with files.use(Held()):
        writing = Saver(background=True)
    writing.save(make_session(), tmp_path / "two", 2, latest_filename="two")
    assert there.wait(30)
    first.close()  # it took the lock
    assert "CheckpointLockedError" in other_run(tmp_path, 5)
    third = Saver()
    save(tmp_path, 3, base="three", saver=third)  # is not the first, and sweeps nothing
    go.set()
    writing.wait()
    assert "two-2.safetensors" in names(tmp_path)
    writing.close()
    third.close()
    assert not (tmp_path / LOCK_FILE).exists()


def test_threads_of_one_process_are_never_told_of_another(tmp_path):
    errors = []

    def work(number):
        try:
            for step in range(15):
                saver = Saver(max_to_keep=1)
                saver.save(
                    make_session(), tmp_path / f"m{number}", step, latest_filename=f"s{number}"
                )
                saver.close()
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not (tmp_path / LOCK_FILE).exists()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_a_saver_is_independent(tmp_path, clone, other_run):
    saver = Saver(max_to_keep=1)
    save(tmp_path, 1, saver=saver)
    other = clone(saver)
    other.close()
    del other
    assert "CheckpointLockedError" in other_run(tmp_path, 5)
    save(tmp_path, 2, saver=saver)
    assert names(tmp_path) == ["m-2.safetensors"]
    saver.close()


# -- reading beside a writer ----------------------------------------------------------------------


class Racing(Saver):
    """Before each restore, a training saves on, and retention deletes what was found."""

    def __init__(self, folder, rounds):
        super().__init__()
        self.folder, self.rounds, self.step = folder, rounds, 10

    def restore(self, session, path, *args, **more):
        if self.rounds:
            self.rounds -= 1
            self.step += 1
            save(self.folder, self.step, max_to_keep=1)
        return super().restore(session, path, *args, **more)


@pytest.mark.parametrize("rounds", [1, 20])
def test_a_reader_beside_a_training_finds_the_newest(tmp_path, rounds):
    save(tmp_path, 1, max_to_keep=1)
    session = make_session(step=-1)
    assert restore_newest(Racing(tmp_path, rounds), session, tmp_path)
    assert step_of(session) == 10 + rounds


def test_the_command_line_beside_a_training_calls_nothing_missing(tmp_path, monkeypatch, capsys):
    save(tmp_path, 1, max_to_keep=1)
    real, steps = Scan.listed, [4, 3, 2]

    def listed(scan):
        if steps:
            monkeypatch.setattr(Scan, "listed", real)
            save(tmp_path, steps.pop(), max_to_keep=1)
            monkeypatch.setattr(Scan, "listed", listed)
        return real(scan)

    monkeypatch.setattr(Scan, "listed", listed)
    assert main(["list", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["checkpoints"]
    assert [(row["step"], row["state"]) for row in found] == [(4, "ok")]


# -- numbers --------------------------------------------------------------------------------------

NUMBERS = ["nan", "inf", "1e999", "-1e999", "9" * 4301, "1" * 100_000 + "x", '"5"', "0x10", "--1"]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: n[:8])
@pytest.mark.parametrize("field", ["all_model_checkpoint_timestamps", "last_preserved_timestamp"])
def test_a_number_that_is_no_time_is_named_and_does_not_block_the_folder(
    tmp_path, number, field, caplog
):
    save(tmp_path, 1, 2)
    with open(tmp_path / "checkpoint", "a") as file:
        file.write(f"{field}: {number}\n")
    with pytest.raises(
        CheckpointFormatError, match=f"{field} of the state file: expected a number"
    ):
        get_checkpoint_state(tmp_path)
    assert restored(tmp_path) == 2
    save(tmp_path, 3)
    assert "expected a number" in caplog.text
    assert [os.path.basename(p) for p in get_checkpoint_state(tmp_path).all_model_checkpoint_paths] == [
        "m-1.safetensors", "m-2.safetensors", "m-3.safetensors",
    ]  # fmt: skip


def test_a_negative_time_is_a_time(tmp_path):
    state = parse_state(b'model_checkpoint_path: "a"\nlast_preserved_timestamp: -5.5\n', "x")
    assert state.last_preserved_timestamp == -5.5
    assert parse_state(format_state(state), "x") == state


@pytest.mark.parametrize("field", ["serial", "time", "started"])
@pytest.mark.parametrize(
    "value", ["1" + "0" * 300, "-5", "1e999", "NaN", "9" * 4301, '"5"', str(2**70)],
    ids=lambda value: value[:5],
)  # fmt: skip
def test_a_document_that_says_impossible_numbers_does_not_block_the_folder(tmp_path, field, value):
    save(tmp_path, 1)
    path = tmp_path / "m-1.safetensors"
    header, document, data = parts_of(path.read_bytes())
    document[field] = Text(value.encode())
    path.write_bytes(joined(header, document, data))
    save(tmp_path, 2, 3)
    state = get_checkpoint_state(tmp_path)
    assert state.model_checkpoint_path == str(tmp_path / "m-3.safetensors")
    for listed in state.all_model_checkpoint_paths[1:]:
        load_checkpoint(listed).close()
    assert restored(tmp_path) == 3


def test_checkpoints_after_the_largest_serial_number_stay_in_order(tmp_path):
    save(tmp_path, 1)
    path = tmp_path / "m-1.safetensors"
    header, document, data = parts_of(path.read_bytes())
    document["serial"] = MAX_SERIAL
    path.write_bytes(joined(header, document, data))
    save(tmp_path, 9, 10)  # in the order of names 10 comes before 9
    save(tmp_path, 11, max_to_keep=2)
    assert names(tmp_path) == ["m-10.safetensors", "m-11.safetensors"]
    assert restored(tmp_path) == 11


# -- scale: counted, not timed --------------------------------------------------------------------


def work_of(function):
    """How many calls and lines of Python a call runs: the same on every machine."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def many(count):
    names = [f"m-{i}.safetensors" for i in range(count)]
    return CheckpointState(names[-1], names, [1.7e9 + i for i in range(count)])


@pytest.mark.parametrize("task", ["parse", "candidates", "latest"])
def test_a_state_file_costs_in_proportion_to_its_length(tmp_path, task):
    work = {}
    for count in (200, 800):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        (folder / "checkpoint").write_bytes(format_state(many(count)))
        content = (folder / "checkpoint").read_bytes()
        (folder / f"m-{count - 1}.safetensors").write_bytes(b"")
        do = {
            "parse": lambda c=content: parse_state(c, "x"),
            "candidates": lambda f=folder: Scan(str(f)).candidates(),
            "latest": lambda f=folder: latest_checkpoint(f),
        }[task]
        do()
        work[count] = work_of(do)
    assert work[800] < (1.1 if task == "latest" else 4.4) * work[200]


HOSTILE = {
    "one long word": b"a" * 1_000_000,
    "one open quote": b'model_checkpoint_path: "' + b"x" * 1_000_000,
    "backslashes": b'model_checkpoint_path: "' + b"\\\\" * 500_000,
    "blanks": b" " * 1_000_000 + b"?",
    "blanks after a word": b"a" + b" " * 1_000_000 + b"?",
    "digits": b'model_checkpoint_path: "a"\nlast_preserved_timestamp: ' + b"1" * 1_000_000 + b"x",
    "fields": b'model_checkpoint_path: "a"\n' + b'all_model_checkpoint_paths: "b"\n' * 30_000,
    "open quotes": b'"' * 1_000_000,
    "numbers": b'model_checkpoint_path: "a"\n' + b"last_preserved_timestamp: 1\n" * 30_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_state_file_is_done_with_at_once(name):
    # Each took hours if anything in the parser were quadratic: 10**12 steps.
    try:
        parse_state(HOSTILE[name], "x")
    except CheckpointFormatError as exc:
        assert len(str(exc)) < 500


def manager_of(folder, count):
    layer = Files()
    manager = CheckpointManager(layer, str(folder), Rules(None), "checkpoint", None)
    folder.mkdir()
    manager.open("m")
    for index in range(count):
        manager._records.add(manager.next_record(f"m-{index}.safetensors", index, float(index), {}))
    manager._write_state(Kept([True] * len(manager.records), None))
    return manager


def test_the_state_file_of_a_save_formats_only_what_is_new(tmp_path, monkeypatch):
    formatted = []
    real = records_module.state_line
    for count in (100, 800):
        manager = manager_of(tmp_path / f"{count}", count)
        monkeypatch.setattr(
            records_module, "state_line", lambda *args: formatted.append(args[0]) or real(*args)
        )
        manager._records.add(manager.next_record("new.safetensors", 1, 1.0, {}))
        manager._write_state(Kept([True] * len(manager.records), None))
        monkeypatch.undo()
        state = get_checkpoint_state(tmp_path / f"{count}")
        assert len(state.all_model_checkpoint_paths) == count + 1
        manager.close()
    assert len(formatted) == 2 * 3


# -- fuzzing --------------------------------------------------------------------------------------


def mutate(rng, content):
    """Change a state file in a random way, often into something that still looks like one."""
    tokens = [
        b'"', b"'", b"\\", b"\n", b":", b"\0", b"..", b"/", b"1e999", b"nan", b"-", b"9" * 40,
        b"model_checkpoint_path: ", b"all_model_checkpoint_timestamps: ", b"\xff", b"\\377", b"#",
        b'all_model_checkpoint_paths: "sub/../../x"\n', b'"link/m-1"', b'"pipe"', b'"m-2"', b"{}",
    ]  # fmt: skip
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        end = min(end, at + rng.choice([0, 1, 8, 60]))
        kind = rng.randrange(5)
        if kind == 0:
            data[at:end] = rng.choice(tokens)
        elif kind == 1:
            del data[at:end]
        elif kind == 2:
            data[at:at] = data[end : end + 60]
        elif kind == 3 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        else:
            data[at:] = data[at:][::-1] if rng.random() < 0.1 else data[at:]
    return bytes(data)


def fuzz(folder, rounds, seed):
    """Read mutated state files in every way; only checkpoint errors come out."""
    save(folder, 1, 2, 3)
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "link").symlink_to("/etc")
    content = (folder / "checkpoint").read_bytes()
    rng = random.Random(seed)
    refused = 0
    for turn in range(rounds):
        changed = mutate(rng, content)
        try:
            assert parse_state(format_state(parse_state(changed, "x")), "x")
        except CheckpointError:
            refused += 1
        if turn % 50:
            continue
        (folder / "checkpoint").write_bytes(changed)
        for do in (latest_checkpoint, lambda f: Scan(str(f)).candidates(), restored):
            try:
                do(folder)
            except CheckpointError:
                pass
        if turn % 1000 == 0:
            save(folder, 4, max_to_keep=5)
            assert restored(folder) == 4
            (folder / "m-4.safetensors").unlink()
            assert (folder / "m-3.safetensors").exists()
    return refused


def test_fuzzed_state_files_raise_only_checkpoint_errors(tmp_path):
    assert fuzz(tmp_path, rounds=2000, seed=1) > 300


@pytest.mark.long
def test_many_fuzzed_state_files_raise_only_checkpoint_errors(tmp_path):
    rounds = 200_000
    print(f"{rounds} mutated state files, {fuzz(tmp_path, rounds, seed=2)} refused")
