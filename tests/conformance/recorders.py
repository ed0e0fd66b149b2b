"""Hooks and listeners that follow a script and write down every call that they get."""

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .trace import describe

if TYPE_CHECKING:
    from .story import Story

Errors = Mapping[str, Mapping[int, tuple[str, str]]]

METHODS = ("begin", "after_create_session", "before_run", "after_run", "end")


class Nothing:
    """Stands for a hook that asks for nothing: its ``before_run`` returns None."""


def fail_in_thread(story: "Story", coord: Any, family: str, text: str) -> None:
    """Let a thread of the coordinator fail, and wait until it is over."""

    def work() -> None:
        with coord.stop_on_exception():
            raise story.backend.error(family, text)

    thread = threading.Thread(target=work)
    coord.register_thread(thread)
    thread.start()
    thread.join()


def recorder(
    story: "Story",
    name: str,
    *,
    fetch: Any = Nothing,
    feed: Mapping[str, Sequence[float]] | None = None,
    errors: Errors | None = None,
    stops: Mapping[str, Sequence[int]] | None = None,
    options: Mapping[str, int] | None = None,
    nested: Mapping[str, Any] | None = None,
    threads: Errors | None = None,
    base: type | None = None,
) -> Any:
    """A hook that writes down every call.

    Args:
        story: Where it is written.
        name: The hook's name in the trace.
        fetch: A structure of names that ``before_run`` asks for; Nothing to return None.
        feed: Per name the values that it feeds, one a call, the last one from then on.
        errors: Per method what its n-th call (from 1) raises.
        stops: Per method (of the two of a run) the calls that request a stop.
        options: RunOptions fields that it asks for.
        nested: Per method what it runs on the raw session, beside the hooks.
        threads: Per method and call an error that a coordinator's thread raises at that moment.
        base: A base class instead of the back end's ``SessionRunHook``.
    """
    errors, stops, nested, threads = errors or {}, stops or {}, nested or {}, threads or {}
    base = story.train.SessionRunHook if base is None else base

    class Recorder(base):
        def __init__(self) -> None:
            self.label = name
            self.coord: Any = None
            self.calls: dict[str, int] = {}

        def _called(self, method: str, session: Any, detail: str = "", context: Any = None) -> None:
            count = self.calls[method] = self.calls.get(method, 0) + 1
            story.trace.add(f"{name}.{method}{story.step_seen(session)}{detail}")
            if method in nested:
                result = session.run(story.fetch(nested[method]))
                story.trace.add(f"{name}.{method} ran {nested[method]} = {describe(result)}")
            if count in threads.get(method, {}):
                fail_in_thread(story, self.coord, *threads[method][count])
            if count in stops.get(method, ()):
                context.request_stop()
                story.trace.add(f"{name}.{method} requests a stop")
            if count in errors.get(method, {}):
                story.trace.add(f"{name}.{method} raises {errors[method][count][0]}")
                raise story.backend.error(*errors[method][count])

        def begin(self) -> None:
            state = "finalized" if story.program.graph_is_finalized() else "open"
            self._called("begin", None, f" graph={state}")

        def after_create_session(self, session, coord):
            self.coord = coord
            self._called("after_create_session", session)

        def before_run(self, run_context):
            args = run_context.original_args
            detail = f" fetches={story.written(args.fetches)} feeds={story.written(args.feed_dict)}"
            detail += " stop_requested" if run_context.stop_requested else ""
            self._called("before_run", run_context.session, detail, run_context)
            if fetch is Nothing and feed is None and options is None:
                return None
            return story.train.SessionRunArgs(
                None if fetch is Nothing else story.fetch(fetch),
                feed_dict=self._feed(),
                options=None if options is None else story.backend.options(**options),
            )

        def _feed(self) -> Any:
            if feed is None:
                return None
            turn = self.calls["before_run"]
            return story.feed({k: v[min(turn, len(v)) - 1] for k, v in feed.items()})

        def after_run(self, run_context, run_values):
            detail = f" results={describe(run_values.results)}"
            detail += " stop_requested" if run_context.stop_requested else ""
            if options is not None:
                asked = run_values.options
                traced = story.backend.was_traced(run_values.run_metadata)
                detail += f" trace_level={asked.trace_level} timeout={asked.timeout_in_ms}"
                detail += f" traced={traced}"
            self._called("after_run", run_context.session, detail, run_context)

        def end(self, session):
            self._called("end", session)

    return Recorder()


def listener(
    story: "Story",
    name: str,
    *,
    stops: Sequence[int] = (),
    errors: Errors | None = None,
) -> Any:
    """A checkpoint listener that writes down every call.

    ``stops`` are the steps after whose save it asks to stop; ``errors`` as for ``recorder``.
    """
    errors = errors or {}

    class Listener(story.train.CheckpointSaverListener):
        def __init__(self) -> None:
            self.calls: dict[str, int] = {}

        def _called(self, method: str, session: Any, detail: str) -> None:
            count = self.calls[method] = self.calls.get(method, 0) + 1
            story.trace.add(f"{name}.{method}{story.step_seen(session)}{detail}")
            if count in errors.get(method, {}):
                raise story.backend.error(*errors[method][count])

        def begin(self):
            self._called("begin", None, "")

        def before_save(self, session, global_step_value):
            self._called("before_save", session, f" value={describe(global_step_value)}")

        def after_save(self, session, global_step_value):
            self._called("after_save", session, f" value={describe(global_step_value)}")
            return int(global_step_value) in stops

        def end(self, session, global_step_value):
            self._called("end", session, f" value={describe(global_step_value)}")

    return Listener()
