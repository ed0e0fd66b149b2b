"""``assert_resume_exact``: a program that was interrupted must end as if it had not been."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from runloop.hooks import StopAtStepHook
from runloop.hooks.base import SessionRunHook
from runloop.run import RunContext
from runloop.state import pack, to_numpy
from runloop.testing.events import current_step

__all__ = ["MakeRun", "assert_resume_exact", "interrupting_hooks"]

MakeRun: TypeAlias = Callable[[str, list[Any]], Any]

_CHILD_SECS = 300


class _Interrupted(BaseException):
    """Interrupts a program; ``except Exception`` does not catch it."""


class _Outcome(NamedTuple):
    """The first step of a run, and its state at the end."""

    first_step: int
    tensors: dict[str, np.ndarray[Any, Any]]
    document: dict[str, Any]


def assert_resume_exact(
    make_run: MakeRun,
    steps: int,
    interrupt_at: int | Sequence[int],
    *,
    kill: bool = False,
) -> None:
    """Run a program once without and once with interruptions; compare every bit of the result.

        def make_run(checkpoint_dir, hooks):
            graph = build()                                   # a new graph, new objects
            with rl.MonitoredTrainingSession(
                graph=graph, checkpoint_dir=checkpoint_dir, save_checkpoint_steps=2, hooks=hooks
            ) as session:
                while not session.should_stop():
                    session.run("train")

        assert_resume_exact(make_run, steps=10, interrupt_at=[3, 7])

    A program with :class:`~runloop.Loop` works alike: give it ``hooks=hooks``, and let its ``for``
    loops have at least ``steps`` passes. It ends when the hooks ask it to stop.

    An interruption comes after a whole step, as an exception that leaves the ``with`` block: no
    ``end`` is called and nothing more is saved. Then ``make_run`` is called again with the same
    folder. At the end of the last run the variables, all attached state and the hooks' state are
    compared.

    Args:
        make_run: Runs the program: creates all its objects, restores from and saves to
            ``checkpoint_dir``, and runs until ``should_stop()``. It must pass ``hooks`` on to its
            session: they stop it, read its state, and interrupt it.
        steps: The global step at which the program ends.
        interrupt_at: The global step, or the ascending steps, after which it is interrupted.
        kill: Run each interrupted part in another process, which kills itself with SIGKILL.
            ``make_run`` must be a function that another process can import: defined at the top of
            its file. That process gets the present ``sys.path``.

    Raises:
        AssertionError: If something differs: names the first tensor or value, where, and by how
            much. If the program did not reach a step where it is to be interrupted, did not end
            normally, or started at step 0 again after every interruption.
        ValueError: If ``interrupt_at`` is not ascending between 0 and ``steps``, or ``make_run``
            can't be imported by another process.
    """
    points = [interrupt_at] if isinstance(interrupt_at, int) else list(interrupt_at)
    if not points or points != sorted(set(points)) or points[0] < 0 or points[-1] >= steps:
        raise ValueError(
            f"assert_resume_exact: interrupt_at must be ascending steps from 0 to {steps - 1}, "
            f"before the end at steps={steps}, got {interrupt_at!r}"
        )
    address = _address(make_run) if kill else None
    with tempfile.TemporaryDirectory() as folder:
        straight = _run_to_end(make_run, str(Path(folder, "straight")), steps)
        broken = str(Path(folder, "interrupted"))
        for point in points:
            if address is None:
                _run_to_interruption(make_run, broken, steps, point)
            else:
                _run_to_death(address, broken, steps, point)
        resumed = _run_to_end(make_run, broken, steps)
    where = f"interrupted after step {', '.join(map(str, points))} of {steps}"
    if points[-1] > 0 and resumed.first_step == 0:
        raise AssertionError(
            f"{where}, the program started at step 0 again: nothing was resumed. Save to "
            f"checkpoint_dir, and more often (save_checkpoint_steps=1)"
        )
    difference = _first_difference(straight, resumed)
    if difference:
        raise AssertionError(f"{where}, resumed at step {resumed.first_step}: {difference}")


# -- running -------------------------------------------------------------------------------------


class _Observer(SessionRunHook):
    def __init__(self) -> None:
        self.first_step = 0
        self.outcome: _Outcome | None = None

    def after_create_session(self, session: Any, coord: Any) -> None:
        self.first_step = current_step(session) or 0

    def end(self, session: Any) -> None:
        state = session.state()
        tensors = {name: to_numpy(value).copy() for name, value in state.variables.items()}
        document = {}
        for group, objects in (("attached", state.attached), ("hooks", state.companions)):
            for name, obj in objects.items():
                key = name if group == "attached" else f"hooks/{name}"
                arrays, document[key] = pack(key, obj)
                tensors.update((n, np.array(to_numpy(array))) for n, array in arrays.items())
        self.outcome = _Outcome(self.first_step, tensors, json.loads(json.dumps(document)))


class _Interrupter(SessionRunHook):
    def __init__(self, point: int, interrupt: Callable[[], None]) -> None:
        self._point = point
        self._interrupt = interrupt

    def before_run(self, run_context: RunContext) -> None:
        if current_step(run_context.session) == self._point:
            self._interrupt()


def _run_to_end(make_run: MakeRun, folder: str, steps: int) -> _Outcome:
    observer = _Observer()
    make_run(folder, [observer, StopAtStepHook(last_step=steps)])
    if observer.outcome is None:
        raise AssertionError(
            f"make_run returned, but its session has not ended normally: make_run must pass its "
            f"hooks to a monitored session and run that until should_stop() (steps={steps})"
        )
    return observer.outcome


def _interrupt() -> None:
    raise _Interrupted


def _run_to_interruption(make_run: MakeRun, folder: str, steps: int, point: int) -> None:
    try:
        make_run(folder, interrupting_hooks(steps, point, _interrupt))
    except _Interrupted:
        return
    raise AssertionError(f"make_run returned before it was interrupted after step {point}")


def interrupting_hooks(steps: int, point: int, interrupt: Callable[[], None]) -> list[Any]:
    """Return hooks for ``make_run`` that call ``interrupt`` once step ``point`` is done."""
    return [StopAtStepHook(last_step=steps), _Interrupter(point, interrupt)]


def _address(make_run: MakeRun) -> list[str]:
    """Return how another process finds ``make_run``: module, name, file."""
    name = getattr(make_run, "__qualname__", "")
    module = getattr(make_run, "__module__", "")
    if not name or "<" in name:
        raise ValueError(
            f"assert_resume_exact: with kill=True make_run must be a function at the top of its "
            f"file, so that another process can import it, got {make_run!r}"
        )
    return [module, name, inspect.getsourcefile(make_run) or ""]


def _run_to_death(address: list[str], folder: str, steps: int, point: int) -> None:
    command = [sys.executable, "-m", "runloop.testing.resume_child", *address, folder]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run(  # noqa: S603  # our own module, with the caller's own function
        [*command, str(steps), str(point)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_CHILD_SECS,
        check=False,
    )
    if ended.returncode != -signal.SIGKILL:
        raise AssertionError(
            f"the process was to be killed after step {point}, but it ended before, with status "
            f"{ended.returncode}:\n{ended.stderr[-2000:]}"
        )


# -- comparing -----------------------------------------------------------------------------------


def _first_difference(straight: _Outcome, resumed: _Outcome) -> str | None:
    for name in {**straight.tensors, **resumed.tensors}:
        if name not in resumed.tensors:
            return f"tensor {name!r} is missing in the resumed run"
        if name not in straight.tensors:
            return f"tensor {name!r} is in the resumed run only"
        difference = _array_difference(straight.tensors[name], resumed.tensors[name])
        if difference:
            return f"tensor {name!r} {difference}"
    return _value_difference("", straight.document, resumed.document)


def _array_difference(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> str | None:
    if one.dtype != two.dtype or one.shape != two.shape:
        return (
            f"is {one.dtype} of shape {one.shape} uninterrupted, {two.dtype} of shape "
            f"{two.shape} resumed"
        )
    bytes_one, bytes_two = (
        np.frombuffer(array.tobytes(), np.uint8).reshape(array.size, array.itemsize)
        for array in (one, two)
    )
    places = np.flatnonzero((bytes_one != bytes_two).any(axis=1))
    if not places.size:
        return None
    index = tuple(int(i) for i in np.unravel_index(int(places[0]), one.shape))
    at = f" at [{', '.join(map(str, index))}]" if index else ""
    count = f"; {places.size} of {one.size} elements differ" if one.size > 1 else ""
    left, right = one[index], two[index]
    by = ""
    if one.dtype.kind in "iufc":
        by = f", a difference of {abs(complex(right) - complex(left)):.3g}"
    return f"differs first{at}: {left} uninterrupted, {right} resumed{by}{count}"


def _value_difference(path: str, one: Any, two: Any) -> str | None:
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        pairs = [(f"{path}/{key}", one[key], two[key]) for key in one]
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = [(f"{path}/{i}", a, b) for i, (a, b) in enumerate(zip(one, two, strict=True))]
    elif type(one) is type(two) and one == two:
        return None
    else:
        return f"state {path.lstrip('/')!r} is {one!r} uninterrupted, {two!r} resumed"
    found = (_value_difference(*pair) for pair in pairs)
    return next((difference for difference in found if difference), None)
