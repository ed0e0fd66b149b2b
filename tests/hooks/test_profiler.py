import json

import numpy as np
import pytest

import runloop as rl
from runloop import clock
from runloop.testing import FakeClock, RaiseAt

from .programs import drive


def program():
    """Return a graph with a chain of ops: load -> loss -> train, load -> train, and a lone one."""
    graph = rl.Graph()
    graph.variable("w", np.zeros(3))
    graph.op(lambda: np.ones(1000), name="load")
    graph.op(lambda load, w: load.sum() + w, name="loss")
    graph.train_op(lambda load, loss: loss + load[0], name="train", updates="w")
    return graph


class Slow(rl.SessionRunHook):
    """Takes two fake seconds before and one after each run."""

    def __init__(self, time):
        self.time = time

    def before_run(self, context):
        self.time.advance(2)

    def after_run(self, context, values):
        self.time.advance(1)


def trace(path):
    document = json.loads(path.read_text())
    assert document["displayTimeUnit"] == "ms"
    return document["traceEvents"]


def spans(events):
    return {event["name"]: (event["ts"], event["dur"]) for event in events if event["ph"] == "X"}


def test_exactly_one_interval_is_required():
    with pytest.raises(ValueError, match=r"^Either every_secs or every_steps should be provided.$"):
        rl.ProfilerHook()
    with pytest.raises(ValueError, match=r"^Can not provide both every_secs and every_steps.$"):
        rl.ProfilerHook(1, 1)


def test_files_are_named_by_the_step_after_the_run(tmp_path):
    drive(program(), [rl.ProfilerHook(2, output_dir=tmp_path / "a" / "b")], runs=7)
    names = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    assert names == ["timeline-2.json", "timeline-4.json", "timeline-6.json"]


def test_seconds(tmp_path):
    with clock.use(FakeClock()) as time:
        hook = rl.ProfilerHook(save_secs=2, output_dir=str(tmp_path))
        drive(program(), [hook], runs=7, each=lambda _: time.advance(0.75))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "timeline-4.json",
        "timeline-7.json",
    ]


def test_the_folder_is_the_current_one_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drive(program(), [rl.ProfilerHook(2)], runs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["timeline-2.json"]


def test_there_is_a_span_for_every_op_and_for_both_methods_of_every_hook(tmp_path):
    with clock.use(FakeClock()) as time:
        hooks = [Slow(time), rl.ProfilerHook(2, output_dir=tmp_path), Slow(time)]
        drive(program(), hooks, runs=3)
    events = trace(tmp_path / "timeline-2.json")
    assert list(spans(events)) == [
        "load",
        "loss",
        "train",
        "Slow.before_run",
        "ProfilerHook.before_run",
        "Slow_1.before_run",
        "Slow.after_run",
        "ProfilerHook.after_run",
        "Slow_1.after_run",
    ]
    # All on one time line that begins with the first hook; the ops come between the methods.
    assert spans(events)["Slow.before_run"] == (0, 2e6)
    assert spans(events)["Slow_1.before_run"] == (2e6, 2e6)
    assert spans(events)["load"][0] == 4e6
    assert spans(events)["Slow.after_run"] == (4e6, 1e6)
    assert spans(events)["Slow_1.after_run"] == (5e6, 1e6)
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    rows = {e["name"]: names[e["tid"]] for e in events if e["ph"] == "X"}
    assert rows["train"] == "ops"
    assert rows["Slow.after_run"] == "hooks"


def test_the_earliest_span_begins_at_0(tmp_path):
    with clock.use(FakeClock(per_read=1.0)):
        drive(program(), [rl.ProfilerHook(2, output_dir=tmp_path)], runs=2)
    assert min(start for start, _ in spans(trace(tmp_path / "timeline-2.json")).values()) == 0


def test_arrows_lead_from_each_op_to_those_that_read_it(tmp_path):
    drive(program(), [rl.ProfilerHook(2, output_dir=tmp_path)], runs=2)
    events = trace(tmp_path / "timeline-2.json")
    ops = {name: span for name, span in spans(events).items() if "." not in name}

    def around(event):
        (name,) = (n for n, (ts, dur) in ops.items() if ts <= event["ts"] <= ts + dur)
        return name

    begins = {event["id"]: around(event) for event in events if event["ph"] == "s"}
    ends = {event["id"]: around(event) for event in events if event["ph"] == "f"}
    assert begins.keys() == ends.keys()
    arrows = sorted((begins[number], ends[number]) for number in begins)
    assert arrows == [("load", "loss"), ("load", "train"), ("loss", "train")]
    assert not any(event["ph"] == "C" for event in events)


def test_arrows_can_be_left_out(tmp_path):
    drive(program(), [rl.ProfilerHook(2, output_dir=tmp_path, show_dataflow=False)], runs=2)
    assert {event["ph"] for event in trace(tmp_path / "timeline-2.json")} == {"M", "X"}


def test_memory_counts_results_until_their_last_reader_is_done(tmp_path):
    drive(program(), [rl.ProfilerHook(2, output_dir=tmp_path, show_memory=True)], runs=2)
    events = trace(tmp_path / "timeline-2.json")
    counted = [event["args"]["bytes"] for event in events if event["ph"] == "C"]
    # load 8000 bytes, loss 24, train 24; load and loss are given up when train has read them.
    assert counted[:2] == [8000, 8024]
    assert counted[-1] == 24
    (loss,) = (event for event in events if event["name"] == "loss" and event["ph"] == "X")
    assert loss["args"] == {"inputs": ["load"], "output_bytes": 24}


def test_all_hooks_see_that_the_run_is_traced_and_only_then():
    levels = []

    class Look(rl.SessionRunHook):
        def after_run(self, context, values):
            levels.append((values.options.trace_level, len(values.run_metadata.step_stats)))

    class Quiet(rl.ProfilerHook):
        def _write(self):
            self._unwritten = None

    drive(program(), [Look(), Quiet(3)], runs=5)
    assert levels == [(0, 0), (0, 0), (3, 3), (0, 0), (0, 0)]


def test_it_is_written_even_if_a_later_hook_fails(tmp_path):
    hooks = [rl.ProfilerHook(2, output_dir=tmp_path), RaiseAt(2, KeyError, "after_run")]
    with pytest.raises(KeyError), rl.MonitoredSession(hooks=hooks, graph=program()) as session:
        session.run("train")
        session.run("train")
    assert list(spans(trace(tmp_path / "timeline-2.json"))) == [
        "load",
        "loss",
        "train",
        "ProfilerHook.before_run",
        "RaiseAt.before_run",
        "ProfilerHook.after_run",
        "RaiseAt.after_run",
    ]


def test_driven_by_hand_without_a_coordinator_it_is_written_at_the_next_run_or_the_end(tmp_path):
    graph = program()
    hook = rl.ProfilerHook(1, output_dir=tmp_path)
    with graph.as_default(), rl.Session(graph=graph) as session:
        hook.begin()
        hook.after_create_session(session, None)
        for names in [[], [], ["timeline-2.json"]]:
            context = rl.RunContext(rl.RunArgs("train"), session)
            request, metadata = hook.before_run(context), rl.RunMetadata()
            assert sorted(path.name for path in tmp_path.iterdir()) == names
            step, _ = session.run([request.fetches, "train"], None, request.options, metadata)
            hook.after_run(context, rl.RunValues(step, request.options, metadata))
        hook.end(session)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["timeline-2.json", "timeline-3.json"]


def test_it_is_there_as_soon_as_the_run_is_over(tmp_path):
    with rl.MonitoredSession(
        hooks=[rl.ProfilerHook(2, output_dir=tmp_path)], graph=program()
    ) as session:
        session.run("train")
        assert list(tmp_path.iterdir()) == []
        session.run("train")
        assert [path.name for path in tmp_path.iterdir()] == ["timeline-2.json"]


def test_a_fed_op_did_not_run_and_has_no_arrow(tmp_path):
    with rl.MonitoredSession(
        hooks=[rl.ProfilerHook(2, output_dir=tmp_path)], graph=program()
    ) as session:
        for _ in range(2):
            session.run("train", {"load": np.ones(2)})
    events = trace(tmp_path / "timeline-2.json")
    assert "load" not in spans(events)
    assert len([event for event in events if event["ph"] == "s"]) == 1


def test_metadata_that_the_caller_uses_again_is_no_matter(tmp_path):
    metadata = rl.RunMetadata()
    hooks = [rl.ProfilerHook(2, output_dir=tmp_path)]
    with rl.MonitoredSession(hooks=hooks, graph=program()) as session:
        for _ in range(3):
            session.run("train", run_metadata=metadata)
    assert list(spans(trace(tmp_path / "timeline-2.json"))) == [
        "load",
        "loss",
        "train",
        "ProfilerHook.before_run",
        "ProfilerHook.after_run",
    ]


def test_a_folder_that_cannot_be_made_is_an_error_before_the_session_is_made(tmp_path):
    (tmp_path / "file").touch()
    hook = rl.ProfilerHook(2, output_dir=tmp_path / "file")
    with pytest.raises(FileExistsError, match=r"can.t create a folder for timelines here: .*file"):
        rl.MonitoredSession(hooks=[hook], graph=program())


def test_a_subclass_with_its_own_init_and_save_works_as_in_tensorflow(tmp_path):
    saved = []

    class Own(rl.ProfilerHook):
        def __init__(self):  # what TensorFlow's sets, and nothing more
            self._output_file = str(tmp_path / "own" / "timeline-{}.json")
            self._show_dataflow = True
            self._show_memory = False
            self._timer = rl.SecondOrStepTimer(every_steps=2)

        def _save(self, step, save_path, step_stats):
            saved.append((step, save_path, len(step_stats)))
            super()._save(step, save_path, step_stats)

    drive(program(), [Own()], runs=3)
    path = tmp_path / "own" / "timeline-2.json"
    assert saved == [(2, str(path), 3)]
    assert "train" in spans(trace(path))


def test_a_subclass_with_its_own_init_that_never_traces_can_end():
    class Own(rl.ProfilerHook):
        def __init__(self):
            self._output_file = "timeline-{}.json"
            self._timer = rl.SecondOrStepTimer(every_steps=100)

    drive(program(), [Own()], runs=1)
