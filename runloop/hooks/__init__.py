"""Hooks: the protocol, and the hooks that come with runloop.

``base.py`` is the protocol; each other file is one family of hooks. What calls them lives in
``runloop.monitored``, timers in ``runloop.timers``, what they write with in ``runloop.summary``.
"""

from typing import TYPE_CHECKING

from runloop import lazy

__all__ = [
    "CheckpointSaverHook",
    "CheckpointSaverListener",
    "EarlyStoppingHook",
    "FeedFnHook",
    "FinalOpsHook",
    "GlobalStepWaiterHook",
    "InMemoryEvaluatorHook",
    "LoggingTensorHook",
    "NanTensorHook",
    "NeverTriggerTimer",
    "PreemptionHook",
    "ProfilerHook",
    "ProgressBarHook",
    "SecondOrStepTimer",
    "SessionRunHook",
    "StepCounterHook",
    "StopAtStepHook",
    "SummarySaverHook",
]

if TYPE_CHECKING:
    from runloop.hooks.base import SessionRunHook
    from runloop.hooks.checkpoint_saver import CheckpointSaverHook, CheckpointSaverListener
    from runloop.hooks.early_stopping import EarlyStoppingHook
    from runloop.hooks.feed_fn import FeedFnHook
    from runloop.hooks.final_ops import FinalOpsHook
    from runloop.hooks.global_step_waiter import GlobalStepWaiterHook
    from runloop.hooks.in_memory_evaluator import InMemoryEvaluatorHook
    from runloop.hooks.logging_tensor import LoggingTensorHook
    from runloop.hooks.nan_tensor import NanTensorHook
    from runloop.hooks.preemption import PreemptionHook
    from runloop.hooks.profiler import ProfilerHook
    from runloop.hooks.progress_bar import ProgressBarHook
    from runloop.hooks.step_counter import StepCounterHook
    from runloop.hooks.stop_at_step import StopAtStepHook
    from runloop.hooks.summary_saver import SummarySaverHook
    from runloop.timers import NeverTriggerTimer, SecondOrStepTimer
else:
    __getattr__, __dir__ = lazy.attributes(
        globals(),
        {
            "runloop.hooks.base": "SessionRunHook",
            "runloop.hooks.checkpoint_saver": "CheckpointSaverHook CheckpointSaverListener",
            "runloop.hooks.early_stopping": "EarlyStoppingHook",
            "runloop.hooks.feed_fn": "FeedFnHook",
            "runloop.hooks.final_ops": "FinalOpsHook",
            "runloop.hooks.global_step_waiter": "GlobalStepWaiterHook",
            "runloop.hooks.in_memory_evaluator": "InMemoryEvaluatorHook",
            "runloop.hooks.logging_tensor": "LoggingTensorHook",
            "runloop.hooks.nan_tensor": "NanTensorHook",
            "runloop.hooks.preemption": "PreemptionHook",
            "runloop.hooks.profiler": "ProfilerHook",
            "runloop.hooks.progress_bar": "ProgressBarHook",
            "runloop.hooks.step_counter": "StepCounterHook",
            "runloop.hooks.stop_at_step": "StopAtStepHook",
            "runloop.hooks.summary_saver": "SummarySaverHook",
            "runloop.timers": "NeverTriggerTimer SecondOrStepTimer",
        },
    )
