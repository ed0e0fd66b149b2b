"""Which objects have state, how it is taken, and how it is given back."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from runloop.messages import nearest

__all__ = [
    "KINDS",
    "check_attachable",
    "is_array",
    "is_stateful",
    "kind_of",
    "load_state",
    "read_leaf",
    "state_of",
]

#: How an object's state is taken and given back.
KINDS = ("Generator", "RandomState", "Random", "state_dict", "get_state")
_WHAT_CAN = (
    "attach a mapping or list of arrays, a numpy.random.Generator or RandomState, a random.Random, "
    "or an object with state_dict() and load_state_dict(), or get_state() and set_state()"
)


def kind_of(obj: Any) -> str | None:
    """Return which of :data:`KINDS` an object with state of its own is, else ``None``."""
    if isinstance(obj, type):
        return None
    if isinstance(obj, np.random.Generator):
        return "Generator"
    if isinstance(obj, np.random.RandomState):
        return "RandomState"
    # Whoever uses the random module has imported it.
    random = sys.modules.get("random")
    if random is not None and isinstance(obj, random.Random):
        return "Random"
    if _has(obj, "state_dict") and _has(obj, "load_state_dict"):
        return "state_dict"
    if _has(obj, "get_state") and _has(obj, "set_state"):
        return "get_state"
    return None


def _has(obj: Any, method: str) -> bool:
    return callable(getattr(obj, method, None))


def is_stateful(obj: Any) -> bool:
    """Whether ``obj`` has a state of its own: one of :data:`KINDS`."""
    return kind_of(obj) is not None


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array, of NumPy or of another library, and no NumPy scalar."""
    if isinstance(value, np.ndarray):
        return True
    return (
        hasattr(value, "shape")
        and hasattr(value, "dtype")
        and hasattr(value, "__array__")
        and not isinstance(value, (np.generic, type))
    )


def check_attachable(name: str, obj: Any) -> None:
    """Refuse what can't be attached.

    Raises:
        TypeError: If ``obj`` is neither of what the module's docstring lists; says what is.
    """
    if isinstance(obj, (Mapping, list)) or is_array(obj) or is_stateful(obj):
        return
    raise TypeError(f"can't attach {name!r}: {type(obj).__name__} has no state; {_WHAT_CAN}")


def state_of(obj: Any, kind: str) -> Any:
    """Return the state of an object of ``kind`` as numbers, strings, arrays and trees of them."""
    if kind == "Generator":
        return obj.bit_generator.state
    if kind == "RandomState":
        # Not the tuple of old: that one has no place for the state of other bit generators.
        return obj.get_state(legacy=False)
    if kind == "Random":
        version, words, gauss = obj.getstate()
        return {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}
    return obj.state_dict() if kind == "state_dict" else obj.get_state()


def load_state(obj: Any, kind: str, state: Any) -> None:
    """Give an object of ``kind`` back what :func:`state_of` took."""
    if kind == "Generator":
        obj.bit_generator.state = state
    elif kind == "RandomState":
        obj.set_state(state)
    elif kind == "Random":
        words = tuple(int(word) for word in state["words"])
        obj.setstate((state["version"], words, state["gauss"]))
    elif kind == "state_dict":
        obj.load_state_dict(state)
    else:
        obj.set_state(state)


def read_leaf(name: str, obj: Any, path: str) -> Any:
    """Return what stands at ``path`` (``"path/to/leaf"``) below ``obj``, not copied.

    A key may itself have slashes in it. A sequence is entered by index.

    Raises:
        ValueError: If there is nothing; names the nearest leaf that there is.
    """
    found = list(_at(obj, path))
    if found:
        return found[0]
    known = [f"{name}/{leaf}" for leaf, _ in _leaves(obj, "")]
    full = f"{name}/{path}"
    raise ValueError(f"{full!r} is no leaf of attached {name!r}.{nearest(full, known)}")


def _children(obj: Any) -> Iterator[tuple[str, Any]]:
    kind = kind_of(obj)
    if kind is not None:
        obj = state_of(obj, kind)
    if isinstance(obj, Mapping):
        for key, value in obj.items():
            yield str(key), value
    elif isinstance(obj, (list, tuple)):
        for index, value in enumerate(obj):
            yield str(index), value


def _at(obj: Any, path: str) -> Iterator[Any]:
    for key, value in _children(obj):
        if key == path:
            yield value
        elif path.startswith(key + "/"):
            yield from _at(value, path[len(key) + 1 :])


def _leaves(obj: Any, path: str) -> Iterator[tuple[str, Any]]:
    for key, value in _children(obj):
        here = f"{path}/{key}" if path else key
        if isinstance(value, (Mapping, list, tuple)) or is_stateful(value):
            yield from _leaves(value, here)
        else:
            yield here, value
