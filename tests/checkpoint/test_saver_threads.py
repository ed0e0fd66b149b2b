"""Several threads with one saver: each file holds the state that its name says."""

import copy
import logging
import os
import tempfile
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runloop.checkpoint import CheckpointReader, Saver, background, files, restore_newest
from runloop.checkpoint import saver as saver_module
from runloop.checkpoint.files import Files
from runloop.errors import CheckpointWriteError
from runloop.graph import Graph, get_or_create_global_step
from runloop.hooks import CheckpointSaverHook
from runloop.run import RunArgs, RunContext, RunValues
from runloop.session import Session
from tests.checkpoint.programs import make_session
from tests.checkpoint.schedules import Schedule


def make_program(session_class=Session, size=5):
    """A session whose variables are all equal to its step: a torn state shows."""
    graph = Graph()
    with graph.as_default():
        for name in ("a", "b"):
            graph.variable(name, np.zeros(size))
        get_or_create_global_step()
    return session_class(graph=graph)


def train(session):
    """One more step, all variables at one moment, as a run commits them."""
    step = int(session.state().variables["global_step"]) + 1
    session.assign(
        {"a": np.full(5, float(step)), "b": np.full(5, float(step)), "global_step": np.int64(step)}
    )


def check_files(folder):
    """Each data file is whole and of one moment; return the steps."""
    steps = []
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".safetensors"):
            assert not name.endswith(".tmp")
            continue
        step = int(name.removesuffix(".safetensors").rpartition("-")[2])
        with CheckpointReader(os.path.join(folder, name)) as reader:
            reader.verify()
            values = {n: np.unique(reader.get_tensor(n)).tolist() for n in reader.names()}
            assert values == {"a": [step], "b": [step], "global_step": [step]}, name
            assert reader.step == step
        steps.append(step)
    return steps


class YieldingFiles(Files):
    """Every operation on files is a yield point; a write is two."""

    def __init__(self, schedule):
        self._schedule = schedule

    def create(self, path):
        self._schedule.pause()
        return super().create(path)

    def write(self, fd, data, offset):
        self._schedule.pause()
        half = memoryview(data)[: max(1, len(data) // 2)]
        return super().write(fd, half, offset)

    def rename(self, source, target):
        self._schedule.pause()
        super().rename(source, target)

    def sync_dir(self, path):
        self._schedule.pause()

    def unlink(self, path):
        self._schedule.pause()
        super().unlink(path)


ACTIONS = ("save", "save", "save", "train", "wait", "poll", "restore", "close", "release")


def run_schedule(folder, programs, is_background, choose, monkeypatch):
    """Run one program a thread, interleaved as `choose` says; return what was raised."""
    schedule = Schedule(choose)

    class Yielding(Session):
        def state(self):
            schedule.pause()
            return super().state()

        def assign(self, values):
            schedule.pause()
            super().assign(values)

    monkeypatch.setattr(background, "threading", schedule.threading)
    monkeypatch.setattr(saver_module, "threading", schedule.threading, raising=False)
    session = make_program(Yielding)
    train(session)
    with files.use(YieldingFiles(schedule)):
        saver = Saver(background=is_background, max_to_keep=3)
    path = os.path.join(folder, "m")
    train_alone = schedule.threading.Lock()

    def program(actions):
        for action in actions:
            if action == "save":
                saver.save(session, path, "global_step")
            elif action == "train":
                with train_alone:
                    train(session)
            elif action == "restore":
                kept = saver.last_checkpoints
                try:
                    if kept:
                        saver.restore(session, kept[-1])
                except FileNotFoundError:  # retention deleted it meanwhile
                    pass
            else:
                getattr(saver, action)()

    for actions in programs:
        schedule.spawn(lambda actions=actions: program(actions))
    errors = schedule.run()
    saver.close()
    return errors


def check_schedules(data, max_programs=3):
    programs = data.draw(
        st.lists(
            st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=4),
            min_size=2,
            max_size=max_programs,
        )
    )
    is_background = data.draw(st.booleans())
    choices = iter(data.draw(st.lists(st.integers(0, 11), max_size=150)))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        errors = run_schedule(
            folder,
            programs,
            is_background,
            lambda count: next(choices, 0) % count,
            monkeypatch,
        )
        assert errors == []
        steps = check_files(folder)
        if any("save" in actions for actions in programs):
            assert steps
            assert restore_newest(Saver(), make_program(), folder) is not None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_each_file_holds_the_state_that_its_name_says_in_every_schedule(data):
    check_schedules(data)


def test_nobody_sees_a_background_save_whose_thread_was_not_started_yet(tmp_path):
    seen = []

    class Watched(threading.Thread):
        def start(self):
            other = threading.Thread(target=look)
            other.start()
            other.join(0.05)  # it waits for start() to return
            super().start()
            others.append(other)

    def look():
        try:
            saver.poll()
            saver.wait()
        except BaseException as exc:
            seen.append(exc)

    others, saver, session = [], Saver(background=True), make_session(step=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            background,
            "threading",
            SimpleNamespace(Thread=Watched, Lock=threading.Lock, RLock=threading.RLock),
        )
        saver.save(session, tmp_path / "m", 1)
    for other in others:
        other.join()
    saver.close()
    assert seen == []
    assert len(others) == 1


@pytest.mark.parametrize("call", ["wait", "poll"])
def test_a_signal_handler_inside_of_the_start_of_a_background_save_does_not_hang(call, tmp_path):
    raised = []

    class Interrupted(threading.Thread):
        def start(self):
            assert saver.busy
            try:
                getattr(saver, call)()
            except RuntimeError as exc:
                raised.append(str(exc))
            super().start()

    saver = Saver(background=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            background,
            "threading",
            SimpleNamespace(Thread=Interrupted, Lock=threading.Lock, RLock=threading.RLock),
        )
        saver.save(make_session(step=1), tmp_path / "m", 1)
    saver.close()
    told = ["a signal handler waits for the save that it interrupted"]
    assert raised == (told if call == "wait" else [])
    assert (tmp_path / "m-1.safetensors").exists()


@pytest.mark.long
@settings(max_examples=5_000, deadline=None)
@given(st.data())
def test_each_file_holds_the_state_that_its_name_says_in_thousands_of_schedules(data):
    check_schedules(data, max_programs=4)


@pytest.mark.parametrize("is_background", [False, True])
def test_threads_that_train_and_save_at_once_leave_whole_files(tmp_path, is_background):
    session = make_program()
    train(session)
    saver = Saver(background=is_background, max_to_keep=None)
    errors, go, alone = [], threading.Barrier(5), threading.Lock()

    def work(is_trainer):
        go.wait()
        try:
            for _ in range(60 if is_trainer else 10):
                if is_trainer:
                    with alone:
                        train(session)
                else:
                    saver.save(session, tmp_path / "m", "global_step")
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(number == 0,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    saver.close()
    assert errors == []
    assert check_files(tmp_path)


def test_a_failed_background_save_is_raised_in_every_thread_that_waits_and_then_not_again(tmp_path):
    go = threading.Event()

    class Failing(Files):
        def create(self, path):
            assert go.wait(30)
            raise OSError(28, "full")

    with files.use(Failing()):
        saver = Saver(background=True)
    saver.save(make_session(), tmp_path / "m", 1)
    raised, waiting = [], threading.Barrier(4)

    def wait():
        waiting.wait()
        try:
            saver.wait()
        except CheckpointWriteError as exc:
            raised.append(exc.errno)

    job = saver._worker._job
    joined = threading.Semaphore(0)
    join = job.thread.join

    def counting(timeout=None):
        joined.release()
        join(timeout)

    job.thread.join = counting
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    waiting.wait()
    for _ in threads:
        assert joined.acquire(timeout=30)
    go.set()
    for thread in threads:
        thread.join()
    assert raised == [28, 28, 28]
    saver.wait()
    saver.close()


@pytest.mark.parametrize("inner", ["save", "restore", "close"])
def test_a_call_from_within_a_save_is_refused_and_does_not_hang(tmp_path, inner):
    saver = Saver()
    session = make_session(step=1)
    path = saver.save(session, tmp_path / "m", 1)
    calls = {
        "save": lambda: saver.save(session, tmp_path / "m", 2),
        "restore": lambda: saver.restore(session, path),
        "close": saver.close,
    }

    class Reentrant:
        def state_dict(self):
            saver.release()  # does nothing: a save is in progress
            calls[inner]()

        def load_state_dict(self, state):
            raise AssertionError

    session.graph.attach("reentrant", Reentrant())
    with pytest.raises(RuntimeError, match=rf"Saver.{inner} was called by the thread that is insi"):
        saver.save(session, tmp_path / "m", 2)
    assert os.listdir(tmp_path).count("m-2.safetensors") == 0
    saver.close()


def test_a_copy_of_a_saver_has_its_settings_and_shares_nothing_else(tmp_path):
    saver = Saver(["w"], max_to_keep=1)
    session = make_session(step=1)
    saver.save(session, tmp_path / "m", 1)
    other = copy.deepcopy(saver)
    assert other.last_checkpoints == []
    other.save(session, tmp_path / "other" / "m", 1)
    other.close()
    del other
    saver.save(session, tmp_path / "m", 2)
    saver.close()
    with CheckpointReader(tmp_path / "other" / "m-1") as reader:
        assert reader.names() == ["params/b", "w"]
    assert sorted(p.name for p in tmp_path.glob("m-*")) == ["m-2.safetensors"]


class Told:
    """A listener that remembers what it was told."""

    def __init__(self):
        self.before, self.after = [], []

    def begin(self): ...

    def before_save(self, session, step):
        self.before.append(int(step))

    def after_save(self, session, step):
        assert type(step) is np.int64
        self.after.append(int(step))

    def end(self, session, step): ...


def check_hook(choose, is_background, runs=2):
    """One thread drives a hook, another trains; return the listener and the hook's last mark."""
    schedule = Schedule(choose)

    class Yielding(Session):
        def state(self):
            schedule.pause()
            return super().state()

    session, told = make_program(Yielding), Told()

    def drive():
        hook.after_create_session(session, None)
        for _ in range(runs):
            context = RunContext(RunArgs(None), session)
            hook.before_run(context)
            step = session.run("global_step")
            with alone:
                train(session)
            hook.after_run(context, RunValues(step, None, None))
        hook.end(session)

    def train_on():
        for _ in range(4):
            schedule.pause()
            with alone:
                train(session)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "threading", schedule.threading)
        patch.setattr(saver_module, "threading", schedule.threading)
        with files.use(YieldingFiles(schedule)):
            saver = Saver(background=is_background, max_to_keep=None)
        hook = CheckpointSaverHook(folder, save_steps=1, saver=saver, listeners=[told])
        with session.graph.as_default():
            hook.begin()
        train(session)
        alone = schedule.threading.Lock()
        schedule.spawn(drive)
        schedule.spawn(train_on)
        assert schedule.run() == []
        saver.close()
        steps = check_files(folder)
        assert sorted(set(told.after)) == sorted(steps)
        assert hook._timer.last_triggered_step() == max(steps)
    return told


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1), max_size=120), st.booleans())
def test_what_a_hook_saves_is_of_the_step_that_its_name_says_in_every_schedule(picks, background):
    choices = iter(picks)
    check_hook(lambda count: next(choices, 0) % count, background)


@pytest.mark.parametrize("is_background", [False, True])
def test_a_hook_announces_the_step_that_was_saved_if_another_thread_trained_on(is_background):
    # The hook reads the step; then the trainer trains to its end, and the state is taken.
    first = iter([0, 0])
    told = check_hook(lambda count: next(first, count - 1), is_background, runs=0)
    assert told.before == [1]
    assert told.after == [5]


def test_a_saver_that_overrides_save_gets_an_int_from_the_hook(tmp_path):
    session, seen = make_program(), []

    class Mine(Saver):
        def save(self, session, save_path, global_step=None, **options):
            seen.append((isinstance(global_step, int), f"{global_step:d}"))
            train(session)  # as another thread may
            return super().save(session, save_path, global_step, **options)

    hook = CheckpointSaverHook(tmp_path, save_steps=1, saver=Mine())
    with session.graph.as_default():
        hook.begin()
    hook.after_create_session(session, None)
    assert seen == [(True, "0")]
    assert check_files(tmp_path) == [1]


def test_an_int_that_the_session_has_left_behind_is_warned_of_once(tmp_path):
    session, saver = make_program(), Saver()
    for _ in range(3):
        train(session)
    with pytest.warns(UserWarning, match="global_step=2, but the state that it saved has global_s"):
        path = saver.save(session, tmp_path / "m", 2)
    assert path == str(tmp_path / "m-2.safetensors")  # the user's choice, and it is on disk
    saver.save(session, tmp_path / "m", 1)  # once is enough
    Saver().save(session, tmp_path / "ahead" / "m", 7)
    Saver().save(session, tmp_path / "same" / "m", 3)
    Saver(["a"]).save(session, tmp_path / "name" / "m", "global_step")
    saver.close()


class Broken(logging.Handler):
    """A handler that raises from its emit, as one whose disk is full may."""

    def emit(self, record):
        raise OSError(28, "the log's own disk is full")


class Full(Files):
    def create(self, path):
        raise OSError(28, "full")


@pytest.fixture
def broken_log():
    handler = Broken()
    logger = logging.getLogger("runloop")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.mark.parametrize("is_background", [False, True])
def test_a_log_handler_that_raises_does_not_hide_that_a_save_failed(
    tmp_path, is_background, broken_log
):
    with files.use(Full()):
        saver = Saver(background=is_background)
    session = make_session()

    def save():
        saver.save(session, tmp_path / "m", 1)
        saver.wait()

    with pytest.raises(CheckpointWriteError, match="not saved: full"):
        save()
    saver.wait()  # raised once
    saver.close()
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_log_handler_that_raises_leaves_a_background_failure_to_poll_and_to_close(
    tmp_path, broken_log
):
    session = make_session()
    for finish in ("poll", "close", "wait", "save"):
        with files.use(Full()):
            saver = Saver(background=True)
        saver.save(session, tmp_path / "m", 1)
        saver._worker._job.thread.join()
        calls = {
            "poll": saver.poll,
            "close": saver.close,
            "wait": saver.wait,
            "save": lambda: saver.save(session, tmp_path / "m", 2),  # noqa: B023  # called below
        }
        with pytest.raises(CheckpointWriteError, match="not saved: full"):
            calls[finish]()
        saver.close()
