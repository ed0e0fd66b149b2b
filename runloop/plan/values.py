"""The values of one session: its variables, and the iterators of its inputs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from runloop.errors import OutOfRangeError
from runloop.graph import GLOBAL_STEP, step_value
from runloop.graph.elements import Input, Variable
from runloop.messages import add_note
from runloop.plan.arrays import as_array, behind, conform, copy_array, read_only

__all__ = ["SessionValues"]


class SessionValues:
    """Values of the variables by index, iterators of the inputs.

    ``values[variable.index]`` is an array, and for ``global_step`` an immutable ``np.int64``.
    ``views[variable.index]`` is what ops see of it: of a NumPy array a read-only view, made once
    per commit, else the same object. Hold ``lock`` to read or replace several: threads may run one
    session together.
    """

    __slots__ = ("_growing", "_iterators", "lock", "step_index", "values", "views")

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.views: list[Any] = []
        self.lock = threading.Lock()
        self._growing = threading.RLock()  # not ``lock``: users' functions make initial values
        self.step_index = -1
        self._iterators: dict[Input, Iterator[Any]] = {}

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

    def pull(self, source: Input) -> Any:
        """Return the next item of an input: a tuple with one member per name.

        Raises:
            OutOfRangeError: If it is exhausted.
            ValueError: If an item does not have one member for each name.
        """
        with source.lock:
            iterator = self._iterators.get(source)
            if iterator is None:
                iterator = self._iterators[source] = iter(source.iterable)
            try:
                value = next(iterator)
            except StopIteration:
                raise OutOfRangeError(f"input {source.names[0]!r} is exhausted") from None
        if source.single:
            return (value,)
        if not isinstance(value, (tuple, list)) or len(value) != len(source.names):
            got = f"{len(value)} members" if isinstance(value, (tuple, list)) else repr(value)
            raise ValueError(
                f"input {source.names}: a pull must give a tuple of {len(source.names)} members, "
                f"got {got:.80}"
            )
        return value

    def forget_iterators(self) -> None:
        """Call ``iter()`` on every input again at its next pull; its state was restored."""
        self._iterators.clear()


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
