"""Checksums beside the writing: right, in bounded memory, and never in the way."""

import threading
import zlib

import numpy as np
import pytest

from runloop.checkpoint import CheckpointReader, Saver, checksums
from runloop.checkpoint.checksums import Checksums
from runloop.graph import Graph
from runloop.session import Session

LARGE = 1 << 20


class Slow:
    """A `zlib` whose checksums wait until they are let go."""

    def __init__(self):
        self.go, self.calls = threading.Event(), 0

    def crc32(self, piece, value=0):
        assert self.go.wait(30)
        self.calls += 1
        return zlib.crc32(piece, value)


def test_each_tensor_has_its_own_in_any_mix_of_pieces():
    rng = np.random.default_rng(0)
    tensors = [rng.bytes(n) for n in (10, LARGE, 0, 3 * LARGE + 1, 7)]
    sums = Checksums(len(tensors))
    for index, tensor in enumerate(tensors):
        for start in range(0, len(tensor), LARGE):
            piece = tensor[start : start + LARGE]
            sums.add(index, piece, is_copy=index % 2 == 0)
    assert sums.results() == [zlib.crc32(tensor) for tensor in tensors]


def test_what_is_no_copy_never_waits(monkeypatch):
    slow = Slow()
    monkeypatch.setattr(checksums, "zlib", slow)
    sums = Checksums(1)
    piece = bytes(LARGE)
    for _ in range(100):
        sums.add(0, piece, is_copy=False)
    assert slow.calls == 0
    slow.go.set()
    assert sums.results() == [zlib.crc32(100 * piece)]


def test_copies_wait_so_that_few_are_there(monkeypatch):
    slow = Slow()
    monkeypatch.setattr(checksums, "zlib", slow)
    sums = Checksums(1)
    added = []

    def add():
        for number in range(20):
            sums.add(0, bytes(LARGE), is_copy=True)
            added.append(number)

    thread = threading.Thread(target=add)
    thread.start()
    thread.join(0.1)
    assert len(added) < Checksums.WINDOW
    slow.go.set()
    thread.join()
    assert sums.results() == [zlib.crc32(bytes(20 * LARGE))]


def test_what_nobody_wants_any_more_is_not_computed(monkeypatch):
    slow = Slow()
    monkeypatch.setattr(checksums, "zlib", slow)
    sums = Checksums(1)
    for _ in range(100):
        sums.add(0, bytes(LARGE), is_copy=False)
    threading.Timer(0.05, slow.go.set).start()
    sums.stop()
    sums.stop()
    assert slow.calls <= 1


def test_a_lock_that_gets_no_memory_is_a_memory_error():
    testcapi = pytest.importorskip("_testcapi", reason="this Python has no test hooks for memory")
    failed = 0
    for at in range(1000):
        error = None
        testcapi.set_nomemory(at, at + 1)
        try:
            sums = Checksums(1)
        except BaseException as exc:
            error = exc
        finally:
            testcapi.remove_mem_hooks()
        if error is None:
            sums.stop()
            break
        assert type(error) is MemoryError, at
        failed += 1
    assert failed > 5


@pytest.mark.parametrize("where", ["Lock", "start"])
def test_a_thread_that_cant_be_made_or_started_is_a_memory_error(tmp_path, monkeypatch, where):
    def fail(*args):
        raise RuntimeError("can't, says CPython")

    graph = Graph()
    graph.variable("large", np.ones(LARGE))
    path = Saver().save(Session(graph=graph), tmp_path / "m")
    array = np.zeros(LARGE)
    with CheckpointReader(path) as reader:
        with monkeypatch.context() as patch:
            patch.setattr(threading if where == "Lock" else threading.Thread, where, fail)
            with pytest.raises(MemoryError, match=r"no memory for .*says CPython$") as info:
                reader.read_all([("large", array)])
        assert type(info.value.__cause__) is RuntimeError
        reader.read_all([("large", array)])
    assert (array == 1).all()
