"""Feed every run with what a function returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext

__all__ = ["FeedFnHook"]


class FeedFnHook(SessionRunHook):
    """Adds what a function returns to the feeds of each run.

    Args:
        feed_fn: A function without parameters that returns a feed dict
            (``{name, Variable or Op: value}``), or ``None`` to feed nothing. It stays readable as
            the attribute ``feed_fn``.

    Raises:
        TypeError: If ``feed_fn`` is not callable.

    Follows ``tf.train.FeedFnHook`` of TensorFlow 2.21.
    """

    def __init__(self, feed_fn: Callable[[], Mapping[Any, Any] | None]) -> None:
        if not callable(feed_fn):
            raise TypeError(
                f"FeedFnHook: feed_fn must be a function that returns the feeds, got {feed_fn!r}"
            )
        self.feed_fn = feed_fn

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Call ``feed_fn`` and add its feeds to this run."""
        return RunArgs(fetches=None, feed_dict=self.feed_fn())
