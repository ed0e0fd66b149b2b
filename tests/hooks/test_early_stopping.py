import json
import logging
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runloop as rl

from .programs import drive, lines, program


def stopping(**arguments):
    return rl.EarlyStoppingHook("loss", **arguments)


def stops_after(losses, **arguments):
    """Return the global step at which a run over ``losses`` stopped, None if it came to the end."""
    step = drive(program(losses), [stopping(**arguments)], runs=len(losses))
    return int(step) if step < len(losses) else None


def test_arguments_are_checked():
    with pytest.raises(
        ValueError, match=r"^EarlyStoppingHook: mode must be 'min' or 'max', got 'low'$"
    ):
        stopping(mode="low", patience_steps=1)
    with pytest.raises(
        ValueError,
        match=r"^EarlyStoppingHook: give patience_steps= to stop when the metric stops improving, "
        r"threshold= to stop when it is good enough, or both$",
    ):
        stopping(mode="min")
    with pytest.raises(
        ValueError, match=r"^EarlyStoppingHook: patience_steps must be at least 1, got 0$"
    ):
        stopping(mode="min", patience_steps=0)
    for wrong in (-0.5, math.nan):
        with pytest.raises(
            ValueError, match=rf"^EarlyStoppingHook: min_delta must be at least 0, got {wrong}$"
        ):
            stopping(mode="min", patience_steps=1, min_delta=wrong)


@pytest.mark.parametrize(
    ("losses", "arguments", "stop"),
    [
        # stop_if_no_decrease_hook: the best is 2 at step 1; at step 4 it is 3 steps old
        ([3, 2, 2, 4, 5, 1, 1], {"mode": "min", "patience_steps": 3}, 5),
        ([3, 2, 2, 4, 1, 1, 1], {"mode": "min", "patience_steps": 3}, None),
        # stop_if_no_increase_hook
        ([3, 4, 4, 2, 1, 9, 9], {"mode": "max", "patience_steps": 3}, 5),
        # stop_if_lower_hook and stop_if_higher_hook: beyond, not at
        ([3, 2, 1, 0, 9, 9, 9], {"mode": "min", "threshold": 1}, 4),
        ([1, 2, 3, 4, 0, 0, 0], {"mode": "max", "threshold": 3}, 4),
        # either
        ([1, 1, 1, 9, 1, 1, 1], {"mode": "max", "patience_steps": 2, "threshold": 5}, 3),
        ([1, 9, 1, 1, 1, 1, 1], {"mode": "max", "patience_steps": 3, "threshold": 5}, 2),
        # what min_delta asks for is exceeded, not reached
        ([4, 3, 2, 1, 0, 0, 0], {"mode": "min", "patience_steps": 3, "min_delta": 1}, None),
        ([4, 3, 3, 3, 3, 3, 3], {"mode": "min", "patience_steps": 3, "min_delta": 1}, 4),
        ([0, 1, 2, 3, 4, 5, 6], {"mode": "max", "patience_steps": 1, "min_delta": 1}, 2),
        # what comes before min_steps is not looked at, not even as the best
        ([0, 9, 9, 5, 4, 3, 2], {"mode": "min", "patience_steps": 2, "min_steps": 3}, None),
        ([9, 9, 9, 1, 1, 1, 1], {"mode": "max", "patience_steps": 2, "min_steps": 3}, 6),
        ([9, 9, 9, 0, 9, 0, 0], {"mode": "max", "threshold": 5, "min_steps": 3}, 5),
        # NaN is never better, and patience runs all the same
        ([math.nan] * 7, {"mode": "min", "patience_steps": 3}, 4),
        ([math.nan, 5, 5, 5, 5, 5, 5], {"mode": "min", "patience_steps": 3}, 5),
        ([1, math.nan, math.nan, 1, 1, 1, 1], {"mode": "max", "patience_steps": 3}, 4),
        ([math.nan] * 7, {"mode": "min", "threshold": 3}, None),
    ],
)
def test_it_stops_when_it_should(losses, arguments, stop):
    assert stops_after(losses, **arguments) == stop


def estimator_stops(metrics, better, patience, min_steps):
    """Say what TensorFlow's estimator would: walk over all evaluations, oldest first."""
    best = best_step = None
    for step, value in metrics:
        if step < min_steps:
            continue
        if best is None or better(value, best):
            best, best_step = value, step
        if step - best_step >= patience:
            return True
    return False


class Context:
    stop_requested = False

    def request_stop(self):
        self.stop_requested = True


def feed(hook, metrics):
    """Show the hook ``[(step, value)]``; return the steps at which it asked to stop."""
    stopped = []
    for step, value in metrics:
        context = Context()
        hook.after_run(context, rl.RunValues((value, np.int64(step)), None, None))
        if context.stop_requested:
            stopped.append(step)
    return stopped


METRICS = st.lists(
    st.tuples(st.integers(1, 4), st.one_of(st.integers(-3, 3), st.floats(-3, 3))), max_size=30
).map(lambda moves: [(sum(m for m, _ in moves[: i + 1]), v) for i, (_, v) in enumerate(moves)])


@given(METRICS, st.sampled_from(["min", "max"]), st.integers(1, 8), st.integers(0, 20))
def test_it_agrees_with_the_estimators_hooks(metrics, mode, patience, min_steps):
    better = (lambda a, b: a < b) if mode == "min" else (lambda a, b: a > b)
    hook = stopping(mode=mode, patience_steps=patience, min_steps=min_steps)
    seen = []
    for metric in metrics:
        seen.append(metric)
        stopped = bool(feed(hook, [metric]))
        assert stopped == estimator_stops(seen, better, patience, min_steps)
        if stopped:
            break


@given(METRICS, st.data(), st.sampled_from(["min", "max"]), st.integers(1, 8), st.floats(0, 1))
def test_restored_at_any_moment_it_stops_where_it_would_have(metrics, data, mode, patience, delta):
    arguments = {"mode": mode, "patience_steps": patience, "min_delta": delta}
    cut = data.draw(st.integers(0, len(metrics)))
    straight, first, second = (stopping(**arguments) for _ in range(3))
    expected = feed(straight, metrics)
    before = feed(first, metrics[:cut])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before + feed(second, metrics[cut:]) == expected
    assert (second.best, second.best_step) == (straight.best, straight.best_step)


def test_the_state_is_plain_numbers():
    hook = stopping(mode="min", patience_steps=2)
    assert hook.state_dict() == {"best": None, "best_step": None, "stopped_at": None}
    feed(hook, [(7, np.float32(0.5))])
    assert hook.state_dict() == {"best": 0.5, "best_step": 7, "stopped_at": None}
    assert {type(value) for value in hook.state_dict().values()} == {float, int, type(None)}
    feed(hook, [(8, np.array([[0.25]]))])
    assert (hook.best, hook.best_step) == (0.25, 8)


def test_a_metric_may_be_the_results_of_an_evaluator():
    scores = iter([0.1, 0.5, 0.5, 0.5, 0.9])
    evaluator = rl.InMemoryEvaluatorHook(lambda session: next(scores), every_n_iter=2)
    hook = rl.EarlyStoppingHook(lambda: evaluator.results, mode="max", patience_steps=3)
    # 0.1 at step 0; 0.5 is there from the run after step 2 on, and is 3 steps old at step 5
    assert drive(program(), [evaluator, hook]) == 6


def test_what_is_no_scalar_is_refused():
    with pytest.raises(
        TypeError,
        match=r"^EarlyStoppingHook: the metric 'loss' must be a scalar, got an array of shape \(2,\)",
    ):
        drive(program([np.ones(2)]), [stopping(mode="min", patience_steps=1)])


def test_a_stop_is_explained(caplog):
    caplog.set_level(logging.INFO, "runloop")
    stops_after([1, 2, 2, 2], mode="min", patience_steps=2)
    stops_after([1, 0, 0, 0], mode="min", threshold=0.5)
    assert lines(caplog, "early_stopping") == [
        (
            "loss did not improve on 1.0 for 2 steps, patience_steps is 2: requesting a stop "
            "at global step 2"
        ),
        "loss = 0 at global step 1 has passed the threshold 0.5: requesting a stop",
    ]


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_run_that_was_killed_and_started_again_stops_at_the_same_step(tmp_path, cut):
    losses = [5, 4, 3, 3.5, 3.5, 2, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5]

    def train(folder, runs=None):
        hook = stopping(mode="min", patience_steps=3)
        with rl.MonitoredTrainingSession(
            graph=program(losses), checkpoint_dir=folder, save_checkpoint_steps=1, hooks=[hook]
        ) as session:
            while not session.should_stop():
                if runs == 0:
                    raise KeyboardInterrupt  # no end, no last checkpoint
                runs = None if runs is None else runs - 1
                session.run("train")
            return int(session.raw_session().run("global_step")), hook.best, hook.best_step

    straight = train(tmp_path / "straight")
    assert straight == (9, 2.0, 5)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", runs=cut)
    assert train(tmp_path / "cut") == straight
