"""Putting a checkpoint into a session: all of it, or nothing.

First everything is compared. Then every tensor is read and checked against its CRC-32, and all that
is new is built beside what is there: from here on, neither the file nor the memory can fail. Only
then is anything touched. What fails even so, like a hook that does not take its state, is undone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from runloop.checkpoint.in_place import place
from runloop.checkpoint.layout import HOOKS
from runloop.checkpoint.reader import CheckpointReader
from runloop.contexts import contextmanager
from runloop.errors import CheckpointError, CheckpointFormatError, CheckpointMismatchError
from runloop.messages import nearest, printable, text_of
from runloop.session import Session, SessionState
from runloop.state.changes import Change, make_all
from runloop.state.decode import check_form, decode, references
from runloop.state.matching import ABSENT, Matching, Read

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
    lines = [f"{printable(report.path)}{step}: {len(report.restored)} {verb}"]
    lines += _listed("missing in the file", report.missing)
    lines += _listed("unexpected in the file", report.unexpected)
    lines += _listed("mismatched", [f"{n}: {why}" for n, why in report.mismatched.items()])
    return "\n".join(lines)


def _listed(title: str, items: Iterable[str]) -> list[str]:
    items = sorted(map(printable, items))
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
    name_filter: NameFilter,
    *,
    strict: bool,
    whole: bool,
) -> RestoreReport:
    """Put an open checkpoint into a session.

    Args:
        session: What is restored.
        reader: The open checkpoint.
        variables: ``{name of a variable: its name in checkpoints}``.
        name_filter: Which part.
        strict: Whether anything missing, unexpected or mismatched is an error.
        whole: Whether ``variables`` are all of the session's, so that others are unexpected.

    Raises:
        ValueError: With ``strict``, if a pattern of ``include`` matches no name.
        CheckpointMismatchError: With ``strict``, if something does not fit; carries the report.
        CheckpointCorruptError: If a tensor is damaged.
        CheckpointReadError: If the system can't read the file.
        CheckpointFormatError: If the document can't be understood, or an object does not take its
            state back.

    Whatever is raised, a ``MemoryError`` too: the session, its objects and its hooks are as they
    were; a note on the exception names an object that did not take its former state back.

    Warns:
        UserWarning: If arrays shared memory, or a list or dict stood in two places, and the file
            holds other contents for each: they come apart.
    """
    state = session.state()
    matching = Matching(
        reader, lambda name: name_filter.there(variables.get(name, name)), name_filter.wanted
    )
    with _understood(reader):
        new = _match(session, reader, matching, variables, name_filter, state)
        known = state.attached.keys() | (state.rebindable.entry_names() if state.rebindable else ())
        report = _report(reader, matching, name_filter, known, whole=whole)
    if strict:
        _refuse_misfits(report, name_filter, [*variables, *state.attached])
    with _understood(reader):
        changes, separated = _stage(session, reader, matching, new, name_filter, state)
        make_all(changes)
    for text in separated:  # last: where warnings are errors, the restore is done
        warnings.warn(f"{printable(reader.path)}: {text}", UserWarning, stacklevel=4)
    return report


@contextmanager
def _understood(reader: CheckpointReader) -> Iterator[None]:
    """Let what can't be understood, or is not taken, out as an error that names the file."""
    try:
        yield
    except CheckpointFormatError as exc:
        if text_of(exc).startswith(reader.path):
            raise
        notes = "".join(f" {note}" for note in getattr(exc, "__notes__", ()))
        raise CheckpointFormatError(f"{reader.path}: {text_of(exc)}{notes}") from exc
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as exc:
        raise CheckpointFormatError(f"{reader.path}: {text_of(exc)}") from exc


def _match(
    session: Session,
    reader: CheckpointReader,
    matching: Matching,
    variables: Mapping[str, str],
    name_filter: NameFilter,
    state: SessionState,
) -> dict[str, Read]:
    """Compare everything; returns the reads of the variables."""
    new = {}
    validated = {v.name for v in session.graph.variables if v.validate}
    for name in variables:
        read = matching.variable(name, state.variables[name], validate=name in validated)
        if read is not None:
            new[name] = read
    document = reader.document
    nodes = document.attached if document else {}
    for name, node in [*nodes.items(), *(document.hooks.items() if document else ())]:
        try:
            check_form(node)
        except ValueError as exc:
            raise ValueError(f"{name}: {exc}") from exc
    entries = state.rebindable
    replaceable: frozenset[str] = frozenset()
    of_any_form: frozenset[str] = frozenset()
    if entries is not None:
        replaceable = entries.entry_names()
        hooks = document.hooks if document else {}
        of_any_form = entries.of_any_form(hooks)
        missing, unexpected = entries.misfits(hooks)
        matching.missing += filter(name_filter.wanted, missing)
        matching.unexpected += filter(name_filter.wanted, unexpected)
    for name in [*state.attached, *sorted(replaceable - state.attached.keys())]:
        node = nodes.get(name_filter.there(name), ABSENT)
        if entries is not None and name in replaceable:
            if name in state.attached or node is not ABSENT:
                matching.entry(entries.owner, name, node, any_form=name in of_any_form)
        else:
            matching.tree(name, state.attached[name], node)
    if document is not None:
        # A file without document is restored by names alone: only arrays can be found in it.
        matching.missing += matching.missing_objects
    return new


def _refuse_misfits(report: RestoreReport, name_filter: NameFilter, known: list[str]) -> None:
    if unmatched := name_filter.unmatched():
        raise ValueError(
            f"include: no name matches {unmatched[0]!r}; nothing was restored, and strict=False "
            f"restores what matches.{nearest(unmatched[0], [*known, *report.unexpected])}"
        )
    if not report.exact:
        raise CheckpointMismatchError(
            f"the checkpoint does not fit the session, and nothing was restored; strict=False "
            f"restores what fits: {_text(report, 'fit')}",
            report,
        )


def _report(
    reader: CheckpointReader,
    matching: Matching,
    name_filter: NameFilter,
    attached: Container[str],
    *,
    whole: bool,
) -> RestoreReport:
    used = set(matching.used)
    unexpected = list(matching.unexpected)
    if reader.document is not None:
        for node in reader.document.hooks.values():
            used.update(references(node))
        for name, node in reader.document.attached.items():
            here = name_filter.here(name)
            if here not in attached:
                names = set(references(node)) - used
                used |= names
                if name_filter.wanted(here):
                    unexpected.extend(names or {name})
    if whole:
        unexpected += [
            name
            for name in reader.stored
            if name not in used and name_filter.wanted(name_filter.here(name))
        ]
    return RestoreReport(
        reader.path,
        reader.step,
        tuple([read.name for read in matching.reads] + matching.restored),
        tuple(matching.missing),
        tuple(dict.fromkeys(unexpected)),
        matching.mismatched,
    )


def _stage(
    session: Session,
    reader: CheckpointReader,
    matching: Matching,
    new: Mapping[str, Read],
    name_filter: NameFilter,
    state: SessionState,
) -> tuple[list[Change], list[str]]:
    """Read and build everything that is new, and say what comes apart; touches nothing."""
    arrays = _new_arrays(matching.reads, reader)
    exchanges, separated = place([*zip(matching.reads, arrays, strict=True)])
    nodes = reader.document.hooks if reader.document else {}
    later = {}
    for name, node in nodes.items():
        if name_filter.wanted(f"{HOOKS}/{name}"):
            if name in state.companions:
                matching.companion(f"{HOOKS}/{name}", state.companions[name], node)
            else:
                later[name] = decode(node, reader)
    matching.stage()
    assign = _Assign(
        session,
        {name: read.value for name, read in new.items()},
        {name: state.variables[name] for name in new},
    )
    changes: list[Change] = [*matching.states, *exchanges, *matching.containers, assign]

    def undo_all() -> None:
        """Undo the whole restore, for a hook that comes later and does not take its state."""
        for change in reversed(changes):
            change.undo()

    # Without need the changes don't refer to themselves: an open file would wait for the collector.
    changes.append(_Finish(session, later, undo_all if later else None))
    return changes, [*separated, *matching.separated]


def _new_arrays(reads: list[Read], reader: CheckpointReader) -> list[np.ndarray[Any, Any]]:
    """Read tensors into new arrays: laid out as those that are there, where they fit."""
    arrays = [_new_array(read, reader) for read in reads]
    reader.read_all([(read.source_name, a) for read, a in zip(reads, arrays, strict=True)])
    return arrays


def _new_array(read: Read, reader: CheckpointReader) -> np.ndarray[Any, Any]:
    # The same layout, for a product of matrices may differ in its last bit between layouts.
    return np.empty_like(read.seen) if read.fits else reader.empty(read.source_name)


class _Assign:
    """Replace variables."""

    def __init__(self, session: Session, new: Mapping[str, Any], former: Mapping[str, Any]) -> None:
        self._session, self._new, self._former = session, new, former

    def do(self) -> None:
        self._session.assign(self._new)

    def undo(self) -> None:
        self._session.assign(self._former)

    def __str__(self) -> str:
        return "the session's variables"


class _Finish:
    """Let the session iterate its inputs again; the last change, after which nothing can fail."""

    def __init__(
        self, session: Session, later: Mapping[str, Any], undo_all: Callable[[], None] | None
    ) -> None:
        self._session, self._later, self._undo_all = session, later, undo_all

    def do(self) -> None:
        self._session.finish_restore(self._later, self._undo_all)

    def undo(self) -> None:
        """Leave it: iterating an input again from its present position changes nothing."""

    def __str__(self) -> str:
        return "the session's inputs"
