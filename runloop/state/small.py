"""The small state of an object: everything but its arrays, as one JSON-able value.

Small state is every generator, number, string, ``None``, list, tuple, dict or object state without
an array in it; of lists and dicts with arrays, it is their other members. Arrays, and objects whose
state holds arrays, are left out, and left alone when the small state is put back.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from runloop.errors import CheckpointFormatError, CheckpointMismatchError
from runloop.state.attributes import Attributes
from runloop.state.build import Builder
from runloop.state.changes import make_all
from runloop.state.decode import ABSENT, check_form
from runloop.state.dtypes import storage_of
from runloop.state.kinds import GENERATOR_KINDS, is_array, is_container, kind_of, members
from runloop.state.pack import Packer

__all__ = ["put_small", "take_small"]

_LARGE = {"$large": None}


def take_small(name: str, obj: Any) -> Any:
    """Return the small state of ``obj`` as it is now, as values of JSON.

    Args:
        name: What messages call it.
        obj: A state object: what can be attached to a graph, or any part of one.

    Raises:
        TypeError: If something can't be stored; names its path.
    """
    return _SmallPacker().node(name, obj)


def put_small(name: str, obj: Any, node: Any) -> None:
    """Put the small state of ``obj`` back to what :func:`take_small` returned.

    Lists, dicts, deques and objects stay the same objects, with the saved contents; entries that
    came later go, unless they hold arrays. All of it is put back, or nothing.

    Args:
        name: What messages call it.
        obj: The object, whose arrays are left alone.
        node: What :func:`take_small` returned, here or in another process.

    Raises:
        CheckpointMismatchError: If ``obj`` itself would have to be another object.
        CheckpointFormatError: If the node can't be understood, or an object does not take its state.
    """
    builder = _SmallBuilder(name)
    try:
        check_form(node)
        if builder.value(node, obj) is not obj:
            raise CheckpointMismatchError(
                f"{name}: a {type(obj).__name__} can't be put back in place; keep it in a dict"
            )
    except CheckpointMismatchError:
        raise
    except (ValueError, RecursionError) as exc:
        raise CheckpointFormatError(f"the small state of {name} is malformed: {exc}") from exc
    make_all([*builder.states, *builder.refills.changes, *builder.set_attributes])


class _SmallPacker(Packer):
    """Packs what is small, and marks what is not."""

    def node(self, path: str, value: Any) -> Any:
        """Return the node of ``value``, a mark where it is an array."""
        if self._objects_above == 0 and not isinstance(value, np.generic) and is_array(value):
            return dict(_LARGE)
        return super().node(path, value)

    def object(self, path: str, kind: str, state: Any) -> Any:
        """Return the node of the state of an object, unless an array is in it."""
        if kind not in GENERATOR_KINDS and _holds_arrays(state):
            return dict(_LARGE)
        return super().object(path, kind, state)

    def array(self, path: str, value: Any) -> Any:
        """Return the node of an array in the state of a generator."""
        del path
        dtype = storage_of(value.dtype).logical
        return {"$array": [dtype, list(value.shape), value.tobytes().hex()]}

    def bytes(self, path: str, value: bytes) -> Any:
        """Return the node of bytes."""
        del path
        return {"$hex": value.hex()}


def _holds_arrays(value: Any) -> bool:
    """Whether an array is in ``value`` that is not the state of a generator."""
    if is_array(value):
        return True
    kind = kind_of(value)
    if kind is not None:
        return kind.name not in GENERATOR_KINDS and _holds_arrays(kind.take(value))
    return is_container(value) and any(_holds_arrays(item) for _, item in members(value))


class _SmallBuilder(Builder):
    """Puts back what is small, and leaves the rest alone."""

    def __init__(self, name: str) -> None:
        super().__init__(_NoTensors())
        self._path = name
        self._tags["$large"] = lambda _, live: live

    def keep(self, live: Any, value: Any) -> Any:
        """Return the container, with its arrays of now."""
        if isinstance(value, dict):
            kept = {key: item for key, item in value.items() if item is not ABSENT}
            late = {k: v for k, v in live.items() if k not in value and _holds_arrays(v)}
            return super().keep(live, {**kept, **late})
        items = [item for item in value if item is not ABSENT]
        if not isinstance(live, tuple):
            items += [item for item in [*live][len(value) :] if _holds_arrays(item)]
        return super().keep(live, tuple(items) if isinstance(value, tuple) else items)

    def attributes(self, live: Attributes, content: dict[str, Any]) -> None:
        """Note what the attributes become; those that were left out stay."""
        kept = {name: item for name, item in content.items() if item is not ABSENT}
        late = {
            name: item
            for name, item in live.current().items()
            if name not in content and (live.was_there(name) or _holds_arrays(item))
        }
        super().attributes(live, {**kept, **late})


class _NoTensors:
    """A source without tensors: small state holds none."""

    def spec(self, name: str) -> None:
        """Return ``None``: small state has no tensors."""
        del name

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Refuse."""
        raise ValueError(f"small state can't hold the tensor {name!r:.80}")
