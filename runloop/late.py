"""Names of a package that are imported when they are first asked for, not with the package.

Importing all of runloop takes longer than many a script runs, and most programs need a part of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["attributes"]


def attributes(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Args:
        package: Its ``__name__``.
        homes: ``{module: the names in it, parted by spaces}``. Those of the modules that are the
            package's own are its attributes, too.

    What a type checker shall see has to be imported under ``if TYPE_CHECKING:`` besides.
    """
    names = {name: home for home, listed in homes.items() for name in listed.split()}
    inner = f"{package}."
    modules = {home.removeprefix(inner): home for home in homes if home.startswith(inner)}

    def get(name: str) -> Any:
        if name in names:
            value = getattr(import_module(names[name]), name)
        elif name in modules:
            value = import_module(modules[name])
        else:
            face = sys.modules[package]
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}", name=name, obj=face
            )
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names, *modules})

    return get, list_names
