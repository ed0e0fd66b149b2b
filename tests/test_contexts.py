"""`contextmanager` as of the standard library, except that it never writes to an exception."""

import dataclasses
from contextlib import contextmanager as standard

import pytest

from runloop import clock, contexts, observers
from runloop.checkpoint import files
from runloop.checkpoint.files import Files
from runloop.coordinator import Coordinator
from runloop.graph import Graph
from runloop.testing import FakeClock


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """Takes no attributes."""

    code: int = 1


@dataclasses.dataclass(frozen=True)
class FrozenInterrupt(KeyboardInterrupt):
    code: int = 1


BLOCKS = {
    "graph": lambda: Graph().as_default(),
    "clock": lambda: clock.use(clock.current()),
    "files": lambda: files.use(Files()),
    "observers": lambda: observers.use(object()),
    "fake clock": lambda: FakeClock().use(),
}


@pytest.mark.parametrize("error", [Frozen(), FrozenInterrupt(), StopIteration(), ValueError("x")])
@pytest.mark.parametrize("name", BLOCKS)
def test_an_exception_leaves_a_block_as_itself(name, error):
    with pytest.raises(type(error)) as caught:
        with BLOCKS[name]():
            raise error
    assert caught.value is error


def test_a_frozen_exception_stops_a_coordinator():
    coord, error = Coordinator(), Frozen()
    with coord.stop_on_exception():
        raise error
    assert coord.requested_exception is error


def after_the_block(make, error):
    """What the code behind a block sees, with the events inside the generator."""
    events = []

    def steps(kind):
        try:
            yield "value"
        except BaseException as exc:
            events.append(type(exc).__name__)
            if kind == "swallow":
                return
            if kind == "replace":
                raise LookupError("other") from exc
            raise
        finally:
            events.append("finally")
        if kind == "twice":
            yield "again"

    for kind in ("pass", "swallow", "replace", "twice"):
        try:
            with make(steps)(kind) as value:
                events.append(value)
                if error is not None:
                    raise error
        except BaseException as exc:
            events.append(type(exc).__name__)
    return events


@pytest.mark.parametrize(
    "error", [None, ValueError(), RuntimeError(), StopIteration(), KeyboardInterrupt()], ids=repr
)
def test_it_agrees_with_the_standard_library(error):
    assert after_the_block(contexts.contextmanager, error) == after_the_block(standard, error)
