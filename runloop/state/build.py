"""New values for places, built beside what is there; nothing is touched before its changes are made.

Where a list, dict, deque or object with state is there, it stays: what is built is a note of what
it will hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from runloop.errors import CheckpointMismatchError
from runloop.messages import describe, text_of
from runloop.state.attributes import Attributes
from runloop.state.changes import Change, GiveState, Refill, Refills, same_value
from runloop.state.decode import ABSENT, Decoder, TensorSource, decode, keyed, same_plain, tag_of
from runloop.state.kinds import Kind, is_array, is_container, kind_named, kind_of
from runloop.state.subclasses import can_be_made, what_only_the_program_makes

__all__ = ["Builder", "node_members", "unmakeable"]


class _States(Decoder):
    """Builds the states of objects; objects inside a state are given theirs and stay."""

    def __init__(self, source: TensorSource, builder: Builder) -> None:
        super().__init__(source)
        self._builder = builder

    def object(self, kind: str, node: Any, live: Any) -> Any:
        """Return the state, or the object inside the state that is there."""
        mine = None if live is ABSENT or is_array(live) else kind_of(live)
        if mine is not None and mine.name == kind and mine.misfit(live, node) is None:
            return self._builder.object_in_place("an object inside a state", live, mine, node)
        made = self.value(node)
        found = kind_named(kind)
        if found is None:
            raise ValueError(f"unknown kind of object {kind!r:.40}")
        return made


class Builder(Decoder):
    """Builds values for places; lists and dicts that are there are refilled and stay."""

    def __init__(self, source: TensorSource) -> None:
        super().__init__(source)
        self.refills = Refills()
        self.states: list[GiveState] = []
        self.set_attributes: list[Change] = []
        self._plain: dict[tuple[int, type, Any], Any] = {}
        self._given: dict[int, tuple[Any, Any]] = {}
        self._holding: list[Any] = []
        self._path = ""

    def value(self, node: Any, live: Any = ABSENT, path: str | None = None) -> Any:
        """Return the value of a node; ``path`` is what messages call its place."""
        if path is not None:
            self._path = path
        return super().value(node, live)

    def plain(self, value: Any, live: Any) -> Any:
        """Return a plain value: the one that is there, if it is the same."""
        if live is ABSENT or value is None or type(value) is bool:
            return value
        if same_plain(live, value):
            return live
        # What was one object in two places is one object again.
        value = super().plain(value, live)
        self._holding.append(live)
        return self._plain.setdefault((id(live), type(value), value), value)

    def keep(self, live: Any, value: Any) -> Any:
        """Return the container that is there, and note its members."""
        return self.refills.container(live, value, self._path)

    def object(self, kind: str, node: Any, live: Any) -> Any:
        """Return the object that is there, and note its state."""
        if type(live) is Attributes and kind == "attributes":
            there = live.current()
            nodes = node_members({}, node) or {}
            self.attributes(
                live, {n: self.value(x, there.get(n, ABSENT)) for n, x in nodes.items()}
            )
            return live
        mine = None if live is ABSENT or is_array(live) else kind_of(live)
        if mine is not None and mine.name == kind and mine.misfit(live, node) is None:
            return self.object_in_place(self._path, live, mine, node)
        raise ValueError(
            f"{self._path}: the checkpoint holds the state of an object there ({kind!r:.40}), and "
            f"none is there that could take it"
        )

    def attributes(self, live: Attributes, content: dict[str, Any]) -> None:
        """Note what the attributes of an object become."""
        for name in content:
            if not live.takes(name):
                raise ValueError(
                    f"{self._path}: the attribute {name!r:.80} is not one of its names"
                )
        if any(content.get(n, ABSENT) is not v for n, v in live.current().items()) or any(
            n not in live.current() for n in content
        ):
            self.set_attributes.append(Refill(live, content))

    def object_in_place(self, path: str, live: Any, kind: Kind, node: Any) -> Any:
        """Note the state that an object is given; it stays where it is."""
        template = ABSENT
        if kind.name in {"state_dict", "get_state"}:
            try:
                template = kind.take(live)
            except MemoryError:
                raise
            except Exception as exc:
                raise ValueError(
                    f"{path}: the present state of {type(live).__name__} can't be taken: "
                    f"{describe(exc)}"
                ) from exc
        state = _States(self.source, self).value(node, template)
        try:
            kind.check(live, state)
        except ValueError as exc:
            raise ValueError(f"{path}: {text_of(exc)}") from exc
        known = self._given.get(id(live))
        if known is not None:
            if not same_value(known[1], state):
                raise CheckpointMismatchError(
                    f"{path}: the {type(live).__name__} there stands in another place, too, and "
                    f"two states were saved that differ; nothing was restored"
                )
            return live
        self._given[id(live)] = (live, state)
        self.states.append(GiveState(path, live, kind, state))
        return live


def unmakeable(node: Any, live: Any) -> str | None:
    """Return why a node can't become a value where ``live`` is: only the program can make some."""
    stack = [(node, live)]
    while stack:
        item, here = stack.pop()
        if type(item) is list:
            there = list(here) if is_container(here) and not isinstance(here, Mapping) else []
            stack.extend(
                (inner, there[i] if i < len(there) else ABSENT)
                for i, inner in enumerate(item)
                if type(inner) in {list, dict}
            )
            continue
        if type(item) is not dict:
            continue
        tag = tag_of(item)
        if tag is None:
            mapping = here if isinstance(here, Mapping) else {}
            stack.extend((v, mapping.get(k, ABSENT)) for k, v in item.items())
        elif tag == "$tuple":
            stack.append((item[tag], here))
        elif tag == "$object" and type(item[tag]) is list and len(item[tag]) == 2:
            kind = None if here is ABSENT or is_array(here) else kind_of(here)
            if kind is None or kind.name != item[tag][0]:
                return f"found the state of a {item[tag][0]!r:.40}, which nothing here can take"
        elif tag == "$dict" and isinstance(item[tag], list):
            stack.extend(
                (pair[1], ABSENT) for pair in item[tag] if type(pair) is list and len(pair) == 2
            )
        elif tag == "$as" and type(item[tag]) is list and len(item[tag]) == 3:
            name, info, inner = item[tag]
            if not is_container(here) and not can_be_made(
                name, info, is_tuple=tag_of(inner) == "$tuple"
            ):
                return f"found {what_only_the_program_makes(name)}"
            stack.append((inner, here))
    return None


def node_members(live: Any, node: Any) -> dict[Any, Any] | None:
    """Return the nodes of a container's members by key or index, ``None`` if it is another kind."""
    if node is ABSENT:
        return {}
    tag = tag_of(node)
    if tag == "$as":
        given = node[tag]
        if not isinstance(given, list) or len(given) != 3:
            return None
        fields = getattr(live, "_fields", None)
        if isinstance(fields, tuple) and isinstance(given[1], list) and given[1] != [*fields]:
            return None
        node = given[2]
        tag = tag_of(node)
    if isinstance(live, Mapping):
        if tag is None and isinstance(node, dict):
            return dict(node)
        if tag != "$dict":
            return None
        try:
            return keyed((decode(key, _NOTHING), item) for key, item in node["$dict"])
        except (TypeError, ValueError):
            return None
    nodes = node["$tuple"] if tag == "$tuple" else node
    return dict(enumerate(nodes)) if isinstance(nodes, list) else None


class _Nothing:
    """A source without tensors: keys hold none."""

    def spec(self, name: str) -> None:
        del name

    def read(self, name: str) -> np.ndarray[Any, Any]:
        raise ValueError(f"a key can't be the tensor {name!r}")


_NOTHING = _Nothing()
