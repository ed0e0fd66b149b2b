import logging
import math

import numpy as np
import pytest

import runloop as rl

from .programs import drive, lines, program

NANS = [math.nan, np.float64("nan"), np.float32("nan"), np.array([1, np.nan]), complex(1, math.nan)]


@pytest.mark.parametrize("nan", NANS, ids=repr)
def test_nan_fails_the_run_with_tensorflows_text(nan, caplog):
    graph = program([1.0, np.float32(2), np.array([1.0, math.inf]), nan])
    ended = []

    class Ends(rl.SessionRunHook):
        def end(self, session):
            ended.append(1)

    with pytest.raises(rl.errors.NanLossDuringTrainingError) as caught:
        drive(graph, [rl.NanTensorHook("loss"), Ends()])
    assert str(caught.value) == "NaN loss during training."
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.__notes__ == ["The watched value is 'loss'."]
    assert lines(caplog, "nan_tensor") == ["loss is NaN: the model diverged"]
    assert caplog.records[-1].levelno == logging.ERROR
    assert ended == []


@pytest.mark.parametrize("nan", NANS, ids=repr)
def test_without_failing_it_requests_a_stop(nan, caplog):
    assert drive(program([1.0, nan]), [rl.NanTensorHook("loss", fail_on_nan_loss=False)]) == 2
    assert lines(caplog, "nan_tensor") == ["loss is NaN: the model diverged, requesting a stop"]
    assert caplog.records[-1].levelno == logging.WARNING


@pytest.mark.parametrize("value", [None, "text", {"a": 1.0}], ids=repr)
def test_what_is_no_number_is_told(value):
    text = "NanTensorHook: the value of 'loss' must be a number or an array of numbers, got "
    with pytest.raises(TypeError) as caught:
        drive(program([value]), [rl.NanTensorHook("loss")])
    assert str(caught.value) == f"{text}{value!r}"


def test_numbers_pass():
    losses = [1, 1.0, np.float16(1), np.ones((2, 2)), np.array([]), math.inf, True]
    assert drive(program(losses), [rl.NanTensorHook("loss")], runs=7) == 7
