"""Putting a checkpoint into a session: all of it, or nothing.

First everything is compared, then every tensor is checked against its CRC-32, and only then is
anything touched. Arrays that are there are written into, so that a restore needs no second copy
of the state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from runloop.checkpoint.in_place import split
from runloop.checkpoint.layout import HOOKS
from runloop.checkpoint.reader import CheckpointReader
from runloop.errors import CheckpointFormatError, CheckpointMismatchError
from runloop.messages import nearest
from runloop.session import Session
from runloop.state import to_numpy
from runloop.state.decode import decode, like, references
from runloop.state.dtypes import same_but_for_order
from runloop.state.matching import ABSENT, Matching

__all__ = ["NameFilter", "RestoreReport", "restore"]

_SHOWN = 20


class RestoreReport(NamedTuple):
    """What a restore did; prints as a short text.

    Attributes:
        path: The data file.
        step: The step at which it was saved, if that is known.
        restored: Names of what was restored: variables, attached arrays and objects. In the report
            of an error: of what fits.
        missing: Names that the session has and the file has not; left as they were.
        unexpected: Names that the file has and the session has not.
        mismatched: ``{name: what differs}``; left as they were.
    """

    path: str
    step: int | None
    restored: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: Mapping[str, str] = MappingProxyType({})

    @property
    def exact(self) -> bool:
        """Whether everything that was asked for fits."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        return _text(self, "restored")


def _text(report: RestoreReport, verb: str) -> str:
    step = "" if report.step is None else f" (step {report.step})"
    lines = [f"{report.path}{step}: {len(report.restored)} {verb}"]
    lines += _listed("missing in the file", report.missing)
    lines += _listed("unexpected in the file", report.unexpected)
    lines += _listed("mismatched", [f"{n}: {why}" for n, why in report.mismatched.items()])
    return "\n".join(lines)


def _listed(title: str, items: Iterable[str]) -> list[str]:
    items = sorted(items)
    if not items:
        return []
    lines = [f"{title} ({len(items)}):", *(f"  {item}" for item in items[:_SHOWN])]
    if len(items) > _SHOWN:
        lines.append(f"  ... and {len(items) - _SHOWN} more")
    return lines


class NameFilter:
    """Which names are restored, and what they are called in the file.

    Args:
        include: Patterns of names here, as in a shell (``"encoder/*"``); ``None`` for all.
        exclude: Patterns of names that are not restored.
        rename: ``{name in the file: name here}``; with a ``/`` at the end of both, everything
            below it.

    Raises:
        TypeError: If patterns are a single string.
        ValueError: If only one side of a renaming ends with ``/``.
    """

    def __init__(
        self,
        include: Iterable[str] | None,
        exclude: Iterable[str] | None,
        rename: Mapping[str, str] | None,
    ) -> None:
        for what, patterns in (("include", include), ("exclude", exclude)):
            if isinstance(patterns, str):
                raise TypeError(f"{what} must be a list of patterns, got {patterns!r}")
        self._include = None if include is None else tuple(include)
        self._matched: set[str] = set()
        self._exclude = tuple(exclude or ())
        self._rename = dict(rename or {})
        for there, here in self._rename.items():
            if there.endswith("/") != here.endswith("/"):
                raise ValueError(
                    f"rename: both sides must end with '/' or none, got {there!r}: {here!r}"
                )

    def wanted(self, name: str) -> bool:
        """Whether the thing with this name here is to be restored."""
        if self._include is None and not self._exclude:
            return True
        from fnmatch import fnmatchcase  # only where patterns are given

        if any(fnmatchcase(name, pattern) for pattern in self._exclude):
            return False
        if self._include is None:
            return True
        matching = [pattern for pattern in self._include if fnmatchcase(name, pattern)]
        self._matched.update(matching)
        return bool(matching)

    def unmatched(self) -> list[str]:
        """Return the patterns of ``include`` that no name has matched so far."""
        return [pattern for pattern in self._include or () if pattern not in self._matched]

    def there(self, name: str) -> str:
        """Return the name in the file of what is called ``name`` here."""
        for there, here in self._rename.items():
            if name == here:
                return there
            if here.endswith("/") and name.startswith(here):
                return there + name[len(here) :]
        return name

    def here(self, name: str) -> str:
        """Return the name here of what is called ``name`` in the file."""
        for there, here in self._rename.items():
            if name == there:
                return here
            if there.endswith("/") and name.startswith(there):
                return here + name[len(there) :]
        return name


def restore(
    session: Session,
    reader: CheckpointReader,
    variables: Mapping[str, str],
    choice: NameFilter,
    *,
    strict: bool,
    whole: bool,
) -> RestoreReport:
    """Put an open checkpoint into a session.

    Args:
        session: What is restored.
        reader: The open checkpoint.
        variables: ``{name of a variable: its name in checkpoints}``.
        choice: Which part.
        strict: Whether anything missing, unexpected or mismatched is an error.
        whole: Whether ``variables`` are all of the session's, so that others are unexpected.

    Raises:
        ValueError: With ``strict``, if a pattern of ``include`` matches no name. Nothing was
            touched.
        CheckpointMismatchError: With ``strict``, if something does not fit; carries the report.
            Nothing was touched.
        CheckpointCorruptError: If a tensor is damaged. Nothing was touched.
        CheckpointFormatError: If the document can't be understood, or an object does not take its
            state back. Nothing was touched, or objects have their former states again.
    """
    state = session.state()
    matching = Matching(reader, lambda name: choice.there(variables.get(name, name)), choice.wanted)
    assigned: dict[str, Any] = {}
    validated = {v.name for v in session.graph.variables if v.validate}
    for name in variables:
        matching.array(
            name,
            state.variables[name],
            _keeper(assigned, name),
            validate=name in validated,
        )
    variable_reads = len(matching.reads)
    document = reader.document
    nodes = document.attached if document else {}
    for name, obj in state.attached.items():
        matching.tree(name, obj, nodes.get(choice.there(name), ABSENT))
    if document is not None:
        # A file without document is restored by names alone: only arrays can be found in it.
        matching.missing += matching.missing_objects
    hooks = document.hooks if document else {}
    hooks = {name: node for name, node in hooks.items() if choice.wanted(f"{HOOKS}/{name}")}
    report = _report(reader, matching, choice, state.attached, whole=whole)
    if strict and (unmatched := choice.unmatched()):
        known = [*variables, *state.attached, *report.unexpected]
        raise ValueError(
            f"include: no name matches {unmatched[0]!r}; nothing was restored, and strict=False "
            f"restores what matches.{nearest(unmatched[0], known)}"
        )
    if strict and not report.exact:
        raise CheckpointMismatchError(
            f"the checkpoint does not fit the session, and nothing was restored; strict=False "
            f"restores what fits: {_text(report, 'fit')}",
            report,
        )
    _put(session, reader, matching, variable_reads, assigned, hooks)
    return report


def _keeper(assigned: dict[str, Any], name: str) -> Callable[[Any], None]:
    def keep(value: Any) -> None:
        assigned[name] = value

    return keep


def _report(
    reader: CheckpointReader,
    matching: Matching,
    choice: NameFilter,
    attached: Mapping[str, Any],
    *,
    whole: bool,
) -> RestoreReport:
    used = set(matching.used)
    unexpected = list(matching.unexpected)
    if reader.document is not None:
        for node in reader.document.hooks.values():
            used.update(references(node))
        for name, node in reader.document.attached.items():
            here = choice.here(name)
            if here not in attached:
                names = set(references(node)) - used
                used |= names
                if choice.wanted(here):
                    unexpected.extend(names or {name})
    if whole:
        unexpected += [
            name for name in reader.stored if name not in used and choice.wanted(choice.here(name))
        ]
    return RestoreReport(
        reader.path,
        reader.step,
        tuple([read.name for read in matching.reads] + matching.restored),
        tuple(matching.missing),
        tuple(dict.fromkeys(unexpected)),
        matching.mismatched,
    )


def _put(
    session: Session,
    reader: CheckpointReader,
    matching: Matching,
    variable_reads: int,
    assigned: dict[str, Any],
    hooks: Mapping[str, Any],
) -> None:
    in_place, fresh = split(matching.reads, variable_reads, reader)
    reader.verify({read.source_name for read, _ in in_place})
    new: list[tuple[Callable[[Any], None], Any]] = []
    try:
        for read in fresh:
            array = reader.read(read.source_name)
            have = to_numpy(read.current).dtype
            if array.dtype != have and same_but_for_order(array.dtype, have):
                array = array.astype(have)
            assert read.put is not None  # noqa: S101 - split() left the others in place
            new.append((read.put, like(array, read.current)))
        states = {name: decode(node, reader) for name, node in hooks.items()}
        matching.decode()
        matching.load_objects()
    except ValueError as exc:
        if isinstance(exc, CheckpointFormatError):
            raise
        raise CheckpointFormatError(f"{reader.path}: {exc}") from exc
    for read, array in in_place:
        reader.read_into(read.source_name, array, check=False)
    for put, value in new:
        put(value)
    session.assign(assigned)
    matching.put_back()
    session.finish_restore(states)
