"""A training loop with TensorFlow 1.x's hook lifecycle, for NumPy and plain Python.

A :class:`Session` runs *fetches* against a :class:`Graph` of named variables and plain functions;
hooks ride along on every run of a :class:`MonitoredSession`; a :class:`Saver` writes the state as
safetensors files that survive a crash at any moment. :func:`MonitoredTrainingSession` puts the
usual parts together.
"""

from typing import TYPE_CHECKING, Any

from runloop import checkpoint, errors
from runloop.checkpoint import KeepBest, Saver, get_checkpoint_state
from runloop.coordinator import Coordinator, LooperThread
from runloop.creators import ChiefSessionCreator, SessionCreator, WorkerSessionCreator
from runloop.data import Batches
from runloop.elements import Op, Variable
from runloop.graph import Graph, get_default_graph, get_global_step, get_or_create_global_step
from runloop.hooks import (
    CheckpointSaverHook,
    CheckpointSaverListener,
    EarlyStoppingHook,
    FeedFnHook,
    FinalOpsHook,
    GlobalStepWaiterHook,
    InMemoryEvaluatorHook,
    LoggingTensorHook,
    NanTensorHook,
    NeverTriggerTimer,
    PreemptionHook,
    ProfilerHook,
    ProgressBarHook,
    SecondOrStepTimer,
    SessionRunHook,
    StepCounterHook,
    StopAtStepHook,
    SummarySaverHook,
)
from runloop.monitored import MonitoredSession, SingularMonitoredSession
from runloop.run import RunArgs, RunContext, RunMetadata, RunOptions, RunValues
from runloop.scaffold import Scaffold
from runloop.session import Session
from runloop.training import MonitoredTrainingSession

__all__ = [
    "Batches",
    "CheckpointReader",
    "CheckpointSaverHook",
    "CheckpointSaverListener",
    "ChiefSessionCreator",
    "Coordinator",
    "EarlyStoppingHook",
    "FeedFnHook",
    "FinalOpsHook",
    "GlobalStepWaiterHook",
    "Graph",
    "InMemoryEvaluatorHook",
    "KeepBest",
    "LoggingTensorHook",
    "LooperThread",
    "MonitoredSession",
    "MonitoredTrainingSession",
    "NanTensorHook",
    "NeverTriggerTimer",
    "Op",
    "PreemptionHook",
    "ProfilerHook",
    "ProgressBarHook",
    "RestoreReport",
    "RunArgs",
    "RunContext",
    "RunMetadata",
    "RunOptions",
    "RunValues",
    "Saver",
    "Scaffold",
    "SecondOrStepTimer",
    "Session",
    "SessionCreator",
    "SessionRunHook",
    "SingularMonitoredSession",
    "StepCounterHook",
    "StopAtStepHook",
    "SummarySaverHook",
    "Variable",
    "WorkerSessionCreator",
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

if TYPE_CHECKING:
    from runloop.checkpoint import (
        CheckpointReader,
        RestoreReport,
        latest_checkpoint,
        list_variables,
        load_checkpoint,
        load_variable,
    )
else:
    _LATE = {
        "CheckpointReader",
        "RestoreReport",
        "latest_checkpoint",
        "list_variables",
        "load_checkpoint",
        "load_variable",
    }

    def __getattr__(name: str) -> Any:
        if name not in _LATE:  # see runloop.checkpoint, which imports them when they are needed
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(checkpoint, name)
        globals()[name] = value
        return value
