"""The built-in scenarios, and the commands that show them."""

import json
import re

import pytest

from runloop.cli import main
from runloop.cli.lifecycle_command import _NAMES, FORMATS
from runloop.testing.recorder.explain import explain
from runloop.testing.scenarios import SCENARIOS, play

STORIES = {
    "normal": [
        "SetUp.begin",
        "session.create step=0",
        "SetUp.after_create_session step=0",
        "loop.run step=0 fetches='train'",
        "WatchLoss.before_run step=0 asks='loss'",
        "session.run step=0 fetches=['train', 'loss']",
        "WatchLoss.after_run step=1 got=1.0",
        "loop.run step=1 fetches='train'",
        "WatchLoss.before_run step=1 asks='loss'",
        "session.run step=1 fetches=['train', 'loss']",
        "WatchLoss.after_run step=2 got=0.5",
        "WatchLoss.end step=2",
        "session.close step=2",
    ],
    "out-of-data": [
        "session.create step=0",
        "loop.run step=0 fetches='train'",
        "WatchLoss.before_run step=0 asks='loss'",
        "session.run step=0 fetches=['train', 'loss']",
        "WatchLoss.after_run step=1 got=1.0",
        "loop.run step=1 fetches='train'",
        "WatchLoss.before_run step=1 asks='loss'",
        "session.run step=1 fetches=['train', 'loss']",
        "WatchLoss.after_run step=2 got=0.5",
        "loop.run step=2 fetches='train' raises OutOfRangeError: input 'batch' is exhausted",
        "WatchLoss.before_run step=2 asks='loss'",
        (
            "session.run step=2 fetches=['train', 'loss'] raises OutOfRangeError: input 'batch' is "
            "exhausted"
        ),
        "WatchLoss.end step=2",
        "session.close step=2",
    ],
    "error": [
        "session.create step=0",
        "loop.run step=0 fetches='train'",
        "WatchLoss.before_run step=0 asks='loss'",
        "session.run step=0 fetches=['train', 'loss']",
        "WatchLoss.after_run step=1 got=1.0",
        "loop.run step=1 fetches='train' raises ValueError: the model has a bug",
        "WatchLoss.before_run step=1 asks='loss'",
        "session.run step=1 fetches=['train', 'loss'] raises ValueError: the model has a bug",
        "session.close step=1 after ValueError: the model has a bug",
    ],
    "feed-conflict": [
        "session.create step=0",
        (
            "loop.run step=0 fetches='train' raises RuntimeError: Same tensor is fed by two hooks. "
            "Conflict(s): ['rate']"
        ),
        "FeedRate.before_run step=0 feeds={'rate': 0.1}",
        "FeedWarmup.before_run step=0 feeds={'rate': 0.01}",
        (
            "session.close step=0 after RuntimeError: Same tensor is fed by two hooks. Conflict(s): "
            "['rate']"
        ),
    ],
}


@pytest.mark.parametrize("name", STORIES)
def test_what_happens_in_a_scenario(name):
    assert play(name).events == STORIES[name]


def test_the_loop_sees_that_a_hook_asked_to_stop():
    events = play("stop").events
    assert [str(event) for event in events if event.stop] == [
        "loop.run step=1 fetches='train' requests stop",
        "StopAtStepHook.after_run step=2 got=1 requests stop",
    ]
    assert events[-1] == "session.close step=2"


def test_a_lost_session_is_recreated():
    events = play("abort-and-recover").events
    story = [str(event) for event in events if event.who in {"session", "saver", "loop"}]
    lost = story.index("session.lost step=1 after AbortedError: the worker was preempted")
    assert story[lost + 1 : lost + 3] == [
        "saver.restore step=1 model.ckpt-1.safetensors",
        "session.create step=1",
    ]
    assert "loop.run step=1 fetches='train' again requests stop" in story
    assert [event.what for event in events].count("begin") == 2  # of two hooks, once each


def test_a_restarted_program_restores_its_hooks_state():
    events = play("restart").events
    interrupted = events.index("session.close step=1 after KeyboardInterrupt")
    assert "CountRuns.load_state_dict got={'count': 1}" in events[interrupted:]
    assert events[-1] == "session.close step=2"


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_event_is_explained_in_a_sentence(name):
    events = play(name).events
    for index in range(len(events)):
        sentence = explain(events, index)
        assert sentence[0].isupper()
        assert sentence.endswith(".")


# -- the commands ----------------------------------------------------------------------------------


def test_the_command_knows_every_scenario():
    assert tuple(SCENARIOS) == _NAMES


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_printed_with_a_sentence_beside_each_event(name, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["lifecycle", name]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith(f"{name}: ")
    assert max(map(len, lines)) <= width
    recorder = play(name)
    shown = [line for line in lines if re.match(r" {0,3}\d* {2,6}[\w]+\.\w+  ", line)]
    assert len(shown) == len(recorder.events)


def test_a_line_of_a_scenario_reads_like_this(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    main(["lifecycle", "error"])
    assert (
        "  1    session.run                          The run fails: after_run is skipped for all "
        "hooks.\n"
        "         fetches=['train', 'loss'] raises\n"
        "         ValueError: the model has a bug\n"
    ) in capsys.readouterr().out


@pytest.mark.parametrize("form", FORMATS)
def test_a_scenario_in_other_formats(form, capsys):
    assert main(["lifecycle", "normal", "--format", form]) == 0
    out = capsys.readouterr().out
    if form == "mermaid":
        assert out == play("normal").mermaid() + "\n"
    elif form == "json":
        assert [document["text"] for document in json.loads(out)] == STORIES["normal"]
    elif form == "chrome":
        assert json.loads(out)["traceEvents"]


def test_an_unknown_scenario_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["lifecycle", "sideways"])
    assert "invalid choice: 'sideways'" in capsys.readouterr().err


SCRIPT = """
import sys
import runloop as rl
import helper

graph = rl.Graph()
graph.train_op(lambda: None, name="train")
with rl.MonitoredSession(hooks=[rl.StopAtStepHook(last_step=int(sys.argv[1]))], graph=graph) as s:
    while not s.should_stop():
        s.run("train")
print("made", helper.NAME, __name__)
if len(sys.argv) > 2:
    raise OSError("the script failed")
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "helper.py").write_text("NAME = 'helper'", "utf-8")
    path = tmp_path / "program.py"
    path.write_text(SCRIPT, "utf-8")
    return str(path)


def test_a_script_is_traced(script, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["trace", script, "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("made helper __main__\nstep  who")
    assert "   1  loop            run" in out
    assert "got=1 requests stop" in out


def test_a_trace_goes_to_a_file(script, tmp_path, capsys):
    target = tmp_path / "trace.json"
    assert main(["trace", "--format", "chrome", "-o", str(target), script, "1"]) == 0
    assert capsys.readouterr().out == "made helper __main__\n"
    assert json.loads(target.read_text("utf-8"))["traceEvents"]


def test_a_script_that_fails_is_shown_with_what_led_to_it(script, capsys):
    assert main(["trace", script, "1", "fail"]) == 1
    out, err = capsys.readouterr()
    assert err.rstrip().endswith("OSError: the script failed")
    assert "session" in out


def test_a_missing_script_is_named(capsys):
    assert main(["trace", "nowhere.py"]) == 2
    assert capsys.readouterr().err == "runloop: script not found: nowhere.py\n"
