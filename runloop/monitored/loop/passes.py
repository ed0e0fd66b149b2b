"""One pass after the other: hooks are asked before the body and told after it, reports are kept."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np

from runloop.hooks import SummarySaverHook
from runloop.messages import nearest
from runloop.monitored.loop.positions import Positions, Record
from runloop.monitored.loop.session import LoopSession
from runloop.monitored.loop.state import LoopState
from runloop.monitored.watch import PassWatch
from runloop.plan.arrays import copy_array
from runloop.session import NotReportedError
from runloop.state import is_array

__all__ = ["Feeds", "Passes"]

_logger = logging.getLogger(__name__)


class Feeds(dict[str, Any]):
    """What hooks feed, during a body; notes which keys are read."""

    def __init__(self, values: dict[str, Any], read: set[str]) -> None:
        super().__init__(values)
        self._read = read

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        self._read.add(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """Return a feed, or the default."""
        if key not in self:
            return default
        return self[key]


class Passes:
    """The passes of one loop.

    Args:
        life: The session with its coordinator.
        hooks: The dispatcher.
        state: The loop's state.
        positions: Holds means and reported values.

    Attributes:
        current: The pass under way: its ``steps()``, and what the hooks asked for.
        reports: What was reported in it.
        feeds: What hooks feed, during a body.
    """

    def __init__(self, life: Any, hooks: Any, state: LoopState, positions: Positions) -> None:
        self._life = life
        self._hooks = hooks
        self._state = state
        self.positions = positions
        self.session: LoopSession = life.session
        self._summaries = [h for h in hooks.hooks if isinstance(h, SummarySaverHook)]
        watch = hooks.watch
        self._shown = None if watch is None else PassWatch(watch)
        self._asks = bool(hooks._before or hooks._after or watch)  # noqa: SLF001  # the same parts
        self.current: tuple[Record, Any, Any, Any] | None = None
        self.reports: dict[str, Any] = {}
        self._lacking: dict[tuple[str, str], str] = {}
        self._first_epoch = True
        self._unread: dict[str, None] = {}
        self._read: set[str] = set()
        self.feeds = Feeds({}, self._read)

    def begin(self, record: Record) -> None:
        """Ask the hooks, and take what they fetch from before the body."""
        if not self._asks:
            self.current = (record, None, None, None)
            return
        session = self.session
        if self._shown is not None:
            self._shown.begin(session)
        try:
            request = self._hooks.ask(session, (), None, None, None)
            plan = values = None
            requests = request._fetches[1:]  # noqa: SLF001  # behind the caller's
            if requests:
                plan = session.plan(requests)
                if plan.refused:
                    self._hooks.leave_out_training(request, plan.refused)
                    requests = request._fetches[1:]  # noqa: SLF001  # as above
                    plan = session.plan(requests)
                values = (plan.begin(), requests)
            feeds = request._feed_dict  # noqa: SLF001  # as above
        except BaseException as exc:
            if self._shown is not None:
                self._shown.end(exc=exc)
            if isinstance(exc, StopIteration):
                self._life.stop_requested = True
            raise
        if feeds:
            named = {_name(key): value for key, value in feeds.items()}
            self.feeds = Feeds(named, self._read)
            if self._first_epoch:
                self._unread.update(dict.fromkeys(named))
        elif self.feeds:
            self.feeds = Feeds({}, self._read)
        self.current = (record, request, plan, values)
        if self._shown is not None:
            self._shown.enter_body(session)

    def finish(self, *, exact: bool) -> None:
        """Keep the reports, count the pass, and tell the hooks.

        Args:
            exact: Whether this is a moment at which a restart is exact, so that hooks may save.
        """
        record, request, plan, values = self.current  # type: ignore[misc]  # called with one
        self.current = None
        shown = self._shown
        if shown is not None:
            shown.leave_body()
        if self.reports:
            self._keep_reports()
        outputs: list[Any] = []
        if plan is not None:
            outputs = [None, *plan.finish(*values)]
        session = self.session
        session.advance()
        record.position += 1
        if request is not None:
            stop = False
            if plan is not None and plan.lacks:
                outputs = self._leave_out(request, outputs)
            if not exact:
                session.saving_waits = True
            try:
                stop = self._hooks.tell(request, outputs or self._hooks._nothing)  # noqa: SLF001
            except StopIteration:
                stop = True
            except BaseException as exc:
                if shown is not None:
                    shown.end(exc=exc)
                raise
            finally:
                session.saving_waits = False
            if shown is not None:
                shown.end(stop=stop)
            if stop:
                self._life.stop_requested = True
            if self.feeds:
                self.feeds = Feeds({}, self._read)

    def _leave_out(self, request: Any, outputs: list[Any]) -> list[Any]:
        owners = self._hooks.owners(request)
        left = set()
        for index, output in zip(owners, outputs[1:], strict=True):
            if type(output) is NotReportedError:
                left.add(index)
                hook, name = self._hooks.names[index - 1], str(output)
                if (hook, name) not in self._lacking:
                    self._lacking[hook, name] = self._lack(hook, name)
        self._hooks.leave_out(request, left)
        return [o for o in outputs if type(o) is not NotReportedError]

    def _lack(self, hook: str, name: str) -> str:
        known = [*self._state.names(), *self.positions.reports, "global_step"]
        text = (
            f"{hook} asks for {name!r}, which was not reported so far, so that it is left out: "
            f"call loop.report({name}=...) in the loop's body.{nearest(name, known)}"
        )
        _logger.warning("%s", text)
        return text

    def _still_lacking(self) -> list[str]:
        reports = self.positions.reports
        return [text for (_, name), text in self._lacking.items() if name not in reports]

    def end_epoch(self) -> None:
        """At the end of the first epoch, refuse names that were never reported.

        Raises:
            ValueError: If a hook asks for one.
        """
        if not self._first_epoch:
            return
        self._first_epoch = False
        self._warn_unread(stacklevel=6)
        lacking = self._still_lacking()
        if lacking:
            raise ValueError(f"At the end of the first epoch: {lacking[0]}")

    def _warn_unread(self, stacklevel: int) -> None:
        for name in self._unread:
            if name not in self._read:
                warnings.warn(
                    f"A hook feeds {name!r}, and no body has read it: use loop.feeds[{name!r}].",
                    UserWarning,
                    stacklevel=stacklevel,
                )
        self._unread = {}

    def _keep_reports(self) -> None:
        reports, means = self.positions.reports, self.positions.means
        for name, value in self.reports.items():
            number = value
            if type(value) is not float:  # a float needs none of this: 150 ns less
                value = _as_now(value)  # noqa: PLW2901  # an array may change later
                if not _is_real_scalar(value):
                    reports[name] = value
                    continue
                number = float(value)
            reports[name] = value
            mean = means.get(name)
            if mean is None:
                means[name] = [number, 1]
            else:
                mean[0] += number
                mean[1] += 1
        if self._summaries:
            self.session.fresh_scalars.update(
                (name, None) for name, value in self.reports.items() if _is_real_scalar(value)
            )
        self.reports = {}

    def report_between(self, values: dict[str, Any]) -> None:
        """Take values that are reported between passes; scalars are written at once."""
        reports, step = self.positions.reports, self.session.step
        for name, value in values.items():
            reports[name] = _as_now(value)
            if self.positions.live and _is_real_scalar(value):
                for hook in self._summaries:
                    writer = hook._summary_writer  # noqa: SLF001  # an extension point
                    if writer is not None:
                        writer.add_scalar(name, reports[name], step)

    def copy_reports(self) -> None:
        """Copy reported arrays: the code behind a ``break`` may change them."""
        for name, value in self.reports.items():
            self.reports[name] = _as_now(value)

    def drop(self, exc: BaseException | None) -> None:
        """Forget the pass under way: its body raised ``exc``."""
        self.current = None
        self.reports = {}
        if self._shown is not None:
            self._shown.end(exc=exc)

    def end(self) -> None:
        """Warn of feeds that no body read, and of names that were never reported."""
        self._warn_unread(stacklevel=5)
        for text in self._still_lacking():
            _logger.warning("%s", text)


def _name(key: Any) -> str:
    name = getattr(key, "name", key)
    return str(name).removesuffix(":0")


def _as_now(value: Any) -> Any:
    """Return a value that stays: a copy of an array, and a scalar of one without axes."""
    if not is_array(value):
        return value
    return value[()] if isinstance(value, np.ndarray) and not value.shape else copy_array(value)


def _is_real_scalar(value: Any) -> bool:
    if type(value) is float:
        return True
    if len(getattr(value, "shape", ())) > 0 or isinstance(value, complex):
        return False
    return getattr(getattr(value, "dtype", None), "kind", "f") != "c"
