"""``attributes``: the attributes of any object as state, by name."""

from __future__ import annotations

from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from runloop.messages import nearest

__all__ = ["Attributes", "attributes"]

_CODE = (ModuleType, FunctionType, BuiltinFunctionType, MethodType, type)


class Attributes:
    """An object's attributes as state; made by :func:`attributes`.

    Attributes:
        target: The object.
        names: The names given, ``None`` for all attributes.
    """

    __slots__ = ("_first", "names", "target")

    def __init__(self, target: Any, names: tuple[str, ...] | None) -> None:
        self.target = target
        self.names = names
        self._first = frozenset(names or self._all())

    def _all(self) -> list[str]:
        found = list(getattr(self.target, "__dict__", ()))
        for cls in type(self.target).__mro__:
            slots = vars(cls).get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                if slot not in found and hasattr(self.target, slot):
                    found.append(slot)
        return [
            name
            for name in found
            if not (name.startswith("__") and name.endswith("__"))
            and not isinstance(getattr(self.target, name), _CODE)
        ]

    def current(self) -> dict[str, Any]:
        """Return the attributes as they are now.

        Raises:
            ValueError: If a name that was given is not there any more.
        """
        names = self._all() if self.names is None else self.names
        for name in names:
            if not hasattr(self.target, name):
                raise ValueError(
                    f"attributes: {_called(self.target)} has no attribute {name!r} any more"
                )
        return {name: getattr(self.target, name) for name in names}

    def takes(self, name: Any) -> bool:
        """Whether a saved attribute of this name belongs to the state."""
        return isinstance(name, str) and (self.names is None or name in self.names)

    def must_store(self, name: str) -> bool:
        """Whether leaving this attribute out would lose what was asked for."""
        return self.names is not None and name in self._first

    def was_there(self, name: str) -> bool:
        """Whether the attribute was there when this was made."""
        return name in self._first

    def state_dict(self) -> dict[str, Any]:
        """Return ``{name: value}`` of the attributes."""
        return self.current()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Rebind the attributes."""
        for name, value in state.items():
            setattr(self.target, name, value)

    def __repr__(self) -> str:
        names = "" if self.names is None else f", {' '.join(self.names)!r}"
        return f"runloop.attributes({_called(self.target)}{names})"


def _called(target: Any) -> str:
    if isinstance(target, ModuleType):
        return f"module {target.__name__}"
    return f"a {type(target).__name__}"


def attributes(obj: Any, names: str | Iterable[str] | None = None) -> Attributes:
    """Make state of an object's attributes, by name, so that rebinding them is fine.

    ``graph.attach("net", runloop.attributes(net, "weights biases step"))`` saves ``net.weights``,
    ``net.biases`` and ``net.step`` as they are at each save. A restore writes into arrays that
    still fit, refills lists and dicts, and sets again what else was saved, of any shape and
    dtype. Ops that ask for ``net`` get the object itself.

    Args:
        obj: Any object with attributes: an instance, or a module
            (``runloop.attributes(sys.modules[__name__], "n smooth_loss")``). The local variables
            of a function go into a dict instead.
        names: The attributes: a list of names, or a string of names with spaces (or commas)
            between them. ``None`` is every attribute of the instance that can be stored, as they
            are found at each save; functions, modules and classes are not state, and what
            can't be stored is left out.

    Returns:
        What to attach.

    Raises:
        TypeError: If ``names`` is something else, or ``obj`` has no attributes to set.
        ValueError: If an attribute is not there, or a name is a duplicate.
    """
    if isinstance(names, str):
        names = names.replace(",", " ").split()
    chosen = None if names is None else tuple(names)
    if chosen is not None and not chosen:
        raise ValueError("attributes: names is empty; None means all attributes")
    for name in chosen or ():
        if not isinstance(name, str):
            raise TypeError(f"attributes: names must be strings, got {name!r}")
        if not hasattr(obj, name):
            known = [n for n in dir(obj) if not n.startswith("__")]
            raise ValueError(
                f"attributes: {_called(obj)} has no attribute {name!r}.{nearest(name, known)}"
            )
    if chosen is not None and len(set(chosen)) < len(chosen):
        raise ValueError(f"attributes: a name is a duplicate in {chosen}")
    slots = any("__slots__" in vars(cls) for cls in type(obj).__mro__)
    if not hasattr(obj, "__dict__") and not slots:
        raise TypeError(f"attributes: {type(obj).__name__} {obj!r:.40} has no attributes to set")
    return Attributes(obj, chosen)
