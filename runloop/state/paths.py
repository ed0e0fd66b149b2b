"""One leaf of a state object, by its path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runloop.messages import nearest
from runloop.state.kinds import is_container, is_stateful, kind_of, members

__all__ = ["read_leaf"]


def read_leaf(name: str, obj: Any, path: str) -> Any:
    """Return what stands at ``path`` (``"path/to/leaf"``) below ``obj``, not copied.

    A key may itself have slashes in it. A sequence is entered by index.

    Raises:
        ValueError: If nothing stands there; names the nearest leaf.
    """
    found = list(_at(obj, path))
    if found:
        return found[0]
    known = [f"{name}/{leaf}" for leaf, _ in _leaves(obj, "")]
    full = f"{name}/{path}"
    raise ValueError(f"{full!r} is not a leaf of attached {name!r}.{nearest(full, known)}")


def _children(obj: Any) -> Iterator[tuple[str, Any]]:
    kind = kind_of(obj)
    if kind is not None:
        obj = kind.take(obj)
    if is_container(obj):
        for key, value in members(obj):
            yield str(key), value


def _at(obj: Any, path: str) -> Iterator[Any]:
    for key, value in _children(obj):
        if key == path:
            yield value
        elif path.startswith(key + "/"):
            yield from _at(value, path[len(key) + 1 :])


def _leaves(obj: Any, path: str) -> Iterator[tuple[str, Any]]:
    for key, value in _children(obj):
        here = f"{path}/{key}" if path else key
        if is_container(value) or is_stateful(value):
            yield from _leaves(value, here)
        else:
            yield here, value
