"""What a harness has to tell: the part of ``HookHarness`` that is looked at after the runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runloop.run import RunArgs
from runloop.testing.events import Event
from runloop.testing.harness_parts import HookLog
from runloop.testing.recorder.recorder import LifecycleRecorder

__all__ = ["Story"]


class Story:
    """What happened to hooks under test.

    Attributes:
        recorder: The :class:`LifecycleRecorder` with everything that happened, not only to hooks.
    """

    def __init__(self) -> None:
        self.recorder = LifecycleRecorder()
        self._names: tuple[str, ...] = ()  # of the hooks under test, once they are there
        self._scalars: list[tuple[str, Any, int]] = []
        self._log = HookLog(self._is_calling_hook)

    @property
    def events(self) -> list[Event]:
        """What happened to the hooks under test, as lines: compare it with a list of strings.

        There is a line for each call of a method that a hook overrides, for each save and restore,
        for each run that failed, and for a session that was lost.
        """
        return [event for event in self.recorder.events if self._is_told(event)]

    @property
    def fetches(self) -> list[Any]:
        """What each ``before_run`` asked for, ``None`` for nothing; one entry a call."""
        return [None if args is None else args.fetches for args in self._requests()]

    @property
    def feeds(self) -> list[Any]:
        """What each ``before_run`` fed, ``None`` for nothing; one entry a call."""
        return [None if args is None else args.feed_dict for args in self._requests()]

    @property
    def stop_requested_by(self) -> str | None:
        """The name of the first hook that requested a stop (its class's name), if any did."""
        return next((e.who for e in self.recorder.events if e.stop and e.who in self._names), None)

    @property
    def saved_steps(self) -> list[int]:
        """The global step of every checkpoint that was saved."""
        return [
            event.step
            for event in self.recorder.events
            if (event.who, event.what) == ("saver", "save")
            and event.error is None
            and event.step is not None
        ]

    @property
    def scalars(self) -> list[tuple[str, Any, int]]:
        """``(tag, value, step)`` of what the hooks wrote to writers that they hold as attributes."""
        return list(self._scalars)

    @property
    def logs(self) -> list[str]:
        """The messages that were logged while a hook under test was being called, from ``INFO`` on."""
        return list(self._log.messages)

    def _requests(self) -> Iterator[RunArgs | None]:
        for event in self.recorder.events:
            if event.who in self._names and event.what == "before_run":
                yield event.args

    def _is_told(self, event: Event) -> bool:
        if event.who in self._names or event.who == "saver":
            return True
        if event.who == "session":
            return event.what == "lost" or (event.what == "run" and event.error is not None)
        return False

    def _is_calling_hook(self) -> bool:
        return any(name in self._names for name in self.recorder.callers())
