"""The decorator that makes a function a scenario, and the search for all of them."""

import importlib
import itertools
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from . import scenarios
from .story import Story

_CASES = "conformance_cases"


@dataclass(frozen=True)
class Scenario:
    """One story: ``tell`` drives it and leaves its trace in the story that it is given."""

    group: str
    name: str
    tell: Callable[[Story], None]


def scenario(**choices: list[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function ``f(story, **choice)`` a scenario, one for each combination of choices."""

    def mark(function: Callable[..., None]) -> Callable[..., None]:
        names = list(choices)
        combinations = itertools.product(*choices.values())
        cases = [dict(zip(names, c, strict=True)) for c in combinations]
        setattr(function, _CASES, cases)
        return function

    return mark


def _of_module(module: ModuleType) -> Iterator[Scenario]:
    group = module.__name__.rpartition(".")[2]
    for function in vars(module).values():
        if getattr(function, "__module__", None) != module.__name__:
            continue
        for case in getattr(function, _CASES, []):
            label = ",".join(str(v) for v in case.values())
            name = function.__name__ + (f"[{label}]" if label else "")
            yield Scenario(group, name, lambda s, f=function, c=case: f(s, **c))


def collect() -> dict[str, list[Scenario]]:
    """All hand-written scenarios by group, in the order in which they are written."""
    found: dict[str, list[Scenario]] = {}
    for info in sorted(pkgutil.iter_modules(scenarios.__path__), key=lambda i: i.name):
        module = importlib.import_module(f"{scenarios.__name__}.{info.name}")
        found[info.name] = list(_of_module(module))
    return found
