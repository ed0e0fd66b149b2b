"""What a harness puts around hooks: a clock, scripted values, ears for what is logged and written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from runloop import clock as clocks
from runloop.clock import Clock
from runloop.hooks.base import HOOK_METHODS
from runloop.testing.clock import FakeClock

__all__ = ["HookLog", "as_hooks", "fake_clock", "give_clock", "listen", "makes_hooks", "scripted"]


class HookLog(logging.Handler):
    """Keeps the messages of those moments in which a hook under test is called.

    Args:
        is_calling_hook: Says whether this is such a moment.

    Attributes:
        messages: The messages, from level ``INFO`` on.
    """

    def __init__(self, is_calling_hook: Callable[[], bool]) -> None:
        super().__init__(logging.INFO)
        self.messages: list[str] = []
        self._is_calling_hook = is_calling_hook

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message, if it is one of those."""
        if self._is_calling_hook():
            self.messages.append(record.getMessage())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear everything that is logged inside the ``with`` block."""
        root = logging.getLogger()
        level = root.level
        root.addHandler(self)
        root.setLevel(min(level, logging.INFO) if level else level)
        try:
            yield
        finally:
            root.removeHandler(self)
            root.setLevel(level)


def listen(owner: Any, writer: Any, scalars: list[tuple[str, Any, int]]) -> Callable[[], None]:
    """Note every scalar of ``writer``; return what undoes it."""
    original = writer.add_scalar
    before = vars(writer).get("add_scalar")

    def add_scalar(tag: str, value: Any, step: int, *args: Any, **kwargs: Any) -> Any:
        result = original(tag, value, step, *args, **kwargs)
        scalars.append((tag, value.item() if hasattr(value, "item") else value, int(step)))
        return result

    add_scalar.listens_for = owner  # type: ignore[attr-defined]
    writer.add_scalar = add_scalar

    def undo() -> None:
        if before is None:
            del writer.add_scalar
        else:
            writer.add_scalar = before

    return undo


def scripted(name: str, values: Any, start: int) -> Callable[[Any], Any]:
    """Return a function of ``global_step`` that gives the scripted values of one output.

    Raises:
        ValueError: If ``values`` is an empty list.
    """
    if isinstance(values, (list, tuple)) and not values:
        raise ValueError(f"HookHarness: outputs[{name!r}] needs at least one value, got {values!r}")

    def output(global_step: Any) -> Any:
        step = int(global_step)
        value = values
        if isinstance(values, (list, tuple)):
            value = values[min(max(step - start, 0), len(values) - 1)]
        elif callable(values):
            value = values(step)
        if isinstance(value, BaseException):
            raise value
        return value

    return output


def fake_clock() -> FakeClock:
    """Return the clock in use if it is a ``FakeClock``, else a new one."""
    current = clocks.current()
    return current if isinstance(current, FakeClock) else FakeClock()


def give_clock(hook: Any, clock: Clock) -> None:
    """Give ``clock`` to a hook and its timers where they have the system's."""
    for owner in (hook, *getattr(hook, "__dict__", {}).values()):
        own = getattr(owner, "__dict__", {})
        if isinstance(own.get("_clock"), clocks.SystemClock):
            owner._clock = clock  # noqa: SLF001  # what runloop's own hooks and timers call it


def makes_hooks(given: Any) -> bool:
    """Return whether ``given`` is to be called for the hooks."""
    is_hook = all(callable(getattr(given, name, None)) for name in HOOK_METHODS)
    return callable(given) and (isinstance(given, type) or not is_hook)


def as_hooks(given: Any) -> tuple[Any, ...]:
    """Return one hook or several as a tuple."""
    return tuple(given) if isinstance(given, (list, tuple)) else (given,)
