import logging

import numpy as np
import pytest

import runloop as rl
from runloop import clock
from runloop.testing import FakeClock

from .programs import drive, lines, program

LOSSES = [1 / (step + 1) for step in range(20)]


@pytest.fixture(autouse=True)
def _info(caplog):
    caplog.set_level(logging.INFO, "runloop")


@pytest.fixture
def time():
    with clock.use(FakeClock()) as fake:
        yield fake


def logged(caplog):
    return lines(caplog, "logging_tensor")


def test_intervals_are_checked():
    text = r"^either at_end and/or exactly one of every_n_iter and every_n_secs must be provided.$"
    with pytest.raises(ValueError, match=text):
        rl.LoggingTensorHook(["loss"])
    with pytest.raises(ValueError, match=text):
        rl.LoggingTensorHook(["loss"], 1, 1)
    with pytest.raises(ValueError, match=text):
        rl.LoggingTensorHook(["loss"], 1, 1, at_end=True)
    for wrong in (0, -3):
        with pytest.raises(ValueError, match=rf"^invalid every_n_iter={wrong}\.$"):
            rl.LoggingTensorHook(["loss"], every_n_iter=wrong)


def test_a_single_string_is_told_to_be_a_list():
    text = r"^LoggingTensorHook: tensors must be several fetches, got 'loss'; write \['loss'\]$"
    with pytest.raises(TypeError, match=text):
        rl.LoggingTensorHook("loss", every_n_iter=1)


def test_lines_have_tensorflows_form(caplog, time):
    hook = rl.LoggingTensorHook({"step": "global_step", "loss": "loss"}, every_n_iter=2)
    drive(program(LOSSES), [hook], runs=5, each=lambda _: time.advance(0.617))
    assert logged(caplog) == [
        "loss = 1.0, step = 0",
        f"loss = {LOSSES[2]}, step = 2 (1.234 sec)",
        "loss = 0.2, step = 4 (1.234 sec)",
    ]


def test_a_list_keeps_its_order_and_shows_names(caplog, time):
    graph = program([1.5] * 3)
    step = rl.get_global_step(graph)
    drive(graph, [rl.LoggingTensorHook([step, "loss", "global_step:0"], every_n_iter=5)], runs=1)
    assert logged(caplog) == ["global_step = 0, loss = 1.5, global_step:0 = 0"]


def test_a_generator_of_fetches_is_read_once(caplog, time):
    hook = rl.LoggingTensorHook((name for name in ["loss"]), every_n_iter=1)
    drive(program(LOSSES), [hook], runs=2)
    assert logged(caplog) == ["loss = 1.0", "loss = 0.5 (0.000 sec)"]


def test_seconds(caplog, time):
    hook = rl.LoggingTensorHook(["global_step"], every_n_secs=2)
    drive(program(), [hook], runs=7, each=lambda _: time.advance(0.75))
    assert logged(caplog) == [
        "global_step = 0",
        "global_step = 3 (2.250 sec)",
        "global_step = 6 (2.250 sec)",
    ]


def test_runs_that_do_not_train_count_as_runs(caplog, time):
    drive(program([1.0]), [rl.LoggingTensorHook(["loss"], every_n_iter=2)], runs=3, fetch="loss")
    assert logged(caplog) == ["loss = 1.0", "loss = 1.0 (0.000 sec)"]


def test_values_are_fetched_only_when_they_are_logged(time):
    calls = []
    graph = program()
    graph.op(lambda: calls.append(1), name="watched")
    drive(graph, [rl.LoggingTensorHook(["watched"], every_n_iter=3)], runs=7)
    assert len(calls) == 3


def test_at_end_alone_logs_the_end(caplog, time):
    drive(program(), [rl.LoggingTensorHook(["global_step"], at_end=True)], runs=3)
    assert logged(caplog) == ["global_step = 3"]


def test_at_end_logs_again_what_was_just_logged(caplog, time):
    drive(program(), [rl.LoggingTensorHook(["global_step"], 2, at_end=True)], runs=3)
    assert logged(caplog) == [
        "global_step = 0",
        "global_step = 2 (0.000 sec)",
        "global_step = 3 (0.000 sec)",
    ]


def test_a_formatter_makes_the_whole_line(caplog, time):
    hook = rl.LoggingTensorHook(
        {"b": "loss", "a": "global_step"}, 1, formatter=lambda v: f"100% {v['b']:.1f} {v['a']}"
    )
    drive(program(LOSSES), [hook], runs=2)
    assert logged(caplog) == ["100% 1.0 0", "100% 0.5 1"]


def test_arrays_are_printed_without_exponents_and_the_print_options_come_back(caplog, time):
    graph = program()
    graph.variable("v", np.array([1e-10, 1.5]))
    with np.printoptions(precision=3, suppress=False):
        before = np.get_printoptions()
        drive(graph, [rl.LoggingTensorHook(["v"], 1)], runs=1)
        assert np.get_printoptions() == before
    assert logged(caplog) == ["v = [0.  1.5]"]


def test_a_second_session_counts_anew(caplog, time):
    hook = rl.LoggingTensorHook(["global_step"], every_n_iter=2)
    graph = program()
    for _ in range(2):
        drive(graph, [hook], runs=2)
    assert logged(caplog) == ["global_step = 0", "global_step = 0"]


def test_an_unknown_name_is_an_error_before_the_first_run():
    graph = program(LOSSES)
    with pytest.raises(ValueError, match=r"Did you mean 'loss'\?"):
        rl.MonitoredSession(hooks=[rl.LoggingTensorHook(["los"], at_end=True)], graph=graph)


def test_what_a_later_hook_adds_to_the_graph_can_be_logged(caplog, time):
    class Adds(rl.SessionRunHook):
        def begin(self):
            rl.get_default_graph().op(lambda: 7, name="late")

    drive(program(), [rl.LoggingTensorHook(["late"], 1), Adds()], runs=1)
    assert logged(caplog) == ["late = 7"]


def test_a_foreign_session_is_asked_nothing_before_the_first_run(caplog, time):
    class Foreign:
        def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
            return [None, {"anything": 5}]

        def close(self):
            pass

    class Creator(rl.SessionCreator):
        def create_session(self):
            return Foreign()

    hook = rl.LoggingTensorHook(["anything"], every_n_iter=1)
    with rl.MonitoredSession(Creator(), [hook], graph=rl.Graph()) as session:
        session.run("whatever")
    assert logged(caplog) == ["anything = 5"]


def test_extension_points(caplog, time):
    class Custom(rl.LoggingTensorHook):
        seen = ()

        def begin(self):
            super().begin()
            self._current_tensors["extra"] = "loss"
            self._tag_order = ["extra", "global_step"]

        def _log_tensors(self, values):
            self.seen += ((self._iter_count, self._should_trigger, dict(values)),)
            self._timer.update_last_triggered_step(self._iter_count)
            assert self._formatter is None

    hook = Custom(["global_step"], every_n_iter=2)
    drive(program(LOSSES), [hook], runs=3)
    assert hook.seen == (
        (0, True, {"global_step": 0, "extra": 1.0}),
        (2, True, {"global_step": 2, "extra": LOSSES[2]}),
    )
    assert logged(caplog) == []
