"""Sessions with hooks: who calls the hooks, makes the session, restores it and closes it.

Here live the monitored sessions, the dispatcher, the session creators and the scaffold. The hooks
themselves live in ``runloop.hooks``; the session below them is ``runloop.session``.
"""

from runloop.monitored.monitored import MonitoredSession, SingularMonitoredSession, StepContext

__all__ = ["MonitoredSession", "SingularMonitoredSession", "StepContext"]
