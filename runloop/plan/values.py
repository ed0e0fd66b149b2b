"""The values of one session: its variables, and the iterators of its inputs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from runloop.graph import GLOBAL_STEP, step_value
from runloop.graph.elements import Input, Variable
from runloop.messages import add_note
from runloop.plan.arrays import as_array, behind, conform, copy_array, read_only
from runloop.plan.positions import Position

__all__ = ["SessionValues"]


class SessionValues:
    """Values of the variables by index, iterators of the inputs.

    ``values[variable.index]`` is an array, and for ``global_step`` an immutable ``np.int64``.
    ``views[variable.index]`` is what ops see of it: of a NumPy array a read-only view, made once
    per commit, else the same object. Hold ``lock`` to read or replace several: threads may run one
    session together.
    """

    __slots__ = ("_growing", "_positions", "lock", "step_index", "values", "views")

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.views: list[Any] = []
        self.lock = threading.Lock()
        self._growing = threading.RLock()  # not ``lock``: users' functions make initial values
        self.step_index = -1
        self._positions: dict[Input, Position] = {}

    def grow(self, variables: tuple[Variable, ...]) -> None:
        """Add the initial values of the variables that are not here yet.

        Raises:
            TypeError: If an initial value is not an array, or ``global_step``'s not an integer.
            ValueError: If an initial value is a list whose parts differ in shape.
        """
        with self._growing:
            for variable in variables[len(self.values) :]:
                value = _initial_value(variable)
                self.views.append(read_only(value))
                self.values.append(value)
                if variable.name == GLOBAL_STEP:
                    self.step_index = variable.index

    def checked(self, variable: Variable, value: Any, who: str) -> Any:
        """Return ``value`` in the form in which it can replace the value of ``variable``.

        Raises:
            ValueError: If shape or dtype differ and the variable is validated.
        """
        old = self.values[variable.index]
        if variable.index == self.step_index:
            return np.int64(conform(value, old, f"variable {variable.name!r}: {who}"))
        if not variable.validate:
            return as_array(value)
        if type(value) is np.ndarray and value.dtype == old.dtype and value.shape == old.shape:
            return value
        return conform(value, old, f"variable {variable.name!r}: {who}")

    def assign(self, values: Mapping[Variable, Any], who: str) -> None:
        """Replace variables: all of them, or none if a check fails."""
        new = {v.index: self.checked(v, value, who) for v, value in values.items()}
        self.commit(list(new.items()), 0)

    def commit(self, replaced: Sequence[tuple[int, Any]], increment: int) -> None:
        """Store checked values and increase ``global_step``, under one lock."""
        values, views = self.values, self.views
        # An op may return what it was given: not the view is kept then, but the array behind it.
        new = [(i, behind(value), read_only(value)) for i, value in replaced] if replaced else ()
        with self.lock:
            for index, value, view in new:
                values[index] = value
                views[index] = view
            if increment:
                step = self.step_index
                values[step] = views[step] = values[step] + increment

    def advance(self, increment: int) -> None:
        """Increase ``global_step``, as a commit of nothing else does in 40 ns more."""
        values, step = self.values, self.step_index
        with self.lock:
            values[step] = self.views[step] = values[step] + increment

    def pull(self, source: Input) -> Any:
        """Return the next item of an input: a tuple with one member per name.

        Raises:
            OutOfRangeError: If it is exhausted.
            ValueError: If an item does not have one member for each name.
        """
        with source.lock:
            item = self.position(source).next()
        if source.single:
            return (item,)
        if isinstance(item, Mapping):
            return _by_key(source, item)
        if not isinstance(item, (tuple, list)) or len(item) != len(source.names):
            got = f"{len(item)} members" if isinstance(item, (tuple, list)) else repr(item)
            raise ValueError(
                f"input {source.names}: a pull must give a tuple of {len(source.names)} members, or "
                f"a mapping with these keys, got {got:.80}"
            )
        return item

    def position(self, source: Input) -> Position:
        """Return this session's position in an input."""
        found = self._positions.get(source)
        # setdefault: threads that ask at the same time get the same object.
        return self._positions.setdefault(source, Position(source)) if found is None else found

    def positions(self, inputs: tuple[Input, ...]) -> dict[str, Position]:
        """Return by name the positions that checkpoints hold."""
        found = {source.names[0]: self.position(source) for source in inputs}
        return {name: position for name, position in found.items() if position.in_checkpoints}

    def forget_iterators(self) -> None:
        """Call ``iter()`` again at the next pull of inputs whose position is not held here."""
        for position in self._positions.values():
            position.forget_iterator()


def _by_key(source: Input, item: Mapping[Any, Any]) -> tuple[Any, ...]:
    missing = [name for name in source.names if name not in item]
    unknown = [key for key in item if key not in source.names]
    if missing or unknown:
        words = [f"lacks {', '.join(map(repr, missing))}"] if missing else []
        words += [f"has the unknown {', '.join(map(repr, unknown))}"] if unknown else []
        raise ValueError(
            f"input {source.names}: a pull gave a mapping that {' and '.join(words)}; its keys must "
            f"be the input's names"
        )
    return tuple(item[name] for name in source.names)


def _initial_value(variable: Variable) -> Any:
    value = variable.initial
    if callable(value):
        try:
            value = value()
        except Exception as exc:  # any error: name the variable
            add_note(
                exc, f"(raised by the function that gives variable {variable.name!r} its value)"
            )
            raise
    if variable.name == GLOBAL_STEP:
        return step_value(value)
    if value is None:
        raise TypeError(f"variable {variable.name!r}: its initial value is None; give an array")
    try:
        array = as_array(value)
    except ValueError as exc:
        raise ValueError(
            f"variable {variable.name!r}: its initial value is not an array, since its parts differ "
            f"in shape: {value!r:.60}; give an array, or graph.attach({variable.name!r}, ...) it"
        ) from exc
    if isinstance(array, np.ndarray) and array.dtype == object and array is not value:
        raise TypeError(
            f"variable {variable.name!r}: its initial value is of type {type(value).__name__}, "
            f"which is not an array; give an array, or graph.attach({variable.name!r}, ...) it"
        )
    return copy_array(array)
