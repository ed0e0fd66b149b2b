"""The shim's modules: made from the table, put into ``sys.modules`` and removed again."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Self

from runloop.compat._tf.left_out import explain
from runloop.compat._tf.table import NAMES, SPELLINGS, VALUES

__all__ = ["Installation", "ShimModule", "install", "modules"]

_TOPS = ("tensorflow", "tensorflow_estimator")


class ShimModule(ModuleType):
    """One namespace of the shim; the same object under each of its module names.

    Args:
        name: Its first module name.
        space: Its key in the table.
    """

    def __init__(self, name: str, space: str) -> None:
        super().__init__(name, f"{name}, by runloop.compat.tf.")
        self._space = space
        self._members = NAMES.get(space, {})
        # A package without a folder, so that the import system looks for submodules.
        self.__path__: list[str] = []
        self.__spec__ = ModuleSpec(name, None, origin="runloop.compat.tf", is_package=True)
        vars(self).update(VALUES.get(space, {}))

    def __getattr__(self, name: str) -> Any:
        # Python calls this only for names that are not set yet.
        members = vars(self).get("_members", {})
        if name not in members:
            if name.startswith("__"):
                raise AttributeError(name)
            space = vars(self).get("_space", "")
            inner = f"{space}.{name}" if space else name
            raise AttributeError(explain(inner, self.__name__.partition(".")[0]))
        module, _, attribute = members[name].partition(":")
        value: Any = importlib.import_module(module)
        if attribute:
            value = getattr(value, attribute)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *self._members})

    def __repr__(self) -> str:
        return f"<module {self.__name__!r} from runloop.compat.tf>"


@cache
def modules() -> dict[str, ModuleType]:
    """Return ``{module name: module}`` for every module name; the same objects at each call."""
    found: dict[str, ModuleType] = {}
    for space, spellings in SPELLINGS.items():
        module = ShimModule(spellings[0], space)
        found.update(dict.fromkeys(spellings, module))
    for name in list(found):
        # Parent packages that have no members themselves.
        while "." in name:
            name = name.rpartition(".")[0]  # noqa: PLW2901  # walks up
            if name not in found:
                found[name] = ShimModule(name, name.partition(".")[2])
    for name in sorted(found):
        parent, _, leaf = name.rpartition(".")
        if parent and leaf not in vars(found[parent]):
            setattr(found[parent], leaf, found[name])
    return found


class _Explainer:
    """A finder that explains why a module is missing, where Python would only say that it is."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """Raise for submodules that the shim does not have."""
        top, dot, inner = name.partition(".")
        if dot and top in _TOPS and getattr(sys.modules.get(top), "_space", None) is not None:
            # No name=: with it, "from tensorflow import x" would hide the text.
            raise ModuleNotFoundError(explain(inner, top))


class Installation:
    """The shim's modules in ``sys.modules`` under TensorFlow's names, until :meth:`uninstall`.

    A context manager that uninstalls when it is left.
    """

    def __init__(self) -> None:
        self._explainer: Any = _Explainer()
        self._names: Sequence[str] = ()
        if modules()["tensorflow"] is sys.modules.get("tensorflow"):
            return  # inside another installation, which removes them
        real = next((top for top in _TOPS if top in sys.modules), None)
        if real is not None:
            where = getattr(sys.modules[real], "__file__", None) or "an unknown place"
            raise RuntimeError(
                f"{real} is already imported, from {where}: runloop.compat.tf.install() must come "
                f"before the first import of TensorFlow, in a process that does not use it"
            )
        self._names = tuple(modules())
        sys.modules.update(modules())
        sys.meta_path.insert(0, self._explainer)

    def uninstall(self) -> None:
        """Remove the modules; a second call does nothing."""
        for name in self._names:
            if sys.modules.get(name) is modules()[name]:
                del sys.modules[name]
        if self._names:
            sys.meta_path.remove(self._explainer)
        self._names = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.uninstall()


def install() -> Installation:
    """Make ``import tensorflow``, and the other module names, import the shim.

    Returns:
        The :class:`Installation`: use it in a ``with``, or call its ``uninstall()``.

    Raises:
        RuntimeError: If the real TensorFlow is already imported.
    """
    return Installation()
