"""Random programs, as JSON-able descriptions, from a seed.

Only ``Random.random()`` is drawn from: it is the one method whose sequence Python promises to keep.
``interpreter.py`` says what each part of a description means.
"""

import hashlib
import json
from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

SEED = 20210
COUNT = 1200

T = TypeVar("T")

_RUN_METHODS = ("before_run", "after_run")
_ALL_METHODS = ("begin", "after_create_session", "before_run", "after_run", "end")
_LOST = ("Aborted", "Unavailable")
_OTHER = ("ValueError", "KeyError", "OutOfRange", "StopIteration", "KeyboardInterrupt")
_NAMES = ("loss", "aux", "w", "v", "global_step", "y", "train")


class Draw:
    """Random choices for one program."""

    def __init__(self, number: int) -> None:
        self._random = Random(SEED + number)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def whole(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self._random.random() * (high - low + 1))

    def one(self, choices: Sequence[T]) -> T:
        return choices[int(self._random.random() * len(choices))]

    def maybe(self, probability: float, value: T) -> T | None:
        return value if self.chance(probability) else None

    def family(self) -> str:
        """An error's family: half of them are recovered from."""
        return self.one(_LOST if self.chance(0.5) else _OTHER)

    def fetches(self, depth: int = 2) -> Any:
        """A structure of names."""
        kind = self.one(("name", "name", "list", "dict", "empty")) if depth else "name"
        if kind == "name":
            return self.one(_NAMES)
        if kind == "empty":
            return self.one(([], {}))
        size = self.whole(1, 3)
        if kind == "list":
            return [self.fetches(depth - 1) for _ in range(size)]
        return {key: self.fetches(depth - 1) for key in "abc"[:size]}

    def errors(self, places: Sequence[str], latest: int) -> dict[str, dict[str, Any]]:
        """One or two errors, each at some call of some place."""
        found: dict[str, dict[str, Any]] = {}
        for n in range(self.whole(1, 2)):
            place = self.one(places)
            call = str(self.whole(1, latest))
            found.setdefault(place, {})[call] = [self.family(), f"user: {place} {n}"]
        return found


def _recorder(draw: Draw) -> dict[str, Any]:
    script: dict[str, Any] = {}
    if draw.chance(0.6):
        script["fetch"] = draw.fetches()
    if draw.chance(0.15):
        script["feed"] = {draw.one(("f", "g")): [draw.whole(2, 9) + 0.5 for _ in range(2)]}
    if draw.chance(0.2):
        script["stops"] = {draw.one(_RUN_METHODS): [draw.whole(1, 5)]}
    if draw.chance(0.25):
        script["errors"] = draw.errors(_RUN_METHODS if draw.chance(0.7) else _ALL_METHODS, 4)
    if draw.chance(0.1):
        script["nested"] = {draw.one(_ALL_METHODS[1:]): draw.one(("w", "global_step", "train"))}
    if draw.chance(0.08):
        place = draw.one(_ALL_METHODS[1:4])
        script["threads"] = {place: {str(draw.whole(1, 3)): [draw.family(), "user: thread"]}}
    return {"kind": "recorder", **script}


def _stock(draw: Draw) -> dict[str, Any]:
    kind = draw.one(
        ("stop", "stop", "logging", "logging", "counter", "nan", "summary", "final", "feed_fn",
         "saver", "saver", "waiter", "profiler")
    )  # fmt: skip
    arguments: dict[str, Any] = {}
    if kind == "stop":
        arguments = {draw.one(("num_steps", "last_step")): draw.whole(1, 6)}
    elif kind == "logging":
        when = draw.one(("every_n_iter", "every_n_iter", "every_n_secs", "none"))
        arguments = {} if when == "none" else {when: draw.whole(1, 4)}
        arguments["at_end"] = when == "none" or draw.chance(0.2)
        arguments["tensors"] = [draw.one(("loss", "w", "global_step")), "v"]
    elif kind == "counter":
        steps = draw.chance(0.6)
        arguments = {
            "every_n_steps": draw.whole(1, 4) if steps else None,
            "every_n_secs": None if steps else draw.whole(1, 3),
        }
    elif kind == "nan":
        arguments = {"fail_on_nan_loss": draw.chance(0.5)}
    elif kind in {"summary", "saver", "profiler"}:
        arguments = {draw.one(("save_steps", "save_steps", "save_secs")): draw.whole(1, 4)}
        if kind == "saver" and draw.chance(0.5):
            listener: dict[str, Any] = {}
            if draw.chance(0.3):
                listener["stops"] = [draw.whole(0, 5)]
            if draw.chance(0.2):
                places = ("before_save", "after_save", "end")
                listener["errors"] = draw.errors(places, 3)
            arguments["listeners"] = [listener] * draw.whole(1, 2)
    elif kind == "final":
        arguments = {"final_ops": draw.fetches(1)}
    elif kind == "feed_fn":
        arguments = {"feed": {"f": draw.whole(10, 19) + 0.5}}
    elif kind == "waiter":
        arguments = {"wait_until_step": draw.one((0, 0, 1, 2))}
    return {"kind": kind, **arguments}


def _body(draw: Draw) -> list[list[Any]]:
    """What is done inside the ``with`` block."""
    steps: list[list[Any]] = []
    for _ in range(draw.whole(1, 4)):
        action = draw.one(
            ("loop", "loop", "loop", "run", "run", "step_fn", "ask", "caught", "raise", "thread",
             "stop_coordinator", "close")
        )  # fmt: skip
        if action == "loop":
            steps.append(["loop", "train", draw.whole(2, 5), draw.one((0.0, 0.5, 1.0))])
        elif action in {"run", "caught"}:
            feed = {draw.one(("f", "g")): 1.5} if draw.chance(0.2) else None
            steps.append([action, draw.fetches(), feed])
        elif action == "step_fn":
            steps.append(["step_fn", draw.whole(0, 2), draw.one(("return", "return", "stop"))])
        elif action == "ask":
            steps.append(["ask"])
        elif action == "raise" and draw.chance(0.4):
            steps.append(["raise", draw.family()])
        elif action == "thread" and draw.chance(0.4):
            steps.append(["thread", draw.family()])
        elif action == "stop_coordinator" and draw.chance(0.3):
            steps.append(["stop_coordinator"])
        elif action == "close" and draw.chance(0.15):
            steps.append(["close"])
    return steps or [["loop", "train", 3, 1.0]]


def _session(draw: Draw) -> dict[str, Any]:
    kind = draw.one(("Monitored", "Monitored", "Monitored", "Singular", "Training"))
    hooks = [
        _recorder(draw) if draw.chance(0.55) else _stock(draw) for _ in range(draw.whole(0, 4))
    ]
    session: dict[str, Any] = {
        "kind": kind,
        "restore": draw.chance(0.7),
        "hooks": hooks,
        "body": _body(draw),
    }
    if kind == "Training":
        session["arguments"] = {
            "save_checkpoint_steps": draw.whole(1, 4),
            "save_summaries_steps": draw.one((None, 1, 2)),
            "log_step_count_steps": draw.one((None, 1, 2, 3)),
        }
    return session


def program(number: int) -> dict[str, Any]:
    """The description of one random program; the same number always gives the same one."""
    draw = Draw(number)
    spec: dict[str, Any] = {
        "values": {
            "aux": [float(draw.whole(0, 9)) for _ in range(2)],
            "loss": [draw.whole(1, 99) / 8 for _ in range(3)],
        },
        "needs": {"loss": ["aux"], "train": ["loss"]},
        "variables": {"w": 0.0, "v": 2.5},
        "echoes": {"y": ["f", 1.0], "z": ["g", 1.0]},
        "adds": {"w": 1.0},
        "increment": draw.one((1, 1, 1, 1, 2)),
        "summaries": {"s/loss": "loss"},
    }
    if draw.chance(0.5):
        spec["data"] = {"x": draw.whole(0, 9)}
        spec["needs"]["aux"] = ["x"]
    if draw.chance(0.4):
        spec["errors"] = draw.errors(("aux", "loss", "train"), 6)
    if draw.chance(0.1):
        spec["values"]["loss"][-1] = None  # stands for NaN, which JSON has no word for
    return {"spec": spec, "sessions": [_session(draw) for _ in range(draw.one((1, 1, 2, 3)))]}


def checksum(description: dict[str, Any]) -> str:
    """A short checksum of a description, to tell that the generator has changed."""
    text = json.dumps(description, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
