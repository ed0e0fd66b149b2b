"""Lazy imports: a package's names are imported on first use, not with the package.

Importing all of runloop takes longer than some scripts run, and most programs need only part of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["attributes"]


def attributes(
    face: dict[str, Any], homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__`` (PEP 562).

    A name is imported from its module once and then kept in the package, as after an ``import``.
    Every module of the package is an attribute of it, imported or not.

    Args:
        face: The package's ``globals()``.
        homes: ``{module: the names in it, separated by spaces}``.

    For type checkers, import the names under ``if TYPE_CHECKING:`` as well.
    """
    package = face["__name__"]
    names = {name: home for home, listed in homes.items() for name in listed.split()}

    def get(name: str) -> Any:
        if name in names:
            value = face[name] = getattr(import_module(names[name]), name)
            return value
        module = f"{package}.{name}"
        try:
            if name.isidentifier() and not name.startswith("_"):
                return import_module(module)
        except ModuleNotFoundError as exc:
            if exc.name != module:
                raise
        raise AttributeError(
            f"module {package!r} has no attribute {name!r}",
            name=name,
            obj=sys.modules.get(package),
        )

    def list_names() -> list[str]:
        return sorted({*face, *face["__all__"]})

    return get, list_names
