"""``timeline``: the times of a run as a Chrome trace."""

from __future__ import annotations

import json
from typing import Any

from runloop.hooks._timeline import chrome_trace

__all__ = ["Timeline"]


class Timeline:
    """A run as a Chrome trace.

    Args:
        step_stats: ``run_metadata.step_stats``.
        graph: For TensorFlow's signature; ignored.

    Follows ``Timeline`` of TensorFlow 2.21's ``tensorflow.python.client.timeline``.
    """

    def __init__(self, step_stats: Any, graph: Any = None) -> None:
        self._ops = tuple(step_stats)

    def generate_chrome_trace_format(
        self, show_dataflow: bool = True, show_memory: bool = False
    ) -> str:
        """Return the JSON text; see :class:`runloop.ProfilerHook` for the two switches."""
        document = chrome_trace(
            0, self._ops, (), show_dataflow=show_dataflow, show_memory=show_memory
        )
        return json.dumps(document)
