"""A checkpoint beside the objects that it goes into: what fits, and what will be changed.

:class:`Matching` walks the objects and the document side by side and only takes notes: what fits,
what is missing, unexpected or mismatched, which arrays must be read. :meth:`Matching.stage` then
builds everything that is new, and nothing is touched before :func:`~runloop.state.changes.make_all`
gets its changes.

A tensor is found by the name that the document gives for its place; by its own name in a file
without document, or where a name is translated. Shape and dtype must fit. Numbers, strings and
``None`` are data: they are replaced by what was saved, with the keys and lengths of the mappings and
lists that hold nothing else. So is what was ``None`` or empty on either side: what is filled in
later is there after a restart, and gone after a return to before. Attributes accept anything.

Lists, dicts, deques and arrays stay the objects that they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from runloop.errors import CheckpointMismatchError
from runloop.state.arrays import is_key, key_implementation, to_numpy
from runloop.state.attributes import Attributes
from runloop.state.build import Builder, node_members, unmakeable
from runloop.state.changes import Change
from runloop.state.decode import (
    ABSENT,
    TensorSource,
    reference_of,
    references,
    tag_of,
)
from runloop.state.dtypes import same_but_for_order
from runloop.state.entries import SetEntry
from runloop.state.kinds import (
    STATE_DICT,
    Kind,
    has_arrays,
    is_array,
    is_container,
    kind_of,
    members,
)
from runloop.state.pack import pack

__all__ = ["ABSENT", "Matching", "Read"]

#: Makes, while a restore is staged, what is put in a place; ``None`` keeps what is there.
_Make = Callable[[], Any] | None


class Read:
    """One array to restore.

    Attributes:
        source_name: The tensor in the file.
        name: What it is called here.
        current: The array that is there, of NumPy or another library.
        seen: The same, as NumPy sees it.
        fits: Whether the tensor has its shape, and its dtype but for the byte order.
        replaceable: Whether another array can be put in its place.
        in_place: Whether it may be written into where it is.
        value: What stands in its place after the restore; set when the restore is staged.
    """

    __slots__ = (
        "current", "fits", "in_place", "name", "replaceable", "seen", "source_name", "value",
    )  # fmt: skip

    def __init__(
        self,
        source_name: str,
        name: str,
        current: Any,
        seen: Any,
        *,
        fits: bool,
        replaceable: bool,
        in_place: bool,
    ) -> None:
        self.source_name = source_name
        self.name = name
        self.current = current
        self.seen = seen
        self.fits = fits
        self.replaceable = replaceable
        self.in_place = in_place
        self.value: Any = ABSENT


class Matching:
    """The notes of one restore.

    Args:
        source: The open checkpoint.
        source_name: Gives the name in the file for a name here.
        wanted: Whether something with this name is to be restored at all.

    Attributes:
        reads: The arrays to restore.
        missing: Names of arrays here that the file has nothing for.
        missing_objects: Names of objects with state, likewise.
        unexpected: Names in the file that have no place here.
        mismatched: ``{name: what differs}``.
        restored: Names of what is restored otherwise than by a read.
        used: Names of the tensors in the file that have a place here.
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
        self._by_name = True
        self._roots: list[_Make] = []
        self._walk_above: set[int] = set()
        self._builder = Builder(source)
        self._entries: list[Change] = []

    # -- the walk -------------------------------------------------------------------------------

    def variable(self, name: str, current: Any, *, validate: bool = True) -> Read | None:
        """Note a variable, to be found in the file by its name; ``None`` if it can't be read."""
        return self._read(
            name,
            self._source_name(name),
            current,
            replaceable=True,
            in_place=False,
            any_form=not validate,
        )

    def entry(
        self, owner: MutableMapping[str, Any], name: str, node: Any, *, any_form: bool
    ) -> None:
        """Note an entry of ``owner``, which is replaced where it can't be restored in place.

        Args:
            owner: The mapping.
            name: The key.
            node: Its node in the document; :data:`ABSENT` without one.
            any_form: Whether shapes, dtypes and values may be others than those that are there.
        """
        live = owner.get(name, ABSENT)
        if any_form and (node is ABSENT or live is ABSENT):
            gone = node is ABSENT
            make: _Make = (lambda: ABSENT) if gone else self._new_data(name, node)
        else:
            self._by_name = node is ABSENT
            make = self._walk(name, live, node, replaceable=True, any_form=any_form)
        if make is None or not self._wanted(name):
            return
        made = make

        def make_entry() -> None:
            value = made()
            if value is not live:
                self._entries.append(SetEntry(owner, name, value))

        self._roots.append(make_entry)

    def tree(self, name: str, obj: Any, node: Any) -> None:
        """Note an attached object beside its node in the document, :data:`ABSENT` without one."""
        self._by_name = node is ABSENT
        make = self._walk(name, obj, node, replaceable=False, any_form=False)
        if make is None:
            return

        def make_root() -> None:
            if make() is not obj:
                raise CheckpointMismatchError(
                    f"{name}: a {type(obj).__name__} that can't be replaced here; nothing was "
                    f"restored"
                )

        self._roots.append(make_root)

    def _walk(self, path: str, live: Any, node: Any, *, replaceable: bool, any_form: bool) -> _Make:
        if is_array(live):
            return self._array(path, live, node, replaceable=replaceable, any_form=any_form)
        if type(live) is Attributes:
            return self._attributes(path, live, node)
        kind = kind_of(live)
        if kind is not None:
            self._object(path, live, kind, node)
            return None
        if is_container(live):
            if node is ABSENT or not self._is_data(live, node):
                return self._container(path, live, node, replaceable=replaceable, any_form=any_form)
        elif node is ABSENT:
            return None
        self.used.update(references(node))
        if not self._wanted(path):
            return None
        return self._data(path, live, node, replaceable=replaceable)

    def _array(
        self, path: str, live: Any, node: Any, *, replaceable: bool, any_form: bool
    ) -> _Make:
        name, count = path, 1
        while name in self._names:
            count += 1
            name = f"{path}#{count}"
        self._names.add(name)
        reference = source_name = reference_of(node)
        translated = self._source_name(name)
        if source_name is None or translated != name:
            source_name = translated if self._by_name or translated != name else None
        if type(node) is dict and "$key" in node and tag_of(node) == "$key":
            problem = _wrong_key(live, node)
            if problem is not None and self._wanted(name):
                self.used.update(references(node))
                self.mismatched[name] = problem
                return None
        if reference is None and (node is None or (any_form and node is not ABSENT)):
            if not replaceable:
                self.mismatched[name] = "expected an array, found another value"
                return None
            return self._new_data(name, node)
        if source_name is None:
            if self._wanted(name):
                self.missing.append(name)
            return None
        read = self._read(
            name,
            source_name,
            live,
            replaceable=replaceable,
            in_place=True,
            any_form=any_form and replaceable,
        )
        return None if read is None else lambda: read.value

    def _read(
        self,
        name: str,
        source_name: str,
        current: Any,
        *,
        replaceable: bool,
        in_place: bool,
        any_form: bool,
    ) -> Read | None:
        if not self._wanted(name):
            self.used.add(source_name)
            return None
        spec = self._source.spec(source_name)
        if spec is None:
            self.missing.append(name)
            return None
        self.used.add(source_name)
        shape, dtype = spec
        seen = to_numpy(current)
        fits = shape == seen.shape and same_but_for_order(dtype, seen.dtype)
        if not fits and not any_form:
            self.mismatched[name] = f"expected {seen.dtype} {seen.shape}, found {dtype} {shape}"
            return None
        read = Read(
            source_name,
            name,
            current,
            seen,
            fits=fits,
            replaceable=replaceable,
            in_place=in_place and fits,
        )
        self.reads.append(read)
        return read

    def _object(self, path: str, live: Any, kind: Kind, node: Any) -> None:
        self.used.update(references(node))  # also if it is left out: they are its own
        if not self._wanted(path):
            return
        if node is ABSENT:
            self.missing_objects.append(path)
            return
        saved = node["$object"] if tag_of(node) == "$object" else None
        if not isinstance(saved, list) or len(saved) != 2:
            self.mismatched[path] = f"expected the state of a {type(live).__name__}"
            return
        found, inner = saved
        if not isinstance(found, str) or found != kind.name:
            self.mismatched[path] = (
                f"expected the state of a {kind.name}, found that of a {found!r:.40}"
            )
            return
        problem = kind.misfit(live, inner)
        if problem is not None:
            self.mismatched[path] = problem
            return
        self._roots.append(lambda: self._builder.object_in_place(path, live, kind, inner))
        self.restored.append(path)

    def _is_data(self, live: Any, node: Any) -> bool:
        """Whether a container is replaced as a whole."""
        if node in (None, [], {}):
            return True
        if len(live) == 0:
            return True
        return not has_arrays(live) and not any(True for _ in references(node))

    def _data(self, path: str, live: Any, node: Any, *, replaceable: bool) -> _Make:
        problem = unmakeable(node, live)
        if problem is None and not replaceable and not _refillable(live, node):
            problem = f"a {type(live).__name__} that can't be replaced here"
        if problem is not None:
            self.mismatched[path] = problem
            return None
        self.restored.append(path)
        return lambda: self._builder.value(node, live, path)

    def _container(
        self, path: str, live: Any, node: Any, *, replaceable: bool, any_form: bool
    ) -> _Make:
        if id(live) in self._walk_above:
            self.mismatched[path] = "it contains itself"
            return None
        nodes = node_members(live, node)
        if nodes is None:
            if any_form and replaceable:
                return self._new_data(path, node)
            self.mismatched[path] = f"expected a {type(live).__name__}, found another structure"
            nodes = {}
        self._walk_above.add(id(live))
        inner_replaceable = replaceable or not (isinstance(live, tuple) or not _is_mutable(live))
        plan: list[tuple[Any, Any, _Make]] = []
        dropped = False
        for key, value in members(live):
            below = f"{path}/{key}"
            inner = nodes.pop(key, ABSENT)
            if inner is ABSENT and node is not ABSENT:
                gone = any_form or not has_arrays(value)
                if gone and _is_mutable(live) and self._wanted(below):
                    dropped = True
                    continue
                if gone:
                    plan.append((key, value, None))
                    continue
            make = self._walk(below, value, inner, replaceable=inner_replaceable, any_form=any_form)
            plan.append((key, value, make))
        self._walk_above.discard(id(live))
        added = [
            (key, ABSENT, make)
            for key, inner in nodes.items()
            if (make := self._extra(f"{path}/{key}", live, inner, any_form=any_form)) is not None
        ]
        if not dropped and not added and all(make is None for _, _, make in plan):
            return None
        plan += added
        order = {key: i for i, key in enumerate(node_members(live, node) or ())}
        if isinstance(live, Mapping):
            plan.sort(key=lambda item: order.get(item[0], len(order)))
        return lambda: self._made(path, live, plan, replaceable=replaceable)

    def _made(
        self, path: str, live: Any, plan: list[tuple[Any, Any, _Make]], *, replaceable: bool
    ) -> Any:
        content = {key: value if make is None else make() for key, value, make in plan}
        whole: Any = content if isinstance(live, Mapping) else [*content.values()]
        whole = tuple(whole) if isinstance(live, tuple) else whole
        return self._builder.refills.container(live, whole, path, replaceable=replaceable)

    def _extra(self, path: str, live: Any, node: Any, *, any_form: bool) -> _Make:
        """Note what the file has and the container here has not."""
        names = list(references(node))
        if (names and not any_form) or not _is_mutable(live):
            self.used.update(names)
            if self._wanted(path):
                self.unexpected.extend(names or [path])
            return None
        return self._new_data(path, node)

    def _new_data(self, path: str, node: Any) -> _Make:
        self.used.update(references(node))
        if not self._wanted(path):
            return None
        return self._data(path, ABSENT, node, replaceable=True)

    def _attributes(self, path: str, live: Attributes, node: Any) -> _Make:
        nodes: dict[Any, Any] = {}
        if tag_of(node) == "$object":
            given = node["$object"]
            node = given[1] if isinstance(given, list) and len(given) == 2 else None
        if node is not ABSENT:
            found = node_members({}, node)
            if found is None:
                self.mismatched[path] = "expected the attributes of an object"
                return None
            nodes = found
        plan: list[tuple[Any, Any, _Make]] = []
        for name, value in live.current().items():
            below = f"{path}/{name}"
            inner = nodes.pop(name, ABSENT)
            is_late = inner is ABSENT and node is not ABSENT and not live.was_there(name)
            if is_late and self._wanted(below):
                continue  # it appeared after what is restored was saved
            if inner is ABSENT and not (has_arrays(value) and _is_storable(value)):
                plan.append((name, value, None))
                continue
            plan.append(
                (name, value, self._walk(below, value, inner, replaceable=True, any_form=True))
            )
        for name, inner in nodes.items():
            below = f"{path}/{name}"
            if live.takes(name):
                plan.append((name, ABSENT, self._new_data(below, inner)))
            else:
                names = list(references(inner))
                self.used.update(names)
                if self._wanted(below):
                    self.unexpected.extend(names or [below])

        def make() -> Any:
            content = {
                name: value if made is None else made()
                for name, value, made in plan
                if value is not ABSENT or made is not None
            }
            self._builder.attributes(live, content)
            return live

        return make

    # -- what comes of it -------------------------------------------------------------------------

    def companion(self, name: str, obj: Any, node: Any) -> None:
        """Note an object with ``load_state_dict()`` that goes into checkpoints beside the rest."""
        given = node["$object"] if tag_of(node) == "$object" else None
        inner = given[1] if isinstance(given, list) and len(given) == 2 else node
        self._roots.append(lambda: self._builder.object_in_place(name, obj, STATE_DICT, inner))

    def stage(self) -> None:
        """Build everything that is new; touches nothing. The reads must have their values.

        Raises:
            ValueError: If the document holds something else than :func:`runloop.state.pack` makes.
            CheckpointMismatchError: If two places that hold one object here were saved different.
            CheckpointError: If a tensor can't be read.
        """
        for make in self._roots:
            if make is not None:
                make()

    @property
    def states(self) -> list[Change]:
        """After :meth:`stage`: the states that objects are given, those inside others first."""
        return [*self._builder.states]

    @property
    def separated(self) -> list[str]:
        """After :meth:`stage`: what was one container in two places, and no longer will be."""
        return self._builder.refills.separated

    @property
    def containers(self) -> list[Change]:
        """After :meth:`stage`: the containers, attributes and entries that get other members."""
        return [*self._builder.refills.changes, *self._builder.set_attributes, *self._entries]


def _is_storable(value: Any) -> bool:
    try:
        pack("", value)
    except TypeError:
        return False
    return True


def _is_mutable(container: Any) -> bool:
    return hasattr(container, "__setitem__")


def _refillable(live: Any, node: Any) -> bool:
    """Whether a container can be given what a node stands for."""
    if not is_container(live) or not _is_mutable(live):
        return False
    if tag_of(node) == "$as" and isinstance(node["$as"], list) and len(node["$as"]) == 3:
        node = node["$as"][2]
    if isinstance(live, Mapping):
        return isinstance(node, dict) and tag_of(node) in {None, "$dict"}
    return isinstance(node, list)


def _wrong_key(live: Any, node: Any) -> str | None:
    have = key_implementation(live) if is_key(live) else None
    given = node["$key"]
    saved = given[0] if isinstance(given, list) and given else None
    if have == saved:
        return None
    return f"expected {f'a key of {have}' if have else 'an array'}, found a key of {saved!r:.40}"
