"""A loop and a monitored session call the same methods of hooks in the same order."""

import pytest

import runloop as rl
from runloop.errors import OutOfRangeError
from runloop.hooks import SessionRunHook


class Traced(SessionRunHook):
    """Notes each call in a common list, and raises or stops where it is told to."""

    def __init__(self, name, trace, plan):
        self.name, self.trace, self.plan = name, trace, plan
        self.runs = 0

    def note(self, what, context=None):
        self.trace.append(f"{self.name}.{what}")
        action = self.plan.get(f"{self.name}.{what}")
        if action == "stop" and context is not None:
            context.request_stop()
        elif isinstance(action, BaseException):
            raise action

    def begin(self):
        self.note("begin")

    def after_create_session(self, session, coord):
        self.note("created")
        coord.callback(lambda: self.trace.append(f"{self.name}.callback"))
        if self.plan.get(f"{self.name}.coord") == "stop":
            coord.request_stop()

    def before_run(self, run_context):
        self.runs += 1
        self.note(f"before {self.runs}", run_context)
        return rl.RunArgs("global_step")

    def after_run(self, run_context, run_values):
        self.note(f"after {self.runs} at {run_values.results}", run_context)

    def end(self, session):
        self.note(f"end at {session.run('global_step')}")


def body_of(trace, plan):
    count = iter(range(100))

    def body():
        number = next(count)
        trace.append(f"body {number}")
        action = plan.get(f"body {number}")
        if isinstance(action, BaseException):
            raise action

    return body


def by_session(plan, trace):
    graph = rl.Graph()
    graph.train_op(body_of(trace, plan), name="train")
    hooks = [Traced("A", trace, plan), Traced("B", trace, plan)]
    with rl.SingularMonitoredSession(hooks, graph=graph) as session:
        for _ in range(3):
            if session.should_stop():
                break
            session.run("train")


def by_loop(plan, trace):
    body = body_of(trace, plan)
    hooks = [Traced("A", trace, plan), Traced("B", trace, plan)]
    with rl.Loop(hooks=hooks) as loop:
        for _ in loop.steps(3):
            body()


def outcome(run, plan):
    """The trace, and what came out with its notes."""
    trace = []
    try:
        run({key: _copy(value) for key, value in plan.items()}, trace)
    except (Exception, KeyboardInterrupt) as exc:
        notes = [n for n in getattr(exc, "__notes__", []) if not n.startswith("(raised in op")]
        return trace, (type(exc), str(exc), notes)
    return trace, None


def _copy(value):
    return type(value)(*value.args) if isinstance(value, BaseException) else value


PLANS = {
    "nothing happens": {},
    "a hook stops in after_run": {"A.after 2 at 1": "stop"},
    "a hook stops in before_run": {"B.before 2": "stop"},
    "the coordinator is asked to stop": {"B.coord": "stop"},
    "begin raises": {"B.begin": ValueError("x")},
    "after_create_session raises": {"B.created": ValueError("x")},
    "before_run raises": {"B.before 2": ValueError("x")},
    "after_run raises": {"A.after 2 at 1": ValueError("x")},
    "end raises": {"A.end at 3": ValueError("x")},
    "every end raises": {"A.end at 3": ValueError("x"), "B.end at 3": KeyError("y")},
    "the body raises": {"body 1": ValueError("x")},
    "the body is interrupted": {"body 1": KeyboardInterrupt("x")},
    "the body is out of range": {"body 1": OutOfRangeError("x")},
    "a hook is out of range": {"B.after 2 at 1": OutOfRangeError("x")},
    "a hook is out of range before the run": {"A.before 2": OutOfRangeError("x")},
    "the body stops the iteration": {"body 1": StopIteration()},
    "a hook stops the iteration": {"B.after 2 at 1": StopIteration()},
    "a hook stops the iteration before the run": {"A.before 2": StopIteration()},
}


@pytest.mark.parametrize("name", PLANS)
def test_a_loop_calls_what_a_monitored_session_calls(name):
    wanted = outcome(by_session, PLANS[name])
    assert len(wanted[0]) > 1
    assert outcome(by_loop, PLANS[name]) == wanted
