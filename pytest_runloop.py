"""Runloop's pytest plugin: the testing kit's fixtures and options, and ``--runloop-tf``.

See ``docs/testing-hooks.md``, and ``docs/from-tensorflow.md`` for tests that import TensorFlow.

It lives outside the package because pytest imports it at every start: a module of the package would
import runloop and NumPy each time. Here they are imported at first use.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from runloop.testing import FakeClock, HookHarness, MemorySummaryWriter, RecordingHook

__all__ = ["fake_clock", "hook_harness", "memory_writer", "recording_hook"]


class _AbandonedError(Exception):
    """Closes a harness that a test left open."""


@pytest.fixture
def fake_clock() -> Iterator[FakeClock]:
    """A ``FakeClock``, used by everything that the test creates."""
    from runloop.testing import FakeClock

    with FakeClock().use() as clock:
        yield clock


@pytest.fixture
def hook_harness() -> Iterator[Callable[..., HookHarness]]:
    """``HookHarness``, to be called with its arguments. Open ones are closed after the test, without ``end``."""
    from runloop.testing import HookHarness

    made: list[HookHarness] = []

    def make(hook: Any, **options: Any) -> HookHarness:
        made.append(HookHarness(hook, **options))
        return made[-1]

    yield make
    for harness in made:
        if harness.started and not harness.closed:
            harness.close(_AbandonedError("the test is over"))


@pytest.fixture
def recording_hook() -> RecordingHook:
    """A ``RecordingHook`` that asks for nothing; set its ``asks``."""
    from runloop.testing import RecordingHook

    return RecordingHook()


@pytest.fixture
def memory_writer() -> MemorySummaryWriter:
    """A ``MemorySummaryWriter``."""
    from runloop.testing import MemorySummaryWriter

    return MemorySummaryWriter()


def pytest_addoption(parser: Any) -> None:
    """Add the options."""
    group = parser.getgroup("runloop")
    group.addoption(
        "--runloop-trace",
        action="store_true",
        help="print below each failing test how the hooks of its monitored sessions were called",
    )
    group.addoption(
        "--runloop-tf",
        action="store_true",
        help="make `import tensorflow` import runloop.compat.tf",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: Any) -> Generator[None, Any, Any]:
    """With ``--runloop-tf``, replace TensorFlow by runloop before the first conftest.py is imported."""
    if early_config.known_args_namespace.runloop_tf:
        from runloop.compat.tf import install

        early_config.add_cleanup(install().uninstall)
    return (yield)


# -- the lifecycle of a failing test -------------------------------------------------------------


# A test with hundreds of sessions has thousands of events, and the last ones matter.
_MOST_EVENTS = 200
_RECORDER: pytest.StashKey[Any] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With ``--runloop-trace``, record all monitored sessions of the test and its fixtures."""
    if not item.config.getoption("runloop_trace"):
        return (yield)
    from runloop.testing import LifecycleRecorder

    with LifecycleRecorder() as recorder:
        item.stash[_RECORDER] = recorder
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the recording to the report of a failure."""
    report = yield
    recorder = item.stash.get(_RECORDER, None)
    if recorder is not None and report.failed:
        table = (
            _last(recorder.table(100)) if recorder.events else "no monitored session was created"
        )
        report.sections.append((f"runloop lifecycle ({report.when})", table))
    return report


def _last(table: str) -> str:
    head, *lines = table.splitlines()
    if len(lines) <= _MOST_EVENTS:
        return table
    left_out = f"... {len(lines) - _MOST_EVENTS} earlier events"
    return "\n".join([head, left_out, *lines[-_MOST_EVENTS:]])


# -- the difference of two lists of events ---------------------------------------------------------


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Show where two lists of events differ, line by line, with a few lines of context."""
    if op != "==" or not (isinstance(left, list) and isinstance(right, list)):
        return None
    if not any(type(item).__module__ == "runloop.testing.events" for item in (*left, *right)):
        return None
    lines = ["two lists of events: - only on the left, + only on the right"]
    one, two = [str(item) for item in left], [str(item) for item in right]
    matcher = difflib.SequenceMatcher(None, one, two, autojunk=False)
    for group in matcher.get_grouped_opcodes(3):
        lines.append(f"  from event {group[0][1]} on the left, {group[0][3]} on the right:")
        for tag, i, j, k, m in group:
            if tag == "equal":
                lines += [f"    {text}" for text in one[i:j]]
            else:
                lines += [f"  - {text}" for text in one[i:j]]
                lines += [f"  + {text}" for text in two[k:m]]
    return lines
