"""Fakes of what a hook works with: a session, a summary writer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from runloop import nest
from runloop.messages import nearest
from runloop.testing.events import show

__all__ = ["FakeSession", "FakeSessionCreator", "MemorySummaryWriter"]


class MemorySummaryWriter:
    """A summary writer that keeps scalars in memory; fits :class:`runloop.summary.SummaryWriter`.

    Attributes:
        scalars: ``(tag, value, step)`` of every scalar so far, values as Python numbers.
        calls: ``"flush"`` and ``"close"``, in the order of the calls.
    """

    def __init__(self) -> None:
        self.scalars: list[tuple[str, Any, int]] = []
        self.calls: list[str] = []

    def add_scalar(self, tag: str, value: Any, step: int) -> None:
        """Keep the scalar."""
        number = value.item() if hasattr(value, "item") else value
        self.scalars.append((tag, number, int(step)))

    def flush(self) -> None:
        """Record the call."""
        self.calls.append("flush")

    def close(self) -> None:
        """Record the call. The writer can still be used, as runloop's own writers can."""
        self.calls.append("close")

    @property
    def closed(self) -> bool:
        """Whether the last call was ``close()``."""
        return bool(self.calls) and self.calls[-1] == "close"

    def values(self, tag: str) -> list[Any]:
        """Return the values of one tag, in the order of writing."""
        return [value for name, value, _ in self.scalars if name == tag]


class FakeSession:
    """A session without a graph: it returns the values that you give it.

        session = FakeSession({"loss": [0.5, 0.25], "global_step": 7})
        assert session.run(["loss", "global_step"]) == [0.5, 7]
        assert session.run("loss") == 0.25

    Use it to call a hook by hand, or to give a monitored session something else to drive than a
    graph: ``MonitoredSession(FakeSession(...).creator(), hooks, graph=Graph())``.

    Args:
        values: ``{fetch: value}``. A list has one value for each run, and its last value repeats;
            a function without parameters is called for a value; an exception is raised. A fetch
            with a ``name`` attribute is looked up by that name, too. A callable fetch without a
            value is called without arguments.

    Attributes:
        runs: ``(fetches, feed_dict)`` of every ``run()`` so far.
        closed: Whether ``close()`` was called.
        graph: ``None``.
    """

    graph: Any = None

    def __init__(self, values: Mapping[Any, Any] | None = None) -> None:
        self._values = dict(values or {})
        self._asked: dict[Any, int] = {}
        self.runs: list[tuple[Any, Any]] = []
        self.closed = False

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: Any = None,
        run_metadata: Any = None,
    ) -> Any:
        """Return the values in the structure of ``fetches``; fed values override the others.

        Raises:
            KeyError: If a fetch has no value; names the nearest one that has.
            RuntimeError: If it is closed.
        """
        if self.closed:
            raise RuntimeError("Attempted to use a closed Session.")
        self.runs.append((fetches, feed_dict))
        now: dict[Any, Any] = {_key(k): v for k, v in (feed_dict or {}).items()}
        return _fill(fetches, lambda leaf: self._value(leaf, now))

    def _value(self, leaf: Any, now: dict[Any, Any]) -> Any:
        key = _key(leaf)
        if key not in now:
            now[key] = self._next(key, leaf)
        return now[key]

    def _next(self, key: Any, leaf: Any) -> Any:
        if key not in self._values:
            if callable(leaf):
                return leaf()
            names = [name for name in self._values if isinstance(name, str)]
            raise KeyError(f"FakeSession has no value for {show(leaf)}.{nearest(str(key), names)}")
        value = self._values[key]
        if isinstance(value, list):
            count = self._asked.get(key, 0)
            self._asked[key] = count + 1
            value = value[min(count, len(value) - 1)]
        if callable(value) and not isinstance(value, type):
            value = value()
        if isinstance(value, BaseException):
            raise value
        return value

    @property
    def global_step(self) -> int | None:
        """The value of ``"global_step"``, if it is one number."""
        step = self._values.get("global_step")
        return int(step) if isinstance(step, (int, np.integer)) else None

    def close(self) -> None:
        """Close it; a later ``run()`` raises."""
        self.closed = True

    def creator(self) -> FakeSessionCreator:
        """Return a session creator that reopens this session and returns it, each time."""
        return FakeSessionCreator(self)


class FakeSessionCreator:
    """Gives a :class:`FakeSession` to a monitored session.

    Args:
        session: The session.

    Attributes:
        created: How many sessions were asked for.
    """

    def __init__(self, session: FakeSession) -> None:
        self._session = session
        self.created = 0

    def create_session(self) -> FakeSession:
        """Return the session, open."""
        self.created += 1
        self._session.closed = False
        return self._session


def _key(leaf: Any) -> Any:
    name = getattr(leaf, "name", leaf)
    return name.removesuffix(":0") if isinstance(name, str) else leaf


def _fill(structure: Any, value: Callable[[Any], Any]) -> Any:
    members: Iterable[Any] | None = nest.children(structure)
    if members is None:
        return value(structure)
    return nest.rebuild(structure, [_fill(member, value) for member in members])
