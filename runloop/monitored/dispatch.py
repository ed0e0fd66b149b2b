"""The one place that calls hooks.

A :class:`Dispatcher` is made from a list of hooks. It finds out once which hook overrides which
method, so that a method that is not overridden is never called.

A run has two halves around the work itself. :meth:`Dispatcher.ask` calls ``before_run`` and merges
what the hooks want; :meth:`Dispatcher.tell` calls ``after_run`` with what came of it. A monitored
session runs its session between the two (:meth:`Dispatcher.run`), a loop the body of a ``for``.
"""

# ruff: noqa: SLF001  # a context's properties and its __init__ would cost calls at each step

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runloop.clock import Clock
from runloop.hooks.base import HOOK_METHODS, is_overridden
from runloop.messages import add_note, text_of
from runloop.run import (
    HookStats,
    HooksWouldTrainError,
    MergedOptions,
    RunArgs,
    RunContext,
    RunMetadata,
    RunOptions,
    RunValues,
)

if TYPE_CHECKING:
    from runloop.monitored.watch import Watch

__all__ = ["Dispatcher", "Request", "check_hooks", "hook_names"]

_logger = logging.getLogger(__name__)

_Method = Callable[..., Any]
# Speed. A run with one hook that asks for nothing takes 2,900 ns in all; what each trick here saves
# of that was measured on the same machine, with Python 3.11.

# RunValues(...) calls a __new__ written in Python: 300 ns. This makes the same tuple in 170 ns.
_new = tuple.__new__


class _PlainOptions(RunOptions):
    """Options that nobody gave, where the session must not look at whose fetches they are."""

    __init__ = object.__init__


class Request(RunContext):
    """One run, from :meth:`Dispatcher.ask` to :meth:`Dispatcher.tell`.

    It is also the context that the hooks see. One object to make for each run, not two, saves 100 ns.

    Attributes:
        _fetches: The caller's fetches, then those of each hook that asked for something.
        _feed_dict: The merged feeds, or ``None``.
        _options: The merged options.
        _run_metadata: What the run leaves behind.
        _silent: The hooks that asked for nothing, numbered from 1. Mostly every hook asks, and then
            this costs nothing; a list of those that asked would cost 25 ns a hook.
        _fed_by: ``(number, feeds)`` of the hooks that feed something.
        _after: ``(number, after_run)`` of the hooks that will be told.
    """

    __slots__ = (
        "_after",
        "_feed_dict",
        "_fetches",
        "_options",
        "_run_metadata",
        "_silent",
    )
    _fed_by: tuple[tuple[int, Mapping[Any, Any]], ...] = ()  # not a slot: mostly it stays empty
    _fetches: list[Any]
    _feed_dict: Mapping[Any, Any] | None
    _options: RunOptions
    _run_metadata: RunMetadata
    _silent: tuple[int, ...]
    _after: list[tuple[int, _Method]]
    # The dispatcher sets the attributes itself. Without a call of __init__: 100 ns, not 210.
    __init__ = object.__init__


def check_hooks(hooks: Iterable[Any]) -> tuple[Any, ...]:
    """Return the hooks as a tuple.

    Raises:
        TypeError: If ``hooks`` is not an iterable, or one of them lacks a method of the protocol;
            names the hook and the methods.
    """
    if not hasattr(hooks, "__iter__"):
        raise TypeError(f"hooks must be a list of hooks, got {hooks!r}; write hooks=[hook]")
    checked = tuple(hooks)
    for position, hook in enumerate(checked):
        if isinstance(hook, type):
            raise TypeError(
                f"hooks[{position}] is the class {hook.__name__}; write {hook.__name__}(...)"
            )
        missing = [name for name in HOOK_METHODS if not callable(getattr(hook, name, None))]
        if missing:
            raise TypeError(
                f"hooks[{position}] is not a hook: {hook!r} has no method {', '.join(missing)}; "
                f"inherit from runloop.SessionRunHook, which has them all"
            )
    return checked


def hook_names(hooks: Iterable[Any]) -> tuple[str, ...]:
    """Return a name for each hook: its class's; the second of a class gets ``_1``, and so on."""
    seen: dict[str, int] = {}
    names = []
    for hook in hooks:
        name = type(hook).__name__
        count = seen[name] = seen.get(name, -1) + 1
        names.append(f"{name}_{count}" if count else name)
    return tuple(names)


class Dispatcher:
    """Calls hooks, in list order.

    Args:
        hooks: Objects with the five methods of the protocol; they need not be hashable.
        clock: Measures the hooks' own times where a hook ``wants_hook_stats``.
        watch: Shows the hooks' calls to observers; ``None`` where there are none.
        hooks_may_train: Whether a hook that asks for an output of an op that updates or trains
            makes that op run, as in TensorFlow. Else its request is left out of runs whose caller
            did not ask for that op.

    Raises:
        TypeError: If one of ``hooks`` is not a hook.
    """

    def __init__(
        self,
        hooks: Iterable[Any],
        clock: Clock,
        watch: Watch | None = None,
        *,
        hooks_may_train: bool = False,
    ) -> None:
        self.hooks = check_hooks(hooks)
        self.names = hook_names(self.hooks)
        self.watch = watch
        if watch is not None:
            watch.new_session(self.names, clock)
        self._clock = clock
        self._hooks_may_train = hooks_may_train
        plain = hooks_may_train or watch is not None
        self._new_options: type[RunOptions] = _PlainOptions if plain else MergedOptions
        self._told: set[tuple[int, str]] = set()  # hook and op of the requests left out so far
        self.refresh()

    def refresh(self) -> None:
        """Find out which methods are overridden; done whenever a session was made."""
        self._before = self._overridden("before_run")
        self._after = self._overridden("after_run")
        self._nothing = (None,) * (len(self.hooks) + 1)
        self._watchers = [hook for hook in self.hooks if hasattr(hook, "wants_hook_stats")]

    def _overridden(self, name: str) -> list[tuple[int, _Method]]:
        # Numbered from 1: before the hooks' results comes the caller's.
        methods = ((index, getattr(hook, name)) for index, hook in enumerate(self.hooks, 1))
        found = [(index, method) for index, method in methods if is_overridden(method)]
        watch = self.watch
        if watch is None:
            return found
        return [(index, watch.hook(self.names[index - 1], name, method)) for index, method in found]

    def companions(self) -> dict[str, Any]:
        """Return the hooks that have state of their own, by name."""
        found = {
            name: hook
            for name, hook in zip(self.names, self.hooks, strict=True)
            if callable(getattr(hook, "state_dict", None))
            and callable(getattr(hook, "load_state_dict", None))
        }
        watch = self.watch
        if watch is None:
            return found
        return {name: watch.companion(name, hook) for name, hook in found.items()}

    def finished(self, session: Any) -> bool:
        """Return whether a hook with ``is_finished(session)`` says that nothing is left to run."""
        asked = (getattr(hook, "is_finished", None) for hook in self.hooks)
        return any(callable(method) and method(session) is True for method in asked)

    def last_step(self, session: Any) -> int | None:
        """Return the smallest step that a hook's ``final_step(session)`` gives, or ``None``."""
        asked = (getattr(hook, "final_step", None) for hook in self.hooks)
        steps = [int(method(session)) for method in asked if callable(method)]
        return min(steps, default=None)

    def call(self, name: str, *args: Any) -> None:
        """Call a method on each hook that overrides it; the first that raises ends it."""
        for _, method in self._overridden(name):
            method(*args)

    def end(self, session: Any, failures: list[BaseException]) -> None:
        """Call ``end`` on every hook, whatever the others do; add what is raised to ``failures``."""
        for _, method in self._overridden("end"):
            try:
                method(session)
            except Exception as exc:  # the later hooks are owed their end, too
                failures.append(exc)

    def run(
        self,
        session: Any,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None,
        options: RunOptions | None,
        run_metadata: RunMetadata | None,
    ) -> tuple[Any, bool]:
        """Ask the hooks, run everything that is asked for at once, tell the hooks.

        Returns:
            The caller's results, and whether any hook asked to stop.

        Raises:
            RuntimeError: If two hooks, or a hook and the caller, feed the same; nothing ran.
            TypeError: If ``before_run`` returns something else than ``RunArgs`` or ``None``, or
                the feeds in them are not a mapping.
        """
        if not self._before and not self._after:
            if run_metadata is not None:
                run_metadata.hook_stats = ()  # of the run before
            return session.run(fetches, feed_dict, options, run_metadata), False
        request = self.ask(session, fetches, feed_dict, options, run_metadata)
        while True:  # once, and again where what some hooks asked for is left out
            feed_dict, options = request._feed_dict, request._options
            merged, metadata = request._fetches, request._run_metadata
            if len(merged) == 1:  # no hook asked for anything: no list to take apart
                result = session.run(fetches, feed_dict, options, metadata)
                return result, self.tell(request, self._nothing)
            try:
                if type(options) is not MergedOptions and not self._hooks_may_train:
                    self._check_training(session, request)
                outputs = session.run(merged, feed_dict, options, metadata)
            except HooksWouldTrainError as exc:
                refused = exc.left_out
            except (TypeError, ValueError) as exc:
                self._note_who_asked(exc, session, request)
                raise
            else:
                return outputs[0], self.tell(request, outputs)
            self.leave_out_training(request, refused)

    def ask(
        self,
        session: Any,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None,
        options: RunOptions | None,
        run_metadata: RunMetadata | None,
    ) -> Request:
        """Call ``before_run`` on each hook, and merge the requests with the caller's own.

        Returns:
            The merged request, for :meth:`tell`.

        Raises:
            RuntimeError: If two hooks, or a hook and the caller, feed the same.
            TypeError: If ``before_run`` returns something else than ``RunArgs`` or ``None``, or
                the feeds in them are not a mapping.
        """
        before, after = self._before, self._after
        if run_metadata is None:
            run_metadata = RunMetadata()
        else:
            run_metadata.hook_stats = ()  # of the run before
        if self._watchers and any(hook.wants_hook_stats for hook in self._watchers):
            before, after = self._timed(run_metadata)
        request: Request = Request()
        request._original_args = (fetches, feed_dict, None)
        request._session = session
        request._stop_requested = False
        request._deferred = ()
        merged = [fetches]
        silent: tuple[int, ...] = ()
        hook_feeds: dict[Any, Any] | None = None
        for index, method in before:
            args = method(request)
            if args is None:
                silent = (*silent, index)
                continue
            if type(args) is not RunArgs and not isinstance(args, RunArgs):  # 12 ns a hook less
                args = self._as_run_args(args, index)
            wanted, feeds, more_options = args
            if wanted is None:
                silent = (*silent, index)
            else:
                merged.append(wanted)
            if feeds:
                if not isinstance(feeds, Mapping):
                    raise TypeError(
                        f"{self.names[index - 1]}.before_run: feed_dict must be a mapping, "
                        f"got {feeds!r}"
                    )
                hook_feeds = {} if hook_feeds is None else hook_feeds
                _check_feeds(hook_feeds, feeds, "Same tensor is fed by two hooks.")
                hook_feeds.update(feeds)
                request._fed_by = (*request._fed_by, (index, feeds))
            if more_options is not None:
                options = self._new_options() if options is None else options
                options.merge(more_options)
        if hook_feeds:
            if feed_dict:
                _check_feeds(
                    feed_dict, hook_feeds, "Same tensor is fed by a SessionRunHook and user."
                )
                hook_feeds.update(feed_dict)
            feed_dict = hook_feeds
        request._fetches = merged
        request._feed_dict = feed_dict
        if options is None:
            new_options = self._new_options  # as a local it is called in 20 ns less
            options = new_options()
        request._options = options
        request._run_metadata = run_metadata
        request._silent = silent
        request._after = after
        return request

    def tell(self, request: Request, outputs: Sequence[Any]) -> bool:
        """Call ``after_run`` on each hook with its own results, then what was deferred.

        Args:
            request: What :meth:`ask` returned.
            outputs: The value of each member of the request's fetches, the caller's first.

        Returns:
            Whether any hook asked to stop, in ``before_run`` or now.
        """
        after, options, metadata = request._after, request._options, request._run_metadata
        nothing = self._nothing
        if outputs is nothing:  # nobody asked for anything; 15 ns a hook less than below
            values = _new(RunValues, (None, options, metadata)) if after else None
            for _, method in after:
                method(request, values)
        else:
            if len(outputs) < len(nothing):  # else each hook has its place in it
                outputs = self._spread(request, outputs)
            values = None
            last: Any = self  # what no hook can have fetched
            for index, method in after:
                own = outputs[index]
                # Hooks that fetched the same, mostly the step, share one RunValues: 170 ns less each.
                if own is not last:
                    values = _new(RunValues, (own, options, metadata))
                    last = own
                method(request, values)
        for deferred in request._deferred:
            deferred()
        return request._stop_requested

    def owners(self, request: Request) -> list[int]:
        """Return whose fetches follow the caller's in ``request``: hooks, numbered from 1."""
        silent = request._silent
        return [index for index, _ in self._before if index not in silent]

    def leave_out(self, request: Request, hooks: Collection[int]) -> None:
        """Take what some hooks asked for out of ``request``; no ``after_run`` for them this time.

        Args:
            request: What :meth:`ask` returned. Feeds and options stay in it.
            hooks: Numbers out of :meth:`owners`.
        """
        asked = zip(self.owners(request), request._fetches[1:], strict=True)
        kept = [fetches for index, fetches in asked if index not in hooks]
        request._fetches = [request._fetches[0], *kept]
        request._silent = (*request._silent, *hooks)
        request._after = [(index, method) for index, method in request._after if index not in hooks]

    def _check_training(self, session: Any, request: Request) -> None:
        """Raise what the session does for :class:`MergedOptions`, where the caller gave its own.

        Also where observers watch: they are not shown a run that is refused.
        """
        check = getattr(session, "left_out", None)
        refused = () if check is None else check(request._fetches, request._feed_dict)
        if refused:
            raise HooksWouldTrainError(refused)

    def leave_out_training(self, request: Request, refused: Iterable[tuple[int, Any, str]]) -> None:
        """Leave out the requests, their feeds too, by which hooks would train without naming an op.

        The first time for a hook and an op, an INFO line says so.
        """
        owners = self.owners(request)
        hooks = set()
        for position, fetch, op in refused:
            index = owners[position - 1]
            hooks.add(index)
            if (index, op) not in self._told:
                self._told.add((index, op))
                _logger.info(
                    "%s asked for %r, which needs op %r to update or train. This run does not ask "
                    "for that op, so the hook's request is left out and its after_run is not "
                    "called. To run the op from a hook, request the op itself.",
                    self.names[index - 1],
                    fetch,
                    op,
                )
        self.leave_out(request, hooks)
        feeds: dict[Any, Any] = {}
        for index, own in request._fed_by:
            if index not in hooks:
                feeds.update(own)
        feeds.update(request._original_args[1] or {})
        request._feed_dict = feeds or None

    def _spread(self, request: Request, outputs: Sequence[Any]) -> Sequence[Any]:
        """Return the outputs with ``None`` in the places of hooks that asked for nothing."""
        results = list(self._nothing)
        for index, own in zip(self.owners(request), outputs[1:], strict=True):
            results[index] = own
        return results

    def _note_who_asked(self, exc: Exception, session: Any, request: Request) -> None:
        """Note on ``exc`` which hook asked for what can't be fetched, if that is what it says."""
        check = getattr(session, "check_request", None)
        if check is None:
            return
        merged = request._fetches
        # One request more each time: a feed may belong to a callable of any of them.
        for count, index in enumerate([None, *self.owners(request)], 1):
            try:
                check(merged[:count], request._feed_dict)
            except (TypeError, ValueError) as found:
                if text_of(found) == text_of(exc):
                    if index is not None:  # else it is the caller's own
                        asked = repr(merged[count - 1])
                        add_note(exc, f"({self.names[index - 1]} asked for it: {asked:.200})")
                    return

    def _as_run_args(self, request: Any, index: int) -> RunArgs:
        try:
            return RunArgs(request.fetches, request.feed_dict, request.options)
        except AttributeError:
            raise TypeError(
                f"{self.names[index - 1]}.before_run must return RunArgs or None, got {request!r}; "
                f"write RunArgs(fetches)"
            ) from None

    def _timed(
        self, metadata: RunMetadata
    ) -> tuple[list[tuple[int, _Method]], list[tuple[int, _Method]]]:
        """Return the methods, wrapped so that each call leaves its time in ``metadata``."""
        stats: list[HookStats] = []
        metadata.hook_stats = stats
        origin = metadata.origin = self._clock.monotonic()

        def timed(index: int, name: str, method: _Method) -> _Method:
            def call(*args: Any) -> Any:
                begin = self._clock.monotonic()
                try:
                    return method(*args)
                finally:
                    duration = self._clock.monotonic() - begin
                    start = (begin - origin) * 1e6
                    stats.append(HookStats(self.names[index - 1], name, start, duration * 1e6))

            return call

        return (
            [(index, timed(index, "before_run", method)) for index, method in self._before],
            [(index, timed(index, "after_run", method)) for index, method in self._after],
        )


def _check_feeds(one: Mapping[Any, Any], other: Mapping[Any, Any], message: str) -> None:
    """Raise if two feed_dicts feed the same, by whatever spelling."""
    names = {_feed_name(key): key for key in one}
    conflicts = [key for key in other if _feed_name(key) in names]
    if conflicts:
        raise RuntimeError(f"{message} Conflict(s): {conflicts}")


def _feed_name(key: Any) -> Any:
    name = getattr(key, "name", key)
    return name.removesuffix(":0") if isinstance(name, str) else name
