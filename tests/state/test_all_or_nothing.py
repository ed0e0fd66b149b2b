"""A restore that fails at any point leaves everything as it was."""

import copy
import errno
import linecache
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import runloop
from runloop.checkpoint import CheckpointReader, Saver
from runloop.errors import CheckpointError, CheckpointFormatError
from runloop.graph import Graph, get_or_create_global_step
from runloop.hooks import SessionRunHook
from runloop.monitored import MonitoredSession
from runloop.monitored.creators import ChiefSessionCreator
from runloop.session import Session
from runloop.state import attributes, pack
from runloop.state.changes import same_value

ROOT = Path(__file__).parents[2]
OPEN = Path("/proc/self/fd")


class Owner:
    pass


class Stubborn:
    """Takes a state only as often as it is told to; copies what it is given."""

    def __init__(self, value=0, refuses=()):
        self.value, self.refuses, self.calls = value, refuses, 0

    def state_dict(self):
        return {"value": self.value, "array": np.arange(3) + self.value}

    def load_state_dict(self, state):
        self.calls += 1
        self.value = state["value"]
        if self.calls in self.refuses:
            raise RuntimeError(f"call {self.calls} refused")


def program(fill, *, refuses=()):
    """A session with a bit of everything, full of `fill`."""
    graph = Graph()
    with graph.as_default():
        get_or_create_global_step()
    graph.variable("v", np.full(5, float(fill)))
    graph.variable("u", np.full((2, 2), fill))
    flat = np.full(6, float(fill))
    owner = Owner()
    owner.w, owner.n, owner.log = np.full(2, fill), fill, [fill]
    rng = np.random.Generator(np.random.Philox(fill))
    rng.spawn(fill)
    graph.attach("p", {
        "flat": flat, "head": flat[:2], "log": [fill], "d": {"n": fill, "deep": {"x": [fill] * fill}},
        "be": np.full(3, fill, ">i4"), "strided": np.full(8, fill)[::2], "none": None, "t": (fill, "x"),
    }, constant=True)  # fmt: skip
    graph.attach("rng", rng)
    graph.attach("first", Stubborn(fill))
    graph.attach("owner", attributes(owner, "w n log"))
    graph.attach("last", Stubborn(fill, refuses))
    session = Session(graph=graph)
    session.assign({"global_step": np.int64(fill)})
    session.add_companions({"hook": Stubborn(fill)})
    return session


def snapshot(session):
    state = session.state()
    parts = [pack("v", {n: np.asarray(v) for n, v in state.variables.items()})]
    parts += [pack(name, obj) for name, obj in {**state.attached, **state.companions}.items()]
    return copy.deepcopy(parts), identities(state.attached["p"]), session._pending.copy()


def identities(tree):
    if isinstance(tree, dict):
        return id(tree), {key: identities(value) for key, value in tree.items()}
    return id(tree) if isinstance(tree, (list, np.ndarray)) else None


@pytest.fixture
def path(tmp_path):
    return Saver().save(program(3), tmp_path / "m")


def test_a_restore_that_succeeds_is_seen_by_these_tests(path):
    session = program(1)
    Saver().restore(session, path)
    assert same_value(snapshot(session)[0], snapshot(program(3))[0])


class FailsOnce:
    """Calls through, but for the n-th call of all that it stands for."""

    def __init__(self, at, number):
        self.at, self.number, self.count = at, number, 0

    def __call__(self, real):
        def call(*args, **kwargs):
            self.count += 1
            if self.count == self.at:
                raise OSError(self.number, os.strerror(self.number))
            return real(*args, **kwargs)

        return call


@pytest.mark.parametrize("code", ["EIO", "ENOSPC", "EMFILE", "ENOMEM", "EINTR", "EACCES", "ESTALE"])
def test_a_system_call_that_fails_leaves_everything_as_it_was(path, monkeypatch, code):
    failed = 0
    for at in range(1, 200):
        failing = FailsOnce(at, getattr(errno, code))
        session = program(1)
        before = snapshot(session)
        with monkeypatch.context() as patch:
            for name in ("open", "fstat", "preadv"):
                patch.setattr(os, name, failing(getattr(os, name)))
            try:
                Saver().restore(session, path)
            except CheckpointError as exc:
                error = exc
            else:
                break
        failed += 1
        assert path in str(error)
        del error
        assert open_files(path) == 0
        assert same_value(snapshot(session), before)
    assert failed > 10


def open_files(path):
    """How often this process has a file open; 0 where the system does not say."""
    links = [*OPEN.iterdir()] if OPEN.is_dir() else []
    # One of the descriptors was that of the listing, and is closed.
    return sum(os.path.realpath(link) == os.path.realpath(path) for link in links)


def test_an_open_file_is_seen_by_these_tests(path):
    if not OPEN.is_dir():
        pytest.skip("this system does not list open files")
    with CheckpointReader(path), CheckpointReader(path):
        assert open_files(path) == 2
    assert open_files(path) == 0


class RaisesOnce:
    """Raises before the n-th line that runloop executes, unless it is undoing something.

    Args:
        at: Which line.
        kind: What is raised.
        only_changes: Whether only lines count from the first change on.
    """

    def __init__(self, at, kind, *, only_changes):
        self.at, self.kind, self.count = at, kind, 0
        self.counts, self.raised = not only_changes, False
        self.home = str(Path(runloop.__file__).parent) + os.sep

    def __enter__(self):
        sys.settrace(self.trace)

    def __exit__(self, *exc_info):
        sys.settrace(None)

    def trace(self, frame, event, arg):
        if frame.f_code.co_name == "make_all":
            self.counts = True
        return self.line if frame.f_code.co_filename.startswith(self.home) else None

    def line(self, frame, event, arg):
        if self.counts and event == "line":
            self.count += 1
            if self.count >= self.at and not self.raised and self.is_fair(frame):
                self.raised = True
                raise self.kind
        return self.line

    @staticmethod
    def is_fair(frame):
        # A with statement counts as a line again when it is left: an exception there would come
        # between the block and its __exit__, which no signal and no allocation does.
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        return not text.lstrip().startswith("with ") and not undoing(frame)


def undoing(frame):
    """Whether a frame undoes: the one failure has been."""
    while frame is not None:
        if frame.f_code.co_name in {"_undo", "undo"}:
            return True
        frame = frame.f_back
    return False


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize(
    ("only_changes", "stride"),
    [(True, 4), (False, 151), pytest.param(False, 1, marks=pytest.mark.long)],
)
def test_an_error_at_any_line_of_a_restore_leaves_everything_as_it_was(
    path, kind, only_changes, stride
):
    expected = snapshot(program(3))[0]
    at, raised = 1, 0
    while True:
        session = program(1)
        before = snapshot(session)
        saver = Saver()
        raises = RaisesOnce(at, kind, only_changes=only_changes)
        try:
            with raises:
                saver.restore(session, path)
        except kind:
            raised += 1
        if not raises.raised:
            break
        assert open_files(path) == 0, at
        after = snapshot(session)
        # All of it, or nothing: an error may come when the last change was made.
        assert same_value(after, before) or same_value(after[0], expected), at
        at += stride
    assert raised > 20


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt])
def test_an_error_at_any_line_of_opening_and_closing_leaves_no_open_file(path, kind):
    for at in range(1, 5000):
        raises = RaisesOnce(at, kind, only_changes=False)
        try:
            with raises, CheckpointReader(path):
                pass
        except kind:
            pass
        assert open_files(path) == 0, at
        if not raises.raised:
            break
    assert at > 50


def fail_allocations(path, first, stride):
    """Let every `stride`-th allocation of a restore fail, one a restore; print how it goes on."""
    import _testcapi

    expected = snapshot(program(3))[0]
    # The first restore imports modules. Without memory CPython's compiler raises a SyntaxError there
    # (seen in 3.11.7), where no .pyc exists; nothing is restored yet.
    Saver().restore(program(1), path)
    for at in range(first, 12_000, stride):
        session = program(1)
        before = snapshot(session)
        saver = Saver()
        print(at, end=" ", flush=True)
        raised = False
        try:
            _testcapi.set_nomemory(at, at + 1)
            try:
                saver.restore(session, path)
            finally:
                _testcapi.remove_mem_hooks()
        except (MemoryError, CheckpointError, SystemError):
            # A SystemError is NumPy's: it passes on a failed allocation without an exception.
            raised = True
        assert open_files(path) == 0, at
        after = snapshot(session)
        assert same_value(after, before) or same_value(after[0], expected), at
        print(int(raised), flush=True)


@pytest.mark.parametrize("stride", [211, pytest.param(1, marks=pytest.mark.long)])
def test_an_allocation_that_fails_leaves_everything_as_it_was(path, stride):
    pytest.importorskip("_testcapi", reason="this Python has no test hooks for memory")
    # In processes apart: NumPy 2.4 does not check all of its allocations (`__array_interface__` is one
    # that it does not), and then the process crashes. The next process goes on behind that.
    program = "import sys; from tests.state.test_all_or_nothing import fail_allocations as fail; "
    program += "fail(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(ROOT)]),
    }
    first, raised, restores, crashes = 1, 0, 0, 0
    while first < 12_000:
        command = [sys.executable, "-P", "-X", "faulthandler", "-W", "ignore", "-c", program]
        done = subprocess.run(
            [*command, str(path), str(first), str(stride)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line.split() for line in done.stdout.splitlines()]
        raised += sum(line[1:] == ["1"] for line in lines)
        restores += len(lines)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGSEGV, done.stderr
        crashes += 1
        first = int(lines[-1][0]) + stride
    assert raised > 12
    assert crashes * 20 <= restores


@pytest.mark.parametrize("refuses", [(1,), (1, 2)])
def test_an_object_that_refuses_undoes_the_rest(path, refuses):
    session = program(1, refuses=refuses)
    before = snapshot(session)
    with pytest.raises(CheckpointFormatError, match="last: Stubborn did not take the saved state: call 1") as info:  # fmt: skip
        Saver().restore(session, path)
    assert same_value(snapshot(session), before)
    assert ("its state is in doubt" in str(info.value)) == (refuses == (1, 2))


def test_a_hook_that_refuses_undoes_the_rest(path):
    session = program(1)
    session.add_companions({"hook": Stubborn(1, refuses=(1,))})
    before = snapshot(session)
    with pytest.raises(CheckpointFormatError, match="hooks/hook: Stubborn did not take"):
        Saver().restore(session, path)
    assert same_value(snapshot(session), before)


class Hook(Stubborn, SessionRunHook):
    pass


def test_a_hook_that_comes_later_and_refuses_undoes_the_restore(tmp_path):
    def run(hook, array, folder):
        graph = Graph()
        graph.variable("v", np.zeros(1))
        with graph.as_default():
            get_or_create_global_step()
        graph.attach("p", {"w": array, "n": 1}, constant=True)
        creator = ChiefSessionCreator(graph=graph, checkpoint_dir=str(folder))
        return graph, MonitoredSession(creator, hooks=[hook], graph=graph)

    _, session = run(Hook(5), np.ones(2), tmp_path)
    with session:
        Saver().save(session, tmp_path / "m", 1)
    array, hook = np.zeros(2), Hook(2, refuses=(1,))
    with pytest.raises(
        CheckpointFormatError, match="hook 'Hook': Hook did not take the saved state"
    ):
        run(hook, array, tmp_path)
    assert array.tolist() == [0, 0]
    assert hook.value == 2


def test_a_state_that_cant_be_copied_is_refused_before_anything_is_touched(path):
    class Locked(Stubborn):
        def state_dict(self):
            return {"value": self.value, "lock": __import__("threading").Lock()}

    session = program(1)
    session.graph._attached["last"] = Locked(1)
    before = snapshot_of(session)
    with pytest.raises(
        CheckpointFormatError, match="last: the present state of Locked can't be copied"
    ):
        Saver().restore(session, path)
    assert snapshot_of(session) == before


def snapshot_of(session):
    return [value.tolist() for value in session.state().variables.values()]
