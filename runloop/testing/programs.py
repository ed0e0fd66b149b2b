"""Random programs as data: build a graph from one, and predict its runs with a plain model."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from runloop.graph import Graph

__all__ = ["PROGRAM_VARIABLES", "OpSpec", "build_program", "needed_ops", "run_model"]

PROGRAM_VARIABLES = ("u", "v", "w")
"""The variables of each program, ``int64`` scalars that begin as 0, 1 and 2."""

_PRIME = 1_000_003


class OpSpec(NamedTuple):
    """One op of a random program; it depends only on ops with lower numbers.

    Attributes:
        number: Its number; its name is ``op<number>``.
        needs: Numbers of the ops whose results it takes.
        after: Numbers of the ops that must run before it.
        reads: Names of the variables that it reads.
        updates: The variable that its result replaces, or ``None``.
        trains: Whether it is a train op.
    """

    number: int
    needs: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    reads: tuple[str, ...] = ()
    updates: str | None = None
    trains: bool = False

    @property
    def name(self) -> str:
        """The op's name in the graph."""
        return f"op{self.number}"

    @property
    def mutates(self) -> bool:
        """Whether it changes anything."""
        return self.trains or self.updates is not None

    def value(self, *inputs: Any) -> np.int64:
        """Return its result: different for each op and each order of its inputs."""
        value = self.number + 1
        for given in inputs:
            value = (value * 31 + int(given or 0)) % _PRIME
        return np.int64(value)


def build_program(
    specs: Iterable[OpSpec], log: list[int] | None = None, failing: int | None = None
) -> Graph:
    """Build the graph of a program.

    Args:
        specs: Its ops, in the order of definition.
        log: Each op appends its number to it when it runs.
        failing: The number of an op that raises ``KeyError`` with its name.
    """
    graph = Graph()
    for index, name in enumerate(PROGRAM_VARIABLES):
        graph.variable(name, np.int64(index))
    for spec in specs:
        fn = _function(spec, [] if log is None else log, failing)
        add = graph.train_op if spec.trains else graph.op
        add(fn, name=spec.name, updates=spec.updates, after=tuple(f"op{n}" for n in spec.after))
    return graph


def _function(spec: OpSpec, log: list[int], failing: int | None) -> Any:
    names = [*(f"op{n}" for n in spec.needs), *spec.reads]

    def call(**inputs: Any) -> np.int64:
        log.append(spec.number)
        if spec.number == failing:
            raise KeyError(spec.name)
        return spec.value(*(inputs[name] for name in names))

    kind = inspect.Parameter.KEYWORD_ONLY
    # The graph reads parameters from the signature, and these are known only now.
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind) for name in names]
    )
    return call


def needed_ops(specs: Sequence[OpSpec], fetched: Iterable[int]) -> set[int]:
    """Return the numbers of all ops that run when those of ``fetched`` are fetched."""
    by_number = {spec.number: spec for spec in specs}
    wanted: set[int] = set()
    stack = list(fetched)
    while stack:
        number = stack.pop()
        if number not in wanted:
            wanted.add(number)
            stack += by_number[number].needs + by_number[number].after
    return wanted


def run_model(
    specs: Sequence[OpSpec], variables: Mapping[str, Any], fetched: Iterable[int]
) -> tuple[dict[int, np.int64], dict[str, Any]]:
    """Predict a run with a plain dict.

    Args:
        specs: The program.
        variables: Values of its variables and of ``"global_step"`` before the run.
        fetched: The numbers of the ops that are fetched.

    Returns:
        The results of all ops that run, by number, and the variables after the run.
    """
    by_number = {spec.number: spec for spec in specs}
    results: dict[int, np.int64] = {}
    for number in sorted(needed_ops(specs, fetched)):  # an op only needs lower numbers
        spec = by_number[number]
        values = [results[n] for n in spec.needs]
        results[number] = spec.value(*values, *(variables[name] for name in spec.reads))
    new = dict(variables)
    for number, value in results.items():
        spec = by_number[number]
        if spec.updates:
            new[spec.updates] = value
        new["global_step"] += spec.trains
    return results, new
