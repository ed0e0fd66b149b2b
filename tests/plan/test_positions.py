"""Inputs: the position is in the checkpoint, or a warning says that it is not; mappings by key."""

import warnings
from collections import OrderedDict, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runloop as rl
from runloop.errors import OutOfRangeError
from tests.checks import fails

SEQUENCES = {
    "list": lambda: list(range(10, 20)),
    "tuple": lambda: tuple(range(10, 20)),
    "range": lambda: range(10, 20),
    "array": lambda: np.arange(10, 20),
    "deque": lambda: deque(range(10, 20)),
}


class Fresh:
    """An iterable without state that starts over, and draws a number for each item."""

    def __init__(self, rng=None, count=10):
        self.rng, self.count = rng, count

    def __iter__(self):
        for i in range(self.count):
            yield i if self.rng is None else (i, int(self.rng.integers(1000)))


def session_of(iterable, *, replay=False, rng=None, names="x"):
    graph = rl.Graph()
    graph.input(names, iterable, replay=replay)
    if rng is not None:
        graph.attach("rng", rng)
    graph.train_op(lambda: None, name="train")
    return rl.Session(graph=graph)


def pulls(session, count):
    return [session.run("x") for _ in range(count)]


@pytest.mark.parametrize("make", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("used", [0, 3, 10])
def test_a_sequence_goes_on_where_the_checkpoint_was_made(make, used, tmp_path):
    first = session_of(make())
    expected = pulls(first, used)
    path = rl.Saver().save(first, str(tmp_path / "m"), 1)
    rest = pulls(first, 10 - used)
    second = session_of(make())
    rl.Saver().restore(second, path)
    assert pulls(second, 10 - used) == rest
    assert expected + rest == list(range(10, 20))
    with fails(OutOfRangeError, "input 'x' is exhausted"):
        second.run("x")
    rl.Saver().restore(second, path)  # also back, in a session that is further
    assert pulls(second, 10 - used) == rest


@pytest.mark.parametrize("make", SEQUENCES.values(), ids=SEQUENCES)
def test_a_killed_run_sees_each_item_of_a_list_once(make, tmp_path):
    seen = []
    for _ in range(4):
        graph = rl.Graph()
        graph.input("x", make())
        graph.train_op(lambda x: seen.append(int(x)), name="train")
        session = rl.MonitoredTrainingSession(
            graph=graph,
            checkpoint_dir=str(tmp_path),
            save_checkpoint_steps=1,
            hooks=[rl.StopAtStepHook(num_steps=2)],
        )
        with session:
            while not session.should_stop():
                session.run("train")
    assert seen == list(range(10, 18))


def test_sessions_have_positions_of_their_own():
    one = session_of([1, 2, 3])
    two = rl.Session(graph=one.graph)
    assert [one.run("x"), one.run("x"), two.run("x")] == [1, 2, 1]
    assert one.state().attached["x"].state_dict() == {"used": 2}


def test_a_shorter_sequence_than_at_the_save_is_refused(tmp_path):
    first = session_of([1, 2, 3])
    pulls(first, 3)
    path = rl.Saver().save(first, str(tmp_path / "m"), 1)
    with pytest.raises(
        ValueError,
        match=r"input 'x': the checkpoint was made after item 3, and the sequence has 2; give the",
    ):
        rl.Saver().restore(session_of([1, 2]), path)


@pytest.mark.parametrize("state", [None, {}, {"used": -1}, {"used": True}, {"used": "1"}, 3])
def test_a_state_that_is_no_position_is_refused(state):
    position = session_of([1, 2, 3]).state().attached["x"]
    with fails(ValueError, f"input 'x': {state!r} is not a position"):
        position.load_state_dict(state)


# -- replay ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(used=st.integers(0, 10), one_shot=st.booleans())
def test_a_replayed_input_goes_on_and_the_generator_it_draws_from_too(
    tmp_path_factory, used, one_shot
):
    def make():
        rng = np.random.default_rng(5)
        source = Fresh(rng)
        return session_of(iter(source) if one_shot else source, replay=True, rng=rng)

    first = make()
    pulls(first, used)
    path = rl.Saver().save(first, str(tmp_path_factory.mktemp("replay") / "m"), 1)
    rest = pulls(first, 10 - used)
    second = make()
    rl.Saver().restore(second, path)
    assert pulls(second, 10 - used) == rest


def test_an_iterator_that_is_further_than_the_checkpoint_cant_be_replayed(tmp_path):
    source = iter(range(5))
    session = session_of(source, replay=True)
    pulls(session, 1)
    path = rl.Saver().save(session, str(tmp_path / "m"), 1)
    pulls(session, 2)
    with pytest.raises(
        ValueError,
        match=r"input 'x': the checkpoint was made after item 1, and the iterator has given 3 alre",
    ):
        rl.Saver().restore(session, path)


def test_an_iterator_whose_session_is_recreated_in_one_process_is_not_replayed_twice(tmp_path):
    source = iter(range(9))
    first = session_of(source, replay=True)
    pulls(first, 3)
    path = rl.Saver().save(first, str(tmp_path / "m"), 1)
    second = rl.Session(graph=first.graph)
    rl.Saver().restore(second, path)
    assert second.run("x") == 3


def test_an_iterable_that_ends_while_it_is_replayed_is_refused(tmp_path):
    first = session_of(Fresh(count=4), replay=True)
    pulls(first, 4)
    path = rl.Saver().save(first, str(tmp_path / "m"), 1)
    with pytest.raises(
        ValueError,
        match=r"input 'x': the checkpoint was made after item 4, and the iterable gave 2; give the",
    ):
        rl.Saver().restore(session_of(Fresh(count=2), replay=True), path)


def test_an_iterable_with_state_needs_no_replay():
    with fails(
        ValueError,
        "input 'x': Batches has state, so its position is restored without replay=True",
    ):
        rl.Graph().input("x", rl.Batches(np.zeros(2), 1), replay=True)


# -- the warning ----------------------------------------------------------------------------------


def saving(iterable, tmp_path, **arguments):
    graph = rl.Graph()
    graph.input(("x", "y"), iterable, **arguments)
    graph.train_op(lambda: None, name="train")
    return rl.MonitoredTrainingSession(graph=graph, checkpoint_dir=str(tmp_path)).close


def test_a_session_that_saves_warns_of_an_input_whose_position_is_lost(tmp_path):
    with pytest.warns(UserWarning, match="its position is not in") as caught:
        saving(Fresh(), tmp_path)()
    assert [str(w.message) for w in caught] == [
        (
            "input 'x': Fresh has no state, so its position is not in the checkpoints and it starts "
            "over after a restore. Give a list, an array or runloop.Batches, an iterable with "
            "state_dict() and load_state_dict(), or graph.input(..., replay=True), which pulls and "
            "drops the items that were used"
        )
    ]


@pytest.mark.parametrize(
    ("iterable", "arguments"),
    [
        (Fresh(), {"replay": True}),
        (iter([]), {"replay": True}),
        ([], {}),
        (np.zeros(3), {}),
        (rl.Batches((np.zeros(2), np.zeros(2)), 1), {}),
    ],
)
def test_it_does_not_warn_where_the_position_is_kept(iterable, arguments, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saving(iterable, tmp_path, **arguments)()


def test_a_session_that_saves_nothing_does_not_warn():
    graph = rl.Graph()
    graph.input("x", Fresh())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rl.MonitoredTrainingSession(graph=graph).close()
        rl.Session(graph=graph).run("x")


# -- mappings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_a_mapping_fills_in_several_names_by_key(kind):
    session = session_of([kind(y=2, x=1), (3, 4)], names=("x", "y"))
    assert session.run(["x", "y", lambda y, x: (x, y)]) == [1, 2, (1, 2)]
    assert session.run(["x", "y"]) == [3, 4]


def test_a_mapping_for_one_name_is_its_value():
    assert session_of([{"x": 1}]).run("x") == {"x": 1}


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"x": 1}, "lacks 'y'"),
        ({"x": 1, "y": 2, "z": 3}, "has the unknown 'z'"),
        ({"z": 1, 5: 2}, "lacks 'x', 'y' and has the unknown 'z', 5"),
    ],
)
def test_keys_that_are_missing_or_unknown_are_named(item, problem):
    with fails(
        ValueError,
        f"input ('x', 'y'): a pull gave a mapping that {problem}; its keys must be the input's names",
    ):
        session_of([item], names=("x", "y")).run("x")


def test_batches_of_a_mapping_fill_in_names():
    batches = rl.Batches({"y": np.arange(4), "x": np.arange(4) * 10}, 2, shuffle=False)
    x, y = session_of(batches, names=("x", "y")).run(["x", "y"])
    assert (x.tolist(), y.tolist()) == ([0, 10], [0, 1])
