"""State that is not what it seems, found at the save that sees it.

Two mistakes lose training without an error. An attached object was *rebound*: the program trains a
new array, and the old one is saved again and again. Or the state *drifted*: a checkpoint is written
that the same program, started again, would refuse.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from runloop.state.arrays import is_key, to_numpy
from runloop.state.decode import reference_of, tag_of
from runloop.state.kinds import GENERATOR_KINDS, is_array, is_container, kind_of, members
from runloop.state.matching import Matching
from runloop.state.subclasses import replace_members

__all__ = ["Watch"]

_SAMPLED_ARRAYS = 8
_SAMPLED_ITEMS = 256  # from the beginning and the end of each


class Watch:
    """Remembers what a program starts with and what it saved last.

    One belongs to each graph: attached state outlives a session.
    """

    def __init__(self) -> None:
        self._first: dict[str, Any] = {}
        self._said: set[tuple[str, str | None]] = set()
        self._samples: dict[str | None, tuple[int, dict[str, int]]] = {}
        self._moving: dict[str | None, str] = {}
        self._forms: dict[str, tuple[Any, list[str]]] = {}

    def start(self, attached: Mapping[str, Any]) -> None:
        """Note the form of what is attached; called before the first save or restore changes it."""
        for name, obj in attached.items():
            if name not in self._first:
                self._first[name] = _skeleton(obj)

    def look(
        self,
        attached: Mapping[str, Any],
        nodes: Mapping[str, Any],
        tensors: Mapping[str, np.ndarray[Any, Any]],
        step: int | None,
        *,
        form: Any,
        constant: Iterable[str],
        entries: Mapping[str, tuple[str, str]],
        replaceable: frozenset[str],
        first_change: Callable[[Sequence[str]], str | None],
    ) -> list[str]:
        """Return what a save is to warn of, each once for a name.

        Args:
            attached: What is attached, by name.
            nodes: Its nodes in the document.
            tensors: The arrays that are saved, by name.
            step: The global step.
            form: The same object as long as names, shapes and dtypes of the tensors are the same.
            constant: Names whose arrays are meant to stay as they are.
            entries: ``{name: (what it is called, how to assign it)}`` of what a loop's state holds:
                its entries are read at every save. Arrays that are entries themselves are judged
                together: a data set beside weights that change is fine.
            replaceable: Names that a restore can give another form.
            first_change: Gives the first tensor of these names that is not bit for bit that of the
                last save, ``None`` if none has changed; asked only if samples are the same, for it
                reads the header of a checkpoint.
        """
        found = []
        for name, obj in attached.items():
            if name not in nodes:
                continue
            before, kinds = self._forms.get(name, (None, [])), _types(nodes[name])
            self._forms[name] = (form, kinds)
            is_known = before[0] is form and before[1] == kinds
            if not is_known and name not in replaceable and ("drift", name) not in self._said:
                problem = self._drift(name, nodes[name], tensors)
                if problem is not None:
                    self._said.add(("drift", name))
                    found.append(problem)
            if name in constant or kind_of(obj) is not None or step is None:
                continue
            if name in entries and _is_direct(obj):
                continue
            mine = list(_own_tensors(nodes[name]))
            last = self._stale_since(name, mine, tensors, step, first_change)
            if last is not None:
                if name in entries:
                    what, how = entries[name]
                    found.append(_entry_text(what, mine, last, step, how))
                else:
                    found.append(_attached_text(name, mine, last, step))
        direct = [name for name in entries if _is_direct(attached.get(name)) and name in nodes]
        is_said = any(("rebound", name) in self._said for name in entries)
        if direct and step is not None and not is_said:
            # What mostly changes comes first, so that the comparison ends early.
            order = [*(name for name in nodes if name not in direct), *direct]
            whole = [t for name in order for t in _own_tensors(nodes[name], with_objects=True)]
            last = self._stale_since(None, whole, tensors, step, first_change)
            if last is not None:
                mine = [t for name in direct for t in _own_tensors(nodes[name])]
                _, how = entries[direct[0]]
                found.append(_entry_text("state", mine, last, step, how))
        return found

    def _drift(
        self, name: str, node: Any, tensors: Mapping[str, np.ndarray[Any, Any]]
    ) -> str | None:
        matching = Matching(_Saved(tensors), lambda known: known, lambda _: True)
        matching.tree(name, self._first[name], node)
        problems = [f"{path}: {why}" for path, why in matching.mismatched.items()]
        problems += [f"{path} is not there any more" for path in matching.missing]
        problems += [f"{path} is not there any more" for path in matching.missing_objects]
        problems += [f"{path} was not there" for path in matching.unexpected]
        if not problems:
            return None
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return (
            f"attached {name!r} has changed its form since the program started, and a strict restore "
            f"into what it starts with would refuse this checkpoint: {problems[0]}{more}. Give it its "
            f"final shapes, dtypes and keys from the start, begin with None or an empty container, or "
            f"attach runloop.attributes(...), which accepts any form"
        )

    def _stale_since(
        self,
        name: str | None,
        mine: list[str],
        tensors: Mapping[str, np.ndarray[Any, Any]],
        step: int,
        first_change: Callable[[Sequence[str]], str | None],
    ) -> int | None:
        """Return the step of the last save if nothing changed since then, once for a name."""
        if ("rebound", name) in self._said:
            return None
        chosen = mine[:: -(-len(mine) // _SAMPLED_ARRAYS)] if mine else []
        before = self._samples.get(name)
        moving = self._moving.get(name)
        if moving is not None and moving in tensors:
            chosen.append(moving)
        samples = {tensor: _sample(tensors[tensor]) for tensor in chosen}
        self._samples[name] = (step, samples)
        if not mine or before is None or before[0] >= step or before[1] != samples:
            return None
        changed = first_change(mine)
        if changed is not None:
            # Most of a model may be frozen. What does change is looked at from now on.
            self._moving[name] = changed
            samples[changed] = _sample(tensors[changed])
            return None
        self._said.add(("rebound", name))
        return before[0]


def _attached_text(name: str, mine: list[str], before: int, step: int) -> str:
    return (
        f"attached {name!r}: none of its arrays ({_some(mine)}) changed between the saves at steps "
        f"{before} and {step}. Was it rebound? What is saved is the object that was attached: change "
        f"it in place, or attach runloop.attributes(owner, names). graph.attach({name!r}, ..., "
        f"constant=True) says that it is meant"
    )


def _entry_text(what: str, mine: list[str], before: int, step: int, how: str) -> str:
    return (
        f"{what}: none of its arrays ({_some(mine)}) changed between the saves at steps {before} and "
        f"{step}. Was it rebound? What is saved is the object in the loop's state: change it in "
        f"place, {how}, or put runloop.attributes(owner, names) into the state. Leave what never "
        f"changes out of the state"
    )


def _some(names: list[str]) -> str:
    return f"{names[0]}{', ...' if len(names) > 1 else ''}"


def _is_direct(obj: Any) -> bool:
    """Whether it is an array, or a tuple of arrays, which nothing but its entry can replace."""
    return is_array(obj) or (type(obj) is tuple and all(map(is_array, obj)))


def _types(node: Any) -> list[str]:
    """Return the names of the types and kinds in a node, which no tensor shows."""
    found = []
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            tag = tag_of(item)
            if tag in {"$as", "$object"}:
                found.append(item[tag][0])
            if tag != "$object":
                stack.extend(item.values())
    return found


def _own_tensors(node: Any, *, with_objects: bool = False) -> Iterator[str]:
    """Yield the tensors of a node, without those in the state of an object inside it.

    Args:
        node: A node in the document.
        with_objects: Whether to yield these, too, but for generators: they always change.
    """
    stack = [node]
    while stack:
        item = stack.pop()
        name = reference_of(item)
        if name is not None:
            if tag_of(item) != "$bytes":
                yield name
        elif isinstance(item, dict):
            if tag_of(item) != "$object":
                stack.extend(item.values())
            elif with_objects and item["$object"][0] not in GENERATOR_KINDS:
                stack.extend(item["$object"][1:])
        elif isinstance(item, list):
            stack.extend(item)


def _sample(array: np.ndarray[Any, Any]) -> int:
    if array.size > 2 * _SAMPLED_ITEMS:
        first, last = array.flat[:_SAMPLED_ITEMS], array.flat[-_SAMPLED_ITEMS:]
        return zlib.crc32(last.tobytes(), zlib.crc32(first.tobytes()))
    return zlib.crc32(array.tobytes())


def _skeleton(obj: Any) -> Any:
    """Return the form of a state object: its containers, with arrays that take no memory."""
    if is_array(obj):
        if is_key(obj):
            return obj
        array = to_numpy(obj)
        return np.broadcast_to(np.empty((), array.dtype), array.shape)
    if kind_of(obj) is not None or not is_container(obj):
        return obj
    whole: Any = {key: _skeleton(item) for key, item in members(obj)}
    if isinstance(obj, Mapping):
        return whole
    return replace_members(
        obj, tuple(whole.values()) if isinstance(obj, tuple) else [*whole.values()]
    )


class _Saved:
    """What is saved, as the source of a restore."""

    def __init__(self, tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self._tensors = tensors

    def spec(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
        """Shape and dtype of a tensor, ``None`` without one of this name."""
        array = self._tensors.get(name)
        return None if array is None else (array.shape, array.dtype)

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Return a tensor."""
        return self._tensors[name]
