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
    """Return the events, one line or more each, with a sentence of explanation beside each.

    Args:
        events: Of one recorder.
        width: How many characters a line may have.
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
    """Return one sentence on why ``events[index]`` happened, or what follows from it."""
    event = events[index]
    if event.who == "loop":
        return _of_call(event)
    if event.who == "session":
        return _of_session(events, index)
    if event.who == "saver":
        return _of_saver(event)
    if event.what == "begin" and any(e.what == "close" for e in events[:index]):
        return "Another monitored session, with hooks of its own: begin is called on these."
    return _of_hook(event)


def _of_call(event: Event) -> str:
    if event.by == "session":
        return "The same call is made again in the new session, from the first before_run on."
    if isinstance(event.error, OutOfRangeError):
        return "The program's call; it raises OutOfRangeError, which leaves the with block."
    if isinstance(event.error, PREEMPTION_ERRORS):
        return "The program's call; the session is lost in it, of which the program sees nothing."
    if "Same tensor is fed" in str(event.error):
        return (
            "The program's call; nothing is run: the conflict is found before. The error goes on."
        )
    if event.error is not None:
        return "The program's call; it raises, which leaves the with block."
    if event.stop:
        return "The program's call; after it should_stop() is True."
    return "The program's call; the hooks ride along on it."


def _of_session(events: Sequence[Event], index: int) -> str:
    event = events[index]
    if event.what == "create":
        if any(e.what == "restore" and e.life == event.life for e in events[:index]):
            return "The session is ready, with the values of the checkpoint."
        return "The graph is finalized; the session is ready, with its initial values."
    if event.what == "run":
        if event.by != "session":
            return f"{event.by} runs something itself: no hook is called."
        if event.error is not None:
            return "The one run of all requests fails: after_run is called on no hook."
        return "One run of the program's fetches and the hooks' together; each op runs once."
    if event.what == "lost":
        return "The session is closed; end is called on no hook, and begin will not be again."
    if event.details.startswith("after"):
        return (
            "Left by an error: end is called on no hook, the session is closed, the error goes on."
        )
    if any(isinstance(e.error, OutOfRangeError) for e in events[:index] if e.life == event.life):
        return "The session is closed; the with block swallows the OutOfRangeError."
    return "The session is closed, after every hook's end."


def _of_saver(event: Event) -> str:
    if event.what == "restore":
        return "The newest whole checkpoint is restored, before any hook sees the session."
    if event.by == "session":
        return "The checkpoint is saved after the last after_run, since some hook has state in it."
    if event.step == 0:
        return "The first checkpoint, as soon as there is a session."
    return "A checkpoint: variables, attached state, and the state of hooks."


def _of_hook(event: Event) -> str:
    if event.what == "load_state_dict":
        return "The hook gets the state that it had in the checkpoint."
    if event.error is not None and event.what in {"before_run", "after_run"}:
        return f"It raises in {event.what}: no later hook is called."
    sentences = {
        "begin": "The graph is open for the last time: here a hook may add to it.",
        "after_create_session": "A session was made: the moment to look at it, and to register cleanup.",
        "before_run": "It is asked what it wants, and wants nothing.",
        "after_run": "The run succeeded; the hook had asked for nothing.",
        "end": "A normal end: the session is still open, and can be run.",
    }
    if event.what == "before_run" and event.args is not None:
        if event.args.feed_dict:
            return "It feeds a value, for this run only."
        return "It asks for more to be fetched in this run."
    if event.what == "after_run":
        if event.stop:
            return "It asks to stop: should_stop() will say so, the loop has to look."
        if isinstance(event.results, (int, np.integer)) and event.step == event.results + 1:
            return f"It gets the global step from before the run; by now that is {event.step}."
        if event.results is not None:
            return "The run succeeded; the hook gets what it asked for, as it asked for it."
    return sentences.get(event.what, "")
