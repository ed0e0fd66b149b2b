"""A training loop with TensorFlow 1.x's hook lifecycle, for NumPy and plain Python.

A :class:`Session` runs *fetches* against a :class:`Graph` of named variables and plain functions;
hooks ride along on every run of a :class:`MonitoredSession`; a :class:`Saver` writes the state as
safetensors files that survive a crash at any moment. :func:`MonitoredTrainingSession` combines the
usual parts.
"""

from typing import TYPE_CHECKING

from runloop import hooks, lazy

__all__ = [
    "Batches",
    "CheckpointReader",
    "ChiefSessionCreator",
    "Coordinator",
    "Graph",
    "KeepBest",
    "Loop",
    "LooperThread",
    "MonitoredSession",
    "MonitoredTrainingSession",
    "Op",
    "RestoreReport",
    "RunArgs",
    "RunContext",
    "RunMetadata",
    "RunOptions",
    "RunValues",
    "Saver",
    "Scaffold",
    "Session",
    "SessionCreator",
    "SingularMonitoredSession",
    "Variable",
    "WorkerSessionCreator",
    "attributes",
    "errors",
    "get_checkpoint_state",
    "get_default_graph",
    "get_global_step",
    "get_or_create_global_step",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
]
__all__ += hooks.__all__  # a new hook is listed in runloop/hooks/__init__.py only

if TYPE_CHECKING:
    from runloop import errors
    from runloop.checkpoint import (
        CheckpointReader,
        KeepBest,
        RestoreReport,
        Saver,
        get_checkpoint_state,
        latest_checkpoint,
        list_variables,
        load_checkpoint,
        load_variable,
    )
    from runloop.coordinator import Coordinator, LooperThread
    from runloop.data import Batches
    from runloop.graph import Graph, get_default_graph, get_global_step, get_or_create_global_step
    from runloop.graph.elements import Op, Variable
    from runloop.hooks import *  # noqa: F403  # what its __all__ names
    from runloop.monitored import MonitoredSession, SingularMonitoredSession
    from runloop.monitored.creators import ChiefSessionCreator, SessionCreator, WorkerSessionCreator
    from runloop.monitored.loop import Loop
    from runloop.monitored.scaffold import Scaffold
    from runloop.monitored.training import MonitoredTrainingSession
    from runloop.run import RunArgs, RunContext, RunMetadata, RunOptions, RunValues
    from runloop.session import Session
    from runloop.state.attributes import attributes
else:
    __getattr__, __dir__ = lazy.attributes(
        globals(),
        {
            "runloop.checkpoint": (
                "CheckpointReader KeepBest RestoreReport Saver get_checkpoint_state "
                "latest_checkpoint list_variables load_checkpoint load_variable"
            ),
            "runloop.coordinator": "Coordinator LooperThread",
            "runloop.monitored.creators": "ChiefSessionCreator SessionCreator WorkerSessionCreator",
            "runloop.data": "Batches",
            "runloop.graph.elements": "Op Variable",
            "runloop.graph": "Graph get_default_graph get_global_step get_or_create_global_step",
            "runloop.hooks": " ".join(hooks.__all__),
            "runloop.monitored": "MonitoredSession SingularMonitoredSession",
            "runloop.run": "RunArgs RunContext RunMetadata RunOptions RunValues",
            "runloop.monitored.loop": "Loop",
            "runloop.monitored.scaffold": "Scaffold",
            "runloop.session": "Session",
            "runloop.state.attributes": "attributes",
            "runloop.monitored.training": "MonitoredTrainingSession",
        },
    )
