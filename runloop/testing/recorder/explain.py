"""Sentences that explain a recorded lifecycle, one for each event."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from runloop.errors import OutOfRangeError
from runloop.monitored.coordinated import PREEMPTION_ERRORS
from runloop.testing.events import Event
from runloop.testing.recorder.render import cut

__all__ = ["explain", "explained"]

_LEAST, _MOST = 42, 52  # characters for what happened, on the left


def explained(events: Sequence[Event], width: int) -> str:
    """Return the events, one or more lines each, with an explanation beside each.

    Args:
        events: The events of one recorder.
        width: The most characters in a line.
    """
    sentences = [explain(events, i) for i in range(len(events))]
    names = ["  " * event.depth + f"{event.who}.{event.what}" for event in events]
    left = min(max(max(map(len, names), default=0) + 5, _LEAST), _MOST)
    lines = []
    for event, name, sentence in zip(events, names, sentences, strict=True):
        step = "" if event.step is None else str(event.step)
        facts = [f"{step:>3}  {cut(name, left - 5)}"]
        indent = " " * (7 + 2 * event.depth)
        facts += [indent + line for line in textwrap.wrap(event.details, left - len(indent))]
        right = textwrap.wrap(sentence, max(20, width - left - 2))
        for i in range(max(len(facts), len(right))):
            fact = facts[i] if i < len(facts) else ""
            lines.append(f"{fact:<{left}}  {right[i] if i < len(right) else ''}".rstrip())
    return "\n".join(lines)


def explain(events: Sequence[Event], index: int) -> str:
    """Return one sentence on ``events[index]``: why it happened, or what follows from it."""
    event = events[index]
    if event.who == "loop":
        return _of_call(event)
    if event.who == "session":
        return _of_session(events, index)
    if event.who == "saver":
        return _of_saver(event)
    if event.what == "begin" and any(e.what == "close" for e in events[:index]):
        return "Another monitored session with other hooks: begin is called on each."
    return _of_hook(event)


def _of_call(event: Event) -> str:
    if event.what == "body":
        if event.error is not None:
            return "The body of the loop raises: after_run is skipped for all hooks."
        return "The body of the loop: the program's own code, between before_run and after_run."
    if event.args is None and event.error is not None:
        return "One pass of the loop; it raises, which leaves the with block."
    if event.args is None:
        return "One pass of the loop: it counts as one run."
    if event.by == "session":
        return "The run is repeated in the new session, starting with the first before_run."
    if isinstance(event.error, OutOfRangeError):
        return "The program calls run(); it raises OutOfRangeError, which leaves the with block."
    if isinstance(event.error, PREEMPTION_ERRORS):
        return "The program calls run(); the session is lost. The program does not notice."
    if "Same tensor is fed" in str(event.error):
        return "The program calls run(); the conflict is found before anything runs, and is raised."
    if event.error is not None:
        return "The program calls run(); it raises, which leaves the with block."
    if event.stop:
        return "The program calls run(); from now on should_stop() is True."
    return "The program calls run(); the hooks are called before and after it."


def _of_session(events: Sequence[Event], index: int) -> str:
    event = events[index]
    if event.what == "create":
        if any(e.what == "restore" and e.life == event.life for e in events[:index]):
            return "The session is ready; its values come from the checkpoint."
        return "The graph is finalized; the session is ready with its initial values."
    if event.what == "run":
        if event.by != "session":
            return f"{event.by} runs something itself: the hooks are not called."
        if event.error is not None:
            return "The run fails: after_run is skipped for all hooks."
        return "One run for the program's fetches and the hooks' together; each op runs once."
    if event.what == "lost":
        return "The session is closed. Hooks get no end, and no second begin."
    if event.details.startswith("after"):
        return "The with block is left by an error: end is skipped, the session is closed."
    if any(isinstance(e.error, OutOfRangeError) for e in events[:index] if e.life == event.life):
        return "The session is closed; the with block swallows the OutOfRangeError."
    return "The session is closed, after the end of every hook."


def _of_saver(event: Event) -> str:
    if event.what == "restore":
        return "The newest whole checkpoint is restored before the hooks see the session."
    if event.by == "session":
        return "A checkpoint, saved after the last after_run because it includes hooks' state."
    if event.step == 0:
        return "The first checkpoint, saved as soon as the session is created."
    return "A checkpoint: variables, attached state, and the state of hooks."


def _of_hook(event: Event) -> str:
    if event.what == "load_state_dict":
        return "The hook gets its state from the checkpoint."
    if event.error is not None and event.what in {"before_run", "after_run"}:
        return f"The hook's {event.what} raises: later hooks are not called."
    sentences = {
        "begin": "The graph is not finalized yet: the hook can still add to it.",
        "after_create_session": "A session was created: the hook can inspect it and register cleanup.",
        "before_run": "The hook asks for nothing.",
        "after_run": "The run succeeded; the hook had asked for nothing.",
        "end": "A normal end: the session is still open, and the hook can run it.",
    }
    if event.what == "before_run" and event.args is not None:
        if event.args.feed_dict:
            return "The hook feeds a value, for this run only."
        return "The hook adds fetches to this run."
    if event.what == "after_run":
        if event.stop:
            return "The hook requests a stop: should_stop() returns True when the loop asks."
        if isinstance(event.results, (int, np.integer)) and event.step == event.results + 1:
            return f"The hook gets the global step from before the run; now it is {event.step}."
        if event.results is not None:
            return (
                "The run succeeded; the hook gets its results in the structure that it asked for."
            )
    return sentences.get(event.what, "")
