"""Saver: what is saved, what is restored, in the background and not."""

import errno
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import safetensors.numpy

from runloop.checkpoint import (
    CheckpointReader,
    RestoreReport,
    Saver,
    files,
    latest_checkpoint,
    load_variable,
)
from runloop.checkpoint.files import Files
from runloop.checkpoint.layout import Layout
from runloop.checkpoint.payload import Copies
from runloop.errors import (
    CheckpointFormatError,
    CheckpointMismatchError,
    CheckpointTimeoutError,
    CheckpointWriteError,
)
from runloop.graph import Graph, get_or_create_global_step
from runloop.session import Session
from runloop.testing import FakeClock
from tests.checkpoint.programs import make_session, set_step, step_of


class Held(Files):
    """Writes wait until they are let go."""

    def __init__(self):
        self.go = threading.Event()
        self.fail = False

    def create(self, path):
        assert self.go.wait(30)
        if self.fail:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path)


def held_saver(**more):
    layer = Held()
    with files.use(layer):
        return Saver(background=True, **more), layer


class Monitored:
    def __init__(self, session):
        self.session = session

    def raw_session(self):
        return self.session


# -- save -----------------------------------------------------------------------------------------


def test_the_path_says_where(tmp_path):
    session = make_session(step=4)
    saver = Saver()
    expected = str(tmp_path / "m-4.safetensors")
    assert saver.save(session, tmp_path / "m", 4) == expected
    assert saver.save(session, str(tmp_path / "m"), np.int64(4)) == expected
    assert saver.save(session, tmp_path / "m", "global_step") == expected
    step = session.graph.variables[1]
    assert saver.save(session, tmp_path / "m", global_step=step) == expected
    assert saver.save(Monitored(session), tmp_path / "m.safetensors", 4) == expected
    assert saver.save(session, tmp_path / "m") == str(tmp_path / "m.safetensors")
    with CheckpointReader(tmp_path / "m") as reader:
        assert reader.step == 4  # of the session, where none is given
    with pytest.raises(ValueError, match=r"save_path must end with the name of a file, got '.*/'"):
        saver.save(session, f"{tmp_path}/", 4)


def test_a_folder_in_the_name_belongs_to_the_name(tmp_path, monkeypatch):
    session = make_session()
    path = Saver().save(session, tmp_path / "sub" / "m", 1, checkpoint_dir=tmp_path)
    assert path == str(tmp_path / "sub" / "m-1.safetensors")
    assert 'model_checkpoint_path: "sub/m-1.safetensors"' in (tmp_path / "checkpoint").read_text()
    assert (load_variable(tmp_path, "w") == 0).all()
    with pytest.raises(ValueError, match=r"checkpoint_dir .* must be above the data file"):
        Saver().save(session, tmp_path / "m", 1, checkpoint_dir=tmp_path / "sub")
    monkeypatch.chdir(tmp_path)
    assert Saver().save(session, "here", 1) == os.path.join(".", "here-1.safetensors")
    saver = Saver(max_to_keep=1)
    for step in (1, 2, 3):
        saver.save(session, tmp_path / "sub" / "m", step, checkpoint_dir=tmp_path)
    saver.close()
    assert sorted(os.listdir(tmp_path / "sub")) == ["m-3.safetensors"]


def test_only_a_session_can_be_saved(tmp_path):
    for wrong in (None, 3, Monitored(None)):
        with pytest.raises(TypeError, match="Saver can save a runloop Session or a monitored"):
            Saver().save(wrong, tmp_path / "m")
        with pytest.raises(TypeError, match="Saver can restore a runloop Session"):
            Saver().restore(wrong, tmp_path / "m")


def test_var_list_says_which_variables(tmp_path):
    graph = Graph()
    a, _ = graph.variable("a", np.ones(2)), graph.variable("b", np.zeros(2))
    session = Session(graph=graph)
    for var_list in ([a], ["a"], ["a:0"], (v for v in [a])):
        path = Saver(var_list).save(session, tmp_path / "m", 1)
        with CheckpointReader(path) as reader:
            assert reader.names() == ["a"]
    renaming = Saver({"first": a, "second": "b"})
    path = renaming.save(session, tmp_path / "m", 2)
    with CheckpointReader(path) as reader:
        assert reader.names() == ["first", "second"]
    session.assign({"a": np.zeros(2)})
    renaming.restore(session, path)
    assert session.run("a").tolist() == [1, 1]
    Saver(["a"]).restore(session, Saver().save(session, tmp_path / "all", 1))
    with pytest.raises(ValueError, match=r"var_list: the graph has no variable 'c'. Known names"):
        Saver(["c"]).save(session, tmp_path / "m")
    with pytest.raises(ValueError, match="two variables have one name"):
        Saver({1: "a", "1": "b"}).save(session, tmp_path / "m")
    for twice in ({"x": "a", "y": "a"}, ["a", "a:0"]):
        with pytest.raises(ValueError, match="var_list: duplicate variable 'a'"):
            Saver(twice).save(session, tmp_path / "m")
    with pytest.raises(TypeError, match="var_list must be a list or a mapping, got 'a'"):
        Saver("a")


def test_two_tensors_of_one_name_are_an_error_before_anything_is_written(tmp_path):
    graph = Graph()
    graph.variable("p/w", np.ones(2))
    graph.attach("p", {"w": np.ones(2)})
    with pytest.raises(
        ValueError, match=r"called 'p/w' in the checkpoint: variable 'p/w' and one of"
    ):
        Saver().save(Session(graph=graph), tmp_path / "x" / "m")
    assert not (tmp_path / "x").exists()


def test_a_variable_that_cant_be_stored_is_named(tmp_path):
    graph = Graph()
    graph.variable("v", np.array(["a"], object))
    with pytest.raises(TypeError, match=r"tensor 'v' can't be saved: dtype object"):
        Saver().save(Session(graph=graph), tmp_path / "x" / "m")
    assert not (tmp_path / "x").exists()


def test_the_document_says_when(tmp_path):
    with FakeClock(epoch=1000.0).use() as clock:
        saver = Saver()
    session = make_session(step=3)
    path = saver.save(session, tmp_path / "m", 3, metrics={"loss": 0.5, "odd": float("nan")})
    clock.advance(60.0)
    later = saver.save(session, tmp_path / "m", 4)
    with CheckpointReader(path) as reader:
        document = reader.document
    assert (document.step, document.serial, document.time, document.started) == (3, 1, 1000, 1000)
    assert document.metrics["loss"] == 0.5
    assert np.isnan(document.metrics["odd"])
    with CheckpointReader(later) as reader:
        assert (reader.document.serial, reader.document.started) == (2, 1000)
    assert "all_model_checkpoint_timestamps: 1060.0" in (tmp_path / "checkpoint").read_text()


def test_a_state_with_nan_or_infinity_is_refused_where_that_is_asked(tmp_path, caplog):
    saver = Saver(reject_nonfinite=True, max_to_keep=2)
    session = make_session(step=1)
    assert saver.save(session, tmp_path / "m", 1) is not None
    for place, value in [("w", np.nan), ("w", np.inf), ("b", -np.inf)]:
        state = session.state()
        array = state.variables["w"] if place == "w" else state.attached["params"]["b"]
        array[1] = value
        assert saver.save(session, tmp_path / "m", 2) is None
        name = "w" if place == "w" else "params/b"
        assert f"The state at step 2 is not saved: NaN or infinity in {name}." in caplog.text
        set_step(session, 1)
        caplog.clear()
    assert len(saver.last_checkpoints) == 1
    assert saver.save(session, tmp_path / "m", 3) is not None
    session.state().variables["w"][0] = np.nan
    assert Saver().save(session, tmp_path / "m", 4) is not None  # unless it is asked for


def test_finiteness_is_known_of_every_dtype(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    graph = Graph()
    graph.variable("a", np.ones(3, ml_dtypes.bfloat16))
    graph.variable("b", np.ones((3, 4), ">f8").T[::2])
    graph.variable("c", np.ones(3, ml_dtypes.int4))
    graph.variable("d", np.array(["NaT"], "M8[s]"))
    graph.variable("e", np.ones(2, complex))
    session = Session(graph=graph)
    saver = Saver(reject_nonfinite=True)
    assert saver.save(session, tmp_path / "m", 1) is not None
    session.state().variables["a"][1] = np.inf
    assert saver.save(session, tmp_path / "m", 2) is None


# -- in the background ----------------------------------------------------------------------------


def test_in_the_background_save_returns_before_it_is_written(tmp_path):
    saver, layer = held_saver()
    session = make_session(step=1)
    path = saver.save(session, tmp_path / "m", 1)
    assert saver.busy
    assert not os.path.exists(path)
    set_step(session, 2)  # what is written is of the moment of the save
    session.state().attached["params"]["b"][:] = 9
    with pytest.raises(CheckpointTimeoutError, match=r"still being written after 0.01 seconds"):
        saver.wait(0.01)
    layer.go.set()
    saver.wait()
    assert not saver.busy
    found = make_session()
    Saver().restore(found, path)
    assert step_of(found) == 1


def test_in_the_background_one_save_is_under_way_and_the_next_waits(tmp_path):
    saver, layer = held_saver()
    session = make_session(step=1)
    saver.save(session, tmp_path / "m", 1)
    threading.Timer(0.05, layer.go.set).start()
    second = saver.save(session, tmp_path / "m", 2)
    assert (tmp_path / "m-1.safetensors").exists()
    saver.wait()
    assert os.path.exists(second)


def test_in_the_background_an_error_is_raised_once_where_somebody_waits(tmp_path):
    saver, layer = held_saver()
    session = make_session(step=1)
    layer.fail = True
    layer.go.set()
    saver.save(session, tmp_path / "m", 1)
    with pytest.raises(CheckpointWriteError, match="No space left"):
        saver.wait()
    saver.wait()
    saver.save(session, tmp_path / "m", 2)
    with pytest.raises(CheckpointWriteError, match="No space left"):
        saver.save(session, tmp_path / "m", 3)
    layer.fail = False
    saver.save(session, tmp_path / "m", 4)
    saver.wait()
    assert load_variable(tmp_path, "global_step") == 1
    assert [p.name for p in tmp_path.glob("m-*")] == ["m-4.safetensors"]


def test_in_the_background_the_buffer_is_used_again(tmp_path):
    saver = Saver(background=True)
    session = make_session(step=1)
    saver.save(session, tmp_path / "m", 1)
    saver.wait()
    memory, views = saver._copies._memory, saver._copies._views
    saver.save(session, tmp_path / "m", 2)
    saver.wait()
    assert saver._copies._memory is memory
    assert saver._copies._views is views
    graph = Graph()
    graph.variable("larger", np.ones(1000))
    saver.save(Session(graph=graph), tmp_path / "m", 3)
    saver.wait()
    assert (load_variable(tmp_path, "larger") == 1).all()


def test_in_the_background_every_layout_is_saved(tmp_path):
    graph = Graph()
    arrays = {
        "be": np.arange(4, dtype=">f8"),
        "t": np.arange(6.0).reshape(2, 3).T,
        "r": np.arange(5)[::-1],
        "0": np.array(3.0),
        "e": np.empty((0, 2)),
        "d": np.array(["2024"], "M8[D]"),
    }
    graph.attach("a", arrays)
    saver = Saver(background=True)
    path = saver.save(Session(graph=graph), tmp_path / "m")
    saver.wait()
    with CheckpointReader(path) as reader:
        for name, array in arrays.items():
            found = reader.get_tensor(f"a/{name}")
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)


def test_a_program_that_ends_without_waiting_has_its_last_checkpoint(tmp_path):
    program = """
        import sys
        import numpy as np
        import runloop.checkpoint
        from runloop.graph import Graph
        from runloop.session import Session
        graph = Graph()
        graph.variable("w", np.ones(2_000_000))
        runloop.checkpoint.Saver(background=True).save(Session(graph=graph), sys.argv[1] + "/m", 1)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], check=True)
    assert (load_variable(tmp_path, "w") == 1).all()


def test_in_the_background_too_little_memory_is_no_empty_checkpoint():
    copies, small, large = Copies(), {"w": np.ones(3)}, {"w": np.broadcast_to(1.0, (1 << 46,))}
    copies.take(Layout(small), small)
    with pytest.raises(MemoryError):
        copies.take(Layout(large), large)
    assert copies.layout.entries == []
    copies.take(Layout(small), small)
    assert len(copies.layout.entries) == 1


@pytest.mark.parametrize("background", [False, True])
def test_what_is_more_than_an_array_is_saved_as_one(tmp_path, background):
    class Odd(np.ndarray):
        data = property(lambda self: "not the memory")

    values = {
        "odd": np.arange(3.0).view(Odd),
        "matrix": np.ones((1, 3), ">f8").view(np.matrix),
        "masked": np.ma.masked_equal(np.arange(3), 7),
    }
    graph = Graph()
    for name, value in values.items():
        graph.variable(name, value)
    graph.attach("p", dict(values))
    session = Session(graph=graph)
    saver = Saver(background=background)
    path = saver.save(session, tmp_path / "m")
    saver.close()
    with CheckpointReader(path) as reader:
        for name, value in values.items():
            for found in (reader.get_tensor(name), reader.get_tensor(f"p/{name}")):
                assert found.tolist() == np.asarray(value).tolist()
                assert found.dtype == value.dtype
    expected = [np.asarray(value).tolist() for value in values.values()]
    values["matrix"][...] = 7
    saver.restore(session, path)
    assert [np.asarray(value).tolist() for value in values.values()] == expected


@pytest.mark.parametrize("how", ["variable", "attached"])
def test_a_mask_is_not_lost_in_silence(tmp_path, how):
    graph = Graph()
    masked = np.ma.masked_equal(np.arange(3), 1)
    if how == "variable":
        graph.variable("v", masked)
    else:
        graph.attach("v", {"w": masked})
    where = r"variable 'v' can't be saved" if how == "variable" else "v/w can't be stored"
    with pytest.raises(TypeError, match=where + ": it is a masked array; store its data and its"):
        Saver().save(Session(graph=graph), tmp_path / "x" / "m")
    assert not (tmp_path / "x").exists()


class NoThread(threading.Thread):
    def start(self):
        raise RuntimeError("can't start new thread")


class Interrupted(threading.Thread):
    """Ctrl-C comes while the new thread is starting."""

    def start(self):
        super().start()
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", [NoThread, Interrupted])
def test_in_the_background_a_thread_that_starts_badly_spoils_nothing(tmp_path, monkeypatch, kind):
    saver, session = Saver(background=True), make_session(step=1)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", kind)
        with pytest.raises((RuntimeError, KeyboardInterrupt)):
            saver.save(session, tmp_path / "m", 1)
    set_step(session, 2)
    saver.save(session, tmp_path / "m", 2)
    saver.close()
    there = [load_variable(str(path), "global_step") for path in sorted(tmp_path.glob("m-*"))]
    assert there == ([2] if kind is NoThread else [1, 2])


def test_in_the_background_an_error_that_nobody_waits_for_is_logged(tmp_path, caplog):
    saver, layer = held_saver()
    layer.fail = True
    layer.go.set()
    saver.save(make_session(), tmp_path / "m", 1)
    saver._worker._job.thread.join()
    assert "A checkpoint written in the background failed: [Errno 28] not saved:" in caplog.text


# -- restore --------------------------------------------------------------------------------------


def program(arrays, attached=None):
    graph = Graph()
    for name, array in arrays.items():
        graph.variable(name, array)
    for name, obj in (attached or {}).items():
        graph.attach(name, obj)
    return Session(graph=graph)


def test_restored_variables_keep_their_byte_order_and_layout(tmp_path):
    saved = {
        "c": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "be": np.arange(3, dtype=">i4"),
        "le": np.arange(3, dtype="<i4"),
        "long": np.arange(3, dtype=">g"),
        "z": np.array(2.5),
    }
    path = Saver().save(program(saved), tmp_path / "m")
    # Byte order is no difference.
    here = {**saved, "be": saved["le"], "le": saved["be"], "long": saved["long"].astype("g")}
    session = program({name: np.zeros_like(array) for name, array in here.items()})
    Saver().restore(session, path)
    after = session.state().variables
    for name, array in here.items():
        assert after[name].dtype == array.dtype
        assert after[name].flags.f_contiguous == array.flags.f_contiguous
        np.testing.assert_array_equal(after[name], saved[name])


def test_restore_replaces_what_it_can_not_write_into(tmp_path):
    base = np.zeros(8)
    readonly = np.zeros(4)
    readonly.flags.writeable = False
    graph = Graph()
    for name in ("a", "b", "ro", "bc"):
        graph.variable(name, np.zeros(4))
    saved = Session(graph=graph)
    saved.assign({name: np.full(4, i + 1.0) for i, name in enumerate(["a", "b", "ro", "bc"])})
    path = Saver().save(saved, tmp_path / "m")
    session = Session(graph=graph)
    overlapping = {"a": base[:4], "b": base[2:6], "ro": readonly, "bc": np.broadcast_to(0.0, 4)}
    session.assign(overlapping)
    Saver().restore(session, path)
    for i, name in enumerate(overlapping):
        assert session.run(name).tolist() == [i + 1] * 4
    assert base.tolist() == [0] * 8
    assert readonly.tolist() == [0] * 4


def test_attached_arrays_that_share_memory(tmp_path):
    tied = np.ones(3)
    path = Saver().save(program({}, {"p": {"a": tied, "b": tied}}), tmp_path / "tied")
    here = np.zeros(3)
    params = {"a": here, "b": here}
    Saver().restore(program({}, {"p": params}), path)
    assert params["a"] is params["b"] is here
    assert here.tolist() == [1, 1, 1]
    path = Saver().save(program({}, {"p": {"a": tied, "b": tied * 2}}), tmp_path / "untied")
    with pytest.warns(UserWarning, match="p/b shared memory with p/a, and the file holds other"):
        Saver().restore(program({}, {"p": params}), path)
    assert params["a"].tolist() == [1, 1, 1]
    assert params["b"].tolist() == [2, 2, 2]


def test_an_attached_array_that_can_not_be_replaced_is_an_error(tmp_path):
    path = Saver().save(program({}, {"a": np.ones(3)}), tmp_path / "m")
    readonly = np.zeros(3)
    readonly.flags.writeable = False
    with pytest.raises(TypeError, match="can't attach 'a': a is a read-only array"):
        program({}, {"a": readonly})
    readonly.flags.writeable = True
    session = program({}, {"a": readonly})
    readonly.flags.writeable = False
    with pytest.raises(CheckpointMismatchError, match="a can't be restored: it is read-only"):
        Saver().restore(session, path)


def test_restore_is_strict_and_all_or_nothing(tmp_path):
    saved = {"same": np.ones(2), "shape": np.ones(2), "dtype": np.ones(2), "theirs": np.ones(2)}
    path = Saver().save(program(saved, {"gone": {"n": 1}}), tmp_path / "m", 5)
    here = {
        "same": np.zeros(2),
        "shape": np.zeros(3),
        "dtype": np.zeros(2, int),
        "ours": np.zeros(2),
    }
    session = program(here, {"rng": np.random.default_rng(0)})
    with pytest.raises(CheckpointMismatchError) as caught:
        Saver().restore(session, path)
    assert str(caught.value) == textwrap.dedent(
        f"""\
        the checkpoint does not fit the session, and nothing was restored; strict=False restores \
what fits: {path} (step 5): 1 fit
        missing in the file (2):
          ours
          rng
        unexpected in the file (2):
          gone
          theirs
        mismatched (2):
          dtype: expected int64 (2,), found float64 (2,)
          shape: expected float64 (3,), found float64 (2,)"""
    )
    assert all((session.run(name) == 0).all() for name in here)
    report = Saver().restore(session, path, strict=False)
    assert report == caught.value.report
    assert not report.exact
    assert report.restored == ("same",)
    assert session.run("same").tolist() == [1, 1]
    assert (session.run("ours") == 0).all()


def test_a_long_report_is_cut():
    report = RestoreReport("x", None, (), missing=tuple(f"w{i}" for i in range(50)))
    assert str(report).splitlines()[-1] == "  ... and 30 more"
    assert len(str(report).splitlines()) == 23


def test_a_file_of_another_program_is_restored_by_names_alone(tmp_path):
    theirs = {"w": np.ones((2, 3), np.float32), "p/a/0": np.arange(3.0)}
    safetensors.numpy.save_file(theirs, tmp_path / "theirs.safetensors")
    params = {"a": [np.zeros(3)], "lr": 0.5}
    session = program(
        {"w": np.zeros((2, 3), np.float32)},
        {"p": params, "rng": np.random.default_rng(), "loop": {"rng": np.random.default_rng()}},
    )
    report = Saver().restore(session, tmp_path / "theirs")
    assert report.restored == ("w", "p/a/0")
    assert (session.run("w") == 1).all()
    assert params["a"][0].tolist() == [0, 1, 2]
    assert params["lr"] == 0.5


def test_a_part_is_restored_under_other_names(tmp_path):
    saved = {
        "encoder/w": np.ones(2),
        "encoder/b": np.ones(2),
        "head/w": np.ones(3),
        "old": np.ones(1),
    }
    path = Saver().save(program(saved, {"rng": np.random.default_rng(1)}), tmp_path / "m")

    def fresh():
        here = {"body/w": 2, "body/b": 2, "head/w": 5, "new": 1}
        return program({n: np.zeros(s) for n, s in here.items()}, {"rng": np.random.default_rng(2)})

    session = fresh()
    rename = {"encoder/": "body/", "old": "new"}
    report = Saver().restore(session, path, exclude=["head/*", "rng"], rename=rename)
    assert report.exact
    assert sorted(report.restored) == ["body/b", "body/w", "new"]
    assert (session.run("body/w") == 1).all()
    assert (session.run("head/w") == 0).all()
    session = fresh()
    report = Saver().restore(session, path, include=["body/w"], rename=rename)
    assert report.restored == ("body/w",)
    assert (session.run("body/b") == 0).all()
    with pytest.raises(TypeError, match=r"include must be a list of patterns, got 'body/\*'"):
        Saver().restore(session, path, include="body/*")
    with pytest.raises(ValueError, match="both sides must end with '/' or none"):
        Saver().restore(session, path, rename={"a/": "b"})
    with pytest.raises(ValueError, match=r"include: no name matches 'bdy/\*'; nothing was rest"):
        Saver().restore(session, path, include=["new", "bdy/*"], rename=rename)
    assert (session.run("new") == 0).all()
    part = {"include": ["new", "bdy/*"], "rename": rename}
    assert Saver().restore(session, path, strict=False, **part).restored == ("new",)


class Optimizer:
    def __init__(self, moment):
        self.moment = np.full(2, moment)

    def state_dict(self):
        return {"moment": self.moment}

    def load_state_dict(self, state):
        self.moment = state["moment"]


def test_an_object_that_is_left_out_takes_its_arrays_with_it(tmp_path):
    saved = {"opt": Optimizer(1.0), "rng": np.random.Generator(np.random.MT19937(1))}
    path = Saver().save(
        program({"w": np.ones(2)}, {**saved, "late": {"m": saved["opt"]}}), tmp_path / "m"
    )
    optimizer = Optimizer(0.0)
    attached = {"opt": optimizer, "rng": saved["rng"], "late": {"m": None}}
    session = program({"w": np.zeros(2)}, attached)
    report = Saver().restore(session, path, exclude=["opt", "rng", "late/m"])
    assert (report.exact, report.restored) == (True, ("w",))
    assert (optimizer.moment == 0).all()
    session = program({"w": np.zeros(2)})
    assert Saver().restore(session, path, exclude=["opt", "rng", "late"]).restored == ("w",)


def test_a_variable_that_is_not_validated_takes_any_shape(tmp_path):
    path = Saver().save(program({"v": np.ones(5)}), tmp_path / "m")
    graph = Graph()
    graph.variable("v", np.zeros(2), validate=False)
    session = Session(graph=graph)
    Saver().restore(session, path)
    assert session.run("v").tolist() == [1] * 5


def test_inputs_are_iterated_anew_after_a_restore(tmp_path):
    class Numbers:
        def __init__(self):
            self.at = 0

        def __iter__(self):
            while True:
                self.at += 1
                yield self.at

        def state_dict(self):
            return {"at": self.at}

        def load_state_dict(self, state):
            self.at = state["at"]

    graph = Graph()
    graph.input("n", Numbers())
    with graph.as_default():
        get_or_create_global_step()
    session = Session(graph=graph)
    assert [session.run("n") for _ in range(3)] == [1, 2, 3]
    path = Saver().save(session, tmp_path / "m")
    assert [session.run("n") for _ in range(3)] == [4, 5, 6]
    Saver().restore(session, path)
    assert session.run("n") == 4


def test_restore_waits_for_a_save_in_the_background(tmp_path):
    saver = Saver(background=True)
    session = make_session(step=1)
    path = saver.save(session, tmp_path / "m", 1)
    set_step(session, 2)
    saver.restore(session, path)
    assert step_of(session) == 1


def test_memory_of_a_restore_and_a_save_is_bounded(tmp_path):
    import tracemalloc

    session = program({"w": np.ones(4_000_000), "t": np.ones((2000, 1000)).T})
    path = Saver().save(session, tmp_path / "m", 1)  # 48 MB
    for action, limit in (
        (lambda: Saver().save(session, tmp_path / "m", 2), 40),
        # All of it is read before anything is touched.
        (lambda: Saver().restore(session, path), 48 + 12),
    ):
        tracemalloc.start()
        action()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit << 20


def test_strided_arrays_are_written_into_and_overlapping_ones_replaced(tmp_path):
    saved = {"a": np.arange(12.0).reshape(3, 4), "b": np.arange(6.0).reshape(3, 2)}
    path = Saver().save(program({}, {"p": saved}), tmp_path / "m")
    base = np.zeros((6, 8))
    windows = np.lib.stride_tricks.as_strided(np.zeros(6), (3, 2), (8, 8))
    params = {"a": base[::2, 1::2], "b": windows}
    view = params["a"]
    Saver().restore(program({}, {"p": params}), path)
    assert params["a"] is view
    np.testing.assert_equal(params, saved)
    assert base[1::2].sum() == 0


def test_arrays_of_other_libraries_come_back_as_theirs(tmp_path, monkeypatch):
    """PyTorch's part of the interface, played by a small double."""

    class Tensor:
        __module__ = "torch"

        def __init__(self, array, device="cpu"):
            self.array, self.device = array, device
            self.shape, self.dtype = array.shape, array.dtype

        def __array__(self, dtype=None, copy=None):
            return self.array

        def detach(self):
            return self

        def cpu(self):
            return self

        def to(self, device):
            return Tensor(self.array, device)

    torch = type(sys)("torch")
    torch.from_numpy = Tensor
    monkeypatch.setitem(sys.modules, "torch", torch)

    class Module:
        def __init__(self, value):
            self.state = {"w": Tensor(np.full(3, value))}

        def state_dict(self):
            return self.state

        def load_state_dict(self, state):
            self.state = state

    def state(value):
        return {"cpu": Tensor(np.full(2, value)), "gpu": Tensor(np.full(2, value), "cuda:0")}

    saved = program({}, {"p": state(7.0), "model": Module(7.0)})
    path = Saver().save(saved, tmp_path / "m")
    params, model = state(0.0), Module(0.0)
    before = params["cpu"]
    session = program({}, {"p": params, "model": model})
    Saver().restore(session, path)
    assert params["cpu"] is before  # NumPy and PyTorch see the same memory
    assert before.array.tolist() == [7, 7]
    assert params["gpu"].device == "cuda:0"
    assert params["gpu"].array.tolist() == [7, 7]
    assert type(model.state["w"]) is Tensor
    assert model.state["w"].array.tolist() == [7, 7, 7]
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        CheckpointFormatError, match=r"the checkpoint holds tensors of PyTorch: inst"
    ):
        Saver().restore(session, path)


def test_small_and_large_tensors_lie_side_by_side(tmp_path):
    arrays = {f"s{i}": np.full(5, i, np.int8) for i in range(3)}
    arrays |= {"wide": np.ones(3), "large": np.ones(600_000, np.float32), "t": np.ones(2, np.int16)}
    path = Saver().save(program(arrays), tmp_path / "m")
    with CheckpointReader(path) as reader:
        reader.verify()
        for name, array in arrays.items():
            np.testing.assert_array_equal(reader.get_tensor(name), array)


def test_a_damaged_state_file_is_replaced(tmp_path, caplog):
    session = make_session()
    saver = Saver(max_to_keep=2)
    for step in (1, 2):
        saver.save(session, tmp_path / "m", step)
    saver.close()
    (tmp_path / "checkpoint").write_text("???")
    damaged = tmp_path / "m-1.safetensors"
    damaged.write_bytes(b"")
    Saver(max_to_keep=2).save(session, tmp_path / "m", 3)
    assert "Writing a new state file; the old one can't be used" in caplog.text
    assert latest_checkpoint(tmp_path) == str(tmp_path / "m-3.safetensors")
