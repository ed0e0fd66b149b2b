"""All scenarios with their golden traces, for the tests and for ``accept``."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from . import generator, golden
from .collect import collect
from .differences import DIFFERENCES, Difference
from .interpreter import interpret
from .story import Story


@dataclass(frozen=True)
class Case:
    """A scenario and what TensorFlow did in it."""

    name: str
    tell: Callable[[Story], None]
    golden: list[str]

    @property
    def differences(self) -> list[Difference]:
        """The deliberate differences that show in it."""
        return [d for d in DIFFERENCES if d.touches(self.name)]


def written() -> Iterator[Case]:
    """The hand-written scenarios."""
    for group, scenarios in collect().items():
        traces = golden.read(group)
        for scenario in scenarios:
            yield Case(f"{group}/{scenario.name}", scenario.tell, traces[scenario.name])


def random() -> Iterator[Case]:
    """The random programs."""
    for number, (checksum, trace) in enumerate(golden.read_random()):
        description = generator.program(number)
        assert checksum == generator.checksum(description), (
            "the generator makes another program than the one that was recorded: record again"
        )
        yield Case(f"random/{number}", lambda s, d=description: interpret(s, d), trace)


def diff(name: str, before: Sequence[str], after: Sequence[str], labels: tuple[str, str]) -> str:
    """A readable diff of two traces, empty if they are equal."""
    lines = difflib.unified_diff(before, after, *labels, lineterm="", n=4)
    text = "\n".join(lines)
    return f"{name}\n{text}" if text else ""


def unexplained(case: Case, trace: Sequence[str]) -> list[str]:
    """The lines in which a trace differs from TensorFlow's that no named difference explains."""
    found = []
    for line in difflib.ndiff(case.golden, trace):
        added = line.startswith("+ ")
        if not added and not line.startswith("- "):
            continue
        if not any(d.allows(line[2:], added=added) for d in case.differences):
            found.append(line)
    return found
