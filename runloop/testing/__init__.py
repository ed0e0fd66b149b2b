"""The testing kit: a clock that is told to move, doubles, and a harness for hooks.

Nothing in runloop imports this package; a program imports it in its tests.
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
