"""Entries of a mapping that are state each by itself, and that a program may replace."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol

from runloop.state.decode import ABSENT
from runloop.state.kinds import is_array, is_container, kind_of, members

__all__ = ["Entries", "SetEntry", "form"]


class Entries(Protocol):
    """The entries of one mapping."""

    @property
    def owner(self) -> MutableMapping[str, Any]:
        """The mapping."""

    def entry_names(self) -> frozenset[str]:
        """Return the names of the entries that are attached each by itself."""

    def of_any_form(self, companions: Mapping[str, Any]) -> frozenset[str]:
        """Return the names of the entries that take any shape, dtype or value of a checkpoint.

        Args:
            companions: The nodes of the companions in its document.
        """

    def misfits(self, companions: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Return the names of other entries that a checkpoint lacks, and of those it has too many.

        Args:
            companions: The nodes of the companions in its document.
        """


class SetEntry:
    """Give a mapping another entry, or none with ``ABSENT``.

    Args:
        owner: The mapping.
        name: The key.
        value: What will stand there.
    """

    def __init__(self, owner: MutableMapping[str, Any], name: str, value: Any) -> None:
        self._owner, self._name, self._value = owner, name, value
        self._former = owner.get(name, ABSENT)

    def do(self) -> None:
        """Set it."""
        self._set(self._value)

    def undo(self) -> None:
        """Set it to what was there."""
        self._set(self._former)

    def _set(self, value: Any) -> None:
        if value is ABSENT:
            self._owner.pop(self._name, None)
        else:
            self._owner[self._name] = value

    def __str__(self) -> str:
        return f"the entry {self._name!r}"


def form(obj: Any) -> dict[str, str]:
    """Return ``{path: form}`` of the arrays and the objects with state in ``obj``."""
    found: dict[str, str] = {}
    _note(found, "", obj, [])
    return found


def _note(found: dict[str, str], path: str, obj: Any, above: list[int]) -> None:
    if is_array(obj):
        found[path] = f"{obj.dtype} {tuple(obj.shape)}"
        return
    kind = kind_of(obj)
    if kind is not None:
        found[path] = kind.name
    elif is_container(obj) and id(obj) not in above:
        for key, item in members(obj):
            _note(found, f"{path}/{key}", item, [*above, id(obj)])
