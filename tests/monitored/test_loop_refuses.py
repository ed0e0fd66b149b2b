"""What a loop refuses at a restart, text by text, and what it says of counts that are smaller."""

import types

import numpy as np
import pytest

import runloop as rl
from runloop.errors import CheckpointFormatError, CheckpointMismatchError
from runloop.monitored.loop.positions import Positions
from runloop.monitored.loop.sources import make_source
from runloop.session import NotReportedError
from tests.checks import fails


class Killed(BaseException):
    """Stands for a kill."""


def interrupt(folder, source, passes, epochs=None):
    """Make a loop that is killed behind so many passes, each of which is saved."""
    left = passes

    def run(items):
        nonlocal left
        for _ in loop.steps(items):
            if not left:
                raise Killed
            left -= 1

    with pytest.raises(Killed):
        with rl.Loop(folder, {"n": 1}, save_steps=1) as loop:
            if epochs is None:
                run(source())
            else:
                for _ in loop.epochs(epochs):
                    run(source())


def go_on(folder, source, epochs=None):
    """Start again; returns the items with their epochs."""
    seen = []
    with rl.Loop(folder, {"n": 1}, save_steps=1) as loop:
        for epoch in loop.epochs(epochs) if epochs is not None else [None]:
            seen.extend((epoch, item) for item in loop.steps(source()))
    return seen


# -- fewer items ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kind"),
    [(lambda n: list(range(n)), "a sequence"), (lambda n: (i for i in range(n)), "an iterable")],
)
def test_a_source_with_fewer_items_than_were_used_is_refused(tmp_path, source, kind):
    interrupt(tmp_path, lambda: source(5), 3)
    with fails(
        CheckpointMismatchError,
        f"steps() number 1 was saved after 3 items of {kind}, and this one has only 2; use the data "
        f"of the run that saved the checkpoint, or another folder",
    ):
        go_on(tmp_path, lambda: source(2))
    assert go_on(tmp_path, lambda: source(5)) == [(None, 3), (None, 4)]


def test_a_state_of_another_kind_of_source_is_refused():
    batches = rl.Batches(np.arange(4), 2)
    with fails(CheckpointMismatchError, "was saved with another kind of source"):
        make_source(batches, replay=True).skip({"position": 1, "seen": []})


@pytest.mark.parametrize("fewer", [0, 2, 3])
def test_a_count_below_the_position_is_done_and_goes_on_exactly_later(tmp_path, fewer, caplog):
    interrupt(tmp_path, lambda: 5, 3)
    assert go_on(tmp_path, lambda: fewer) == []
    said = [r.getMessage() for r in caplog.records if "asks for" in r.getMessage()]
    text = f"steps() number 1 asks for {fewer} passes, and the checkpoint was saved after 3: it is done."
    assert said == ([text] if fewer < 3 else [])
    assert go_on(tmp_path, lambda: 5) == [(None, 3), (None, 4)]


@pytest.mark.parametrize("fewer", [1, 2, 3])
def test_with_fewer_epochs_the_interrupted_one_is_finished(tmp_path, fewer, caplog):
    interrupt(tmp_path, lambda: 3, 7, epochs=5)  # in epoch 2, one of its passes made
    assert go_on(tmp_path, lambda: 3, epochs=fewer) == [(2, 1), (2, 2)]
    said = [r.getMessage() for r in caplog.records if "asks for" in r.getMessage()]
    text = (
        f"epochs() number 1 asks for {fewer} epochs, and the checkpoint was saved in epoch 2, which "
        f"is finished first."
    )
    assert said == ([text] if fewer < 3 else [])
    assert go_on(tmp_path, lambda: 3, epochs=4) == [(3, 0), (3, 1), (3, 2)]


def test_with_fewer_epochs_than_are_finished_it_is_done(tmp_path, caplog):
    def run(epochs, kill=False):
        seen = []
        with rl.Loop(tmp_path, {"n": 1}, save_epochs=1) as loop:
            for epoch in loop.epochs(epochs):
                if kill and epoch == 3:
                    raise Killed
                seen.append(epoch)
                list(loop.steps(1))
        return seen

    with pytest.raises(Killed):
        run(5, kill=True)
    assert run(2) == []
    assert [r.getMessage() for r in caplog.records if "asks for" in r.getMessage()] == [
        "epochs() number 1 asks for 2 epochs, and the checkpoint was saved after 3: it is done."
    ]
    assert run(5) == [3, 4]


# -- other loops ----------------------------------------------------------------------------------

ADVICE = "; nothing more is run: use the program that saved the checkpoint, or another folder"


def test_another_kind_of_source_is_refused(tmp_path):
    interrupt(tmp_path, lambda: range(5), 3)
    with fails(
        CheckpointMismatchError,
        f"steps() number 1 is a loop over a count, and in the program that saved the checkpoint it is "
        f"a loop over a sequence{ADVICE}",
    ):
        go_on(tmp_path, lambda: 5)


def test_a_loop_that_the_checkpoint_does_not_know_is_refused(tmp_path):
    def run(kill=False):
        with rl.Loop(None if kill else tmp_path, {"n": 1}) as loop:
            list(loop.steps(2))
            if kill:  # not a moment at which the loop itself would save
                rl.Saver().save(loop.session, tmp_path / "model.ckpt", loop.global_step)
                raise Killed
            list(loop.steps(2))

    with pytest.raises(Killed):
        run(kill=True)
    with fails(
        CheckpointMismatchError,
        f"steps() number 2 was not entered before the checkpoint was saved{ADVICE}",
    ):
        run()


def test_a_loop_less_in_the_interrupted_epoch_is_refused(tmp_path):
    interrupt(tmp_path, lambda: 3, 4, epochs=5)
    with (
        fails(
            CheckpointMismatchError,
            "the checkpoint was saved in steps() number 1 of epoch 1, and this program has entered none "
            "there; nothing was saved: use the program that saved it, or another folder",
        ),
        rl.Loop(tmp_path, {"n": 1}, save_steps=1) as loop,
    ):
        for _ in loop.epochs(5):
            pass


def test_a_program_that_enters_nothing_of_what_was_saved_is_refused(tmp_path):
    interrupt(tmp_path, lambda: 3, 2)
    with (
        fails(
            CheckpointMismatchError,
            "the checkpoint was saved in steps() number 1, and this program has entered none there; "
            "nothing was saved: use the program that saved it, or another folder",
        ),
        rl.Loop(tmp_path, {"n": 1}),
    ):
        pass


def test_positions_of_another_version_are_refused():
    with rl.Loop() as loop:
        positions = loop._run.positions
        with fails(
            ValueError, "the positions of the loop have version 2; this runloop reads version 1"
        ):
            positions.load_state_dict({**positions.state_dict(), "version": 2})


def test_positions_of_another_version_in_a_checkpoint_are_refused(tmp_path, monkeypatch):
    plain = Positions.state_dict
    with monkeypatch.context() as patched:
        patched.setattr(Positions, "state_dict", lambda self: {**plain(self), "version": 2})
        with rl.Loop(tmp_path, {"n": 1}) as loop:
            for _ in loop.steps(1):
                pass
    with pytest.raises(CheckpointFormatError, match=r"loop.*have version 2; this runloop reads"):
        go_on(tmp_path, lambda: 1)


# -- state ----------------------------------------------------------------------------------------


def test_a_mapping_that_can_not_be_changed_is_refused():
    with fails(
        TypeError, "state must be a mapping that can be changed, such as a dict, got a mappingproxy"
    ):
        rl.Loop(state=types.MappingProxyType({"n": 1}))


def test_what_a_dropped_iterator_could_not_take_is_raised_by_the_next_call():
    state = {"n": 1}
    with pytest.raises(TypeError, match="n"), rl.Loop(state=state) as loop:
        for _ in loop.steps(3):
            state["n"] = object()
            break
        assert loop.global_step == 1


# -- fetches --------------------------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_the_nearest():
    with rl.Loop(state={"lr": 1}) as loop:
        loop.report(loss=1.0)
        with fails(
            NotReportedError,
            "nothing is called 'los': a fetch is global_step, a name that was reported, or one of "
            "the state. Did you mean 'loss'?",
        ):
            loop.session.run("los")
        with pytest.raises(ValueError, match="nothing is called 'missing'"):
            loop.session.run(lambda missing: missing)


def test_what_can_not_be_fetched_is_refused():
    with rl.Loop() as loop:
        with fails(
            TypeError,
            "3 can't be fetched: a fetch is a name, a Variable, an Op, a callable, or a list, tuple, "
            "dict or dataclass of these, got int",
        ):
            loop.session.run([3])
        other = rl.Graph().variable("w", 1.0)
        with fails(ValueError, f"{other!r} belongs to another graph than this session's"):
            loop.session.run([other])


# -- nesting --------------------------------------------------------------------------------------

HELD = (
    ", which is still going on. If it was left by break, something holds its iterator, such as a "
    "progress bar: delete that first"
)


def test_what_is_held_by_something_is_named():
    with rl.Loop() as loop:
        held = loop.steps(3)
        for _ in held:
            break
        with fails(RuntimeError, f"steps() inside steps() number 1{HELD}"):
            loop.steps(3)
        with fails(RuntimeError, f"epochs() inside steps() number 1{HELD}"):
            loop.epochs(3)


# -- warnings -------------------------------------------------------------------------------------


def test_a_wrong_replay_is_named_with_what_helps(tmp_path):
    interrupt(tmp_path, lambda: [1, 2, 3], 2)
    with pytest.warns(UserWarning, match="item") as caught:
        go_on(tmp_path, lambda: [7, 2, 3])
    assert str(caught[0].message) == (
        "steps() number 1: item 0 is not the one of before the restart (int:7 now, int:1 then), so "
        "that this run will not end as one that was never interrupted. Code before steps() that "
        "draws from a generator, shuffles in place or reads arrays makes the items: put the "
        "generator into the loop's state, or save whole epochs only (save_epochs)."
    )


def test_a_source_that_serves_twice_is_named_with_what_helps():
    with rl.Loop() as loop:
        items = iter(range(3))
        list(loop.steps(items))
        with pytest.warns(UserWarning, match="served") as caught:
            list(loop.steps(items))
    assert str(caught[0].message) == (
        "steps() number 2: this range_iterator has served an earlier steps(), and is not in the "
        "loop's state, so that a restart can't bring it back to where it was. Put it into the state, "
        "or give replay=False if it goes on by itself."
    )
