"""``run_step_fn`` and its ``StepContext``."""

import functools

from tests.conformance.collect import scenario

KINDS = ["MonitoredSession", "SingularMonitoredSession"]


class _Owner:
    def method(self, step_context):
        return "method"

    def wrong(self, other):
        return "wrong"

    def __call__(self, step_context):
        return "called"


SIGNATURES = {
    "lambda": lambda step_context: "lambda",
    "method": _Owner().method,
    "callable object": _Owner(),
    "partial": functools.partial(lambda first, step_context: first, "partial"),
    "with keywords": lambda step_context, **rest: "keywords",
    "unbound method": _Owner.method,
    "no argument": lambda: "none",
    "another name": lambda context: "another",
    "method with another name": _Owner().wrong,
    "one more": lambda step_context, other: "more",
    "one more with a default": lambda step_context, other=1: "default",
}


@scenario(signature=list(SIGNATURES))
def what_a_step_fn_may_look_like(s, signature):
    with s.building(), s.open(hooks=[s.hook("a")]) as session:
        s.attempt("run_step_fn", lambda: session.raw.run_step_fn(SIGNATURES[signature]))
        session.run()


@scenario(kind=KINDS)
def with_and_without_hooks(s, kind):
    def step_fn(step_context):
        s.show("raw", step_context.session.run(s.fetch("w")))
        s.show("hooked", step_context.run_with_hooks(s.fetch("train")))
        return step_context.session.run(s.fetch(["w", "global_step"]))

    with s.building(), s.open(kind, hooks=[s.hook("a", fetch="w"), s.hook("b")]) as session:
        session.step(step_fn)
        session.step(step_fn)


@scenario()
def no_run_inside(s):
    with s.building(), s.open(hooks=[s.hook("a")]) as session:
        session.step(lambda step_context: 7)


@scenario()
def several_runs_with_hooks_inside(s):
    def step_fn(step_context):
        for _ in range(2):
            step_context.run_with_hooks(s.fetch("train"))
        return step_context.run_with_hooks(s.fetch("y"), feed_dict=s.feed({"f": 3.0}))

    with s.building(echoes={"y": ("f", 1.0)}), s.open(hooks=[s.hook("a")]) as session:
        session.step(step_fn)


@scenario(caught=[True, False])
def it_requests_a_stop(s, caught):
    def step_fn(step_context):
        step_context.run_with_hooks(s.fetch("train"))
        step_context.request_stop()
        s.note("not reached")

    with s.building():
        with s.open(hooks=[s.hook("a")]) as session:
            if caught:
                s.attempt("run_step_fn", lambda: session.raw.run_step_fn(step_fn))
                session.should_stop()
                session.run()
            else:
                session.step(step_fn)
        session.should_stop()


@scenario()
def a_hook_requests_a_stop_inside(s):
    def step_fn(step_context):
        step_context.run_with_hooks(s.fetch("train"))
        s.attempt("second", lambda: step_context.run_with_hooks(s.fetch("train")))
        return step_context.session.run(s.fetch("w"))

    with s.building(), s.open(hooks=[s.hook("a", stops={"after_run": [1]})]) as session:
        session.step(step_fn)
        session.should_stop()
        session.step(lambda step_context: "still called")


@scenario(kind=KINDS, family=["Aborted", "Unavailable"])
def it_is_lost(s, kind, family):
    calls = []

    def step_fn(step_context):
        calls.append(1)
        s.note(f"call {len(calls)}")
        result = step_context.run_with_hooks(s.fetch(["train", "global_step"]))
        if len(calls) < 3:
            raise s.error(family, "user: lost")
        return result

    with s.building(), s.going_on(), s.open(kind, hooks=[s.hook("a")]) as session:
        session.step(step_fn)
        session.run()


@scenario()
def the_raw_session_after_it_was_lost(s):
    calls = []

    def step_fn(step_context):
        calls.append(1)
        s.attempt("raw", lambda: step_context.session.run(s.fetch("w")))
        if len(calls) < 2:
            raise s.error("Aborted", "user: lost")
        return step_context.run_with_hooks(s.fetch("train"))

    with s.building(), s.open(hooks=[s.hook("a")]) as session:
        session.step(step_fn)
        calls.append(1)
        session.step(step_fn)


@scenario()
def a_hook_is_lost_inside(s):
    def step_fn(step_context):
        s.note("step_fn")
        return step_context.run_with_hooks(s.fetch("train"))

    hook = s.hook("a", errors={"before_run": {1: ("Aborted", "user: lost")}})
    with s.building(), s.open(hooks=[hook]) as session:
        session.step(step_fn)


@scenario(family=["ValueError", "OutOfRange", "StopIteration", "KeyboardInterrupt"])
def it_raises(s, family):
    def step_fn(step_context):
        step_context.run_with_hooks(s.fetch("train"))
        raise s.error(family, "user: step_fn")

    with s.building(), s.going_on():
        with s.open(hooks=[s.hook("a")]) as session:
            session.step(step_fn)
        session.should_stop()


@scenario()
def a_hook_raises_inside_and_it_is_caught(s):
    hook = s.hook("a", errors={"after_run": {1: ("ValueError", "user: hook")}})

    def step_fn(step_context):
        s.attempt("first", lambda: step_context.run_with_hooks(s.fetch("train")))
        return step_context.run_with_hooks(s.fetch("train"))

    with s.building(), s.open(hooks=[hook, s.hook("b")]) as session:
        session.step(step_fn)


@scenario()
def the_data_end_inside(s):
    def step_fn(step_context):
        return step_context.run_with_hooks(s.fetch("train"))

    with s.building(data={"x": 2}, needs={"loss": ["x"], "train": ["loss"]}):
        with s.open(hooks=[s.hook("a")]) as session:
            while not session.should_stop():
                session.step(step_fn)
        session.should_stop()
