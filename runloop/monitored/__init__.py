"""Sessions with hooks: create a session, restore it, call the hooks around each run, close it.

Here are the monitored sessions, the dispatcher that calls the hooks, the session creators and the
scaffold. The hooks are in ``runloop.hooks``; the session below them is in ``runloop.session``.
"""

from runloop.monitored.monitored import MonitoredSession, SingularMonitoredSession, StepContext

__all__ = ["MonitoredSession", "SingularMonitoredSession", "StepContext"]
