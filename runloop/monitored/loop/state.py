"""The state that a loop was given: what is saved of it, under which names, and its small part."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from runloop.graph import GLOBAL_STEP, Graph
from runloop.state import check_attachable, is_array, is_stateful
from runloop.state.entries import form
from runloop.state.small import put_small, take_small

__all__ = ["LoopState"]


class LoopState:
    """The state of one loop.

    Args:
        state: A mapping, another state object, a graph with attached state, or ``None``.

    Attributes:
        graph: The graph of the loop's session. An object that is not a mapping is attached to it
            as ``state``.

    Raises:
        TypeError: If ``state`` can't be saved and restored, or has keys that are not strings.
        ValueError: If it has the key ``global_step``.
    """

    def __init__(self, state: Any) -> None:
        self.graph = Graph()
        self._mapping: MutableMapping[str, Any] | None = None
        self._in_place: dict[str, dict[str, str]] = {}
        self._is_single = False
        self._started_with: dict[str, None] = {}
        if isinstance(state, Graph):
            self.graph = state
        elif state is None or isinstance(state, Mapping):
            self._take_mapping({} if state is None else state)
        else:
            check_attachable("state", state)
            self.graph.attach("state", state)
            self._is_single = True

    def _take_mapping(self, state: Mapping[Any, Any]) -> None:
        if not isinstance(state, MutableMapping):
            raise TypeError(
                f"state must be a mapping that can be changed, such as a dict, got a "
                f"{type(state).__name__}"
            )
        for key in state:
            if not isinstance(key, str):
                raise TypeError(f"the keys of state must be strings, got {key!r:.80}")
        if GLOBAL_STEP in state:
            raise ValueError(
                f"state has the key {GLOBAL_STEP!r}: the loop counts its steps itself; read "
                f"loop.global_step, and give yours another name"
            )
        self._mapping = state

    def begin(self) -> None:
        """Note which entries can be restored in place, as the program has them at its start."""
        mapping = self._mapping or {}
        self._in_place = {k: form(v) for k, v in mapping.items() if _is_in_place(v)}
        self._started_with = dict.fromkeys(mapping)

    def attached(self) -> dict[str, Any]:
        """Return what is restored in place, as it is now."""
        mapping = self._mapping or {}
        return {key: mapping[key] for key in self._in_place if key in mapping}

    def entries(self) -> dict[str, tuple[str, str]]:
        """Return by name what messages call it, and how the program can assign it."""
        if self._is_single:
            return {"state": ("state", "give the loop a dict as its state and assign to an entry")}
        return {
            key: (f"state[{key!r}]", f"assign to the entry (state[{key!r}] = ...)")
            for key in self._in_place
        }

    @property
    def owner(self) -> MutableMapping[str, Any]:
        """The mapping, or an empty one."""
        return {} if self._mapping is None else self._mapping

    def entry_names(self) -> frozenset[str]:
        """Return the names of the entries that are restored in place, or else replaced."""
        return frozenset(self._in_place)

    def changed_forms(self) -> dict[str, dict[str, str]]:
        """Return how the program started with each entry whose arrays have another form now."""
        mapping = self.owner
        return {
            key: start
            for key, start in self._in_place.items()
            if key not in mapping or form(mapping[key]) != start
        }

    def of_any_form(self, companions: Mapping[str, Any]) -> frozenset[str]:
        """Return the names of the entries that take any form that a checkpoint has.

        Those whose form the program had changed when it saved, and with which this program starts
        as that one did: of a program that was changed, the restart is refused.
        """
        changed = _saved(companions, "changed_forms")
        return frozenset(k for k, start in self._in_place.items() if changed.get(k) == start)

    def started_with(self) -> dict[str, None]:
        """Return the names of the entries that the program started with."""
        return dict(self._started_with)

    def misfits(self, companions: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Return the numbers and the like that only this program or only the saved one starts with.

        What a program adds or deletes in its passes is neither.
        """
        then, others = _saved(companions, "started_with"), _saved(companions, "others")
        mine = self._started_with
        if not then:
            return [], []
        missing = [k for k in mine if k not in {*then, *others, *self._in_place}]
        return missing, [k for k in others if k in then and k not in mine]

    def others(self) -> dict[str, Any]:
        """Return the entries that are replaced: numbers, strings, ``None``, what came later.

        Raises:
            TypeError: If one came later and is an object, which a restart could not make.
        """
        found = {}
        for key, value in (self._mapping or {}).items():
            if key not in self._in_place:
                if _holds_objects(value):
                    raise TypeError(
                        f"state[{key!r}] can't be saved: a restart can't make a "
                        f"{type(value).__name__}; put it into the state before the loop begins"
                    )
                found[key] = value
        return found

    def put_others(self, values: Mapping[str, Any]) -> None:
        """Replace the entries that :meth:`others` returned, and drop those that came later."""
        if self._mapping is None:
            return
        for key in [*self._mapping]:
            if key not in self._in_place and key not in values:
                del self._mapping[key]
        self._mapping.update(values)

    def __contains__(self, name: str) -> bool:
        return name in (self._mapping or ())

    def __getitem__(self, name: str) -> Any:
        return (self._mapping or {})[name]

    def names(self) -> list[str]:
        """Return the names of the entries, and of everything in the graph."""
        return [*(self._mapping or ()), *self.graph.elements]

    def take_small(self) -> str:
        """Return the small state as it is now, as JSON."""
        return json.dumps(take_small("state", self._whole()))

    def put_small(self, text: str) -> None:
        """Put the small state back to what :meth:`take_small` returned."""
        put_small("state", self._whole(), json.loads(text))

    def _whole(self) -> Any:
        return dict(self.graph.attached) if self._mapping is None else self._mapping

    def holds(self, obj: Any) -> bool:
        """Whether ``obj`` itself is part of the state."""
        return any(obj is item for item in _objects(self._whole()))


def _saved(companions: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """Return a part of what a loop noted in a document; nothing if it is not from a loop."""
    try:
        found = companions["loop"]["$object"][1][what]
    except (IndexError, KeyError, TypeError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _is_in_place(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(is_array(item) or is_stateful(item) for item in value)
    return isinstance(value, (Mapping, list)) or is_array(value) or is_stateful(value)


def _holds_objects(value: Any) -> bool:
    if is_array(value):
        return False
    if is_stateful(value):
        return True
    if isinstance(value, Mapping):
        return any(map(_holds_objects, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_holds_objects, value))


def _objects(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _objects(item)
    elif hasattr(value, "current") and hasattr(value, "target"):  # rl.attributes
        yield from _objects(value.current())
