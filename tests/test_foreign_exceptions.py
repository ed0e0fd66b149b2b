"""Exceptions whose own methods raise, or that take no attributes, are raised as they are."""

import dataclasses

import numpy as np
import pytest

from runloop import Graph, Saver, errors
from runloop.checkpoint import files
from runloop.checkpoint.files import Files
from runloop.hooks import CheckpointSaverHook, SessionRunHook
from runloop.monitored import MonitoredSession
from runloop.session import Session
from runloop.summary import FanOutWriter


class Silent(Exception):
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


class SilentInterrupt(KeyboardInterrupt):
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


class SilentAbort(errors.AbortedError):
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


class SilentOSError(OSError):
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int = 1


@dataclasses.dataclass(frozen=True)
class FrozenInterrupt(KeyboardInterrupt):
    code: int = 1


KINDS = [Silent, SilentInterrupt, Frozen, FrozenInterrupt]


def raiser(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize("kind", KINDS)
def test_from_an_op(kind):
    graph = Graph()
    graph.op(raiser(kind()), name="fail")
    with pytest.raises(kind):
        Session(graph=graph).run("fail")


@pytest.mark.parametrize("kind", KINDS)
def test_from_an_initial_value(kind):
    graph = Graph()
    graph.variable("v", raiser(kind()))
    with pytest.raises(kind):
        Session(graph=graph)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["begin", "after_create_session", "before_run", "end"])
def test_from_a_hook_with_another_failure_while_closing(where, kind):
    hook, other = SessionRunHook(), SessionRunHook()
    setattr(hook, where, raiser(kind()))
    if where != "end":  # else this would be the first error
        other.end = raiser(Silent())
    other.after_create_session = lambda session, coord: coord.callback(raiser(Silent()))
    graph = Graph()
    graph.op(lambda: 1, name="one")
    with pytest.raises(kind):
        with MonitoredSession(hooks=[other, hook], graph=graph) as session:
            session.run("one")


def test_a_session_lost_by_an_error_without_text_is_created_again():
    graph, errors_left = Graph(), [SilentAbort("x")]

    @graph.op
    def shaky():
        if errors_left:
            raise errors_left.pop()
        return 7

    with MonitoredSession(graph=graph) as session:
        assert session.run("shaky") == 7


@pytest.mark.parametrize("kind", KINDS)
def test_from_a_summary_writer(kind):
    class Writer:
        def __init__(self, error):
            self.error = error

        def add_scalar(self, tag, value, step): ...

        def flush(self):
            raise self.error

        def close(self): ...

    with pytest.raises(kind):
        FanOutWriter(Writer(kind()), Writer(Silent())).flush()


@pytest.mark.parametrize("is_background", [False, True])
@pytest.mark.parametrize("kind", [*KINDS, SilentOSError])
def test_from_a_write(tmp_path, kind, is_background):
    class Failing(Files):
        def write(self, fd, data, offset):
            raise kind()

        def unlink(self, path):
            raise SilentOSError

    with files.use(Failing()):
        saver = Saver(background=is_background)
    graph = Graph()
    graph.variable("w", np.ones(3))
    expected = errors.CheckpointWriteError if kind is SilentOSError else kind
    with pytest.raises(expected):
        saver.save(Session(graph=graph), tmp_path / "m", 1)
        saver.wait()
    saver.close()


def test_from_a_background_write_when_the_session_is_left_by_another_error(tmp_path):
    class Failing(Files):
        def create(self, path):
            raise SilentOSError

    with files.use(Failing()):
        hook = CheckpointSaverHook(tmp_path, save_steps=1, saver=Saver(background=True))
    graph = Graph()
    graph.train_op(lambda: None, name="train")
    with pytest.raises(KeyError):
        with MonitoredSession(hooks=[hook], graph=graph):
            raise KeyError


@pytest.mark.parametrize("kind", [Silent, Frozen])
def test_from_an_object_that_does_not_take_its_state(tmp_path, kind):
    class Odd:
        def state_dict(self):
            return {"n": 1}

        load_state_dict = raiser(kind())

    graph = Graph()
    graph.attach("odd", Odd())
    session = Session(graph=graph)
    path = Saver().save(session, tmp_path / "m")
    with pytest.raises(errors.CheckpointFormatError) as caught:
        Saver().restore(session, path)
    assert "Odd did not take the saved state" in str(caught.value)
