"""Renew the golden traces: ``python -m tests.conformance.record``, where TensorFlow is installed.

--group NAME    only this group of hand-written scenarios, or ``random``
--show TEXT     record nothing: print the traces of the scenarios whose name contains TEXT
"""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator

from . import generator, golden
from .collect import collect
from .interpreter import interpret
from .story import Story, tell


def _random(number: int) -> tuple[str, str, object]:
    description = generator.program(number)

    def scenario(story: Story) -> None:
        interpret(story, description)

    return f"random/{number}", generator.checksum(description), scenario


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        print(f"while recording {name}", file=sys.stderr)
        raise


def main() -> None:
    """Record what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group")
    parser.add_argument("--show")
    arguments = parser.parse_args()
    from .tensorflow_backend import TensorFlowBackend

    backend = TensorFlowBackend()
    for group, scenarios in collect().items():
        if arguments.group not in {None, group}:
            continue
        traces = {}
        for scenario in scenarios:
            name = f"{group}/{scenario.name}"
            if arguments.show and arguments.show not in name:
                continue
            with _naming(name):
                traces[scenario.name] = tell(backend, scenario.tell)
            if arguments.show:
                print(f"== {name}", *traces[scenario.name], sep="\n    ")
        if not arguments.show:
            golden.write(group, backend.version, traces)
            print(f"{group}: {len(traces)} scenarios")
    if arguments.group not in {None, "random"}:
        return
    programs = []
    for number in range(generator.COUNT):
        name, checksum, scenario = _random(number)
        if arguments.show and arguments.show != name:
            continue
        with _naming(name):
            programs.append((checksum, tell(backend, scenario)))
        if arguments.show:
            print(f"== {name}", generator.program(number), *programs[-1][1], sep="\n    ")
    if not arguments.show:
        golden.write_random(backend.version, programs)
        print(f"random: {len(programs)} programs")


if __name__ == "__main__":
    # Some of TensorFlow's hooks write where they stand when they are told no folder.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        main()
