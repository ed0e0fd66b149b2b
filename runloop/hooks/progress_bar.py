"""A progress bar, with the extra ``progress``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from runloop import clock
from runloop.hooks._shared import label, require_global_step
from runloop.hooks._terminal import LinesAboveBar, layout
from runloop.hooks.base import SessionRunHook
from runloop.run import RunArgs, RunContext, RunValues

__all__ = ["ProgressBarHook"]

_INTERVAL_SECS = 0.1  # between two drawings: what an eye can follow, as in tqdm


class ProgressBarHook(SessionRunHook):
    """Shows the global step and some metrics in a tqdm bar, in terminals and notebooks.

    The bar starts at the restored step and is drawn on standard error. It is drawn, and the
    metrics are fetched, at most ten times a second; the run that reaches the total is always
    fetched, so that the last values are those shown at 100 %. In a terminal, printed and logged
    lines appear above the bar, and a narrow terminal shows fewer details, each of them whole. A
    notebook without ipywidgets gets a text bar.

    Args:
        total_steps: The global step at which the bar is full. By default that of a
            :class:`StopAtStepHook` of the same session; without one, the bar only counts.
        metrics: Fetches that return scalars, shown by their names. ``()`` shows none.

    Raises:
        ImportError: If tqdm is not installed.
        TypeError: If ``metrics`` is a single string.
        RuntimeError: From ``begin``, if the graph has no global step.
    """

    def __init__(self, total_steps: int | None = None, metrics: Iterable[Any] = ("loss",)) -> None:
        try:
            with warnings.catch_warnings():
                # In a notebook without ipywidgets tqdm warns and falls back to the text bar.
                warnings.filterwarnings("ignore", message="IProgress not found")
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
        self._lines: LinesAboveBar | None = None

    def begin(self) -> None:
        """Find the global step."""
        self._global_step_tensor = require_global_step("ProgressBarHook")

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Open the bar at the session's step and register its closing for every way out."""
        self._close()  # a bar of the last session, if there was no coordinator to close it
        self._step = int(session.run(self._global_step_tensor))
        self._total = self._total_steps
        if self._total is None and coord is not None:
            self._total = coord.last_step()
        self._stale_step: int | None = None
        self._steps_per_run = 1
        # The same two objects for all runs let the session find its plans by identity.
        self._request = RunArgs((self._global_step_tensor, self._metrics))
        # Without a total no run is known to be the last one, and the step is not needed.
        self._request_step = (
            None if self._total is None else RunArgs((self._global_step_tensor, ()))
        )
        self._next_look: float | None = None
        self._due = False
        self._shown: list[str] = []
        if coord is not None:
            coord.callback(self._close)
        self._bar = self._tqdm(
            total=self._total,
            initial=self._step,
            unit=" step",
            dynamic_ncols=True,
            # The hook decides when the bar is drawn.
            mininterval=0,
            miniters=1,
        )
        self._lines = LinesAboveBar(self._bar)

    def before_run(self, run_context: RunContext) -> RunArgs | None:
        """Ask for the metrics if the bar is drawn after this run."""
        now = self._clock.monotonic()
        self._due = self._next_look is None or now >= self._next_look
        if self._due:
            self._next_look = now + _INTERVAL_SECS
            return self._request
        if self._total is not None and self._step + self._steps_per_run >= self._total:
            return self._request  # perhaps the last run: drawn in end
        return self._request_step

    def after_run(self, run_context: RunContext, run_values: RunValues) -> None:
        """Draw the bar if it is time."""
        if run_values.results is None:
            return
        stale_step, values = run_values.results
        if self._stale_step is not None:
            self._steps_per_run = max(1, int(stale_step) - self._stale_step)
        self._stale_step = int(stale_step)
        self._step = self._stale_step + self._steps_per_run
        if values or not self._metrics:
            self._shown = [
                f"{name}={_text(value)}" for name, value in zip(self._names, values, strict=True)
            ]
        if self._due:
            self._draw(run_context.session)

    def end(self, session: Any) -> None:
        """Draw the last step."""
        self._draw(session)

    def _draw(self, session: Any) -> None:
        bar = self._bar
        self._step = int(session.run(self._global_step_tensor))
        if bar.total is not None and self._step > bar.total:
            bar.total = self._step  # a train op with a larger increment went beyond it
        bar.set_postfix_str(", ".join(self._shown), refresh=False)
        if not hasattr(bar, "container"):  # a notebook's bar with ipywidgets has its own layout
            bar.bar_format = layout(bar, self._shown)
        if self._lines is not None and self._lines.line_is_open:
            bar.n = self._step  # drawn once the line is finished
        else:
            bar.update(self._step - bar.n)

    def _close(self) -> None:
        if self._lines is not None:
            self._lines.close()
        if self._bar is not None:
            self._bar.close()


def _text(value: Any) -> str:
    try:
        return f"{value:.4g}"
    except (TypeError, ValueError):
        return str(value)
