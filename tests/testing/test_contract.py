"""assert_hook_contract: runloop's hooks keep it, wrong hooks are caught by a minimal program."""

import logging
import signal

import numpy as np
import pytest

import runloop as rl
from runloop.testing import (
    MemorySummaryWriter,
    RaiseAt,
    RecordingHook,
    assert_hook_contract,
)
from tests.testing.wrong_hooks import LOST, MADE, WRONG

HOOKS = {
    "CheckpointSaverHook": lambda tmp: rl.CheckpointSaverHook(tmp / "own", save_steps=2),
    "EarlyStoppingHook": lambda tmp: rl.EarlyStoppingHook("loss", mode="min", patience_steps=3),
    "EarlyStoppingHook, threshold": lambda tmp: rl.EarlyStoppingHook(
        "loss", mode="max", threshold=7.0
    ),
    "FeedFnHook": lambda tmp: rl.FeedFnHook(lambda: {"loss": 2.0}),
    "FinalOpsHook": lambda tmp: rl.FinalOpsHook({"final": ["loss", "global_step"]}),
    "GlobalStepWaiterHook": lambda tmp: rl.GlobalStepWaiterHook(0),
    "InMemoryEvaluatorHook": lambda tmp: rl.InMemoryEvaluatorHook(lambda s: s.run("loss"), 2),
    "LoggingTensorHook": lambda tmp: rl.LoggingTensorHook(["loss"], every_n_iter=2, at_end=True),
    "LoggingTensorHook, seconds": lambda tmp: rl.LoggingTensorHook(["loss"], every_n_secs=3),
    "NanTensorHook": lambda tmp: rl.NanTensorHook("loss"),
    "PreemptionHook": lambda tmp: rl.PreemptionHook((signal.SIGTERM,)),
    "ProfilerHook": lambda tmp: rl.ProfilerHook(save_steps=2, output_dir=tmp),
    "ProgressBarHook": lambda tmp: rl.ProgressBarHook(total_steps=10),
    "StepCounterHook": lambda tmp: rl.StepCounterHook(2, output_dir=tmp),
    "StopAtStepHook": lambda tmp: rl.StopAtStepHook(last_step=4),
    "StopAtStepHook, num_steps": lambda tmp: rl.StopAtStepHook(num_steps=3),
    "SummarySaverHook": lambda tmp: rl.SummarySaverHook(
        save_steps=2, summary_writer=MemorySummaryWriter(), summary_op={"loss": "loss"}
    ),
    "RecordingHook": lambda tmp: RecordingHook(asks={"loss": "loss"}),
}


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_of_runloops_keeps_the_contract(name, tmp_path):
    assert_hook_contract(lambda: HOOKS[name](tmp_path), max_examples=12)


@pytest.mark.long
@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_of_runloops_keeps_the_contract_in_many_programs(name, tmp_path):
    assert_hook_contract(lambda: HOOKS[name](tmp_path), max_examples=100, steps=15)


def test_every_hook_that_runloop_ships_is_tried():
    shipped = {
        name for name in rl.hooks.__all__ if name.endswith("Hook") and name != "SessionRunHook"
    }
    assert shipped - {name.partition(",")[0] for name in HOOKS} == set()


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_wrong_hook_is_caught_by_a_minimal_program(wrong):
    rule, program, end = WRONG[wrong]
    with pytest.raises(AssertionError) as info:
        assert_hook_contract(wrong)
    lines = str(info.value).splitlines()
    assert lines[0] == f"{wrong.__name__} breaks the contract: {rule}."
    assert lines[1] == "The program:"
    steps = [line.split(". ", 1)[1] for line in lines[2:] if line.startswith("  ")]
    if program is not None:
        assert steps == program
    assert len(steps) <= 6
    last = "\n".join(lines[2 + len(steps) :])
    assert last.startswith("The result: ")
    assert end in last


def test_a_function_that_does_not_make_a_hook_is_refused():
    hook = rl.StopAtStepHook(num_steps=3)
    with pytest.raises(
        TypeError,
        match=r"make_hook must be a function that makes a new hook, got <.*StopAtStepHook object "
        r"at .*>; write lambda: StopAtStepHook\(\.\.\.\)",
    ):
        assert_hook_contract(hook)
    with pytest.raises(TypeError, match=r"hooks\[0\] is not a hook: 3 has no method begin"):
        assert_hook_contract(lambda: 3)
    with pytest.raises(ValueError, match="One of num_steps or last_step"):
        assert_hook_contract(rl.StopAtStepHook)


def test_hundreds_of_programs_do_not_fill_the_log(caplog):
    class Chatty(rl.SessionRunHook):
        def after_run(self, context, values):
            logging.getLogger("theirs").warning("again")

    assert_hook_contract(Chatty, max_examples=3)
    assert caplog.messages == []
    logging.getLogger("theirs").warning("as before")
    assert caplog.messages == ["as before"]


def test_the_whole_message():
    class Forgetful(rl.SessionRunHook):
        def after_create_session(self, session, coord):
            self.started = not hasattr(self, "started")

        def after_run(self, context, values):
            if not self.started:
                raise KeyError("writer")

    with pytest.raises(AssertionError) as info:
        assert_hook_contract(Forgetful)
    assert str(info.value) == (
        "Forgetful breaks the contract: a hook's methods must not raise.\n"
        "The program:\n"
        f"  1. {MADE}\n"
        f"  2. {LOST}\n"
        "The result: Forgetful.after_run step=1 raises KeyError: 'writer'"
    )
    assert isinstance(info.value.__cause__, KeyError)


def test_exceptions_raised_on_purpose_are_allowed():
    def make():
        return rl.NanTensorHook("loss")

    outputs = {"loss": [1.0, 2.0, np.nan]}
    with pytest.raises(AssertionError, match="NaN loss during training"):
        assert_hook_contract(make, outputs=outputs)
    error = rl.errors.NanLossDuringTrainingError
    assert_hook_contract(make, outputs=outputs, may_raise=(error,), max_examples=15)


def test_a_hook_that_needs_a_certain_graph():
    def make_graph():
        graph = rl.Graph()
        graph.variable("w", np.zeros(2))
        graph.op(lambda w: float(w.sum()), name="loss")
        graph.train_op(lambda w: w + 1, name="train", updates="w")
        return graph

    class NeedsW(rl.SessionRunHook):
        def before_run(self, context):
            return rl.RunArgs({"w": "w", "loss": "loss"})

        def after_run(self, context, values):
            if values.results["w"].shape != (2,):
                raise ValueError("not the graph's own")

    assert_hook_contract(NeedsW, make_graph=make_graph, max_examples=15)
    with pytest.raises(AssertionError, match="nothing is called 'w'"):
        assert_hook_contract(NeedsW, max_examples=15)


def test_a_hook_whose_begin_raises():
    with pytest.raises(AssertionError, match=r"RaiseAt\.begin raises ValueError: no"):
        assert_hook_contract(lambda: RaiseAt(0, ValueError("no"), "begin"))


def test_it_is_the_same_each_time():
    def message(wrong):
        with pytest.raises(AssertionError) as info:
            assert_hook_contract(wrong)
        return str(info.value)

    wrong = next(iter(WRONG))
    assert message(wrong) == message(wrong)


def test_without_hypothesis_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "runloop.testing.contract.random_scripts", None)
    monkeypatch.delattr("runloop.testing.contract.random_scripts", raising=False)
    with pytest.raises(
        ImportError,
        match=r"assert_hook_contract needs the package hypothesis; install runloop-hooks\[test\]",
    ):
        assert_hook_contract(RecordingHook)
