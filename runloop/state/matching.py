"""The way back of ``state``: from tensors and JSON into the objects that are there.

:class:`Matching` walks the objects and the document side by side and only takes notes: what fits,
what is missing, unexpected or mismatched, what will have to be read, called and replaced. Nothing
is touched until :meth:`Matching.load_objects` and :meth:`Matching.put_back` are called, and
:meth:`Matching.decode` before them finds what in the document can't be understood.

Arrays are matched by name; shape and dtype must fit. Numbers, strings and ``None`` are data: they
are replaced by what was saved, with the keys and lengths of the mappings and lists that hold
nothing else. So is whatever was ``None`` or empty on either side: what is filled in later is there
after a restart, and gone after a return to before.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from runloop.state.decode import TensorSource, decode, references, tag_of
from runloop.state.dtypes import same_but_for_order
from runloop.state.kinds import KINDS, is_array, kind_of, load_state, state_of
from runloop.state.pack import to_numpy

__all__ = [
    "ABSENT",
    "Matching",
    "Read",
]


class _Absent:
    """The node of what the document does not mention."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


class Read(NamedTuple):
    """One array to restore.

    Attributes:
        source_name: The tensor in the file.
        name: What it is called here.
        current: The array that is there, of NumPy or of another library.
        put: Takes a new array, for when ``current`` can't be written into; ``None`` if nothing
            can be put in its place.
    """

    source_name: str
    name: str
    current: Any
    put: Callable[[Any], None] | None


class Matching:
    """The notes of one restore.

    Args:
        source: The open checkpoint.
        source_name: Gives the name in the file for a name here.
        wanted: Whether something with this name is to be restored at all.

    Attributes:
        reads: The arrays to restore.
        missing: Names of arrays here that the file has nothing for.
        missing_objects: Names of objects with a state of their own, likewise.
        unexpected: Names in the file that have no place here.
        mismatched: ``{name: what differs}``.
        restored: Names of what is restored otherwise than by a read.
    """

    def __init__(
        self,
        source: TensorSource,
        source_name: Callable[[str], str],
        wanted: Callable[[str], bool],
    ) -> None:
        self.reads: list[Read] = []
        self.missing: list[str] = []
        self.missing_objects: list[str] = []
        self.unexpected: list[str] = []
        self.mismatched: dict[str, str] = {}
        self.restored: list[str] = []
        self.used: set[str] = set()
        self._source = source
        self._source_name = source_name
        self._wanted = wanted
        self._names: set[str] = set()
        # What each is given at the end, as a node until it is decoded; ABSENT if that is nothing.
        self._objects: list[tuple[str, Any, str, Any]] = []
        self._puts: list[tuple[Callable[[Any], None], Any]] = []

    # -- the walk -------------------------------------------------------------------------------

    def array(
        self,
        name: str,
        current: Any,
        put: Callable[[Any], None] | None,
        *,
        validate: bool = True,
    ) -> None:
        """Note an array of the session, to be found in the file by its name."""
        if not self._wanted(name):
            return
        source_name = self._source_name(name)
        spec = self._source.spec(source_name)
        if spec is None:
            self.missing.append(name)
            return
        self.used.add(source_name)
        shape, dtype = spec
        here = tuple(current.shape)
        have = to_numpy(current).dtype
        if validate and (shape != here or not same_but_for_order(dtype, have)):
            self.mismatched[name] = f"expected {have} {here}, found {dtype} {shape}"
            return
        self.reads.append(Read(source_name, name, current, put))

    def tree(
        self, path: str, current: Any, node: Any, put: Callable[[Any], None] | None = None
    ) -> None:
        """Note a state object, or a part of one, beside its node in the document."""
        if is_array(current):
            self._array_leaf(path, current, node, put)
            return
        kind = kind_of(current)
        if kind is not None:
            self._object(path, current, kind, node)
        elif isinstance(current, (Mapping, list, tuple)) and not self._is_data(current, node):
            self._container(path, current, node, put)
        elif node is not ABSENT:
            self.used.update(references(node))
            if self._wanted(path):
                self._replace(path, current, node, put)

    def _array_leaf(
        self, path: str, current: Any, node: Any, put: Callable[[Any], None] | None
    ) -> None:
        name, count = path, 1
        while name in self._names:
            count += 1
            name = f"{path}#{count}"
        self._names.add(name)
        if node is None and put is not None:
            if self._wanted(name):
                self._puts.append((put, None))
                self.restored.append(name)
            return
        self.array(name, current, put)

    def _object(self, path: str, current: Any, kind: str, node: Any) -> None:
        self.used.update(references(node))  # also if it is left out: they are its own
        if not self._wanted(path):
            return
        if node is ABSENT:
            self.missing_objects.append(path)
            return
        saved = node["$object"] if tag_of(node) == "$object" else None
        if not isinstance(saved, list) or len(saved) != 2:
            self.mismatched[path] = f"expected the state of a {type(current).__name__}"
            return
        found, inner = saved
        if found not in KINDS or found != kind:
            self.mismatched[path] = f"expected the state of a {kind}, found that of a {found!r:.40}"
            return
        if kind == "Generator":
            have = type(current.bit_generator).__name__
            saved = inner.get("bit_generator") if isinstance(inner, dict) else None
            if saved != have:
                self.mismatched[path] = f"expected bit generator {have}, found {saved!r:.40}"
                return
        self._objects.append((path, current, kind, inner))
        self.restored.append(path)

    def _is_data(self, current: Any, node: Any) -> bool:
        """Whether a container is replaced as a whole."""
        if node is ABSENT:
            return False
        if len(current) == 0 or node in (None, [], {}):
            return True
        return not _has_arrays(current) and not any(True for _ in references(node))

    def _container(
        self, path: str, current: Any, node: Any, put: Callable[[Any], None] | None
    ) -> None:
        nodes = _members(current, node)
        if nodes is None:
            self.mismatched[path] = f"expected a {type(current).__name__}, found another structure"
            nodes = {}
        items = dict(current) if isinstance(current, Mapping) else dict(enumerate(current))
        is_tuple = isinstance(current, tuple)
        for key, value in items.items():
            below = f"{path}/{key}"
            inner = nodes.pop(key, ABSENT)
            if inner is ABSENT and node is not ABSENT and not _has_arrays(value):
                if isinstance(current, dict) and self._wanted(below):
                    self._puts.append((_popper(current, key), ABSENT))
                continue
            target: Any = items if is_tuple else current
            writable = hasattr(target, "__setitem__") and (not is_tuple or put is not None)
            self.tree(below, value, inner, _setter(target, key) if writable else None)
        for key, inner in nodes.items():
            self._extra(f"{path}/{key}", current, key, inner)
        if is_tuple and put is not None:
            make = getattr(type(current), "_make", type(current))
            self._puts.append((lambda _: put(make(items.values())), ABSENT))

    def _extra(self, path: str, current: Any, key: Any, node: Any) -> None:
        """Note what the file has and the container here has not."""
        names = list(references(node))
        if names or not isinstance(current, dict):
            self.used.update(names)
            if self._wanted(path):
                self.unexpected.extend(names or [path])
        elif self._wanted(path):
            self._puts.append((_setter(current, key), node))
            self.restored.append(path)

    def _replace(
        self, path: str, current: Any, node: Any, put: Callable[[Any], None] | None
    ) -> None:
        if isinstance(current, list) and isinstance(node, list):
            self._puts.append((_setter(current, slice(None)), node))
        elif isinstance(current, dict) and (tag_of(node) in (None, "$dict")) and node is not None:
            self._puts.append((lambda content: _refill(current, content), node))
        elif put is not None:
            make = type(current)._make if hasattr(current, "_make") else None  # a named tuple
            self._puts.append(((lambda value: put(make(value))) if make else put, node))
        else:
            self.mismatched[path] = f"a {type(current).__name__} that can't be replaced here"
            return
        self.restored.append(path)

    # -- the deed -------------------------------------------------------------------------------

    def decode(self) -> None:
        """Build what the objects and containers will be given; touches nothing.

        Raises:
            ValueError: If the document has something else than :func:`runloop.state.pack` makes.
            CheckpointError: If a tensor can't be read.
        """
        source = self._source
        self._objects = [
            (path, obj, kind, decode(node, source)) for path, obj, kind, node in self._objects
        ]
        self._puts = [
            (put, node if node is ABSENT else decode(node, source)) for put, node in self._puts
        ]

    def load_objects(self) -> None:
        """Give the objects with a state of their own what was saved; all of them or none.

        After :meth:`decode`.

        Raises:
            ValueError: If one does not take it; the others have their former state again.
        """
        done: list[tuple[Any, str, Any]] = []
        for path, obj, kind, state in self._objects:
            done.append((obj, kind, copy.deepcopy(state_of(obj, kind))))
            try:
                load_state(obj, kind, state)
            except Exception as exc:
                for other, its_kind, former in reversed(done):
                    load_state(other, its_kind, former)
                raise ValueError(
                    f"{path}: {type(obj).__name__} did not take the saved state: {exc}"
                ) from exc

    def put_back(self) -> None:
        """Replace what is replaced and not written into; after :meth:`decode`."""
        for put, value in self._puts:
            put(value)


def _has_arrays(value: Any) -> bool:
    """Whether an array or an object with a state of its own is in ``value``."""
    if is_array(value) or kind_of(value) is not None:
        return True
    if isinstance(value, Mapping):
        return any(_has_arrays(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(_has_arrays(item) for item in value)


def _members(current: Any, node: Any) -> dict[Any, Any] | None:
    """Return the nodes of a container's members by key or index, ``None`` if it is another kind."""
    if node is ABSENT:
        return {}
    tag = tag_of(node)
    if isinstance(current, Mapping):
        if tag is None and isinstance(node, dict):
            return dict(node)
        if tag != "$dict":
            return None
        try:
            return {decode(key, _NOTHING): item for key, item in node["$dict"]}
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


def _setter(container: Any, key: Any) -> Callable[[Any], None]:
    def put(value: Any) -> None:
        container[key] = value

    return put


def _popper(container: dict[Any, Any], key: Any) -> Callable[[Any], None]:
    def pop(_: Any) -> None:
        del container[key]

    return pop


def _refill(container: dict[Any, Any], content: dict[Any, Any]) -> None:
    container.clear()
    container.update(content)
