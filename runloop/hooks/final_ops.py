"""Fetch values when the session ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from runloop.errors import OutOfRangeError
from runloop.hooks._shared import check_late_fetches
from runloop.hooks.base import SessionRunHook

__all__ = ["FinalOpsHook"]

_logger = logging.getLogger(__name__)


class FinalOpsHook(SessionRunHook):
    """Runs fetches in ``end`` and keeps their values.

    Args:
        final_ops: The fetches, in any nesting; ``None`` runs nothing.
        final_ops_feed_dict: Feeds for that run.

    Raises:
        TypeError, ValueError: From ``after_create_session``, if a fetch is invalid.

    Follows ``tf.train.FinalOpsHook`` of TensorFlow 2.21.
    """

    def __init__(
        self, final_ops: Any, final_ops_feed_dict: Mapping[Any, Any] | None = None
    ) -> None:
        self._final_ops = final_ops
        self._final_ops_feed_dict = final_ops_feed_dict
        self._final_ops_values: Any = None

    @property
    def final_ops_values(self) -> Any:
        """The fetched values, in the structure of the fetches; ``None`` until ``end`` has run."""
        return self._final_ops_values

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Check the fetches now rather than at the end of the training."""
        if self._final_ops is not None:
            check_late_fetches(session, self._final_ops)

    def end(self, session: Any) -> None:
        """Run the fetches.

        Raises:
            OutOfRangeError, StopIteration: If the fetches need data and the input is exhausted. A
                warning says what to do about it.
        """
        if self._final_ops is None:
            return
        try:
            self._final_ops_values = session.run(
                self._final_ops, feed_dict=self._final_ops_feed_dict
            )
        except (OutOfRangeError, StopIteration) as exc:
            _logger.warning(
                "FinalOpsHook: the input of %r is exhausted (%r). A fetch at the end must not need "
                "another batch: let it read only variables and attached state",
                self._final_ops,
                exc,
            )
            raise
