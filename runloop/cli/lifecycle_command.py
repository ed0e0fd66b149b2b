"""``runloop lifecycle SCENARIO``: how the hooks of a small program are called, with explanations."""

from __future__ import annotations

import argparse
import shutil
from typing import Any

__all__ = ["FORMATS", "add", "add_format", "text_of"]

FORMATS = ("table", "mermaid", "json", "chrome")
"""What a recorded lifecycle can be printed as."""

_NAMES = ("normal", "stop", "out-of-data", "error", "abort-and-recover", "restart", "feed-conflict")
# As in runloop.testing.scenarios, which is loaded only to run one.


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "lifecycle",
        help="watch hooks being called in a small program, with explanations",
        description="Run a small built-in program and print what happens, with an explanation of "
        "each event. The clock is simulated: the output is the same each time.",
    )
    parser.add_argument("scenario", choices=_NAMES, help="the program: %(choices)s", metavar="NAME")
    add_format(parser)
    parser.set_defaults(run=_run)


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how a recorded lifecycle is printed."""
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="table",
        help="table (the default); mermaid: a sequence diagram; json; chrome: trace events for "
        "Perfetto or chrome://tracing",
    )


def text_of(recorder: Any, form: str) -> str:
    """Return a recorder's events in one of :data:`FORMATS`."""
    render = {
        "table": recorder.table,
        "mermaid": recorder.mermaid,
        "json": recorder.json,
        "chrome": recorder.chrome_trace,
    }
    return str(render[form]())


def _run(args: argparse.Namespace) -> int:
    import logging
    import textwrap

    from runloop.testing.recorder.explain import explained
    from runloop.testing.scenarios import SCENARIOS, play

    # The events already say what would be logged.
    logging.getLogger("runloop").addHandler(logging.NullHandler())
    recorder = play(args.scenario)
    if args.format != "table":
        print(text_of(recorder, args.format))
        return 0
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    title = f"{args.scenario}: {SCENARIOS[args.scenario].title}"
    print("\n".join(textwrap.wrap(title, width)))
    print()
    print(explained(recorder.events, width))
    return 0
