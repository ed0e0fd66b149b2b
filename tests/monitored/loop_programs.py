"""Random programs around a ``Loop``, and lives of them that are killed or stopped at random.

A program is code before, between and behind ``steps()`` and ``epochs()``: it draws from attached
generators, changes numbers, lists and arrays, reads ``global_step`` and means, reports, leaves
loops by ``break``. :func:`run` is one life; its ``tick`` stands between any two lines, and kills or
stops the life at a given one.
"""

from __future__ import annotations

import random
import warnings
from typing import Any, NamedTuple

import numpy as np

import runloop as rl
from runloop import clock
from runloop.errors import OutOfRangeError
from runloop.testing import FakeClock


class KilledError(BaseException):
    """Stands for a kill: whatever the process held is dropped."""


class Position:
    """An iterator with state."""

    def __init__(self, count):
        self.count = count
        self.next = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.next >= self.count:
            raise StopIteration
        self.next += 1
        return self.next

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


class Program(NamedTuple):
    """What is run, and how it is saved."""

    blocks: tuple[Any, ...]
    saving: dict[str, Any]


# -- making programs ------------------------------------------------------------------------------

CODE = (
    "draw np", "draw random", "number", "list", "array", "step", "mean", "rebind", "report",
    "none", "save", "text", "dict", "tuple",
)  # fmt: skip
SOURCES = (
    "int", "none", "list", "array", "permutation", "batches", "attached batches", "generator",
    "object", "attached object", "range", "zero",
)  # fmt: skip


def make_code(rng, reads_arrays=False):
    code = [rng.choice(CODE) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    if reads_arrays and rng.random() < 0.5:
        code.append("read array")
    return tuple(code)


def make_steps(rng, reads_arrays=False):
    source = rng.choice(SOURCES)
    length = rng.choice((1, 2, 3, 5))
    leave = rng.randrange(length) if source == "none" or rng.random() < 0.25 else None
    way = rng.choice(("break", "break", "raise inside")) if leave is not None else ""
    return (
        "steps",
        make_code(rng, reads_arrays),
        source,
        length,
        make_code(rng),
        leave,
        way,
        make_code(rng),
    )


def make_epochs(rng, reads_arrays):
    count = rng.choice((0, 1, 2, 3))
    inner = tuple(make_steps(rng, reads_arrays) for _ in range(rng.choice((0, 1, 1, 2, 3))))
    leave = rng.randrange(count) if count and rng.random() < 0.2 else None
    return ("epochs", make_code(rng), count, inner, leave, make_code(rng))


def make_program(rng: random.Random) -> Program:
    saving = rng.choice(
        (
            {"save_steps": rng.choice((1, 2, 3, 4))},
            {"save_secs": rng.choice((1, 3))},
            {"save_epochs": rng.choice((1, 2))},
            {"save_epochs": 1, "save_steps": rng.choice((2, 3))},
            {"save_epochs": 2, "save_secs": 2},
        )
    )
    reads = set(saving) == {"save_epochs"}
    blocks = tuple(
        make_epochs(rng, reads) if rng.random() < 0.55 else make_steps(rng)
        for _ in range(rng.choice((1, 1, 2, 3)))
    )
    return Program(blocks, saving)


# -- running them -----------------------------------------------------------------------------------


class Life:
    """One process: the program's state, made from its start, and what is done to it.

    Args:
        kill: The tick at which it is killed; ``None`` for never.
        stop: The tick at which ``request_stop()`` is called; likewise.
    """

    def __init__(self, kill=None, stop=None):
        self.kill, self.stop = kill, stop
        self.ticks = 0
        self.clock = FakeClock()
        self.data = np.arange(10.0)
        self.batches = rl.Batches(self.data, 3, seed=5)
        self.object = Position(4)
        self.state = {
            "rng": np.random.default_rng(1),
            "random": random.Random(2),
            "array": np.zeros(3),
            "entry": np.ones(2),
            "number": 1,
            "list": [],
            "log": [],
            "maybe": None,
            "text": "",
            "dict": {"n": 0, "array": np.zeros(2), "inner": [1]},
            "tuple": (1, "a"),
            "batches": self.batches,
            "object": self.object,
        }
        self.locals = {}
        self.loop = None

    def tick(self):
        self.ticks += 1
        if self.ticks == self.kill:
            raise KilledError
        if self.ticks == self.stop:
            self.loop.request_stop()

    def code(self, code, name, inside=False):
        state, loop = self.state, self.loop
        for index, what in enumerate(code):
            self.tick()
            local = f"{name}.{index}"
            if what == "draw np":
                self.locals[local] = float(state["rng"].random())
                state["number"] += self.locals[local]
            elif what == "draw random":
                self.locals[local] = state["random"].randrange(100)
                state["list"].append(self.locals[local])
            elif what == "number":
                state["number"] = state["number"] * 1.5 + 1
            elif what == "list":
                state["list"].append(len(state["list"]))
                if len(state["list"]) > 3:
                    del state["list"][0]
            elif what == "array":
                state["array"] += 1 + 0.5 * state["array"] if inside else 1.0
            elif what == "step":
                state["number"] += loop.global_step
            elif what == "mean":
                mean = loop.mean("loss")
                state["list"].append(-1.0 if np.isnan(mean) else mean)
            elif what == "rebind":
                state["entry"] = state["entry"] + 1 if inside else np.full(2, 3.0)
            elif what == "report":
                loop.report(extra=state["number"])
            elif what == "none":
                state["maybe"] = None if state["maybe"] == 3 else 3
            elif what == "save":
                if not inside or state["number"] > 5:
                    loop.save()
            elif what == "text":
                state["text"] = (state["text"] + "x")[-5:]
            elif what == "dict":
                state["dict"]["n"] += 1
                state["dict"]["inner"] = [*state["dict"]["inner"], 1][-3:]
                state["dict"][f"k{len(state['dict']) % 5}"] = 1
            elif what == "tuple":
                state["tuple"] = (*state["tuple"], len(state["tuple"]))[-4:]
            elif what == "read array":
                self.locals[local] = float(state["array"].sum())
                state["number"] += self.locals[local]
        self.tick()

    def source(self, kind, length):
        if kind in {"int", "zero"}:
            return length if kind == "int" else 0
        if kind == "none":
            return None
        if kind == "list":
            return [10 + i for i in range(length)]
        if kind == "range":
            return range(length)
        if kind == "array":
            return np.arange(2.0 * length).reshape(length, 2)
        if kind == "permutation":
            return self.state["rng"].permutation(length)
        if kind == "batches":
            return rl.Batches(self.data, 4, seed=3, epochs=1)
        if kind == "attached batches":
            return self.batches
        if kind == "attached object":
            return self.object
        if kind == "object":
            return Position(length)
        first = self.state["random"].randrange(10)
        return (first + i for i in range(length))

    def steps(self, block, name):
        _, before, source, length, body, leave, way, after = block
        state, loop = self.state, self.loop
        self.code(before, f"{name}.before")
        try:
            for index, item in enumerate(loop.steps(self.source(source, length))):
                self.tick()
                value = float(np.sum(item))
                state["array"][:] = state["array"] * 0.5 + value + state["rng"].random()
                state["entry"] = state["entry"] * 0.9 + value
                state["dict"]["array"] += value + 1
                state["log"].append([name, value, loop.global_step])
                self.code(body, f"{name}.body", inside=True)
                self.clock.advance(1)
                loop.report(loss=float(state["array"].sum()), vector=state["array"])
                self.tick()
                # The count is the program's own: enumerate() would begin again after a restart.
                if leave is not None and len([e for e in state["log"] if e[0] == name]) > leave:
                    if way == "break":
                        break
                    raise LookupError(index)
                self.tick()
        except LookupError:
            pass
        self.code(after, f"{name}.after")

    def run(self, program, folder):
        """Run the program; returns what it ends in, ``None`` if it was stopped before its end."""
        saving = program.saving if folder is not None else {}
        with clock.use(self.clock), warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "attached .*none of its arrays")
            with rl.Loop(
                folder, self.state, log_step_count_steps=None, summary_steps=None, **saving
            ) as loop:
                self.loop = loop
                if folder is None:
                    loop.save = lambda: None
                self.tick()
                for number, block in enumerate(program.blocks):
                    if block[0] == "steps":
                        self.steps(block, f"s{number}")
                        continue
                    _, before, count, inner, leave, after = block
                    self.code(before, f"e{number}.before")
                    for epoch in loop.epochs(count):
                        self.tick()
                        for place, steps in enumerate(inner):
                            self.steps(steps, f"e{number}.{epoch}.{place}")
                        self.code(after, f"e{number}.{epoch}.after")
                        if epoch == leave:
                            break
                    self.code(("number",), f"e{number}.behind")
                self.tick()
                reports = loop.session.reports
                seen = {
                    "mean": repr(loop.mean("loss")),
                    "step": loop.global_step,
                    "reports": {name: np.array(value).tolist() for name, value in reports.items()},
                }
        return {"seen": seen, "state": self.frozen()}

    def frozen(self):
        """Return the state in a form that can be compared."""
        return _frozen(self.state)


def _frozen(value):
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, random.Random):
        return repr(value.getstate())
    if hasattr(value, "state_dict"):
        return repr(value.state_dict())
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(_frozen, value)]
    return value


__all__ = ["KilledError", "Life", "OutOfRangeError", "Program", "make_program"]
