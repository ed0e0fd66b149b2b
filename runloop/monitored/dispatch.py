"""The one place that calls hooks.

A :class:`Dispatcher` is made from a list of hooks. It finds out once which hook overrides which
method, so that a method that is not overridden is never called.
"""

# ruff: noqa: SLF001  # a context's properties and its __init__ would cost calls at each step

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from runloop.clock import Clock
from runloop.hooks.base import HOOK_METHODS, is_overridden
from runloop.run import HookStats, RunArgs, RunContext, RunMetadata, RunOptions, RunValues

if TYPE_CHECKING:
    from runloop.monitored.watch import Watch

__all__ = ["Dispatcher", "check_hooks", "hook_names"]

_Method = Callable[..., Any]
# A named tuple's own __new__ is a Python function; at each step, for each hook, that is dear.
_new = tuple.__new__


# To call an ``__init__`` written in Python is dear too: these two do without.
class _DefaultOptions(RunOptions):
    """Options that nobody gave."""

    __init__ = object.__init__


class _Context(RunContext):
    """A context whose attributes are set from outside."""

    __slots__ = ()
    __init__ = object.__init__


def check_hooks(hooks: Iterable[Any]) -> tuple[Any, ...]:
    """Return the hooks as a tuple.

    Raises:
        TypeError: If ``hooks`` is no iterable, or one of them lacks a method of the protocol;
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

    Raises:
        TypeError: If one of ``hooks`` is not a hook.
    """

    def __init__(self, hooks: Iterable[Any], clock: Clock, watch: Watch | None = None) -> None:
        self.hooks = check_hooks(hooks)
        self.names = hook_names(self.hooks)
        self.watch = watch
        if watch is not None:
            watch.new_session(self.names, clock)
        self._clock = clock
        self.refresh()

    def refresh(self) -> None:
        """Look again which methods are overridden; done whenever a session was made."""
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
        """Call ``before_run`` on each hook, run all that is asked for at once, call ``after_run``.

        Returns:
            The caller's results, and whether any hook asked to stop.

        Raises:
            RuntimeError: If two hooks, or a hook and the caller, feed the same; nothing ran.
            TypeError: If ``before_run`` returns something else than ``RunArgs`` or ``None``, or
                the feeds in them are no mapping.
        """
        before, after = self._before, self._after
        if run_metadata is not None:
            run_metadata.hook_stats = ()  # of the run before
        if not before and not after:
            return session.run(fetches, feed_dict, options, run_metadata), False
        if self._watchers and any(hook.wants_hook_stats for hook in self._watchers):
            run_metadata = RunMetadata() if run_metadata is None else run_metadata
            before, after = self._timed(run_metadata)
        context = _Context()
        context._original_args = (fetches, feed_dict, None)
        context._session = session
        context._stop_requested = False
        context._deferred = ()
        merged = [fetches]
        silent = []  # who asks for nothing; mostly nobody
        hook_feeds: dict[Any, Any] | None = None
        for index, method in before:
            request = method(context)
            if request is None:
                silent.append(index)
                continue
            if type(request) is not RunArgs and not isinstance(request, RunArgs):
                request = self._as_run_args(request, index)
            wanted, feeds, more_options = request
            if wanted is None:
                silent.append(index)
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
            if more_options is not None:
                options = RunOptions() if options is None else options
                options.merge(more_options)
        if hook_feeds:
            if feed_dict:
                _check_feeds(
                    feed_dict, hook_feeds, "Same tensor is fed by a SessionRunHook and user."
                )
                hook_feeds.update(feed_dict)
            feed_dict = hook_feeds
        if options is None:
            options = _DefaultOptions()
        if run_metadata is None:
            run_metadata = RunMetadata()
        if len(merged) > 1:
            try:
                outputs = session.run(merged, feed_dict, options, run_metadata)
            except (TypeError, ValueError) as exc:
                owners = [index for index, _ in before if index not in silent]
                self._note_who_asked(exc, session, merged, owners, feed_dict)
                raise
            result = outputs[0]
            if len(outputs) < len(self._nothing):
                results = list(self._nothing)
                owners = [index for index, _ in before if index not in silent]
                for index, own in zip(owners, outputs[1:], strict=True):
                    results[index] = own
                outputs = results
        else:
            result = session.run(fetches, feed_dict, options, run_metadata)
            outputs = self._nothing
        values = None
        last: Any = self  # what no hook can have fetched
        for index, method in after:
            own = outputs[index]
            if own is not last:  # hooks that fetched the same, mostly the step, share the tuple
                values = _new(RunValues, (own, options, run_metadata))
                last = own
            method(context, values)
        for deferred in context._deferred:
            deferred()
        return result, context._stop_requested

    def _note_who_asked(
        self,
        exc: Exception,
        session: Any,
        merged: list[Any],
        owners: list[int],
        feed_dict: Mapping[Any, Any] | None,
    ) -> None:
        """Note on ``exc`` which hook asked for what can't be fetched, if that is what it says."""
        check = getattr(session, "check_request", None)
        if check is None:
            return
        # One request more each time: a feed may belong to a callable of any of them.
        for count, index in enumerate([None, *owners], 1):
            try:
                check(merged[:count], feed_dict)
            except (TypeError, ValueError) as found:
                if str(found) == str(exc):
                    if index is not None:  # else it is the caller's own
                        asked = repr(merged[count - 1])
                        exc.add_note(f"({self.names[index - 1]} asked for it: {asked:.200})")
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
