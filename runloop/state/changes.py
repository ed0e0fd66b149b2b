"""Changes to objects that are made all together, or undone.

Whatever needs memory or may fail is prepared before the first change is made. Each change can be
undone at any moment after it began.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Protocol

import numpy as np

from runloop.errors import CheckpointFormatError, CheckpointMismatchError
from runloop.messages import add_note, describe, text_of
from runloop.state.arrays import to_numpy
from runloop.state.attributes import Attributes
from runloop.state.decode import same_plain
from runloop.state.kinds import Kind, is_array, is_container, kind_of, members
from runloop.state.subclasses import replace_members

__all__ = ["Change", "GiveState", "Refill", "Refills", "make_all", "objects_in", "same_value"]


class Change(Protocol):
    """Something that can be done, and undone whether or not it was done to the end."""

    def do(self) -> None:
        """Make the change."""

    def undo(self) -> None:
        """Put back what was there; called only after ``do`` began."""


def make_all(changes: Iterable[Change]) -> None:
    """Make all changes, or none.

    Raises:
        Exception: What a change raised. All of them are undone; a note on it names those that
            could not be.
    """
    begun: list[Change] = []
    waiting = [*changes]
    try:
        for change in waiting:
            begun.append(change)
            change.do()
    except BaseException as exc:
        for change in reversed(begun):
            _undo(change, exc)
        raise


def _undo(change: Change, why: BaseException) -> None:
    try:
        change.undo()
    except Exception as exc:
        text = (
            f"{change} could not be undone ({describe(exc)}): its state is in doubt. "
            f"Everything else is as it was."
        )
        add_note(why, text)


class GiveState:
    """Give an object a state.

    Args:
        path: What messages call the object.
        obj: The object.
        kind: Its kind.
        state: What it is given.

    Raises:
        CheckpointFormatError: If its present state can't be copied: then nothing could be undone.
    """

    def __init__(self, path: str, obj: Any, kind: Kind, state: Any) -> None:
        self.path = path
        self._obj, self._kind, self._state = obj, kind, state
        try:
            former = kind.take(obj)
            # Objects inside keep their identity: each has its own change.
            inside = {id(inner): inner for inner in objects_in(former)}
            self._former = copy.deepcopy(former, inside)
        except MemoryError:
            raise
        except Exception as exc:
            raise CheckpointFormatError(
                f"{path}: the present state of {type(obj).__name__} can't be copied, so that a "
                f"restore that fails could not be undone: {describe(exc)}"
            ) from exc

    def do(self) -> None:
        """Give the state."""
        try:
            self._kind.give(self._obj, self._state)
        except MemoryError:
            raise
        except Exception as exc:
            raise CheckpointFormatError(
                f"{self.path}: {type(self._obj).__name__} did not take the saved state: {text_of(exc)}"
            ) from exc

    def undo(self) -> None:
        """Give the former state back."""
        self._kind.give(self._obj, self._former)

    def __str__(self) -> str:
        return f"{self.path} ({type(self._obj).__name__})"


def objects_in(state: Any) -> list[Any]:
    """Return the objects that have state inside a state, not those inside them."""
    found = []
    stack = [state]
    seen = set()
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if not is_array(item) and kind_of(item) is not None:
            found.append(item)
        elif is_container(item):
            stack.extend(value for _, value in members(item))
    return found


class Refill:
    """Give a list, deque, mapping or the attributes of an object other members."""

    def __init__(self, container: Any, content: Any) -> None:
        self._container = container
        self._content = content
        self._former = _content_of(container)

    def do(self) -> None:
        """Put the new members in."""
        try:
            _fill(self._container, self._content, self._former)
        except (AttributeError, TypeError, ValueError) as exc:
            raise CheckpointFormatError(
                f"{self} did not take its new members: {text_of(exc)}"
            ) from exc

    def undo(self) -> None:
        """Put the former members back."""
        _fill(self._container, self._former, self._content)

    def __str__(self) -> str:
        what = self._container
        return repr(what) if type(what) is Attributes else f"a {type(what).__name__}"


def _content_of(container: Any) -> Any:
    if type(container) is Attributes:
        return container.current()
    return dict(container) if isinstance(container, Mapping) else list(container)


def _fill(container: Any, content: Any, other: Any) -> None:
    """Make ``content`` the members; ``other`` is what may stand there besides."""
    if type(container) is Attributes:
        for name, value in content.items():
            setattr(container.target, name, value)
        for name in other.keys() - content.keys():
            if hasattr(container.target, name):
                delattr(container.target, name)
    elif isinstance(container, MutableMapping):
        if list(container) != list(content):
            for key in [*container]:
                del container[key]
        for key, value in content.items():  # never update(): that of a Counter adds
            container[key] = value
    elif isinstance(container, deque):
        container.clear()
        container.extend(content)
    else:
        container[:] = content


class Refills:
    """Which containers get which members; one that is reached twice gets the same twice.

    Attributes:
        changes: What is to be done.
        separated: A sentence for each container that stood in two places and no longer will.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any]] = {}
        self._shared: dict[tuple[int, type], tuple[Any, Any]] = {}
        self.changes: list[Refill] = []
        self.separated: list[str] = []

    def container(
        self, live: Any, content: Any, path: str = "", *, replaceable: bool = True
    ) -> Any:
        """Return what stands where ``live`` is when it has the members ``content``: it, or another.

        Raises:
            CheckpointMismatchError: If it can't be refilled, and not be replaced either.
        """
        if isinstance(live, tuple) or not _can_refill(live, content):
            if _identical(live, content):
                return live
            if not replaceable:
                raise CheckpointMismatchError(
                    f"{path}: a {type(live).__name__} that can't be replaced here; nothing was "
                    f"restored"
                )
            return self.shared(live, replace_members(live, content))
        known = self._known.get(id(live))
        if known is None:
            self._known[id(live)] = (live, content)
            if not _identical(live, content):
                self.changes.append(Refill(live, content))
            return live
        if same_value(known[1], content):
            return live
        if not replaceable:
            raise CheckpointMismatchError(
                f"{path}: one {type(live).__name__} stands in two places, and two were saved that "
                f"differ; nothing was restored"
            )
        self.separated.append(
            f"{path}: one {type(live).__name__} stood in two places, and two were saved that "
            f"differ; they are two now"
        )
        return replace_members(live, content)

    def shared(self, live: Any, value: Any) -> Any:
        """Return ``value``, or an equal one that stands for the same ``live`` already."""
        key = (id(live), type(value))
        known = self._shared.get(key)
        if known is not None and same_value(known[1], value):
            return known[1]
        self._shared[key] = (live, value)
        return value


def _can_refill(live: Any, content: Any) -> bool:
    if isinstance(live, MutableMapping):
        return isinstance(content, dict)
    if isinstance(live, deque) and live.maxlen is not None and len(content) > live.maxlen:
        raise CheckpointMismatchError(
            f"a deque of at most {live.maxlen} members can't take the {len(content)} that were "
            f"saved; nothing was restored"
        )
    return isinstance(live, (list, deque)) and isinstance(content, (list, tuple))


def _identical(live: Any, content: Any) -> bool:
    if len(live) != len(content):
        return False
    if isinstance(live, Mapping):
        pairs = zip(live.items(), content.items(), strict=True)
        return all(a[0] == b[0] and a[1] is b[1] for a, b in pairs)
    return all(a is b for a, b in zip(live, content, strict=True))


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are the same in type and content, arrays and NaNs bit for bit."""
    if one is other:
        return True
    if is_array(one) and is_array(other):
        if type(one) is not type(other) or one.shape != other.shape or one.dtype != other.dtype:
            return False
        return to_numpy(one).tobytes() == to_numpy(other).tobytes()
    if type(one) is not type(other):
        return False
    if type(one) is Attributes:
        return False  # compared by identity above
    if is_container(one):
        return len(one) == len(other) and all(
            a[0] == b[0] and same_value(a[1], b[1])
            for a, b in zip(members(one), members(other), strict=True)
        )
    if isinstance(one, (float, np.generic)):
        return np.asarray(one).tobytes() == np.asarray(other).tobytes()
    return same_plain(one, other)
