"""One run: what hooks are told, what they ask for, feeds, options, requests to stop."""

from typing import NamedTuple

from tests.conformance.collect import scenario


class Pair(NamedTuple):
    first: str
    second: str


STRUCTURES = {
    "name": "w",
    "list": ["w", "loss"],
    "tuple": ("w", "loss"),
    "dict": {"a": "w", "b": "loss"},
    "named tuple": Pair("w", "loss"),
    "nested": {"a": [{"b": ("w", ["global_step"])}, []], "c": {}},
    "empty list": [],
    "empty dict": {},
    "empty tuple": (),
    "an op among values": ["train", "w"],
    "the same twice": ["w", "w"],
}


@scenario(shape=list(STRUCTURES))
def a_hook_fetches_a_structure(s, shape):
    with s.building(), s.open(hooks=[s.hook("a", fetch=STRUCTURES[shape])]) as session:
        session.run()
        session.run("loss")


@scenario(shape=list(STRUCTURES))
def the_caller_fetches_a_structure(s, shape):
    with s.building(), s.open(hooks=[s.hook("a", fetch="w")]) as session:
        session.run(STRUCTURES[shape])


@scenario()
def hooks_fetch_different_things(s):
    hooks = [
        s.hook("a", fetch="loss"),
        s.hook("b"),
        s.hook("c", fetch=["loss", "w"]),
        s.hook("d", fetch=None, feed={"f": [2.0]}),
        s.hook("e", fetch={"y": "y"}),
    ]
    with s.building(echoes={"y": ("f", 1.0)}), s.open(hooks=hooks) as session:
        session.run()
        session.run(["loss"])


@scenario()
def the_step_beside_the_train_op_is_stale(s):
    hook = s.hook("a", fetch={"step": "global_step", "w": "w"})
    with s.building(), s.open(hooks=[hook]) as session:
        session.run(["train", "global_step", "w"])
        session.run("global_step")
        session.run(["w", "train", "global_step"])


@scenario()
def a_train_op_that_counts_by_three(s):
    with s.building(increment=3), s.open(hooks=[s.hook("a", fetch="global_step")]) as session:
        session.run()
        session.run()


@scenario()
def a_hook_runs_the_train_op_too(s):
    with s.building(), s.open(hooks=[s.hook("a", fetch="train")]) as session:
        session.run("loss")
        session.run("train")


@scenario(method=["before_run", "after_run"])
def a_hook_runs_something_beside_the_hooks(s, method):
    hooks = [s.hook("a", nested={method: "train"}), s.hook("b", fetch="global_step")]
    with s.building(), s.open(hooks=hooks) as session:
        session.run()
        session.run("w")


@scenario()
def original_args_are_the_callers(s):
    hook = s.hook("a", fetch="w", feed={"f": [5.0]})
    with s.building(echoes={"y": ("f", 1.0), "z": ("g", 1.0)}), s.open(hooks=[hook]) as session:
        session.run(["y", "z"])
        session.run({"y": "y"}, feed={"g": 3.0})
        session.run([], feed={})


@scenario()
def original_args_never_have_options(s):
    class Looks(s.train.SessionRunHook):
        def before_run(self, run_context):
            s.show("options", run_context.original_args.options)
            s.show("third", run_context.original_args[2])

    with s.building(), s.open(hooks=[Looks()]) as session:
        session.run(options=s.backend.options(trace_level=1))


@scenario()
def a_hook_feeds(s):
    hook = s.hook("a", fetch="y", feed={"f": [2.0, 3.0]})
    with s.building(echoes={"y": ("f", 1.0)}), s.open(hooks=[hook]) as session:
        for _ in range(3):
            session.run("y")


@scenario()
def a_hook_feeds_an_op_and_a_variable(s):
    hook = s.hook("a", fetch=["w", "loss"], feed={"w": [7.0], "loss": [9.0]})
    with s.building(), s.open(hooks=[hook]) as session:
        session.run(["w", "loss"])


@scenario()
def the_caller_feeds(s):
    with s.building(echoes={"y": ("f", 1.0)}), s.open(hooks=[s.hook("a", fetch="y")]) as session:
        session.run("y", feed={"f": 4.0})
        session.run("y")
        session.run(["y", "loss"], feed={"loss": 8.0})


@scenario()
def hook_and_caller_feed_different_things(s):
    hook = s.hook("a", feed={"f": [2.0]})
    with s.building(echoes={"y": ("f", 1.0), "z": ("g", 1.0)}), s.open(hooks=[hook]) as session:
        session.run(["y", "z"], feed={"g": 3.0})


@scenario()
def two_hooks_feed_the_same(s):
    hooks = [s.hook("a", feed={"f": [2.0]}), s.hook("b", feed={"f": [2.0]}), s.hook("c")]
    with s.building(echoes={"y": ("f", 1.0)}), s.open(hooks=hooks) as session:
        with s.going_on():
            session.run(["y", "loss"])
        session.should_stop()
        with s.going_on():
            session.run("train")


@scenario()
def hook_and_caller_feed_the_same(s):
    hooks = [s.hook("a", feed={"f": [2.0]}), s.hook("b")]
    with s.building(echoes={"y": ("f", 1.0)}), s.open(hooks=hooks) as session:
        with s.going_on():
            session.run(["y", "loss"], feed={"f": 2.0})
        session.should_stop()
        session.run("y")


@scenario()
def empty_feeds(s):
    with s.building(), s.open(hooks=[s.hook("a", fetch="w", feed={})]) as session:
        session.run("w", feed={})


@scenario(method=["before_run", "after_run"])
def a_hook_requests_a_stop(s, method):
    hooks = [s.hook("a"), s.hook("b", stops={method: [2]}), s.hook("c", fetch="w")]
    with s.building(), s.open(hooks=hooks) as session:
        session.loop()
        with s.going_on():
            session.run()
        session.should_stop()


@scenario()
def two_hooks_request_a_stop(s):
    hooks = [s.hook("a", stops={"before_run": [1]}), s.hook("b", stops={"after_run": [1]})]
    with s.building(), s.open(hooks=hooks) as session:
        session.loop()


@scenario()
def run_after_a_stop_leaves_the_block(s):
    with (
        s.building(),
        s.going_on(),
        s.open(hooks=[s.hook("a", stops={"after_run": [1]})]) as session,
    ):
        session.run()
        session.run()


@scenario(family=["ValueError", "Aborted", "OutOfRange"])
def a_stop_is_lost_when_the_run_fails(s, family):
    hooks = [
        s.hook("a", stops={"before_run": [1]}),
        s.hook("b", errors={"after_run": {1: (family, "user: hook")}}),
    ]
    with s.building(), s.open(hooks=hooks) as session:
        with s.going_on():
            session.run()
        session.should_stop()


@scenario()
def options_are_merged_by_maximum(s):
    hooks = [
        s.hook("a", options={"timeout_in_ms": 90000, "trace_level": 1}),
        s.hook("b", options={"timeout_in_ms": 70000}),
        s.hook("c", options={"trace_level": 0}),
    ]
    with s.building(), s.open(hooks=hooks) as session:
        session.run()
        session.run(options=s.backend.options(timeout_in_ms=95000))


@scenario(level=[0, 1, 2, 3])
def a_trace_is_recorded(s, level):
    with s.building(), s.open(hooks=[s.hook("a", options={"trace_level": level})]) as session:
        session.run()


@scenario()
def options_and_metadata_are_always_there(s):
    class Looks(s.train.SessionRunHook):
        def after_run(self, run_context, run_values):
            s.show("trace level", run_values.options.trace_level)
            s.show("timeout", run_values.options.timeout_in_ms)
            s.show("metadata", run_values.run_metadata is not None)
            s.show("results", run_values[0])

    with s.building(), s.open(hooks=[Looks()]) as session:
        session.run()


@scenario()
def the_context_of_before_run_is_that_of_after_run(s):
    class Keeps(s.train.SessionRunHook):
        def before_run(self, run_context):
            self.context = run_context
            run_context.mark = 1

        def after_run(self, run_context, run_values):
            s.show("the same", run_context is self.context)
            s.show("mark", run_context.mark)

    with s.building(), s.open(hooks=[Keeps(), Keeps()]) as session:
        session.run()
        session.run()


@scenario()
def before_run_gives_back_something_else(s):
    class Wrong(s.train.SessionRunHook):
        def before_run(self, run_context):
            return 3

    with s.building(), s.going_on(), s.open(hooks=[s.hook("a"), Wrong()]) as session:
        session.run()


@scenario(fetch=["None", "unknown"])
def a_fetch_that_cannot_be(s, fetch):
    with s.building(), s.open(hooks=[s.hook("a")]) as session:
        what = None if fetch == "None" else "no_such_thing:0"
        s.attempt("run", lambda: session.raw.run(what))
        session.run()


@scenario()
def a_feed_that_nothing_knows(s):
    with s.building(), s.open(hooks=[s.hook("a")]) as session:
        s.attempt("run", lambda: session.raw.run(s.fetch("w"), {"no_such_thing:0": 1.0}))
        session.run()


@scenario()
def a_failed_run_changes_nothing(s):
    errors = {"train": {2: ("ValueError", "user: op")}}
    with s.building(errors=errors), s.open(hooks=[s.hook("a", fetch="w")]) as session:
        session.run()
        with s.going_on():
            session.run()
        session.run(["w", "global_step"])
        session.run()


@scenario()
def each_op_runs_once_a_run(s):
    hooks = [s.hook(n, fetch=["loss", "train"]) for n in "abc"]
    with s.building(), s.open(hooks=hooks) as session:
        session.run(["train", "loss", "train"])


@scenario()
def each_element_is_pulled_once_a_run(s):
    with s.building(data={"x": 4}, needs={"loss": ["x"], "train": ["loss"]}):
        hooks = [s.hook("a", fetch="x"), s.hook("b", fetch=["x", "loss"])]
        with s.open(hooks=hooks) as session:
            session.run("x")
            session.run("w")
            session.run(["train", "x"])


@scenario()
def arrays(s):
    with s.building(values={"loss": [(1.0, 2.0), (0.5, 0.25)]}):
        with s.open(hooks=[s.hook("a", fetch={"loss": "loss"})]) as session:
            session.run(["loss", "train"])
            session.run("loss")


@scenario()
def named_arguments_of_run(s):
    with s.building(), s.open(hooks=[s.hook("a")]) as session:
        result = session.raw.run(
            fetches=s.fetch(["w"]), feed_dict=None, options=None, run_metadata=None
        )
        s.show("result", result)


@scenario()
def a_context_made_by_hand(s):
    with s.building():
        arguments = s.train.SessionRunArgs("fetched", {"a": 1.0})
        context = s.train.SessionRunContext(arguments, "a session")
        s.show("original", list(context.original_args))
        s.show("session", context.session)
        s.show("stop", context.stop_requested)
        context.request_stop()
        s.show("stop", context.stop_requested)
        values = s.train.SessionRunValues(1, 2, 3)
        s.show("values", [values.results, values.options, values.run_metadata, values[0]])
