"""A save is all or nothing, whenever the machine stops, and nothing is announced that is not there.

Each program's file operations are recorded once; then every state that the disk may be in after a
crash at any moment is built, and the next run must find the newest checkpoint whose save had
returned, or a newer one, whole.
"""

import os
import shutil

import pytest

from runloop.checkpoint import Saver, files, get_checkpoint_state, restore_newest
from runloop.checkpoint.reader import CheckpointReader
from tests.checkpoint.disk import Op, RecordingFiles, every_crash, lay_out
from tests.checkpoint.programs import make_session, set_step, step_of

BASE = "run"


@pytest.fixture(autouse=True)
def _in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def record(program):
    layer = RecordingFiles()
    os.mkdir(BASE)
    with files.use(layer):
        program(layer)
    return layer.log


def some_saves(layer, steps=(1, 2, 3), max_to_keep=2, *, background=False):
    saver = Saver(max_to_keep=max_to_keep, background=background)
    session = make_session()
    for step in steps:
        set_step(session, step)
        saver.save(session, f"{BASE}/m", global_step=step)
        if not background:
            layer.mark(step)
    if background:
        saver.wait()
        layer.mark(steps[-1])
    saver.close()


def restart_in_the_middle(layer):
    some_saves(layer, (1, 2, 3))
    session = make_session()
    restore_newest(Saver(), session, BASE)
    assert step_of(session) == 3
    some_saves(layer, (3, 4, 5))


def rollback(layer):
    """The newest is removed by hand, and the folder is used again from an older step."""
    some_saves(layer, (10, 20), max_to_keep=1)
    some_saves(layer, (11, 12), max_to_keep=1)


def in_the_background(layer):
    some_saves(layer, (1, 2, 3, 4), background=True)


def without_retention(layer):
    some_saves(layer, (1, 2), max_to_keep=None)


PROGRAMS = [some_saves, restart_in_the_middle, rollback, in_the_background, without_retention]


class Lost(AssertionError):
    """A crash after which the next run does not find what it was promised."""


def check(contents, promised, saved, folder):
    """Hold one crashed disk against the promises.

    Args:
        contents: What is on it.
        promised: The step of the last save that had returned, or `None`.
        saved: All steps in the order in which they were saved.
        folder: Where the disk is laid out.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lay_out(contents, folder, BASE)
    session = make_session(step=-1)
    try:
        state = get_checkpoint_state(folder)
        for path in state.all_model_checkpoint_paths if state else ():
            with CheckpointReader(path) as reader:
                reader.verify()
    except Exception as exc:
        raise Lost(f"announced, but not there: {exc}") from exc
    try:
        path = restore_newest(Saver(), session, folder)
    except Exception as exc:
        raise Lost(f"no checkpoint can be restored: {exc}") from exc
    if promised is None:
        return
    if path is None:
        raise Lost(f"nothing found, step {promised} was promised")
    order = {step: place for place, step in enumerate(saved)}
    if order[step_of(session)] < order[promised]:
        raise Lost(f"found step {step_of(session)}, step {promised} was promised")


def simulate(log, folder):
    """Check every crash; return how many there were."""
    renamed = [op.target for op in log if op.kind == "rename" and op.target.endswith("tensors")]
    saved = [int(path.rpartition("-")[2].partition(".")[0]) for path in renamed]
    count = 0
    for done, marks, contents in every_crash(log):
        try:
            check(contents, marks[-1] if marks else None, saved, folder)
        except Lost as lost:
            raise Lost(f"after operation {done}: {lost}") from lost
        count += 1
    return count


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_after_every_crash_the_newest_checkpoint_is_whole(program, tmp_path):
    log = record(program)
    assert simulate(log, tmp_path / "after") > 30


# -- what the simulator finds ---------------------------------------------------------------------

# The steps of one save, as they are in the log: W writes a temporary, S syncs it, R renames it, D
# syncs the folder; 1 is the data file, 2 the state file; U deletes what retention gives up.
STEPS = ("W1", "S1", "R1", "D1", "W2", "S2", "R2", "D2", "U")

# Without it, or with the two exchanged: is there a crash that loses something?
VARIANTS = {
    "as it is": (STEPS, False),
    "without S1": (["W1", "R1", "D1", "W2", "S2", "R2", "D2", "U"], True),
    "without D1": (["W1", "S1", "R1", "W2", "S2", "R2", "D2", "U"], True),
    "without S2": (["W1", "S1", "R1", "D1", "W2", "R2", "D2", "U"], True),
    "without D2": (["W1", "S1", "R1", "D1", "W2", "S2", "R2", "U"], True),
    "W1 and S1 exchanged": (["S1", "W1", "R1", "D1", "W2", "S2", "R2", "D2", "U"], True),
    "S1 and R1 exchanged": (["W1", "R1", "S1", "D1", "W2", "S2", "R2", "D2", "U"], True),
    "R1 and D1 exchanged": (["W1", "S1", "D1", "R1", "W2", "S2", "R2", "D2", "U"], True),
    # The state file's temporary is announced by nobody: it may be made before D1.
    "D1 and W2 exchanged": (["W1", "S1", "R1", "W2", "D1", "S2", "R2", "D2", "U"], False),
    "D1 after S2": (["W1", "S1", "R1", "W2", "S2", "D1", "R2", "D2", "U"], False),
    "D1 after R2": (["W1", "S1", "R1", "W2", "S2", "R2", "D1", "D2", "U"], True),
    "W2 and S2 exchanged": (["W1", "S1", "R1", "D1", "S2", "W2", "R2", "D2", "U"], True),
    "S2 and R2 exchanged": (["W1", "S1", "R1", "D1", "W2", "R2", "S2", "D2", "U"], True),
    "R2 and D2 exchanged": (["W1", "S1", "R1", "D1", "W2", "S2", "D2", "R2", "U"], True),
    "D2 and U exchanged": (["W1", "S1", "R1", "D1", "W2", "S2", "R2", "U", "D2"], True),
    "U before R2": (["W1", "S1", "R1", "D1", "W2", "S2", "U", "R2", "D2"], True),
    "U first": (["U", "W1", "S1", "R1", "D1", "W2", "S2", "R2", "D2"], True),
    "the state file before the data file": (
        ["W2", "S2", "R2", "D2", "W1", "S1", "R1", "D1", "U"],
        True,
    ),
}


def split_saves(log):
    """Cut a log into saves: ({step of the save: operations}, the mark that follows)."""
    saves, current, made, renamed = [], {}, 0, 0
    for op in log:
        if op.kind == "mark":
            saves.append((current, op))
            current, made, renamed = {}, 0, 0
            continue
        made += op.kind == "create"
        renamed += op.kind == "rename"
        key = {
            "create": f"W{made}",
            "write": f"W{made}",
            "sync": f"S{made}",
            "rename": f"R{renamed}",
            "sync_dir": f"D{renamed}",
            "unlink": "U",
        }[op.kind]
        current.setdefault(key, []).append(op)
    return saves


def rearranged(log, steps):
    """The log of a program whose saves make these steps in this order."""
    result = []
    for save, mark in split_saves(log):
        for key in steps:
            result += save.get(key, ())
        result.append(mark)
    return repaired(result)


def repaired(log):
    """Move each file's creation in front of its first use."""
    result, seen = [], set()
    creations = {op.file: op for op in log if op.kind == "create"}
    paths = {op.path: op for op in log if op.kind == "create"}
    for op in log:
        if op.kind == "create":
            if op.file in seen:
                continue
            seen.add(op.file)
        elif op.file >= 0 and op.file not in seen:
            result.append(creations[op.file])
            seen.add(op.file)
        elif op.kind == "rename" and paths[op.path].file not in seen:
            result.append(paths[op.path])
            seen.add(paths[op.path].file)
        result.append(op)
    return result


@pytest.mark.parametrize("name", VARIANTS)
def test_the_simulator_finds_every_step_that_is_left_out_or_misplaced(name, tmp_path):
    steps, is_lossy = VARIANTS[name]
    log = record(some_saves)
    assert [sorted(save) for save, _ in split_saves(log)][-1] == sorted(STEPS)
    changed = rearranged(log, steps)
    if not is_lossy:
        assert simulate(changed, tmp_path / "after") > 30
        return
    with pytest.raises(Lost) as caught:
        simulate(changed, tmp_path / "after")
    print(f"{name}: {caught.value}")


def test_the_model_of_the_disk_forgets_what_was_not_synced():
    log = [
        Op("create", "d/a", file=0),
        Op("write", file=0, data=b"xyz!"),
        Op("sync", file=0),
        Op("rename", "d/a", "d/b"),
    ]
    found = {tuple(sorted(contents.items())) for _, _, contents in every_crash(log)}
    # Named by its first name, its second or none; what its second name shows was synced.
    assert (("d/b", b"xyz!"),) in found
    assert (("d/a", b"xyz!"),) in found
    assert () in found
    assert (("d/b", b""),) not in found
    assert (("d/a", b"\0\0\0\0"),) in found
