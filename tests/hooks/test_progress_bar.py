import sys

import numpy as np
import pytest

import runloop as rl
from runloop import clock
from runloop.testing import FakeClock

from .programs import drive, program

pytest.importorskip("tqdm")


@pytest.fixture
def time():
    with clock.use(FakeClock()) as fake:
        yield fake


def shown(capsys):
    """Return what was drawn, one drawing after the other, without the times."""
    drawings = capsys.readouterr().err.replace("\n", "").split("\r")
    return [drawing.strip() for drawing in drawings if drawing.strip()]


def parts(drawing):
    """Return count, and metrics, of a drawing like ' 50%|###  | 1/2 [00:01<00:01, 1 step/s, a=1]'."""
    count = drawing.split("|")[-1].split("[")[0].strip()
    return count, [text.strip() for text in drawing.rstrip("]").split("[")[1].split(",")[2:]]


def test_the_bar_shows_step_and_metrics_at_most_ten_times_a_second(capsys, time):
    losses = [np.float32(1 / (step + 1)) for step in range(20)]
    hook = rl.ProgressBarHook(20, metrics=["loss", "global_step"])
    drive(program(losses), [hook], runs=20, each=lambda _: time.advance(0.04))
    drawn = [parts(drawing) for drawing in shown(capsys)]
    assert drawn[0] == ("0/20", [])
    assert drawn[1] == ("1/20", ["loss=1", "global_step=0"])
    assert drawn[2] == ("4/20", ["loss=0.25", "global_step=3"])
    assert [count for count, _ in drawn[1:]] == [
        f"{step}/20" for step in (1, 4, 7, 10, 13, 16, 19, 20, 20)
    ]
    assert drawn[-1] == ("20/20", ["loss=0.05", "global_step=19"])


def test_metrics_are_fetched_only_when_they_are_shown(capsys, time):
    calls = []
    graph = program()
    graph.op(lambda: calls.append(1) or 2, name="dear")
    drive(graph, [rl.ProgressBarHook(5, ["dear"])], runs=5, each=lambda _: time.advance(0.06))
    assert len(calls) == 3


def test_it_starts_at_the_step_of_the_session(capsys, time):
    graph = rl.Graph()
    graph.variable("global_step", 10, trainable=False)
    graph.train_op(lambda: None, name="train")
    drive(graph, [rl.ProgressBarHook(15, metrics=())], runs=5)
    drawn = [parts(drawing)[0] for drawing in shown(capsys)]
    assert drawn[0] == "10/15"
    assert drawn[-1] == "15/15"


def test_without_a_total_it_counts(capsys, time):
    drive(program([0.5] * 3), [rl.ProgressBarHook()], runs=3)
    assert "3 step [00:00" in shown(capsys)[-1]


def test_values_that_are_no_numbers_are_shown_as_they_are(capsys, time):
    drive(program(["warm"]), [rl.ProgressBarHook(1)], runs=1)
    assert parts(shown(capsys)[-1]) == ("1/1", ["loss=warm"])


def test_the_bar_is_closed_whichever_way_the_session_is_left(capsys, time):
    hook = rl.ProgressBarHook(3, metrics=())
    with pytest.raises(KeyError), rl.MonitoredSession(hooks=[hook], graph=program()) as session:
        session.run("train")
        raise KeyError
    assert hook._bar.disable  # tqdm's word for closed
    assert parts(shown(capsys)[-1]) == ("1/3", [])


def test_a_session_that_is_made_anew_gets_a_bar_at_its_step(capsys, time):
    failures = [rl.errors.AbortedError("lost")]

    class Lose(rl.SessionRunHook):
        def before_run(self, context):
            if context.session.run("global_step") == 2 and failures:
                raise failures.pop()

    drive(program(), [rl.ProgressBarHook(4, metrics=()), Lose()], runs=4)
    counts = [parts(drawing)[0] for drawing in shown(capsys)]
    assert counts[0] == "0/4"
    assert "0/4" in counts[1:]
    assert counts[-1] == "2/4"


def test_driven_by_hand_without_a_coordinator_a_new_bar_closes_the_old_one(capsys, time):
    graph = program()
    hook = rl.ProgressBarHook(3, metrics=())
    with graph.as_default(), rl.Session(graph=graph) as session:
        hook.begin()
        hook.after_create_session(session, None)
        first = hook._bar
        hook.after_create_session(session, None)
        assert first.disable
        hook._bar.close()


def test_a_single_string_is_not_several_metrics():
    with pytest.raises(
        TypeError,
        match=r"^ProgressBarHook: metrics must be several fetches, got 'loss'; "
        r"write metrics=\('loss',\)$",
    ):
        rl.ProgressBarHook(10, metrics="loss")


def test_without_tqdm_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(
        ImportError,
        match=r"^ProgressBarHook needs tqdm, which is not installed: "
        r"install runloop-hooks\[progress\]$",
    ):
        rl.ProgressBarHook(10)
