"""A list of events as a Mermaid sequence diagram."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from runloop.errors import OutOfRangeError
from runloop.run import RunArgs
from runloop.testing.events import Event, describe, show
from runloop.testing.recorder.render import cut

__all__ = ["diagram"]

_LONGEST = 60


def diagram(events: Sequence[Event], hooks: Sequence[str]) -> str:
    """Return the text of the diagram; see ``LifecycleRecorder.mermaid``."""
    return "\n".join(_Diagram(events, hooks).lines)


class _Diagram:
    def __init__(self, events: Sequence[Event], hooks: Sequence[str]) -> None:
        self.hooks = {name: f"H{i}" for i, name in enumerate(hooks, 1)}
        self.inside = False  # whether the program is inside a with block
        self.life = 0
        self.out_of_data: Event | None = None  # the run by which the program is about to leave it
        self.lines = ["sequenceDiagram", "    participant L as your loop"]
        in_loop = any(event.what == "body" for event in events)
        self.monitored = "Loop" if in_loop else "MonitoredSession"
        self.lines.append(f"    participant M as {self.monitored}")
        self.lines += [f"    participant {i} as {_plain(name)}" for name, i in self.hooks.items()]
        self.lines.append("    participant S as Session")
        if any(event.who == "saver" for event in events):
            self.lines.append("    participant C as checkpoints")
        calls = [event for event in events if (event.who, event.what) == ("loop", "run")]
        # A run that is repeated returns nothing to the program.
        self.repeated = [a for a, b in pairwise(calls) if b.by == "session"]
        waiting: list[Event] = []  # the calls that have not returned yet
        for event in events:
            while waiting and waiting[-1].depth >= event.depth:
                self.answer(waiting.pop())
            self.call(event)
            waiting.append(event)
        while waiting:
            self.answer(waiting.pop())

    def line(self, source: str, arrow: str, target: str, text: str) -> None:
        self.lines.append(f"    {source}{arrow}{target}: {_plain(cut(text, _LONGEST))}")

    def note(self, text: str) -> None:
        self.lines.append(f"    Note over L,S: {_plain(cut(text, 2 * _LONGEST))}")

    def place(self, name: str) -> str:
        fixed = {"loop": "L", "saver": "C"}
        return fixed.get(name) or self.hooks.get(name, "M")

    def call(self, event: Event) -> None:
        if event.life > self.life:
            self.life = event.life
            self.note(f"session number {event.life + 1}")
        fetches = "" if event.args is None else show(event.args.fetches)
        if event.what == "body":
            self.line("M", "-->>", "L", "the body of the pass")
        elif event.who == "loop":
            if event.by == "session":
                self.note("the run is repeated")
            elif event.args is None:
                self.line("L", "->>", "M", "next pass")
            else:
                self.line("L", "->>", "M", f"run({fetches})")
        elif event.who == "session":
            self.call_session(event, fetches)
        elif event.who == "saver":
            at = "" if event.step is None else f" at step {event.step}"
            self.line(self.place(event.by), "->>", "C", f"{event.what}{at}")
        else:
            if event.what == "begin":
                self.enter()
            elif event.what == "end":
                self.leave("")
            given = "" if event.results is None else show(event.results)
            self.line("M", "->>", self.place(event.who), f"{event.what}({given})")

    def call_session(self, event: Event, fetches: str) -> None:
        if event.what == "run":
            self.line(self.place(event.by), "->>", "S", f"run({fetches})")
        elif event.what == "create":
            self.enter()
            at = "" if event.step is None else f" at step {event.step}"
            self.line("M", "->>", "S", f"create{at}")
        elif event.what == "lost":
            self.note(f"the session is lost {event.details}")
            self.line("M", "->>", "S", "close()")
        else:
            kind = event.details.removeprefix("after ").partition(":")[0]
            self.leave(f"by {kind}" if kind else "")
            self.line("M", "->>", "S", "close()")

    def enter(self) -> None:
        if not self.inside:
            self.inside = True
            self.line("L", "->>", "M", f"{self.monitored}(hooks)")

    def leave(self, why: str) -> None:
        if self.inside:
            self.inside = False
            if self.out_of_data is not None:
                why = f"by {type(self.out_of_data.error).__name__}"
            self.line("L", "->>", "M", f"leave the with block {why}".rstrip())

    def answer(self, event: Event) -> None:
        if event.who == "loop":
            self.answer_loop(event)
            return
        if event.who == "session" and event.what == "run":
            source = self.place(event.by)
            if event.error is None:
                self.line("S", "-->>", source, show(event.results))
            else:
                self.line("S", "--x", source, describe(event.error))
            return
        place = "S" if event.who == "session" else self.place(event.who)
        caller = self.place(event.by)
        if isinstance(event.args, RunArgs):
            feeds = event.args.feed_dict
            fed = "" if feeds is None else f", feed_dict={show(dict(feeds))}"
            self.line(place, "-->>", caller, f"RunArgs({show(event.args.fetches)}{fed})")
        if event.stop:
            self.line(place, "-->>", caller, "request_stop()")
        if event.error is not None:
            self.line(place, "--x", caller, describe(event.error))
        if event.who == "session" and event.what == "close":
            if event.details.startswith("after"):
                self.line("M", "--x", "L", event.details.removeprefix("after "))
            elif self.out_of_data is not None:
                self.line("M", "-->>", "L", f"{type(self.out_of_data.error).__name__} swallowed")
                self.out_of_data = None

    def answer_loop(self, event: Event) -> None:
        if event.what == "body" or (event.args is None and event.error is None):
            self.answer_pass(event)
        elif event.error is None:
            self.line("M", "-->>", "L", show(event.results))
        elif all(event is not other for other in self.repeated):
            self.line("M", "--x", "L", describe(event.error))
            if isinstance(event.error, (OutOfRangeError, StopIteration)):
                self.out_of_data = event

    def answer_pass(self, event: Event) -> None:
        if event.what == "run":
            return  # a pass returns nothing: the program goes on
        if event.error is None:
            self.line("L", "->>", "M", "the body is done")
        else:
            self.line("L", "-x", "M", describe(event.error))


def _plain(text: str) -> str:
    """Return ``text`` on one line, with the characters escaped that Mermaid would interpret."""
    codes = {"#": "#35;", ";": "#59;", "<": "#lt;", ">": "#gt;"}
    return "".join(codes.get(character, character) for character in " ".join(text.split()))
