"""The one place that calls hooks: which methods, in which order, with what."""

import functools
from unittest import mock

import pytest

from runloop.hooks.base import HOOK_METHODS, SessionRunHook, does_nothing
from runloop.monitored.dispatch import (
    Dispatcher,
    check_hooks,
    hook_names,
)
from runloop.run import HookStats, RunArgs, RunContext, RunMetadata, RunOptions, RunValues
from runloop.testing import FakeClock, RecordingHook
from tests.checks import fails


class Session:
    """A session of no graph: gives back what it was asked for, and keeps the requests."""

    def __init__(self):
        self.calls = []

    def run(self, *args):
        self.calls.append(args)
        fetches = args[0]
        return [f"result of {f}" for f in fetches] if isinstance(fetches, list) else fetches


def dispatch(hooks, fetches="loss", feed_dict=None, options=None, metadata=None, clock=None):
    session = Session()
    dispatcher = Dispatcher(hooks, clock or FakeClock())
    result = dispatcher.run(session, fetches, feed_dict, options, metadata)
    return result, session.calls


class Asks(SessionRunHook):
    """Asks for what it was made with, and keeps what it gets."""

    def __init__(self, *args, **kwargs):
        self.asks = RunArgs(*args, **kwargs)
        self.got = []

    def before_run(self, run_context):
        return self.asks

    def after_run(self, run_context, run_values):
        self.got.append(run_values)


# -- what a hook is -------------------------------------------------------------------------------


def test_duck_typed_hooks_are_fine_and_stay_in_order():
    hooks = [RecordingHook("A"), Asks(None), RecordingHook("A")]
    assert check_hooks(hooks) == tuple(hooks)
    assert check_hooks(iter(hooks)) == tuple(hooks)


def test_a_single_hook_in_place_of_the_list_is_told():
    hook = RecordingHook("A")
    with fails(TypeError, f"hooks must be a list of hooks, got {hook!r}; write hooks=[hook]"):
        check_hooks(hook)


def test_a_class_in_place_of_an_instance_is_told():
    with fails(TypeError, "hooks[1] is the class RecordingHook; write RecordingHook(...)"):
        check_hooks([RecordingHook("A"), RecordingHook])


@pytest.mark.parametrize("thing", [3, None, "ab", lambda: 0])
def test_what_is_no_hook_is_refused_with_the_methods_that_it_lacks(thing):
    with fails(
        TypeError,
        f"hooks[0] is not a hook: {thing!r} has no method begin, after_create_session, before_run, "
        f"after_run, end; inherit from runloop.SessionRunHook, which has them all",
    ):
        check_hooks([thing])


@pytest.mark.parametrize("lacking", HOOK_METHODS)
def test_a_hook_that_lacks_one_method_is_told_which(lacking):
    hook = RecordingHook("A")
    setattr(hook, lacking, None)
    with fails(
        TypeError,
        f"hooks[0] is not a hook: {hook!r} has no method {lacking}; inherit from "
        f"runloop.SessionRunHook, which has them all",
    ):
        check_hooks([hook])


def test_a_hook_need_not_be_hashable():
    class Unhashable(Asks):
        __hash__ = None

    hook = Unhashable("w")
    dispatch([hook])
    assert hook.got[0].results == "result of w"


def test_hooks_are_named_by_class_and_numbered_from_the_second():
    class A:
        pass

    class B:
        pass

    assert hook_names([A(), B(), A(), A(), B()]) == ("A", "B", "A_1", "A_2", "B_1")


# -- what is called -------------------------------------------------------------------------------


def test_a_method_that_is_not_overridden_is_never_called(monkeypatch):
    calls = []
    for name in HOOK_METHODS:
        monkeypatch.setattr(
            SessionRunHook, name, does_nothing(lambda *args, n=name: calls.append(n))
        )

    class OnlyAfter(SessionRunHook):
        def after_run(self, run_context, run_values):
            calls.append("mine")

    dispatcher = Dispatcher([OnlyAfter(), SessionRunHook()], FakeClock())
    dispatcher.call("begin")
    dispatcher.call("after_create_session", None, None)
    dispatcher.run(Session(), "loss", None, None, None)
    dispatcher.end(None, [])
    assert calls == ["mine"]


def test_the_base_class_does_nothing_when_it_is_called_after_all():
    hook = SessionRunHook()
    assert hook.begin() is None
    assert hook.after_create_session(None, None) is None
    assert hook.before_run(None) is None
    assert hook.after_run(None, None) is None
    assert hook.end(None) is None
    assert vars(hook) == {}


def test_a_mocked_hook_is_called():
    for hook in (mock.MagicMock(), mock.MagicMock(spec=SessionRunHook)):
        hook.before_run.return_value = RunArgs("w")
        dispatch([hook])
        hook.before_run.assert_called_once()
        assert hook.after_run.call_args.args[1].results == "result of w"


def test_a_method_that_wraps_that_of_the_base_class_is_called():
    calls = []

    def noted(method):
        @functools.wraps(method)
        def call(*args):
            calls.append(method.__name__)
            return method(*args)

        return call

    class Noted(SessionRunHook):
        pass

    for name in ("before_run", "after_run"):
        setattr(Noted, name, noted(getattr(Noted, name)))
    dispatch([Noted()])
    assert calls == ["before_run", "after_run"]


def test_a_method_set_on_the_instance_is_called():
    hook = SessionRunHook()
    seen = []
    hook.after_run = lambda context, values: seen.append(values.results)
    dispatch([hook])
    assert seen == [None]


def test_hooks_are_called_positionally_so_that_parameters_may_be_renamed():
    class Renamed(SessionRunHook):
        def begin(me):
            pass

        def after_create_session(self, sess, coordinator, /):
            self.sess = sess

        def before_run(self, ctx, /):
            return RunArgs("w")

        def after_run(self, ctx, vals, /):
            self.vals = vals

        def end(self, sess, /):
            pass

    hook = Renamed()
    dispatcher = Dispatcher([hook], FakeClock())
    dispatcher.call("begin")
    dispatcher.call("after_create_session", "session", "coord")
    dispatcher.run(Session(), "loss", None, None, None)
    failures = []
    dispatcher.end("session", failures)
    assert failures == []
    assert (hook.sess, hook.vals.results) == ("session", "result of w")


def test_before_and_after_come_in_list_order_around_one_run():
    log = []

    class Logs(Session):
        def run(self, *args):
            log.append("run")
            return super().run(*args)

    hooks = [RecordingHook(name, events=log) for name in "ABC"]
    Dispatcher(hooks, FakeClock()).run(Logs(), "loss", None, None, None)
    assert log == [
        "A.before_run",
        "B.before_run",
        "C.before_run",
        "run",
        "A.after_run",
        "B.after_run",
        "C.after_run",
    ]


def test_every_end_is_called_and_every_failure_kept():
    log = []
    errors = [KeyError("a"), ValueError("c")]
    hooks = [
        RecordingHook("A", events=log, failing={"end": errors[0]}),
        RecordingHook("B", events=log),
        RecordingHook("C", events=log, failing={"end": errors[1]}),
    ]
    failures = []
    Dispatcher(hooks, FakeClock()).end("session", failures)
    assert log == ["A.end", "B.end", "C.end"]
    assert failures == errors


# -- the merged run -------------------------------------------------------------------------------


def test_all_fetches_are_one_request_the_callers_first_then_the_hooks():
    one, two = Asks(["a", "b"]), Asks({"c": "d"})
    (result, stop), calls = dispatch([one, RecordingHook("A"), two], "loss")
    ((fetches, feeds, options, metadata),) = calls
    assert fetches == ["loss", ["a", "b"], {"c": "d"}]
    assert feeds is None
    assert options == RunOptions()
    assert isinstance(metadata, RunMetadata)
    assert result == "result of loss"
    assert stop is False
    assert one.got[0].results == "result of ['a', 'b']"
    assert two.got[0].results == "result of {'c': 'd'}"


def test_without_hooks_fetches_the_request_is_the_callers():
    (result, _), calls = dispatch([RecordingHook("A"), Asks(None)], ["loss"])
    assert calls[0][0] == ["loss"]
    assert result == ["result of loss"]


def test_results_are_none_where_nothing_was_asked_and_empty_where_nothing_is_in_it():
    hooks = [SessionRunHook(), Asks(None), Asks([]), Asks({})]

    class Mirror(Session):
        def run(self, fetches, *rest):
            return fetches

    nothing = mock.Mock(spec=SessionRunHook)
    nothing.before_run.return_value = None
    Dispatcher([*hooks, nothing], FakeClock()).run(Mirror(), "loss", None, None, None)
    assert [hook.got[0].results for hook in hooks[1:]] == [None, [], {}]
    assert nothing.after_run.call_args.args[1].results is None


def test_every_hook_gets_the_same_context_options_and_metadata():
    seen = []

    class Looks(SessionRunHook):
        def before_run(self, run_context):
            seen.append(run_context)

        def after_run(self, run_context, run_values):
            seen.append(run_context)
            seen.append((run_values.options, run_values.run_metadata))

    options, metadata, feeds = RunOptions(timeout_in_ms=5), RunMetadata(), {"x": 1}
    dispatch([Looks(), Looks()], "loss", feeds, options, metadata)
    contexts = [item for item in seen if isinstance(item, RunContext)]
    values = [item for item in seen if isinstance(item, tuple)]
    assert len({id(context) for context in contexts}) == 1
    assert contexts[0].original_args == RunArgs("loss", feeds, None)
    assert contexts[0].original_args[0] == "loss"
    assert all(o is options and m is metadata for o, m in values)


def test_values_always_carry_options_and_metadata():
    hook = Asks("w")
    dispatch([hook])
    assert isinstance(hook.got[0], RunValues)
    assert hook.got[0].options == RunOptions()
    assert isinstance(hook.got[0].run_metadata, RunMetadata)


def test_options_merge_by_maximum_into_the_callers_object():
    one = Asks("a", options=RunOptions(trace_level=3, timeout_in_ms=10))
    two = Asks("b", options=RunOptions(timeout_in_ms=500))
    mine = RunOptions(timeout_in_ms=200)
    _, calls = dispatch([one, two], options=mine)
    assert calls[0][2] is mine is one.got[0].options is two.got[0].options
    assert mine == RunOptions(trace_level=3, timeout_in_ms=500)
    assert one.asks.options == RunOptions(trace_level=3, timeout_in_ms=10)


def test_options_of_hooks_alone_are_not_changed_either():
    one = Asks("a", options=RunOptions(trace_level=3))
    two = Asks("b", options=RunOptions(timeout_in_ms=500))
    _, calls = dispatch([one, two])
    assert calls[0][2] == RunOptions(trace_level=3, timeout_in_ms=500)
    assert one.asks.options == RunOptions(trace_level=3)
    assert two.asks.options == RunOptions(timeout_in_ms=500)


def test_a_request_to_stop_is_returned_and_seen_by_later_hooks():
    seen = []

    class Stops(SessionRunHook):
        def before_run(self, run_context):
            run_context.request_stop()

    class Looks(SessionRunHook):
        def after_run(self, run_context, run_values):
            seen.append(run_context.stop_requested)

    (_, stop), calls = dispatch([Stops(), Looks()])
    assert stop is True
    assert seen == [True]
    assert len(calls) == 1


def test_a_deferred_function_is_called_after_the_last_after_run():
    log = []

    class Defers(SessionRunHook):
        def after_run(self, run_context, run_values):
            log.append("after_run")
            run_context.defer(lambda: log.append("deferred"))
            run_context.defer(run_context.request_stop)

    (_, stop), _ = dispatch([Defers(), RecordingHook("B", events=log)])
    assert log == ["B.before_run", "after_run", "B.after_run", "deferred"]
    assert stop is True


@pytest.mark.parametrize("request_", [3, ("loss",), "loss", ["loss"]], ids=repr)
def test_what_before_run_returns_must_be_run_args(request_):
    class Wrong(SessionRunHook):
        def before_run(self, run_context):
            return request_

    with fails(
        TypeError,
        f"Wrong_1.before_run must return RunArgs or None, got {request_!r}; write RunArgs(fetches)",
    ):
        dispatch([Wrong.__base__(), type("Wrong", (SessionRunHook,), {})(), Wrong()])


def test_the_feeds_of_a_hook_must_be_a_mapping():
    with fails(TypeError, "Asks_1.before_run: feed_dict must be a mapping, got [('x', 1)]"):
        dispatch([Asks("w"), Asks(None, [("x", 1)])])


def test_an_error_of_another_kind_of_session_is_left_as_it_is():
    class Fails(Session):
        def run(self, *args):
            raise ValueError("its own")

    with fails(ValueError, "its own") as caught:
        Dispatcher([Asks("w")], FakeClock()).run(Fails(), "loss", None, None, None)
    assert not hasattr(caught.value, "__notes__")


def test_whatever_has_the_fields_of_run_args_will_do():
    class Request:
        fetches, feed_dict, options = "w", {"x": 1}, None

    hook = Asks(None)
    hook.asks = Request()
    _, calls = dispatch([hook])
    assert calls[0][:2] == (["loss", "w"], {"x": 1})


# -- feeds ----------------------------------------------------------------------------------------


class Named:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"<{self.name}>"


def test_feeds_of_hooks_and_caller_are_merged_and_nobodys_dict_is_changed():
    one, two = Asks(None, {"a": 1}), Asks("w", {"b": 2})
    mine = {"c": 3}
    _, calls = dispatch([one, two], "loss", mine)
    assert calls[0][1] == {"a": 1, "b": 2, "c": 3}
    assert (one.asks.feed_dict, two.asks.feed_dict, mine) == ({"a": 1}, {"b": 2}, {"c": 3})


@pytest.mark.parametrize("other", ["x", "x:0", Named("x")], ids=repr)
def test_two_feeds_of_one_tensor_by_two_hooks_are_refused_before_anything_runs(other):
    log = []
    session = Session()
    hooks = [
        Asks("w", {"x": 1, "z": 1}),
        Asks("w", {other: 2, "y": 2}),
        RecordingHook("A", events=log),
    ]
    with fails(RuntimeError, f"Same tensor is fed by two hooks. Conflict(s): [{other!r}]"):
        Dispatcher(hooks, FakeClock()).run(session, "loss", None, None, None)
    assert session.calls == []
    assert log == []
    assert hooks[0].got == hooks[1].got == []


@pytest.mark.parametrize("other", ["x", "x:0", Named("x")], ids=repr)
def test_two_feeds_of_one_tensor_by_hook_and_caller_are_refused_before_anything_runs(other):
    log = []
    session = Session()
    hooks = [Asks("w", {other: 2}), RecordingHook("A", events=log)]
    with fails(
        RuntimeError, f"Same tensor is fed by a SessionRunHook and user. Conflict(s): [{other!r}]"
    ):
        Dispatcher(hooks, FakeClock()).run(session, "loss", {"x": 1}, None, None)
    assert session.calls == []
    assert log == ["A.before_run"]


# -- state and times of hooks ---------------------------------------------------------------------


class Stateful(SessionRunHook):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_hooks_with_state_ride_along_under_their_names():
    class Half(SessionRunHook):
        def state_dict(self):
            return {}

    hooks = [Stateful(), Half(), Asks(None), Stateful()]
    companions = Dispatcher(hooks, FakeClock()).companions()
    assert companions == {"Stateful": hooks[0], "Stateful_1": hooks[3]}


def test_hook_stats_are_recorded_while_a_hook_wants_them():
    class Watches(SessionRunHook):
        wants_hook_stats = True

    clock = FakeClock(per_read=1.0)
    watch, metadata = Watches(), RunMetadata()
    dispatch([Asks("w"), watch, Asks("w")], metadata=metadata, clock=clock)
    assert metadata.hook_stats == [
        HookStats("Asks", "before_run", 1e6, 1e6),
        HookStats("Asks_1", "before_run", 3e6, 1e6),
        HookStats("Asks", "after_run", 5e6, 1e6),
        HookStats("Asks_1", "after_run", 7e6, 1e6),
    ]
    watch.wants_hook_stats = False
    now = clock.now
    dispatch([Asks("w"), watch], metadata=metadata, clock=clock)
    assert list(metadata.hook_stats) == []
    assert clock.now == now


def test_without_a_hook_that_wants_them_no_time_is_read():
    clock = FakeClock(per_read=1.0)
    hook = Asks("w")
    dispatch([hook], clock=clock)
    assert clock.now == 0.0
    assert list(hook.got[0].run_metadata.hook_stats) == []


# -- the two halves -------------------------------------------------------------------------------


def test_what_hooks_ask_for_is_merged_and_nothing_is_run():
    one, silent, two = Asks("a", {"x": 1}), Asks(None), Asks(["b", "c"])
    session = Session()
    dispatcher = Dispatcher([one, silent, two], FakeClock())
    request = dispatcher.ask(session, "loss", {"y": 2}, None, None)
    assert request._fetches == ["loss", "a", ["b", "c"]]
    assert request._feed_dict == {"x": 1, "y": 2}
    assert request.original_args == ("loss", {"y": 2}, None)
    assert request.session is session
    assert dispatcher.owners(request) == [1, 3]
    assert (session.calls, one.got) == ([], [])


def test_each_hook_is_told_what_it_asked_for():
    one, silent, two = hooks = [Asks("a"), Asks(None), Asks(["b", "c"])]
    dispatcher = Dispatcher(hooks, FakeClock())
    request = dispatcher.ask(Session(), None, None, None, None)
    assert dispatcher.tell(request, ["mine", "A", ["B", "C"]]) is False
    assert [hook.got[0].results for hook in hooks] == ["A", None, ["B", "C"]]
    assert one.got[0].options is two.got[0].options is request._options
    assert one.got[0].run_metadata is silent.got[0].run_metadata is request._run_metadata


def test_a_stop_and_what_is_deferred_belong_to_the_telling():
    events = []

    class Stops(SessionRunHook):
        def before_run(self, run_context):
            run_context.defer(lambda: events.append("deferred"))

        def after_run(self, run_context, run_values):
            events.append("after_run")
            run_context.request_stop()

    dispatcher = Dispatcher([Stops()], FakeClock())
    request = dispatcher.ask(Session(), None, None, None, None)
    assert (request.stop_requested, events) == (False, [])
    assert dispatcher.tell(request, [None]) is True
    assert events == ["after_run", "deferred"]


def test_a_hook_that_is_left_out_is_not_told_and_the_others_get_their_own():
    hooks = [Asks("a"), Asks("b"), Asks(None), Asks("c")]
    dispatcher = Dispatcher(hooks, FakeClock())
    request = dispatcher.ask(Session(), "loss", None, None, None)
    dispatcher.leave_out(request, {2})
    assert request._fetches == ["loss", "a", "c"]
    assert dispatcher.owners(request) == [1, 4]
    dispatcher.tell(request, ["LOSS", "A", "C"])
    assert [[v.results for v in hook.got] for hook in hooks] == [["A"], [], [None], ["C"]]
    dispatcher.run(Session(), "loss", None, None, None)  # only that once
    assert [len(hook.got) for hook in hooks] == [2, 1, 2, 2]
