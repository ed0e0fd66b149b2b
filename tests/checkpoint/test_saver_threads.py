"""Several threads with one saver: each file holds the state that its name says."""

import copy
import os
import tempfile
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runloop.checkpoint import CheckpointReader, Saver, background, files, restore_newest
from runloop.checkpoint import saver as saver_module
from runloop.checkpoint.files import Files
from runloop.errors import CheckpointWriteError
from runloop.graph import Graph, get_or_create_global_step
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
