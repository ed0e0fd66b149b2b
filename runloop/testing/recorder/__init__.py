"""The recorder of lifecycles: what it watches, and how a recording is shown.

The events themselves live in ``runloop.testing.events``; scripted programs to record, in
``runloop.testing.scenarios``.
"""

from runloop.testing.recorder.recorder import LifecycleRecorder

__all__ = ["LifecycleRecorder"]
