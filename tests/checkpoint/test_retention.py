"""Which checkpoints are kept is a pure function; here are its tables."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runloop.checkpoint import KeepBest, Saver, load_variable
from runloop.checkpoint.retention import Record, Rules, keep
from tests.checkpoint.programs import make_session, set_step


def records(*, times=None, metrics=None, count=None):
    count = len(times or metrics) if count is None else count
    return [
        Record(
            f"m-{i}",
            serial=i + 1,
            step=i,
            time=times[i] * 3600 if times else float(i),
            metrics={"loss": metrics[i]} if metrics and metrics[i] is not None else {},
        )
        for i in range(count)
    ]


def shown(kept):
    return "".join("x" if k else "." for k in kept)


@pytest.mark.parametrize(
    ("count", "max_to_keep", "expected"),
    [(0, 5, ""), (1, 5, "x"), (3, 5, "xxx"), (5, 2, "...xx"), (5, 1, "....x"), (4, 0, "xxxx"),
     (4, None, "xxxx")],
)  # fmt: skip
def test_the_last_ones_are_kept(count, max_to_keep, expected):
    assert shown(keep(records(count=count), Rules(max_to_keep), 0.0).flags) == expected


@pytest.mark.parametrize(
    ("times", "hours", "expected", "preserved"),
    [
        ((0, 1, 2, 3, 4, 5), 2.0, "...x.x", 5),  # more than 2 hours after 0, more than 4
        ((0, 1, 2, 3, 4, 5, 6, 7), 2.5, "...x..xx", 6),
        ((0, 9), 100.0, ".x", None),
        ((0, 7, 8, 9, 9.5), 2.0, ".xxxx", 9.5),  # the limit stands on its grid: 2, 4, 6, 8
        ((3, 4, 5), 2.0, "x.x", 5),  # the training began at 0, before what is left
    ],
)
def test_one_in_so_many_hours_is_kept(times, hours, expected, preserved):
    rules = Rules(1, hours)
    made = records(times=times)
    kept = keep(made, rules, 0.0)
    assert shown(kept.flags) == expected
    found = kept.last_preserved
    assert found == (None if preserved is None else preserved * 3600)


@pytest.mark.parametrize(
    ("metrics", "mode", "count", "expected"),
    [
        ((3, 1, 2, 4), "min", 1, ".x.x"),
        ((3, 1, 2, 4), "max", 1, "...x"),
        ((3, 1, 2, 4), "max", 2, "x..x"),
        ((1, 1, 1), "min", 1, "x.x"),  # of equal ones the earlier
        ((math.nan, 2, 3), "min", 1, ".xx"),  # NaN is never best
        ((math.nan, math.nan), "max", 2, ".x"),
        ((-math.inf, 2, 3), "min", 1, "x.x"),
        ((None, 5, None), "min", 3, ".xx"),  # saved without the metric
    ],
)
def test_the_best_are_kept(metrics, mode, count, expected):
    rules = Rules(1, best=KeepBest("loss", mode, count))
    assert shown(keep(records(metrics=metrics), rules, 0.0).flags) == expected


@given(
    times=st.lists(st.floats(0, 1e6), max_size=30).map(sorted),
    max_to_keep=st.integers(0, 5),
    hours=st.floats(0.1, 50),
)
def test_laws(times, max_to_keep, hours):
    rules = Rules(max_to_keep, hours, KeepBest("loss", "min", 2))
    made = [Record(f"{i}", i, i, t, {"loss": (i * 7) % 5}) for i, t in enumerate(times)]
    kept = keep(made, rules, 0.0).flags
    assert not kept or kept[-1]  # the newest is never given up
    # Applied again to what is left it gives up nothing more: it is safe to be made at each save.
    left = [record for record, k in zip(made, kept, strict=True) if k]
    assert all(keep(left, rules, 0.0).flags) or not max_to_keep
    alone = keep(made, Rules(max_to_keep, 1e9), 0.0).flags
    assert all(k or not a for k, a in zip(kept, alone, strict=True))  # a union of rules


def test_wrong_rules():
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', got 'best'"):
        KeepBest("loss", "best")
    for count in (0, 1.5, True):
        with pytest.raises(ValueError, match="count must be an int of at least 1"):
            KeepBest("loss", "min", count)
    with pytest.raises(TypeError, match="max_to_keep must be an int or None, got '5'"):
        Saver(max_to_keep="5")
    with pytest.raises(ValueError, match="max_to_keep must not be negative, got -1"):
        Saver(max_to_keep=-1)
    with pytest.raises(ValueError, match="keep_checkpoint_every_n_hours must be positive, got 0"):
        Saver(keep_checkpoint_every_n_hours=0)
    with pytest.raises(TypeError, match=r"keep_best must be a runloop.checkpoint.KeepBest"):
        Saver(keep_best="loss")


def names(folder):
    return sorted(int(p.stem.split("-")[1]) for p in folder.glob("*.safetensors"))


def save(saver, session, folder, step, **more):
    set_step(session, step)
    return saver.save(session, folder / "m", step, **more)


def test_retention_survives_a_restart(tmp_path):
    for steps in ((1, 2, 3), (4, 5)):
        saver, session = Saver(max_to_keep=2), make_session()
        for step in steps:
            save(saver, session, tmp_path, step)
        saver.close()
    assert names(tmp_path) == [4, 5]


def test_retention_is_rebuilt_from_the_folder_without_a_state_file(tmp_path):
    saver, session = Saver(max_to_keep=3), make_session()
    for step in (1, 2, 3):
        save(saver, session, tmp_path, step)
    saver.close()
    (tmp_path / "checkpoint").unlink()
    (tmp_path / "mine.safetensors").write_bytes((tmp_path / "m-1.safetensors").read_bytes())
    (tmp_path / "m-2-copy.safetensors").write_bytes(b"")
    saver = Saver(max_to_keep=2)
    save(saver, session, tmp_path, 4)
    # What is not called like a checkpoint of this run is nobody's to delete.
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == [
        "m-2-copy.safetensors", "m-3.safetensors", "m-4.safetensors", "mine.safetensors",
    ]  # fmt: skip


def test_after_a_rollback_the_new_file_is_not_lost_to_an_old_higher_step(tmp_path):
    saver, session = Saver(max_to_keep=2), make_session()
    for step in (100, 200):
        save(saver, session, tmp_path, step)
    saver.close()
    saver = Saver(max_to_keep=2)
    for step in (50, 60):
        save(saver, session, tmp_path, step)
        assert step in names(tmp_path)
    assert names(tmp_path) == [50, 60]
    assert load_variable(tmp_path, "global_step") == 60


def test_savers_with_different_state_files_keep_each_its_own(tmp_path):
    for first, expected in ((0, [2, 3, 5]), (10, [12, 13, 15])):
        last, best = Saver(max_to_keep=2), Saver(max_to_keep=1)
        for step in (first + 1, first + 2, first + 3):
            last.save(make_session(), tmp_path / "m", step)
        best.save(make_session(), tmp_path / "m", first + 5, latest_filename="best")
        assert names(tmp_path) == sorted(expected)
        last.close()
        best.close()


def test_saving_a_step_again_counts_once(tmp_path):
    saver, session = Saver(max_to_keep=2), make_session()
    for step in (1, 2, 2, 2):
        save(saver, session, tmp_path, step)
    assert names(tmp_path) == [1, 2]
    assert saver.last_checkpoints == [str(tmp_path / f"m-{i}.safetensors") for i in (1, 2)]


@pytest.mark.parametrize("restarted", [False, True])
def test_the_best_ones_are_kept_by_what_is_given(tmp_path, restarted):
    saver = Saver(max_to_keep=1, keep_best=KeepBest("accuracy", "max", 1))
    session = make_session()
    for step, accuracy in enumerate([0.1, 0.9, 0.5, math.nan, 0.7]):
        save(saver, session, tmp_path, step, metrics={"accuracy": accuracy})
        if restarted:
            saver.close()
            saver = Saver(max_to_keep=1, keep_best=KeepBest("accuracy", "max", 1))
    assert names(tmp_path) == [1, 4]


def test_the_best_ones_are_kept_by_a_fetch(tmp_path):
    session = make_session()
    saver = Saver(max_to_keep=1, keep_best=KeepBest(lambda w: abs(w[0] - 2), "min", 1))
    for step in range(5):
        save(saver, session, tmp_path, step)
    assert names(tmp_path) == [2, 4]
    with pytest.raises(TypeError, match="the metric 'w' must be a number"):
        Saver(keep_best=KeepBest("w")).save(session, tmp_path / "x" / "m", 1)
    assert not (tmp_path / "x").exists()


def test_with_no_bound_the_state_file_lists_every_checkpoint(tmp_path):
    saver, session = Saver(max_to_keep=None), make_session()
    for step in range(8):
        save(saver, session, tmp_path, step)
    assert len(saver.last_checkpoints) == 8
    assert (tmp_path / "checkpoint").read_text().count("all_model_checkpoint_paths") == 8
