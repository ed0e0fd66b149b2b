"""The testing kit: a harness for hooks, a fake clock, doubles, the recorder and the contract fuzzer.

For the tests of users' programs and of runloop itself; no other part of runloop imports it, except
``cli`` for its lifecycle commands. The pytest fixtures live in ``pytest_runloop``.
"""

from runloop.testing.clock import FakeClock
from runloop.testing.contract import assert_hook_contract
from runloop.testing.doubles import RaiseAt, RecordingHook, RecordingListener
from runloop.testing.events import Event
from runloop.testing.fakes import FakeSession, FakeSessionCreator, MemorySummaryWriter
from runloop.testing.faults import FaultyFilesystem
from runloop.testing.harness import HookHarness
from runloop.testing.harness_parts import Action
from runloop.testing.recorder import LifecycleRecorder
from runloop.testing.resume import assert_resume_exact

__all__ = [
    "Action",
    "Event",
    "FakeClock",
    "FakeSession",
    "FakeSessionCreator",
    "FaultyFilesystem",
    "HookHarness",
    "LifecycleRecorder",
    "MemorySummaryWriter",
    "RaiseAt",
    "RecordingHook",
    "RecordingListener",
    "assert_hook_contract",
    "assert_resume_exact",
]
