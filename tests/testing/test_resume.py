"""assert_resume_exact: programs that resume exactly, and programs that do not."""

import re

import numpy as np
import pytest

import runloop as rl
from runloop.testing import assert_resume_exact, resume_child
from runloop.testing.resume import _first_difference, _Outcome
from tests.checks import fails
from tests.testing import resumable_loop
from tests.testing.resumable import ends_by_itself, exact, program


def forgets_its_generator(checkpoint_dir, hooks):
    program(checkpoint_dir, hooks, attach=False)


def test_a_program_that_resumes_exactly():
    assert_resume_exact(exact, steps=8, interrupt_at=3)
    assert_resume_exact(exact, steps=8, interrupt_at=[0, 1, 5, 7])


def test_a_program_that_is_killed_and_resumes_exactly():
    assert_resume_exact(exact, steps=6, interrupt_at=[3], kill=True)


def test_a_generator_that_is_not_attached_is_found():
    with pytest.raises(AssertionError) as info:
        assert_resume_exact(forgets_its_generator, steps=8, interrupt_at=[3, 7])
    assert re.fullmatch(
        r"interrupted after step 3, 7 of 8, resumed at step 6: tensor 'w' differs first at "
        r"\[0, 0\]: [-\d.]+ uninterrupted, [-\d.]+ resumed, a difference of [\d.]+; "
        r"6 of 6 elements differ",
        str(info.value),
    )


def test_one_bit_is_enough():
    calls = []

    def train(w):
        calls.append(0)
        new = w + 1.0
        if len(calls) == 10:  # the last run of all: 6 straight, 3 to the interruption, then 4
            new[1, 1] = np.nextafter(new[1, 1], np.inf)
        return new

    def run(checkpoint_dir, hooks):
        program(checkpoint_dir, hooks, train=train, every=3)

    with pytest.raises(AssertionError, match=r"differs first at \[1, 1\]: .*1 of 6 elements"):
        calls.clear()
        assert_resume_exact(run, steps=5, interrupt_at=3)


def test_state_that_is_no_tensor_is_compared():
    class Counter:
        def __init__(self, start):
            self.count = start

        def state_dict(self):
            return {"count": [self.count]}

        def load_state_dict(self, state):
            pass  # it should have

    def run(checkpoint_dir, hooks):
        graph = rl.Graph()
        counter = Counter(0)
        graph.attach("counter", counter)

        @graph.train_op
        def train(counter):
            counter.count += 1

        with rl.MonitoredTrainingSession(
            graph=graph, checkpoint_dir=checkpoint_dir, save_checkpoint_steps=1, hooks=hooks
        ) as session:
            while not session.should_stop():
                session.run("train")

    with pytest.raises(
        AssertionError, match=r"state 'counter/.*count/0' is 4 uninterrupted, 2 res"
    ):
        assert_resume_exact(run, steps=4, interrupt_at=2)


@pytest.mark.parametrize(
    ("resumed", "text"),
    [
        ({}, "tensor 'a' is missing in the resumed run"),
        ({"a": np.zeros(2), "b": np.zeros(1)}, "tensor 'b' is in the resumed run only"),
        (
            {"a": np.zeros((2, 1))},
            "tensor 'a' is float64 of shape (2,) uninterrupted, float64 of shape (2, 1) resumed",
        ),
        (
            {"a": np.array([0.0, -0.0])},
            (
                "tensor 'a' differs first at [1]: 0.0 uninterrupted, -0.0 resumed, a difference of "
                "0; 1 of 2 elements differ"
            ),
        ),
        ({"a": np.zeros(2)}, None),
    ],
)
def test_differences_are_told_in_words(resumed, text):
    straight = _Outcome(0, {"a": np.zeros(2)}, {})
    assert _first_difference(straight, _Outcome(1, resumed, {})) == text


def test_scalars_and_bools_differ_without_a_place():
    flags = [_Outcome(0, {"f": np.array(value)}, {}) for value in (True, False)]
    text = "tensor 'f' differs first: True uninterrupted, False resumed"
    assert _first_difference(*flags) == text


def test_a_program_that_saves_nothing_is_not_taken_for_one_that_resumes():
    with fails(
        AssertionError,
        "interrupted after step 2 of 4, the program started at step 0 again: nothing was resumed. "
        "Save to checkpoint_dir, and more often (save_checkpoint_steps=1)",
    ):
        assert_resume_exact(
            lambda folder, hooks: program(None, hooks, train=lambda w: w), 4, interrupt_at=2
        )


def test_a_program_that_does_not_use_the_hooks():
    text = (
        "make_run returned, but its session has not ended normally: make_run must pass its hooks "
        "to a monitored session and run that until should_stop() (steps=3)"
    )
    with fails(AssertionError, text):
        assert_resume_exact(lambda folder, hooks: None, steps=3, interrupt_at=1)


def test_a_program_that_stops_before_it_is_interrupted():
    def run(checkpoint_dir, hooks):
        program(checkpoint_dir, [rl.StopAtStepHook(last_step=2), *hooks])

    with fails(AssertionError, "make_run returned before it was interrupted after step 3"):
        assert_resume_exact(run, steps=5, interrupt_at=3)


def test_a_process_that_was_not_killed():
    with pytest.raises(
        AssertionError,
        match="the process was to be killed after step 3, but it ended before, with status 0:",
    ):
        assert_resume_exact(ends_by_itself, steps=5, interrupt_at=3, kill=True)


def test_what_another_process_can_not_import():
    with pytest.raises(
        ValueError,
        match=r"with kill=True make_run must be a function at the top of its file, .* got <function",
    ):
        assert_resume_exact(lambda folder, hooks: None, steps=3, interrupt_at=1, kill=True)


@pytest.mark.parametrize("points", [3, 5, [], [2, 1], [1, 1], [-1]])
def test_wrong_points_are_refused(points):
    text = (
        "assert_resume_exact: interrupt_at must be ascending steps from 0 to 2, before the end "
        f"at steps=3, got {points!r}"
    )
    with fails(ValueError, text):
        assert_resume_exact(exact, steps=3, interrupt_at=points)


def test_another_process_finds_the_function_by_module_or_by_file(tmp_path):
    path = tmp_path / "my_program.py"
    path.write_text("NAME = 'by file'", "utf-8")
    assert resume_child._load("no_such_module.at_all", str(path)).NAME == "by file"
    assert resume_child._load("__main__", str(path)).NAME == "by file"
    assert resume_child._load("runloop.clock", str(path)) is rl.clock
    text = "module 'no_such_module' not found, and file 'nothing' can't be imported"
    with fails(ImportError, text):
        resume_child._load("no_such_module", "nothing")


# -- programs with a Loop --------------------------------------------------------------------------


@pytest.mark.parametrize("points", [[2], [4, 5], [3, 6, 9]])
def test_a_loop_resumes_exactly(points):
    assert_resume_exact(resumable_loop.train, steps=10, interrupt_at=points)


def test_a_loop_that_is_killed_resumes_exactly():
    assert_resume_exact(resumable_loop.train, steps=7, interrupt_at=5, kill=True)


def test_a_loop_that_forgets_its_generator_is_caught():
    def forgetful(checkpoint_dir, hooks):
        resumable_loop.train(checkpoint_dir, hooks, forgets=True)

    with pytest.warns(UserWarning, match=r"steps\(\) number"):
        with pytest.raises(AssertionError, match=r"tensor 'weights' differs first at \[0\]"):
            assert_resume_exact(forgetful, steps=10, interrupt_at=5)
