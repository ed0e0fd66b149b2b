"""``Loop``: hooks, checkpoints and an exact restart for a ``for`` loop that exists already.

state = {"params": params, "rng": rng, "lr": 0.1}
with rl.Loop("ckpt", state, save_steps=100) as loop:
    for epoch in loop.epochs(20):
        order = rng.permutation(len(x))
        for rows in loop.steps(np.array_split(order, 50)):
            loop.report(loss=update(params, x[rows], y[rows], state["lr"]))
        state["lr"] *= 0.9
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import numpy as np

from runloop.checkpoint import Saver
from runloop.errors import OutOfRangeError
from runloop.graph import GLOBAL_STEP, Graph, get_or_create_global_step
from runloop.hooks import CheckpointSaverHook, StepCounterHook, SummarySaverHook
from runloop.monitored.dispatch import check_hooks
from runloop.monitored.loop.creator import LoopCreator
from runloop.monitored.loop.iteration import Epochs, Steps
from runloop.monitored.loop.passes import Feeds
from runloop.monitored.loop.plan import REPORTED
from runloop.monitored.loop.positions import Positions
from runloop.monitored.loop.run import LoopRun
from runloop.monitored.loop.session import LoopSession
from runloop.monitored.loop.sources import make_source, whole_number
from runloop.monitored.loop.state import LoopState
from runloop.monitored.monitored import SingularMonitoredSession, _MonitoredSession
from runloop.monitored.scaffold import Scaffold
from runloop.state import is_array
from runloop.summary import SummaryWriter

__all__ = ["Loop"]

_DEFAULT_SAVE_SECS = 600
_NEVER = 1 << 62  # steps


class _Lifecycle(SingularMonitoredSession):
    """The lifecycle of a loop: a monitored session whose runs are the passes."""

    def __init__(self, creator: LoopCreator, hooks: list[Any], secs: float, graph: Graph) -> None:
        _MonitoredSession.__init__(self, creator, hooks, secs, graph)


class Loop:
    """Makes a ``for`` loop restartable, with hooks, and nothing turned inside out.

    Entering it calls ``begin`` on each hook, restores the newest checkpoint and calls
    ``after_create_session``; leaving it calls ``end`` and closes. Each pass of ``steps()`` is one
    run: ``before_run`` on each hook, the body, ``global_step += 1``, ``after_run``. A run that was
    killed and is started again ends in the same bits as one that was not: what is done is not
    repeated, and the code around it runs again with the numbers, generators and lists that it had
    when it ran first.

    That holds for state in ``state``. While code runs again, arrays are as they were saved, and not
    as they were when that code ran first. Code before ``steps()`` that reads or changes arrays
    (rollouts with the present policy, a shuffle in place) needs whole epochs: ``save_epochs`` alone.
    Long histories are arrays rather than lists: a list of 100,000 numbers costs 90 ms at each
    epoch's start and at each save.

    Args:
        checkpoint_dir: Folder to restore from and save to; ``None`` saves nothing.
        state: What is saved and restored: a mapping with string keys, whose entries are read at
            every save; or any other state object, then called ``state``; or a :class:`~runloop.Graph`
            with attached state. Local names that are numbers go into the mapping as entries. An
            entry may be replaced by one of another shape, dtype or type; a program that starts with
            another one than the program that saved the checkpoint is refused.
        hooks: Hooks, called in this order.
        chief_only_hooks: Hooks that are called before those that the loop adds.
        save_steps: Steps between checkpoints.
        save_secs: Seconds between checkpoints; 600 if no trigger is given.
        save_epochs: Epochs between checkpoints. Given alone, nothing is saved inside an epoch, and
            an interrupted epoch is repeated from its start.
        summary_steps: Steps between summaries of the reported scalars; 0 or ``None`` for none.
        log_step_count_steps: Steps between lines of ``global_step/sec``; 0 or ``None`` for none.
        saver: A :class:`~runloop.Saver`.
        summary_dir: Folder for summaries, ``checkpoint_dir`` if ``None``.
        summary_writer: Where scalars go in place of ``metrics.jsonl``; stays yours to close.
        stop_grace_period_secs: Seconds that the coordinator's threads get at close.
        group: Not supported yet; must be ``None``.

    Raises:
        TypeError: If an argument is of a wrong type.
        ValueError: If ``save_steps`` and ``save_secs`` are both given, or a trigger or a saver
            without ``checkpoint_dir``; if a number is out of range; if ``group`` is given.
    """

    def __init__(
        self,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        state: Any = None,
        *,
        hooks: Iterable[Any] = (),
        chief_only_hooks: Iterable[Any] = (),
        save_steps: int | None = None,
        save_secs: float | None = None,
        save_epochs: int | None = None,
        summary_steps: int | None = 100,
        log_step_count_steps: int | None = 100,
        saver: Saver | None = None,
        summary_dir: str | os.PathLike[str] | None = None,
        summary_writer: SummaryWriter | None = None,
        stop_grace_period_secs: float = 120,
        group: Any = None,
    ) -> None:
        if not (checkpoint_dir is None or isinstance(checkpoint_dir, (str, os.PathLike))):
            raise TypeError(
                f"Loop: checkpoint_dir must be a path or None, got a {type(checkpoint_dir).__name__}; "
                f"the state comes behind it: Loop(None, state)"
            )
        if group is not None:
            raise ValueError(f"Loop: group is not supported yet and must be None, got {group!r}")
        for name, steps in (("save_steps", save_steps), ("save_epochs", save_epochs)):
            if steps is not None and whole_number(steps, f"Loop: {name}") < 1:
                raise ValueError(f"Loop: {name} must be at least 1, got {steps}")
        for name, steps in (
            ("summary_steps", summary_steps),
            ("log_step_count_steps", log_step_count_steps),
        ):
            if steps is not None:
                whole_number(steps, f"Loop: {name}")
        if save_secs is not None:
            if isinstance(save_secs, bool) or not isinstance(save_secs, (int, float)):
                raise TypeError(f"Loop: save_secs must be a number, got {save_secs!r}")
            if not save_secs > 0:
                raise ValueError(f"Loop: save_secs must be positive, got {save_secs}")
        if save_steps is not None and save_secs is not None:
            raise ValueError(
                f"Loop: give save_steps or save_secs, not both; got save_steps={save_steps} and "
                f"save_secs={save_secs}"
            )
        given = {
            "save_steps": save_steps,
            "save_secs": save_secs,
            "save_epochs": save_epochs,
            "saver": saver,
        }
        without = [name for name, value in given.items() if value is not None]
        if checkpoint_dir is None and without:
            raise ValueError(f"Loop: {without[0]} needs a checkpoint_dir to save to")
        if saver is not None and not isinstance(saver, Saver):
            raise TypeError(f"Loop: saver must be a runloop.Saver, got {saver!r:.80}")
        if save_steps is None and save_secs is None and save_epochs is None:
            save_secs = _DEFAULT_SAVE_SECS
        self._state = LoopState(state)
        self._checkpoint_dir = checkpoint_dir
        self._save_steps, self._save_secs, self._save_epochs = save_steps, save_secs, save_epochs
        self._scaffold = Scaffold(saver=Saver() if saver is None else saver)
        self._hooks = self._all_hooks(
            check_hooks(chief_only_hooks),
            check_hooks(hooks),
            summary_steps,
            log_step_count_steps,
            {"output_dir": summary_dir or checkpoint_dir, "summary_writer": summary_writer},
        )
        self._stop_grace_period_secs = stop_grace_period_secs
        self._run: LoopRun | None = None
        self._lifecycle: _Lifecycle | None = None
        self._entered = False

    def _all_hooks(
        self,
        first: tuple[Any, ...],
        last: tuple[Any, ...],
        summary_steps: int | None,
        log_steps: int | None,
        output: dict[str, Any],
    ) -> list[Any]:
        """Return the hooks in the order of ``MonitoredTrainingSession``."""
        every = [*first]
        if output["output_dir"] or output["summary_writer"] is not None:
            if log_steps:
                every.append(StepCounterHook(log_steps, **output))
            if summary_steps:
                wanted = [REPORTED]
                if self._state.graph.summaries:
                    wanted.append(dict(self._state.graph.summaries))  # type: ignore[arg-type]
                every.append(SummarySaverHook(summary_steps, summary_op=wanted, **output))
        if self._checkpoint_dir is not None:
            steps, secs = self._save_steps, self._save_secs
            if steps is None and secs is None:
                steps = _NEVER
            every.append(
                CheckpointSaverHook(self._checkpoint_dir, secs, steps, scaffold=self._scaffold)
            )
        return [*every, *last]

    # -- entering and leaving -----------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Call ``begin`` on the hooks, restore, call ``after_create_session``.

        Raises:
            RuntimeError: If it was entered before.
            CheckpointError: If there are checkpoints and none can be used.
        """
        if self._entered:
            raise RuntimeError("A Loop is entered once: make another one")
        graph = self._state.graph
        get_or_create_global_step(graph)
        self._state.begin()
        positions = Positions(self._state)
        creator = LoopCreator(self._state, positions, self._checkpoint_dir, self._scaffold)
        self._entered = True
        lifecycle = _Lifecycle(creator, self._hooks, self._stop_grace_period_secs, graph)
        self._lifecycle = lifecycle
        try:
            self._run = LoopRun(
                lifecycle,
                creator,
                self._state,
                positions,
                save_epochs=self._save_epochs,
                saves_passes=self._save_steps is not None or self._save_secs is not None,
            )
        except BaseException as exc:
            lifecycle.__exit__(type(exc), exc, exc.__traceback__)
            raise
        lifecycle.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Call ``end`` on the hooks and save, unless an exception is on its way; then close."""
        run, self._run = self._run, None
        lifecycle = self._lifecycle
        if run is None or lifecycle is None:
            return False
        normal = exc is None or isinstance(exc, (OutOfRangeError, StopIteration))
        if not normal:
            run.abandon(exc)
            return lifecycle.__exit__(exc_type, exc, traceback)
        try:
            run.finish(exc)
        except BaseException as failure:
            run.abandon(failure)
            lifecycle.__exit__(type(failure), failure, failure.__traceback__)
            raise
        return lifecycle.__exit__(exc_type, exc, traceback)

    def _inside(self, what: str) -> LoopRun:
        if self._run is None:
            raise RuntimeError(f"loop.{what} works only inside the with block of the loop")
        return self._run

    # -- iterating --------------------------------------------------------------------------------

    def steps(self, source: Any = None, *, replay: bool = True) -> Steps:
        """Return an iterator; each pass of the ``for`` over it is one run.

        After a restart it goes on behind the last pass that was saved: in a sequence by index, in
        an object with state by its state; another iterable is replayed: as many items are pulled
        and dropped as were used.

        Args:
            source: A number of passes, which are counted from 0; ``None`` to count for ever; or
                an iterable; of :class:`~runloop.Batches`, one epoch. A number below the saved
                position is done, which a WARNING says; a sequence that is shorter is an error.
            replay: ``False`` for an iterable that goes on by itself.

        Raises:
            TypeError: If ``source`` is a bool, a float, or can't be iterated.
            ValueError: If it is negative.
            RuntimeError: Outside of the ``with``; inside another ``steps()``.
            CheckpointMismatchError: If the checkpoint was saved by a program with other loops.
        """
        run = self._inside("steps()")
        return Steps(run, run.enter_steps(make_source(source, replay=replay)))

    def epochs(self, number: int | None = None) -> Epochs:
        """Return an iterator over the numbers of the epochs that are left.

        Args:
            number: How many epochs in all; ``None`` for no end. If the checkpoint was saved behind
                so many, it is done, an interrupted epoch is finished first, and a WARNING says so.

        Raises:
            TypeError: If ``number`` is not a whole number.
            ValueError: If it is negative.
            RuntimeError: Outside of the ``with``; inside another ``epochs()`` or ``steps()``.
            CheckpointMismatchError: If the checkpoint was saved by a program with other loops.
        """
        run = self._inside("epochs()")
        limit = None if number is None else whole_number(number, "epochs()")
        return Epochs(run, run.enter_epochs(limit))

    # -- reports ----------------------------------------------------------------------------------

    def report(self, **values: Any) -> None:
        """Report numbers and arrays by name: hooks can fetch them, scalars become summaries.

        Inside ``steps()`` they belong to the pass; arrays are copied when it is finished.
        Elsewhere scalars go to the summary writer at once.

        Raises:
            TypeError: If a value is neither a number nor an array.
            ValueError: If the state has the name, or it is ``global_step``.
            RuntimeError: Outside of the ``with``.
        """
        run = self._run or self._inside("report()")
        reports = run.positions.reports
        for name, value in values.items():
            if type(value) is not float or name not in reports:
                self._check_report(name, value)
        passes = run.passes
        if passes.current is None or run.left:
            run.report(values)
        elif passes.reports:
            passes.reports.update(values)
        else:
            passes.reports = values

    def _check_report(self, name: str, value: Any) -> None:
        if name == GLOBAL_STEP or name in self._state.names():
            raise ValueError(
                f"loop.report: {name!r} is the name of part of the loop's state; report it under "
                f"another name"
            )
        if not (isinstance(value, (int, float, complex, np.number, np.bool_)) or is_array(value)):
            raise TypeError(f"loop.report: {name} must be a number or an array, got {value!r:.80}")

    def mean(self, name: str) -> float:
        """Return the mean of a reported scalar over the passes of this epoch.

        Without ``epochs()``, of the whole run. ``nan`` if it was not reported in a pass.
        """
        return self._inside("mean()").mean(name)

    # -- looking ----------------------------------------------------------------------------------

    @property
    def global_step(self) -> int:
        """The number of passes that are finished."""
        run = self._inside("global_step")
        run.settle()
        return run.session.step

    @property
    def session(self) -> LoopSession:
        """The session below the hooks: ``run`` knows the state and what was reported, by name."""
        run = self._inside("session")
        run.settle()
        return run.session

    @property
    def feeds(self) -> Feeds:
        """What hooks feed, by name; filled during the body."""
        return self._inside("feeds").passes.feeds

    @property
    def hooks(self) -> tuple[Any, ...]:
        """The hooks, in the order in which they are called."""
        return tuple(self._hooks)

    # -- asking -----------------------------------------------------------------------------------

    def should_stop(self) -> bool:
        """Return whether a hook, the coordinator or :meth:`request_stop` asked to stop."""
        return self._inside("should_stop()").should_stop()

    def request_stop(self) -> None:
        """Stop after this pass; the next start goes on behind it."""
        self._inside("request_stop()").request_stop()

    def save(self) -> None:
        """Ask for a checkpoint at the next moment at which a restart is exact.

        That is the end of the pass or, between ``steps()`` and with ``save_epochs`` alone, of the
        epoch.

        Raises:
            ValueError: If the loop has no ``checkpoint_dir``.
            RuntimeError: Outside of the ``with``.
        """
        run = self._inside("save()")
        if not run.can_save:
            raise ValueError("loop.save() needs a checkpoint_dir to save to: Loop(checkpoint_dir)")
        run.settle()
        run.want_save()

    def __repr__(self) -> str:
        where = "" if self._checkpoint_dir is None else f" {os.fspath(self._checkpoint_dir)!r}"
        step = "" if self._run is None else f", step {self._run.session.step}"
        return f"<Loop{where}, {len(self._hooks)} hooks{step}>"
