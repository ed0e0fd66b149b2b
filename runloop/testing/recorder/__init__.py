"""The lifecycle recorder, and how a recording is shown: table, diagram, JSON, explanations.

Events live in ``runloop.testing.events``; small programs to record, in
``runloop.testing.scenarios``; what calls the recorder, in ``runloop.monitored.watch``.
"""

from runloop.testing.recorder.recorder import LifecycleRecorder

__all__ = ["LifecycleRecorder"]
