"""The kinds of object that have state: one row each in :data:`KINDS`.

A new kind is a new row: how it is recognized, how its state is taken and given back, and how a
saved state is checked before anything is touched.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from runloop.state import generators
from runloop.state.attributes import Attributes

__all__ = [
    "GENERATOR_KINDS",
    "KINDS",
    "STATE_DICT",
    "Kind",
    "check_attachable",
    "has_arrays",
    "is_array",
    "is_container",
    "is_stateful",
    "kind_named",
    "kind_of",
    "members",
]


class Kind(NamedTuple):
    """One kind of object with state.

    Attributes:
        name: What the document calls it.
        recognize: Whether an object is of this kind.
        take: Returns an object's state: numbers, strings, arrays and trees of them.
        give: Gives an object a state back.
        check: Raises ``ValueError`` if a saved state can't be given to an object.
        misfit: Returns why a node can't be the state of an object, ``None`` if it can.
    """

    name: str
    recognize: Callable[[Any], bool]
    take: Callable[[Any], Any]
    give: Callable[[Any, Any], None]
    check: Callable[[Any, Any], None] = lambda obj, state: None  # noqa: ARG005 # by position
    misfit: Callable[[Any, Any], str | None] = lambda obj, node: None  # noqa: ARG005 # likewise


def _is_python_random(obj: Any) -> bool:
    # A program that uses the random module has imported it. Its functions share a generator, and
    # the module has that one's getstate() and setstate().
    random = sys.modules.get("random")
    return random is not None and (obj is random or isinstance(obj, random.Random))


def _has(obj: Any, method: str) -> bool:
    return callable(getattr(obj, method, None))


#: Objects with ``state_dict()`` and ``load_state_dict()``.
STATE_DICT = Kind(
    "state_dict",
    recognize=lambda obj: _has(obj, "state_dict") and _has(obj, "load_state_dict"),
    take=lambda obj: obj.state_dict(),
    give=lambda obj, state: obj.load_state_dict(state),
)
#: Looked through in this order; the first row that recognizes an object is its kind.
KINDS: tuple[Kind, ...] = (
    Kind(
        "attributes",
        recognize=lambda obj: type(obj) is Attributes,
        take=lambda obj: obj.state_dict(),
        give=lambda obj, state: obj.load_state_dict(state),
    ),
    Kind(
        "Generator",
        recognize=lambda obj: isinstance(obj, np.random.Generator),
        take=generators.take_generator,
        give=generators.give_generator,
        check=generators.check_generator,
        misfit=generators.wrong_bit_generator,
    ),
    Kind(
        "RandomState",
        # The module np.random has get_state() and set_state() of the RandomState that its functions
        # share.
        recognize=lambda obj: obj is np.random or isinstance(obj, np.random.RandomState),
        # Not the tuple of old: that one has no place for the state of other bit generators.
        take=lambda obj: obj.get_state(legacy=False),
        give=lambda obj, state: obj.set_state(state),
        check=lambda obj, state: generators.check_bit_generator(state),  # noqa: ARG005 # by position
        misfit=generators.wrong_bit_generator,
    ),
    Kind(
        "Random",
        recognize=_is_python_random,
        take=generators.take_python_random,
        give=generators.give_python_random,
        check=generators.check_python_random,
    ),
    STATE_DICT,
    Kind(
        "get_state",
        recognize=lambda obj: _has(obj, "get_state") and _has(obj, "set_state"),
        take=lambda obj: obj.get_state(),
        give=lambda obj, state: obj.set_state(state),
    ),
)
#: Those whose whole state is a few numbers, stored as arrays or not.
GENERATOR_KINDS = frozenset({"Generator", "RandomState", "Random"})

_WHAT_CAN = (
    "attach a mapping or list of arrays, a numpy.random.Generator or RandomState, a random.Random, "
    "the modules numpy.random and random (their global generators), or an object with state_dict() and load_state_dict(), or get_state() and set_state(); for the "
    "attributes of any other object there is runloop.attributes(obj, names)"
)
_PLAIN = frozenset({int, float, str, bool, type(None), bytes, complex, list, dict, tuple})


def kind_of(obj: Any) -> Kind | None:
    """Return the kind of an object that has state, ``None`` for everything else."""
    if type(obj) in _PLAIN or isinstance(obj, (type, np.ndarray)):
        return None
    for kind in KINDS:
        if kind.recognize(obj):
            return kind
    return None


def kind_named(name: Any) -> Kind | None:
    """Return the kind that a document names, ``None`` if there is none of this name."""
    return next((kind for kind in KINDS if kind.name == name), None)


def is_stateful(obj: Any) -> bool:
    """Whether ``obj`` is one of :data:`KINDS`."""
    return kind_of(obj) is not None


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array, of NumPy or another library, but not a NumPy scalar."""
    if isinstance(value, np.ndarray):
        return True
    if type(value) in _PLAIN:
        return False
    return (
        hasattr(value, "shape")
        and hasattr(value, "dtype")
        and hasattr(value, "__array__")
        and not isinstance(value, (np.generic, type))
    )


def is_container(value: Any) -> bool:
    """Whether ``value`` is a mapping, list, tuple or deque: members that are walked into."""
    return isinstance(value, (Mapping, list, tuple, deque))


def members(value: Any) -> list[tuple[Any, Any]]:
    """Return ``(key or index, member)`` of a container."""
    return list(value.items() if isinstance(value, Mapping) else enumerate(value))


def has_arrays(value: Any) -> bool:
    """Whether an array or an object that has state is in ``value``."""
    if type(value) in {list, tuple}:
        return any(has_arrays(item) for item in value if type(item) not in _SCALARS)
    if is_array(value) or kind_of(value) is not None:
        return True
    return is_container(value) and any(has_arrays(item) for _, item in members(value))


_SCALARS = frozenset({int, float, str, bool, type(None), bytes, complex})


def check_attachable(name: str, obj: Any) -> None:
    """Refuse what can't be attached.

    A bare array, tuple or named tuple can be attached if nothing in it has to be replaced by a
    restore: arrays are written into, objects get their state back, but a number in a tuple can't
    be put back.

    Raises:
        TypeError: If ``obj`` has no state, or could not be restored in place; says what to do.
    """
    if isinstance(obj, tuple) and kind_of(obj) is None and obj:
        _check_in_place(name, name, obj)
        return
    if is_array(obj):
        _check_in_place(name, name, obj)
        return
    if isinstance(obj, (Mapping, list, deque)) or is_stateful(obj):
        return
    raise TypeError(f"can't attach {name!r}: {type(obj).__name__} has no state; {_WHAT_CAN}")


def _check_in_place(name: str, path: str, value: Any) -> None:
    if is_array(value):
        problem = _not_writable(value)
        if problem is None:
            return
    elif kind_of(value) is not None or isinstance(value, (dict, list, deque)):
        return
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            _check_in_place(name, f"{path}/{index}", item)
        return
    elif value is None:
        return  # it stays None: a restore that would replace it is refused
    else:
        problem = f"is {type(value).__name__} {value!r:.40}"
    raise TypeError(
        f"can't attach {name!r}: {path} {problem}, and a restore can't put a new value in its "
        f"place; attach a dict or list that holds it, or runloop.attributes(obj, names) of the "
        f"object that holds it"
    )


def _not_writable(array: Any) -> str | None:
    if isinstance(array, np.ndarray):
        return None if array.flags.writeable else "is a read-only array"
    if hasattr(array, "detach"):  # PyTorch's are written into
        return None
    return f"is an immutable {type(array).__name__}"
