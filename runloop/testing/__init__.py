"""The testing kit: a clock that is told to move, doubles, and a harness for hooks.

Nothing in runloop imports this package; a program imports it in its tests.
"""

from runloop.testing.clock import FakeClock
from runloop.testing.doubles import (
    FakeSession,
    FakeSessionCreator,
    MemorySummaryWriter,
    RaiseAt,
    RecordingHook,
    RecordingListener,
)
from runloop.testing.events import Event
from runloop.testing.recorder import LifecycleRecorder

__all__ = [
    "Event",
    "FakeClock",
    "FakeSession",
    "FakeSessionCreator",
    "LifecycleRecorder",
    "MemorySummaryWriter",
    "RaiseAt",
    "RecordingHook",
    "RecordingListener",
]
