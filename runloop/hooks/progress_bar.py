"""A progress bar, with the extra ``progress``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runloop import clock
from runloop.hooks._shared import label, require_global_step
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues

__all__ = ["ProgressBarHook"]

_INTERVAL_SECS = 0.1  # between two looks at the values: what an eye can follow, as in tqdm


class ProgressBarHook(SessionRunHook):
    """Shows the global step and some metrics in a tqdm bar, in terminals and notebooks.

    The bar starts at the step that was restored, on standard error. Metrics are fetched at most
    ten times a second: at the first run, then with the first run after each tenth, and the
    values shown at the end are the last ones fetched.

    Args:
        total_steps: The global step at which the bar is full; ``None`` shows a count alone.
        metrics: Fetches that give scalars, shown by their names. ``()`` shows none.

    Raises:
        ImportError: If tqdm is not installed.
        TypeError: If ``metrics`` is a single string.
        RuntimeError: From ``begin``, if the graph has no global step.
    """

    def __init__(self, total_steps: int | None = None, metrics: Iterable[Any] = ("loss",)) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as exc:
            raise ImportError(
                "ProgressBarHook needs tqdm, which is not installed: "
                "install runloop-hooks[progress]",
                name="tqdm",
            ) from exc
        if isinstance(metrics, str):
            raise TypeError(
                f"ProgressBarHook: metrics must be several fetches, got {metrics!r}; "
                f"write metrics=({metrics!r},)"
            )
        self._tqdm = tqdm
        self._total_steps = total_steps
        self._metrics = tuple(metrics)
        self._names = [label(metric) for metric in self._metrics]
        self._clock = clock.current()
        self._bar: Any = None

    def begin(self) -> None:
        """Find the global step."""
        self._global_step_tensor = require_global_step("ProgressBarHook")

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Open the bar at the session's step; it is closed with the session in any case."""
        if self._bar is not None:  # driven by hand, without a coordinator
            self._bar.close()
        self._bar = self._tqdm(
            total=self._total_steps,
            initial=int(session.run(self._global_step_tensor)),
            unit=" step",
            dynamic_ncols=True,
            # The hook itself sees to it that the bar is not drawn too often.
            mininterval=0,
            miniters=1,
        )
        self._next_look: float | None = None
        self._due = False
        if coord is not None:
            coord.callback(self._bar.close)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the metrics, if the bar is to be drawn."""
        now = self._clock.monotonic()
        self._due = self._next_look is None or now >= self._next_look
        if not self._due:
            return None
        self._next_look = now + _INTERVAL_SECS
        return RunArgs(self._metrics)

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Draw the bar."""
        if self._due:
            self._bar.set_postfix(
                {n: _shown(v) for n, v in zip(self._names, run_values.results, strict=True)},
                refresh=False,
            )
            self._show(run_context.session)

    def end(self, session: Any) -> None:
        """Draw the last step."""
        self._show(session)

    def _show(self, session: Any) -> None:
        self._bar.update(int(session.run(self._global_step_tensor)) - self._bar.n)


def _shown(value: Any) -> str:
    try:
        return f"{value:.4g}"
    except (TypeError, ValueError):
        return str(value)
