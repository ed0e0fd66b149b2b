"""What travels with a run: requests, contexts, values, options, metadata."""

import weakref

import pytest

from runloop.run import (
    HookStats,
    OpStats,
    RunArgs,
    RunContext,
    RunMetadata,
    RunOptions,
    RunValues,
)

from .checks import fails


def test_run_args_is_a_named_tuple_with_two_defaults():
    args = RunArgs("loss")
    assert args == ("loss", None, None)
    assert args[0] == args.fetches == "loss"
    assert RunArgs(fetches=["loss"], feed_dict={"x": 1}, options=RunOptions()) == (
        ["loss"],
        {"x": 1},
        RunOptions(),
    )
    assert isinstance(args, tuple)


def test_run_values_is_a_named_tuple():
    values = RunValues(1, 2, 3)
    assert (values.results, values.options, values.run_metadata) == tuple(values) == (1, 2, 3)


def test_users_construct_a_run_context():
    args, session = RunArgs("loss"), object()
    context = RunContext(args, session)
    assert context.original_args is args
    assert context.session is session
    assert context.stop_requested is False
    context.request_stop()
    context.request_stop()
    assert context.stop_requested is True


def test_a_run_context_takes_its_parameters_by_tensorflows_names():
    context = RunContext(original_args=RunArgs("x"), session=None)
    assert context.original_args.fetches == "x"


@pytest.mark.parametrize("name", ["original_args", "session", "stop_requested"])
def test_a_run_context_is_read_and_not_written(name):
    with pytest.raises(AttributeError):
        setattr(RunContext(RunArgs("x"), None), name, 1)


def test_a_double_of_a_context_need_not_call_init():
    class Double(RunContext):
        def __init__(self):
            pass

    context = Double()
    assert context.stop_requested is False
    context.request_stop()
    context.defer(print)
    assert context.stop_requested is True


def test_a_hook_may_hang_something_of_its_own_on_a_context():
    context = RunContext(RunArgs("x"), None)
    context.started = 3
    assert context.started == 3
    assert weakref.ref(context)() is context


def test_options_are_zero_by_default():
    options = RunOptions()
    assert (options.trace_level, options.timeout_in_ms, options.inter_op_thread_pool) == (0, 0, 0)
    assert options.output_partition_graphs is False
    assert options.report_tensor_allocations_upon_oom is False


def test_the_trace_levels_are_tensorflows():
    levels = (
        RunOptions.NO_TRACE,
        RunOptions.SOFTWARE_TRACE,
        RunOptions.HARDWARE_TRACE,
        RunOptions.FULL_TRACE,
    )
    assert levels == (0, 1, 2, 3)


def test_options_merge_by_maximum_in_both_directions():
    one = RunOptions(trace_level=3, timeout_in_ms=100)
    other = RunOptions(timeout_in_ms=200, inter_op_thread_pool=1, output_partition_graphs=True)
    merged = RunOptions(
        trace_level=3, timeout_in_ms=200, inter_op_thread_pool=1, output_partition_graphs=True
    )
    left, right = one.copy(), other.copy()
    left.merge(other)
    right.merge(one)
    assert left == right == merged


def test_what_has_no_options_is_not_merged():
    with fails(
        TypeError,
        "options must be RunOptions, got {'trace_level': 3}; write RunOptions(trace_level=...)",
    ):
        RunOptions().merge({"trace_level": 3})


def test_merging_leaves_the_other_alone():
    other = RunOptions(trace_level=1)
    RunOptions(trace_level=3).merge(other)
    assert other == RunOptions(trace_level=1)


def test_a_copy_of_options_is_equal_and_independent():
    options = RunOptions(timeout_in_ms=5)
    copied = options.copy()
    copied.timeout_in_ms = 6
    assert options.timeout_in_ms == 5
    assert copied != options


def test_options_are_compared_by_value_and_not_hashable():
    assert RunOptions(timeout_in_ms=5) == RunOptions(timeout_in_ms=5)
    assert RunOptions(timeout_in_ms=5) != RunOptions()
    assert RunOptions() != "options"
    with pytest.raises(TypeError):
        hash(RunOptions())


def test_options_show_what_was_given():
    assert repr(RunOptions(timeout_in_ms=5)) == "RunOptions(timeout_in_ms=5)"
    assert repr(RunOptions()) == "RunOptions()"


def test_an_unknown_option_names_those_that_there_are():
    with fails(
        TypeError,
        "RunOptions has no option 'trace'; there are trace_level, timeout_in_ms, "
        "inter_op_thread_pool, output_partition_graphs, report_tensor_allocations_upon_oom",
    ):
        RunOptions(trace=3)


@pytest.mark.parametrize("value", ["full", 1.5, None])
def test_an_option_that_is_no_number_is_refused(value):
    with fails(TypeError, f"RunOptions: trace_level must be an int, got {value!r}"):
        RunOptions(trace_level=value)


def test_metadata_is_empty_until_something_is_recorded():
    metadata = RunMetadata()
    assert list(metadata.step_stats) == []
    assert list(metadata.hook_stats) == []
    assert repr(metadata) == "RunMetadata(step_stats=(), hook_stats=())"


def test_stats_are_named_tuples():
    assert OpStats("loss", 1.0, 2.0) == ("loss", 1.0, 2.0, (), 0)
    assert HookStats("Hook", "before_run", 1.0, 2.0)._fields == (
        "hook",
        "method",
        "start_us",
        "duration_us",
    )
