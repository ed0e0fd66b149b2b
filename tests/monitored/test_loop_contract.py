"""``Loop``, sentence by sentence."""

import logging
import math
import warnings

import numpy as np
import pytest

import runloop as rl
from runloop.errors import CheckpointMismatchError, OutOfRangeError
from runloop.hooks import SessionRunHook
from runloop.testing import FakeClock
from tests.checks import fails


class Killed(BaseException):
    """Stands for a kill."""


class Recorder(SessionRunHook):
    """Notes what it sees; fetches what it was made with."""

    def __init__(self, *fetches, feeds=None, stop_at=None):
        self.fetches, self.feeds, self.stop_at = list(fetches), feeds, stop_at
        self.events = []
        self.seen = []

    def begin(self):
        self.events.append("begin")

    def after_create_session(self, session, coord):
        self.events.append("created")

    def before_run(self, run_context):
        self.events.append("before")
        return rl.RunArgs(self.fetches, self.feeds)

    def after_run(self, run_context, run_values):
        self.events.append("after")
        self.seen.append(run_values.results)
        if self.stop_at is not None and len(self.seen) >= self.stop_at:
            run_context.request_stop()

    def end(self, session):
        self.events.append("end")


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"group": 1}, ValueError, "Loop: group is not supported yet and must be None, got 1"),
        ({"save_steps": 5}, ValueError, "Loop: save_steps needs a checkpoint_dir to save to"),
        ({"save_epochs": 5}, ValueError, "Loop: save_epochs needs a checkpoint_dir to save to"),
        ({"save_steps": 0}, ValueError, "Loop: save_steps must be at least 1, got 0"),
        ({"save_epochs": -1}, ValueError, "Loop: save_epochs must not be negative, got -1"),
        ({"save_steps": 1.5}, TypeError, "Loop: save_steps takes a whole number, got 1.5"),
        ({"save_steps": True}, TypeError, "Loop: save_steps takes a whole number, got True"),
        ({"summary_steps": -1}, ValueError, "Loop: summary_steps must not be negative, got -1"),
        ({"save_secs": "1"}, TypeError, "Loop: save_secs must be a number, got '1'"),
        ({"save_secs": 0}, ValueError, "Loop: save_secs must be positive, got 0"),
        (
            {"save_secs": 1, "save_steps": 2},
            ValueError,
            "Loop: give save_steps or save_secs, not both; got save_steps=2 and save_secs=1",
        ),
        ({"state": {1: 2}}, TypeError, "the keys of state must be strings, got 1"),
        (
            {"state": {"global_step": 2}},
            ValueError,
            (
                "state has the key 'global_step': the loop counts its steps itself; read "
                "loop.global_step, and give yours another name"
            ),
        ),
    ],
)
def test_arguments_that_make_no_loop_are_refused(arguments, error, message):
    with fails(error, message):
        rl.Loop(**arguments)


def test_a_saver_must_be_one(tmp_path):
    with fails(TypeError, "Loop: saver must be a runloop.Saver, got 3"):
        rl.Loop(tmp_path, saver=3)


def test_a_state_that_has_no_state_is_refused():
    with pytest.raises(TypeError, match="can't attach 'state'"):
        rl.Loop(state=3)


@pytest.mark.parametrize("count", [True, 1.0, np.float64(2), np.bool_(True)])
def test_counts_are_whole_numbers(count):
    with rl.Loop() as loop:
        with pytest.raises(TypeError, match=r"steps\(\) takes a whole number"):
            loop.steps(count)
        with pytest.raises(TypeError, match=r"epochs\(\) takes a whole number"):
            loop.epochs(count)


def test_counts_are_not_negative():
    with rl.Loop() as loop:
        with fails(ValueError, "steps() must not be negative, got -1"):
            loop.steps(-1)
        with fails(ValueError, "epochs() must not be negative, got -2"):
            loop.epochs(-2)


def test_what_is_not_iterable_is_refused():
    with (
        rl.Loop() as loop,
        fails(TypeError, "steps() takes a whole number, None or an iterable, got <class 'object'>"),
    ):
        loop.steps(object)


USES = {
    "steps()": lambda loop: loop.steps(3),
    "epochs()": lambda loop: loop.epochs(3),
    "report()": lambda loop: loop.report(x=1.0),
    "mean()": lambda loop: loop.mean("x"),
    "save()": lambda loop: loop.save(),
    "should_stop()": lambda loop: loop.should_stop(),
    "request_stop()": lambda loop: loop.request_stop(),
    "global_step": lambda loop: loop.global_step,
    "session": lambda loop: loop.session,
    "feeds": lambda loop: loop.feeds,
}


@pytest.mark.parametrize("what", USES)
def test_outside_of_the_with_it_can_not_be_used(what):
    loop = rl.Loop()
    message = f"loop.{what} works only inside the with block of the loop"
    with fails(RuntimeError, message):
        USES[what](loop)
    with loop:
        pass
    with fails(RuntimeError, message):
        USES[what](loop)


def test_it_is_entered_once():
    loop = rl.Loop()
    with loop, fails(RuntimeError, "A Loop is entered once: make another one"):
        loop.__enter__()


def test_loops_are_not_nested_but_steps_in_epochs():
    with rl.Loop() as loop:
        for _ in loop.steps(1):
            with pytest.raises(RuntimeError, match=r"^steps\(\) inside steps\(\) number 1, which"):
                loop.steps(1)
            with pytest.raises(RuntimeError, match=r"^epochs\(\) inside steps\(\) number 1, which"):
                loop.epochs(1)
        for _ in loop.epochs(1):
            with pytest.raises(RuntimeError, match=r"^epochs\(\) inside epochs\(\) number 2"):
                loop.epochs(1)


@pytest.mark.parametrize("name", ["lr", "global_step"])
def test_a_report_has_no_name_of_the_state(name):
    with (
        rl.Loop(state={"lr": 0.1}) as loop,
        fails(
            ValueError,
            f"loop.report: {name!r} is the name of part of the loop's state; report it under another "
            f"name",
        ),
    ):
        loop.report(**{name: 1})


def test_a_report_is_a_number_or_an_array():
    with (
        rl.Loop() as loop,
        fails(TypeError, "loop.report: loss must be a number or an array, got 'x'"),
    ):
        loop.report(loss="x")


def test_save_without_a_folder_is_refused():
    with (
        rl.Loop() as loop,
        fails(ValueError, "loop.save() needs a checkpoint_dir to save to: Loop(checkpoint_dir)"),
    ):
        loop.save()


# -- the lifecycle --------------------------------------------------------------------------------


def test_a_pass_is_a_run():
    hook = Recorder("global_step")
    with rl.Loop(hooks=[hook]) as loop:
        assert hook.events == ["begin", "created"]
        for _ in loop.steps(2):
            hook.events.append("body")
        assert loop.global_step == 2
    passes = ["before", "body", "after"] * 2
    assert hook.events == ["begin", "created", *passes, "end"]
    assert hook.seen == [[0], [1]]


def test_the_hooks_are_those_of_a_monitored_training_session_in_their_order(tmp_path):
    first, last = Recorder(), Recorder()
    loop = rl.Loop(tmp_path, hooks=[last], chief_only_hooks=[first])
    kinds = [type(hook).__name__ for hook in loop.hooks]
    assert kinds == [
        "Recorder",
        "StepCounterHook",
        "SummarySaverHook",
        "CheckpointSaverHook",
        "Recorder",
    ]
    assert (loop.hooks[0], loop.hooks[-1]) == (first, last)


def test_exhausted_no_hook_is_called():
    hook = Recorder()
    with rl.Loop(hooks=[hook]) as loop:
        for _ in loop.steps([]):
            raise AssertionError
    assert hook.events == ["begin", "created", "end"]


def test_a_body_that_raises_is_a_run_that_raises():
    hook = Recorder()
    with pytest.raises(LookupError), rl.Loop(hooks=[hook]) as loop:
        for _ in loop.steps(3):
            raise LookupError
    assert hook.events == ["begin", "created", "before"]


@pytest.mark.parametrize("error", [OutOfRangeError("over"), StopIteration()])
def test_two_exceptions_end_it_normally(error):
    hook = Recorder()
    with rl.Loop(hooks=[hook]) as loop:
        for _ in loop.steps(3):
            raise error
    assert hook.events == ["begin", "created", "before", "end"]


def test_when_a_hook_stops_it_later_loops_give_nothing_and_the_code_behind_runs():
    ran = []
    with rl.Loop(hooks=[Recorder(stop_at=2)]) as loop:
        for epoch in loop.epochs(3):
            ran.extend((epoch, item) for item in loop.steps(5))
            ran.append("behind")
            ran.extend(loop.steps(5))
        assert loop.should_stop()
        ran.append("last")
    assert ran == [(0, 0), (0, 1), "behind", "last"]


def test_a_break_is_finished_at_the_next_call_and_counts():
    hook = Recorder("loss")
    with rl.Loop(hooks=[hook]) as loop:
        for index in loop.steps():
            loop.report(loss=float(index))
            if index == 2:
                break
        assert hook.events[-1] == "before"
        assert loop.global_step == 3
        assert hook.events[-1] == "after"
    assert hook.seen == [[0.0], [1.0], [2.0]]


def test_no_hook_runs_when_the_iterator_is_dropped():
    hook = Recorder()
    with rl.Loop(hooks=[hook]) as loop:
        iterator = loop.steps(3)
        next(iterator)
        del iterator
        assert hook.events[-1] == "before"
    assert hook.events[-2:] == ["after", "end"]


# -- fetches and reports --------------------------------------------------------------------------


def test_leaves_are_copies_from_before_the_body_and_objects_are_themselves():
    params = {"w": np.zeros(2)}
    hook = Recorder("params/w", "params", "loss", "global_step")
    with rl.Loop(state={"params": params, "lr": 0.5}, hooks=[hook]) as loop:
        for _ in loop.steps(1):
            params["w"] += 1
            loop.report(loss=params["w"])
        assert loop.session.run(["lr", "loss", "global_step"])[0] == 0.5
        assert loop.session.run(lambda params, lr: params["w"][0] + lr) == 1.5
    leaf, whole, loss, step = hook.seen[0]
    assert leaf.tolist() == [0, 0]
    assert whole is params
    assert loss.tolist() == [1, 1]
    assert loss is not params["w"]
    assert step == 0


def test_a_name_that_was_not_reported_is_left_out_with_a_warning_then_an_error(caplog):
    hook, other = Recorder("los"), Recorder("loss")
    with pytest.raises(ValueError, match="At the end of the first epoch: Recorder asks for 'los'"):
        with rl.Loop(hooks=[hook, other]) as loop:
            for _ in loop.epochs(2):
                for _ in loop.steps(2):
                    loop.report(loss=1.0)
    assert (hook.seen, other.seen) == ([], [[1.0], [1.0]])
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warning == (
        "Recorder asks for 'los', which was not reported so far, so that it is left out: call "
        "loop.report(los=...) in the loop's body. Did you mean 'loss'?"
    )


def test_without_epochs_a_finished_training_does_not_fail_for_a_name(caplog):
    with rl.Loop(hooks=[Recorder("los")]) as loop:
        for _ in loop.steps(3):
            pass
    assert len([r for r in caplog.records if "asks for 'los'" in r.getMessage()]) == 2


def test_the_mean_is_of_the_passes_of_the_epoch():
    means = []
    with rl.Loop() as loop:
        assert math.isnan(loop.mean("loss"))
        for epoch in loop.epochs(2):
            for index in loop.steps(3):
                loop.report(loss=10 * epoch + index)
            loop.report(accuracy=0.5)
            means.append(loop.mean("loss"))
        assert math.isnan(loop.mean("accuracy"))
    assert means == [1.0, 11.0]


def test_scalars_go_to_the_summary_writer(tmp_path):
    written = []

    class Writer:
        def add_scalar(self, tag, value, step):
            written.append((tag, value, step))

        def flush(self):
            pass

        def close(self):
            pass

    with rl.Loop(summary_writer=Writer(), summary_steps=2, log_step_count_steps=None) as loop:
        for index in loop.steps(4):
            loop.report(loss=float(index), vector=np.zeros(2))
        loop.report(accuracy=0.5)
    assert written == [("loss", 0.0, 1), ("loss", 2.0, 3), ("accuracy", 0.5, 4)]


def test_feeds_of_hooks_are_there_during_the_body():
    hook = Recorder(feeds={"rate": 3})
    with rl.Loop(hooks=[hook]) as loop:
        assert dict(loop.feeds) == {}
        for _ in loop.steps(1):
            assert loop.feeds["rate"] == 3
        assert loop.feeds.get("rate", "none") == "none"


@pytest.mark.parametrize("epochs", [True, False])
def test_a_feed_that_no_body_reads_is_warned_of(epochs):
    def run():
        with rl.Loop(hooks=[Recorder(feeds={"rate": 3})]) as loop:
            for _ in loop.epochs(1) if epochs else range(1):
                for _ in loop.steps(2):
                    pass

    with pytest.warns(UserWarning, match="A hook feeds 'rate', and no body has read it") as caught:
        run()
    assert [warning.filename for warning in caught] == [__file__]


# -- restarts -------------------------------------------------------------------------------------


def test_numbers_strings_none_and_tuples_of_the_state_come_back(tmp_path):
    w = np.zeros(2)
    state = {"w": w, "n": 1, "s": "a", "none": None, "pair": (1, 2)}
    with rl.Loop(tmp_path, state) as loop:
        for _ in loop.steps(1):
            w += 1
            state.update(n=2, s="b", none=3, pair=(3, "x"), new=[1])
    again = {"w": np.zeros(2), "n": 1, "s": "a", "none": None, "pair": (1, 2)}
    held = again["w"]
    with rl.Loop(tmp_path, again):
        pass
    assert again["w"] is held
    assert {**again, "w": again["w"].tolist()} == {
        "w": [1.0, 1.0],
        "n": 2,
        "s": "b",
        "none": 3,
        "pair": (3, "x"),
        "new": [1],
    }


def test_an_object_that_came_later_is_refused_at_the_save(tmp_path):
    state = {}
    with pytest.raises(TypeError, match=r"state\['rng'\] can't be saved: a restart can't make a "):
        with rl.Loop(tmp_path, state, save_steps=1) as loop:
            for _ in loop.steps(1):
                state["rng"] = np.random.default_rng()


def test_epochs_go_on_behind_a_finished_run(tmp_path):
    state = {"log": []}

    def run(epochs):
        with rl.Loop(tmp_path, state) as loop:
            for epoch in loop.epochs(epochs):
                for index in loop.steps(2):
                    state["log"].append((epoch, index))

    run(2)
    run(2)
    assert state["log"] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    run(3)
    assert state["log"][4:] == [(2, 0), (2, 1)]


@pytest.mark.parametrize("source", [[1, 2, 3, 4], range(1, 5), np.arange(1, 5), 4, None])
def test_sources_go_on_where_they_were(tmp_path, source):
    def run(kill):
        state = {"log": []}
        with rl.Loop(tmp_path, state, save_steps=1) as loop:
            for item in loop.steps(source):
                if len(state["log"]) == kill:
                    raise Killed
                state["log"].append(int(item))
                if len(state["log"]) == 4:
                    break
        return state["log"]

    with pytest.raises(Killed):
        run(2)
    first = 1 if not isinstance(source, (int, type(None))) else 0
    assert run(None) == list(range(first, first + 4))


def test_other_loops_than_those_that_were_saved_are_refused(tmp_path):
    def run(first, kill=False):
        with rl.Loop(tmp_path, {"n": 1}, save_steps=1) as loop:
            for index in loop.steps(first):
                if kill and index == 2:
                    raise Killed

    with pytest.raises(Killed):
        run(range(5), kill=True)
    with pytest.raises(CheckpointMismatchError, match=r"number 1 is a loop over a count, and"):
        run(5)
    with pytest.raises(CheckpointMismatchError, match=r"after 2 items of a sequence, and this one"):
        run([1])
    with pytest.raises(CheckpointMismatchError, match=r"saved in steps\(\) number 1, and this"):
        with rl.Loop(tmp_path, {"n": 1}):
            pass


def test_a_wrong_replay_is_warned_of_before_any_body(tmp_path):
    def run(items, kill=False):
        seen = []
        with rl.Loop(tmp_path, {"n": 1}, save_steps=1) as loop:
            for item in loop.steps(items):
                seen.append(item)
                if kill and len(seen) == 3:
                    raise Killed
        return seen

    with pytest.raises(Killed):
        run([np.zeros(3), np.ones(3), np.ones(3), np.ones(3)], kill=True)
    with pytest.warns(UserWarning, match=r"^steps\(\) number 1: item 0 is not the one of before"):
        assert len(run([np.full(3, 7.0), np.ones(3), np.ones(3), np.ones(3)])) == 2


def test_the_same_items_give_no_warning(tmp_path):
    def run(kill=False):
        with rl.Loop(tmp_path, {"n": 1}, save_steps=1) as loop:
            for count, _ in enumerate(loop.steps(np.ones(3) * i for i in range(5))):
                if kill and count == 2:
                    raise Killed

    with pytest.raises(Killed):
        run(kill=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run()


def test_a_source_that_serves_twice_without_being_in_the_state_is_warned_of():
    items = iter(range(10))
    with rl.Loop() as loop:
        for _ in loop.epochs(1):
            for item in loop.steps(items):
                if item == 3:
                    break
            with pytest.warns(UserWarning, match="has served an earlier"):
                loop.steps(items)


def test_request_stop_goes_on_at_the_next_start(tmp_path):
    def run(state, stop=None):
        with rl.Loop(tmp_path, state) as loop:
            for index in loop.steps(5):
                state["log"].append(index)
                if index == stop:
                    loop.request_stop()

    run({"log": []}, stop=2)
    state = {"log": []}
    run(state)
    assert state["log"] == [0, 1, 2, 3, 4]


def test_save_asks_for_a_checkpoint_at_the_end_of_the_pass(tmp_path):
    with pytest.raises(Killed), rl.Loop(tmp_path, {"n": 1}) as loop:
        for index in loop.steps(9):
            if index == 3:
                loop.save()
                assert rl.latest_checkpoint(tmp_path).endswith("-0.safetensors")
            if index == 6:
                raise Killed
    assert rl.latest_checkpoint(tmp_path).endswith("-4.safetensors")


def test_with_save_epochs_alone_nothing_is_saved_inside_an_epoch(tmp_path):
    with pytest.raises(Killed), rl.Loop(tmp_path, {"n": 1}, save_epochs=1) as loop:
        for epoch in loop.epochs(3):
            for index in loop.steps(4):
                if (epoch, index) == (1, 3):
                    raise Killed
    assert rl.latest_checkpoint(tmp_path).endswith("-4.safetensors")


def test_without_a_trigger_it_saves_every_600_seconds(tmp_path):
    time = FakeClock()
    with rl.clock.use(time), pytest.raises(Killed):
        with rl.Loop(tmp_path, {"n": 1}) as loop:
            for index in loop.steps(9):
                time.advance(250)
                if index == 5:
                    raise Killed
    assert rl.latest_checkpoint(tmp_path).endswith("-3.safetensors")


# -- kinds of state -------------------------------------------------------------------------------


class Net:
    """An object whose attributes are rebound."""

    def __init__(self):
        self.w = np.zeros(2)
        self.rate = 0.5


def one_run(folder, state, change, seen, kill=None):
    with rl.Loop(folder, state, save_steps=1) as loop:
        for index in loop.steps(4):
            if index == kill:
                raise Killed
            change(index)
        seen.append(loop.global_step)


def test_attributes_that_are_rebound_are_the_state(tmp_path):
    def life(kill=None):
        net = Net()

        def change(index):
            net.w = net.w + index
            net.rate *= 0.5

        one_run(tmp_path, rl.attributes(net), change, [], kill)
        return net

    with pytest.raises(Killed):
        life(kill=2)
    net = life()
    assert (net.w.tolist(), net.rate) == ([6.0, 6.0], 0.5**5)


def test_a_graph_with_attached_state_is_the_state(tmp_path):
    def life(kill=None):
        w, rng = np.zeros(2), np.random.default_rng(0)
        graph = rl.Graph()
        graph.attach("w", {"w": w})
        graph.attach("rng", rng)

        def change(index):
            w[:] += rng.random() + index

        one_run(tmp_path, graph, change, [], kill)
        return w.tolist(), rng.random()

    with pytest.raises(Killed):
        life(kill=2)
    killed = life()
    w, rng = np.zeros(2), np.random.default_rng(0)
    for index in range(4):
        w += rng.random() + index
    assert killed == (w.tolist(), rng.random())


def test_a_saver_in_the_background_saves_the_passes(tmp_path):
    w = np.zeros(2)
    with rl.Loop(tmp_path, {"w": w}, save_steps=1, saver=rl.Saver(background=True)) as loop:
        for _ in loop.steps(4):
            w += 1
    assert rl.latest_checkpoint(tmp_path).endswith("-4.safetensors")
    assert rl.load_variable(tmp_path, "w").tolist() == [4.0, 4.0]


def test_a_lost_session_is_not_retried_for_a_body_can_not_be():
    with pytest.raises(rl.errors.AbortedError), rl.Loop(hooks=[Recorder()]) as loop:
        for _ in loop.steps(3):
            raise rl.errors.AbortedError("lost")


def test_a_checkpoint_of_a_monitored_session_has_no_positions_and_says_so(tmp_path, caplog):
    graph = rl.Graph()
    graph.attach("w", {"a": np.ones(2)})

    @graph.train_op
    def train(w):
        w["a"] += 1

    with rl.MonitoredTrainingSession(graph=graph, checkpoint_dir=tmp_path) as session:
        session.run("train")
    w = np.zeros(2)
    with rl.Loop(tmp_path, {"w": {"a": w}}) as loop:
        for _ in loop.steps(2):
            w += 1
        assert loop.global_step == 3
    assert w.tolist() == [4.0, 4.0]
    assert "The checkpoint at step 1 was not saved by a Loop" in caplog.text


# -- the best checkpoints ---------------------------------------------------------------------------


def train_with_losses(folder, losses, name="loss", **saving):
    saver = rl.Saver(max_to_keep=1, keep_best=rl.KeepBest(name))
    with rl.Loop(folder, {"n": 0}, saver=saver, **saving) as loop:
        for loss in loop.steps(losses):
            loop.report(loss=loss)


def test_the_checkpoint_with_the_best_reported_value_is_kept(tmp_path, caplog):
    train_with_losses(tmp_path, [3.0, 1.0, 2.0, 5.0], save_steps=1)
    kept = rl.get_checkpoint_state(tmp_path).all_model_checkpoint_paths
    assert [path.rsplit("-")[-1] for path in kept] == ["2.safetensors", "4.safetensors"]
    assert "was not reported" not in caplog.text


def test_a_best_value_that_is_never_reported_is_warned_of_once(tmp_path, caplog):
    train_with_losses(tmp_path, [3.0, 1.0, 2.0], name="acuracy", save_steps=1)
    assert caplog.text.count("without a value of 'acuracy'") == 1


# -- values that are reported -------------------------------------------------------------------------


def test_a_complex_number_is_reported_without_a_summary(tmp_path):
    with rl.Loop(tmp_path, {"n": 0}, save_steps=1, summary_steps=1) as loop:
        for _ in loop.steps(2):
            loop.report(pole=1j, poles=np.array(2j), loss=0.5)
        loop.report(last=3j)
        assert loop.session.run(["pole", "poles", "last"]) == [1j, 2j, 3j]
        assert np.isnan(loop.mean("pole"))
        assert loop.mean("loss") == 0.5
    assert "pole" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_0d_array_is_reported_as_it_was_then():
    total = np.array(0.0)
    with rl.Loop(state={"total": total}) as loop:
        for _ in loop.steps(3):
            total += 1
            loop.report(sum=total)
        total += 10
        assert loop.session.run("sum") == 3.0
        loop.report(between=total)
        total += 10
        assert loop.session.run("between") == 13.0
        for _ in loop.steps(3):
            total[...] = 5
            loop.report(sum=total)
            break
        total += 10
        assert loop.session.run("sum") == 5.0


def test_a_state_in_the_place_of_the_folder_is_refused():
    with pytest.raises(TypeError, match=r"path or None, got a dict; .* Loop\(None, state\)"):
        rl.Loop({"w": 1})


@pytest.mark.parametrize("way", ["break", "exhausted"])
def test_a_loop_that_a_failed_thread_ends_is_not_finished(tmp_path, way):
    class FailsLater(rl.SessionRunHook):
        def after_create_session(self, session, coord):
            self.coord = coord

    def train(fail_at):
        state, hook = {"n": 0}, FailsLater()
        with rl.Loop(tmp_path, state, save_steps=2, hooks=[hook]) as loop:
            for step in loop.steps(7):
                if step == fail_at:
                    try:
                        raise OSError("the reader thread failed")
                    except OSError as exc:
                        hook.coord.request_stop(exc)
                    if way == "break":
                        break
                state["n"] += 1
        return state["n"]

    with pytest.raises(OSError, match="the reader thread failed"):
        train(fail_at=4 if way == "break" else 6)
    assert train(fail_at=None) == 7
