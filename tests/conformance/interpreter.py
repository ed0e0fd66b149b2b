"""The one function that carries out the description of a random program."""

from collections.abc import Mapping
from typing import Any

from .story import Opened, Story


def _numbered(errors: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[int, Any]]:
    """JSON has only strings as keys: give the calls back their numbers."""
    return {
        place: {int(n): tuple(error) for n, error in calls.items()}
        for place, calls in (errors or {}).items()
    }


def _spec(description: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        name: [float("nan") if v is None else v for v in many]
        for name, many in description["values"].items()
    }
    echoes = {name: tuple(echo) for name, echo in description["echoes"].items()}
    errors = _numbered(description.get("errors"))
    return {**description, "values": values, "echoes": echoes, "errors": errors}


def _hook(s: Story, number: int, given: Mapping[str, Any], folder: str, scaffold: Any) -> Any:
    arguments = {k: v for k, v in given.items() if k != "kind"}
    match given["kind"]:
        case "recorder":
            for key in ("errors", "threads"):
                if key in arguments:
                    arguments[key] = _numbered(arguments[key])
            return s.hook(f"h{number}", **arguments)
        case "stop":
            return s.train.StopAtStepHook(**arguments)
        case "logging":
            tensors = {name: s.fetch(name) for name in arguments.pop("tensors")}
            return s.train.LoggingTensorHook(tensors, **arguments)
        case "counter":
            writer = s.backend.writer(s.trace)
            return s.train.StepCounterHook(summary_writer=writer, **arguments)
        case "nan":
            return s.train.NanTensorHook(s.fetch("loss"), **arguments)
        case "summary":
            writer = s.backend.writer(s.trace)
            return s.train.SummarySaverHook(summary_writer=writer, scaffold=scaffold, **arguments)
        case "final":
            return s.train.FinalOpsHook(s.fetch(arguments["final_ops"]))
        case "feed_fn":
            return s.train.FeedFnHook(lambda: s.feed(arguments["feed"]))
        case "saver":
            listeners = [
                s.listener(
                    f"l{number}{n}",
                    stops=listener.get("stops", ()),
                    errors=_numbered(listener.get("errors")),
                )
                for n, listener in enumerate(arguments.pop("listeners", []))
            ]
            return s.saver_hook(folder, scaffold, *listeners, **arguments)
        case "waiter":
            return s.train.GlobalStepWaiterHook(**arguments)
        case "profiler":
            return s.train.ProfilerHook(output_dir=folder, **arguments)
    raise ValueError(given["kind"])


def _do(s: Story, session: Opened, knows: Any, action: str, *given: Any) -> None:
    match action:
        case "loop":
            names, most, secs = given
            session.loop(names, most, secs)
        case "run":
            session.run(*given)
        case "caught":
            with s.going_on():
                session.run(*given)
        case "step_fn":
            session.step(_step_fn(s, *given))
        case "ask":
            session.should_stop()
        case "raise":
            raise s.error(given[0], "user: body")
        case "thread":
            s.fail_in_thread(knows.coord, given[0], "user: thread of the body")
        case "stop_coordinator":
            s.note("the coordinator is asked to stop")
            knows.coord.request_stop()
        case "close":
            session.close()


def _step_fn(s: Story, runs: int, then: str) -> Any:
    def step_fn(step_context: Any) -> Any:
        s.note("step_fn")
        for _ in range(runs):
            step_context.run_with_hooks(s.fetch("train"))
        if then == "stop":
            step_context.request_stop()
        return 7

    return step_fn


def _arguments(
    s: Story, given: Mapping[str, Any], folder: str, scaffold: Any
) -> tuple[str, dict[str, Any]]:
    kind, where = given["kind"], folder if given["restore"] else None
    if kind == "Monitored":
        creator = s.chief(scaffold, checkpoint_dir=where)
        return "MonitoredSession", {"session_creator": creator}
    if kind == "Singular":
        return "SingularMonitoredSession", {"scaffold": scaffold, "checkpoint_dir": where}
    more = {"scaffold": scaffold, "checkpoint_dir": folder, **given["arguments"]}
    return "MonitoredTrainingSession", more


def interpret(s: Story, description: Mapping[str, Any]) -> None:
    """Build the program and go through its sessions, each until an error leaves it."""
    folder = s.folder("d")

    class Knows(s.train.SessionRunHook):
        """Knows the session and the coordinator of the moment."""

        def after_create_session(self, session: Any, coord: Any) -> None:
            self.session, self.coord = session, coord

    with s.building(**_spec(description["spec"])):
        for given in description["sessions"]:
            scaffold = s.train.Scaffold()
            knows = Knows()
            # Somebody else trains while a hook waits for a step, or it would wait for ever.
            s.clock.on_sleep = lambda _, k=knows: k.session.run(s.fetch("train"))
            hooks = [_hook(s, n, h, folder, scaffold) for n, h in enumerate(given["hooks"])]
            kind, arguments = _arguments(s, given, folder, scaffold)
            with s.going_on(), s.open(kind, hooks=[*hooks, knows], **arguments) as session:
                for action in given["body"]:
                    _do(s, session, knows, *action)
        s.show("listed", s.backend.listed(folder))
        s.show("scalars", s.backend.scalars(folder))
