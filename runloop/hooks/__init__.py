"""Hooks: the protocol, and the ones that come with runloop."""

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
