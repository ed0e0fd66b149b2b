"""Strategies for hypothesis: state, fetches, programs, and schedules for a harness.

    @given(array_trees())
    def test_my_saver_keeps_every_bit(tree): ...

Needs the package ``hypothesis``, which comes with ``runloop-hooks[test]``.
"""

from __future__ import annotations

import importlib.util
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runloop.testing.harness_parts import Action
from runloop.testing.programs import PROGRAM_VARIABLES, OpSpec

__all__ = [
    "Frozen",
    "Open",
    "Pair",
    "Slotted",
    "Triple",
    "array_dtypes",
    "array_trees",
    "arrays",
    "fetch_structures",
    "names",
    "programs",
    "schedules",
]

_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


def names() -> st.SearchStrategy[str]:
    """Names of tensors and keys: any text of 1 to 12 characters."""
    return st.text(min_size=1, max_size=12)


def array_dtypes() -> st.SearchStrategy[np.dtype[Any]]:
    """Every dtype that can be saved, in both byte orders.

    Bool, integers, ``float16`` to ``float64``, both complex dtypes and ``datetime64``; with
    ``ml_dtypes`` installed also ``bfloat16`` and two kinds of ``float8``.
    """
    strategies: list[st.SearchStrategy[Any]] = [
        hnp.boolean_dtypes(),
        hnp.integer_dtypes(endianness="?"),
        hnp.unsigned_integer_dtypes(endianness="?"),
        hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
        hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
        hnp.datetime64_dtypes(endianness="?"),
    ]
    if importlib.util.find_spec("ml_dtypes") is not None:
        import ml_dtypes

        small = [np.dtype(getattr(ml_dtypes, name)) for name in _ML_DTYPES]
        strategies.append(st.sampled_from(small))
    return st.one_of(strategies)


@st.composite
def arrays(
    draw: st.DrawFn, dtypes: st.SearchStrategy[Any] | None = None, max_side: int = 5
) -> np.ndarray[Any, Any]:
    """Arrays of every layout: C and Fortran order, transposed, strided, reversed, 0-d, empty.

    Args:
        draw: Given by hypothesis.
        dtypes: A strategy of dtypes; :func:`array_dtypes` by default.
        max_side: The longest side before the layout is drawn.

    All bit patterns occur, NaNs with payloads among them.
    """
    dtype = np.dtype(draw(array_dtypes() if dtypes is None else dtypes))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=max_side))
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    if dtype.kind == "b":  # a bool may hold only the bytes 0 and 1
        array = draw(hnp.arrays(dtype, shape))
    else:
        raw = draw(st.binary(min_size=size, max_size=size))
        array = np.frombuffer(bytearray(raw), dtype).reshape(shape)
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    steps = [draw(st.sampled_from([1, 1, 2, -1, -3])) for _ in range(array.ndim)]
    return array[tuple(slice(None, None, step) for step in steps)] if steps else array


def array_trees(
    leaves: st.SearchStrategy[Any] | None = None, *, max_leaves: int = 6
) -> st.SearchStrategy[Any]:
    """Nested state that a graph can attach: arrays in lists, tuples and dicts, or a single array.

    Args:
        leaves: A strategy of leaves; :func:`arrays` by default.
        max_leaves: About how many leaves there may be.
    """
    keys: st.SearchStrategy[Hashable] = st.one_of(names(), st.integers(0, 9))
    return st.recursive(
        arrays() if leaves is None else leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(keys, inner, max_size=3),
            st.tuples(inner, inner),
        ),
        max_leaves=max_leaves,
    )


class Pair(NamedTuple):
    """A typed named tuple."""

    first: Any
    second: Any


Triple = namedtuple("Triple", "a b c")  # noqa: PYI024  # an untyped named tuple is one of the cases
Triple.__doc__ = "A named tuple without types."


@dataclass(frozen=True)
class Frozen:
    """A dataclass that can't be changed."""

    x: Any
    y: Any = None


@dataclass
class Open:
    """A dataclass that can."""

    x: Any
    y: Any = None


@dataclass(frozen=True, slots=True)
class Slotted:
    """A dataclass without ``__dict__``."""

    x: Any
    y: Any


def fetch_structures(
    leaves: st.SearchStrategy[Any] | None = None, *, max_leaves: int = 12
) -> st.SearchStrategy[Any]:
    """Structures that ``Session.run`` takes, including empty ones and a bare leaf.

    Lists, tuples, named tuples of both kinds, dicts and other mappings, dataclasses.

    Args:
        leaves: A strategy of fetches, e.g. ``st.sampled_from(["loss", "w"])``; by default
            ``"global_step"`` and ``"train"``, which every :class:`~runloop.testing.HookHarness` has.
        max_leaves: About how many leaves there may be.
    """

    def keyed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[Any, Any]]:
        keys: st.SearchStrategy[Hashable] = st.one_of(st.text(max_size=3), st.integers())
        return st.dictionaries(keys, inner, max_size=3)

    def factory(made: dict[Any, Any]) -> defaultdict[Any, Any]:
        return defaultdict(list, made)

    return st.recursive(
        st.sampled_from(["global_step", "train"]) if leaves is None else leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.builds(Pair, inner, inner),
            st.builds(Triple, inner, inner, inner),
            keyed(inner),
            keyed(inner).map(OrderedDict),
            keyed(inner).map(factory),
            keyed(inner).map(MappingProxyType),
            st.builds(Frozen, inner, inner),
            st.builds(Open, inner, inner),
            st.builds(Slotted, inner, inner),
        ),
        max_leaves=max_leaves,
    )


@st.composite
def programs(draw: st.DrawFn, max_ops: int = 9) -> list[OpSpec]:
    """Programs of 1 to ``max_ops`` ops, in any order of definition.

    ``build_program`` of :mod:`runloop.testing.programs` builds the graph of one, ``run_model``
    predicts its runs. Ops read and update variables, train, need each other and wait for each
    other; at most one op updates each variable.
    """
    updated = iter(draw(st.permutations(PROGRAM_VARIABLES)))
    specs = []
    for number in range(draw(st.integers(1, max_ops))):
        lower: st.SearchStrategy[set[int]] = st.just(set())
        if number:
            lower = st.sets(st.sampled_from(range(number)), max_size=3)
        kind = draw(st.sampled_from(["plain", "plain", "update", "train"]))
        specs.append(
            OpSpec(
                number,
                needs=tuple(sorted(draw(lower))),
                after=tuple(sorted(draw(lower))) if draw(st.booleans()) else (),
                reads=tuple(sorted(draw(st.sets(st.sampled_from(PROGRAM_VARIABLES))))),
                updates=next(updated, None) if kind == "update" else None,
                trains=kind == "train" or (kind == "update" and draw(st.booleans())),
            )
        )
    return draw(st.permutations(specs))


def schedules(*, max_actions: int = 8) -> st.SearchStrategy[list[Action]]:
    """Schedules for :meth:`HookHarness.play`.

    Runs, failed runs that the program catches, lost sessions, and time that passes. The last action
    may be exhausted data, or leaving the ``with`` block, normally or by an error.

    Args:
        max_actions: The most actions there may be.
    """
    make: Callable[..., st.SearchStrategy[Action]] = st.builds
    going_on = st.one_of(
        make(Action, st.just("run"), st.integers(1, 4)),
        make(Action, st.just("fail")),
        make(Action, st.just("abort")),
        make(Action, st.just("advance"), st.sampled_from([0.5, 5.0, 1000.0])),
    )
    ends = st.sampled_from([Action("exhaust"), Action("close"), Action("leave_by_error")])
    last = st.lists(ends, max_size=1)
    return st.tuples(st.lists(going_on, max_size=max_actions - 1), last).map(lambda p: p[0] + p[1])
