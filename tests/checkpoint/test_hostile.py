"""Files whose checksums are right and whose content is not: only checkpoint errors come out."""

import contextlib
import io
import json
import os
import random
import struct
import time
import tracemalloc

import numpy as np
import pytest

from runloop import cli
from runloop.checkpoint import (
    CheckpointReader,
    Saver,
    header,
    latest_checkpoint,
    layout,
    restore_newest,
)
from runloop.errors import CheckpointError, CheckpointFormatError
from runloop.graph import Graph
from runloop.session import Session
from tests.checkpoint import hostile
from tests.checkpoint.programs import make_session, step_of


@pytest.fixture
def path(tmp_path):
    return Saver().save(make_session(step=7), tmp_path / "m", 7)


def content_of(path):
    with open(path, "rb") as file:
        return file.read()


def rewrite(path, content):
    with open(path, "wb") as file:
        file.write(content)


def test_the_helper_takes_apart_and_joins(path):
    whole = content_of(path)
    header_, document, data = hostile.parts_of(whole)
    rewrite(path, hostile.joined(header_, document, data))
    session = make_session()
    assert Saver().restore(session, path).exact
    assert step_of(session) == 7


def use_everything(folder, path, step, *, also_commands):
    """Do what a program does with a folder; only CheckpointErrors may come out."""
    ours = make_session(step=step)
    with contextlib.suppress(CheckpointError), CheckpointReader(path) as reader:
        reader.verify()
        reader.get_variable_to_shape_map()
        reader.debug_string()
        for name in reader.names():
            reader.get_tensor(name)
    for strict in (True, False):
        with contextlib.suppress(CheckpointError):
            Saver().restore(ours, path, strict=strict)
    with contextlib.suppress(CheckpointError):
        restore_newest(Saver(), ours, folder)
    if also_commands:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            with contextlib.redirect_stderr(io.StringIO()) as err:
                for command in ("list", "verify", "show"):
                    assert cli.main([command, str(folder)]) in (0, 1, 2)
                assert cli.main(["diff", path, path]) in (0, 1, 2)
        assert "\x1b" not in out.getvalue() + err.getvalue()
        saver, fine = Saver(max_to_keep=3), make_session(step=step)
        for more in (1, 2):
            saved = saver.save(fine, os.path.join(folder, "m"), step + more)
            # What is saved beside it can be read: no number of it was taken over.
            with CheckpointReader(saved) as reader:
                assert reader.step == step + more
        assert latest_checkpoint(folder) == saved
        saver.close()
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))


def fuzz(folder, path, rounds, seed):
    whole = content_of(path)
    rng = random.Random(seed)
    for count in range(rounds):
        changed = hostile.mutate(rng, whole)
        rewrite(path, changed)
        try:
            use_everything(folder, path, 7, also_commands=count % 8 == 0)
        except Exception as exc:
            exc.add_note(f"round {count}: {changed!r:.3000}")
            raise


def test_documents_and_headers_with_right_checksums(tmp_path, path):
    fuzz(tmp_path, path, 200, seed=1)


@pytest.mark.long
def test_a_hundred_thousand_documents_and_headers_with_right_checksums(tmp_path, path):
    fuzz(tmp_path, path, 100_000, seed=2)


FIELDS = {
    "a metric of 400 digits": (
        {"metrics": {"loss": 10**400}},
        "the metric 'loss' must be a number",
    ),
    "a metric that is a list": ({"metrics": {"loss": []}}, "the metric 'loss' must be a number"),
    "a metric that is no number": ({"metrics": {"loss": "1e999"}}, "must be a number, got '1e999'"),
    "a metric that overflows": ({"metrics": {"a": hostile.Text(b"1e999")}}, "1e999 is too large"),
    "metrics that are a list": ({"metrics": []}, "metrics must be an object"),
    "NaN": ({"time": hostile.Text(b"NaN")}, "NaN is not JSON"),
    "5,000 digits": ({"serial": hostile.Text(b"9" * 5000)}, "not valid JSON"),
    "a step of 400 digits": ({"step": 10**400}, "step must be an integer from"),
    "a step that is a float": ({"step": 1.0}, "step must be an integer from"),
    "a step that is a bool": ({"step": True}, "step must be an integer from"),
    "a negative serial": ({"serial": -1}, "serial must be an integer from 0"),
    "a huge serial": ({"serial": 2**53 + 1}, "serial must be an integer from 0"),
    "a serial that is a string": ({"serial": "7"}, "serial must be an integer from 0"),
    "a time beyond all": ({"time": 1e300}, "time must be a number of seconds"),
    "a time that is a string": ({"time": "0"}, "time must be a number of seconds"),
    "started beyond all": ({"started": -1e300}, "started must be a number of seconds"),
    "a state file that is a list": ({"state_file": []}, "state_file must be a string"),
    "attached that is a list": ({"attached": []}, "attached must be an object"),
    "hooks that are a string": ({"hooks": "x"}, "hooks must be an object"),
    "renamed that is a list": ({"renamed": []}, "renamed must be an object"),
    "renamed to a list": ({"renamed": {"w": []}}, "is renamed to"),
    "tensors that are a list": ({"tensors": []}, "tensors must be an object"),
    "a version that is a bool": ({"version": True}, "the document has no version"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_a_wrong_kind_is_refused_by_name_everywhere(tmp_path, path, name):
    change, message = FIELDS[name]
    head, document, data = hostile.parts_of(content_of(path))
    rewrite(path, hostile.joined(head, {**document, **change}, data))
    session = make_session(step=1)
    with pytest.raises(CheckpointFormatError) as caught:
        Saver().restore(session, path)
    assert message in str(caught.value)
    assert path in str(caught.value)
    assert step_of(session) == 1
    use_everything(tmp_path, path, 7, also_commands=True)


def test_a_missing_field_is_named(path):
    head, document, data = hostile.parts_of(content_of(path))
    del document["serial"]
    rewrite(path, hostile.joined(head, document, data))
    with pytest.raises(CheckpointFormatError, match="malformed: it has no 'serial'"):
        CheckpointReader(path)


def test_the_largest_serial_does_not_block_the_folder(tmp_path, path):
    head, document, data = hostile.parts_of(content_of(path))
    rewrite(path, hostile.joined(head, {**document, "serial": header.MAX_SERIAL}, data))
    use_everything(tmp_path, path, 7, also_commands=True)


@pytest.mark.parametrize("value", [10**5000, -(10**5000)], ids=["positive", "negative"])
def test_an_integer_of_thousands_of_digits_is_saved_and_restored(tmp_path, value):
    graph = Graph()
    state = {"a": [1, value]}
    graph.attach("p", state)
    path = Saver().save(Session(graph=graph), tmp_path / "m", 1)
    state["a"] = [2, 3]
    Saver().restore(Session(graph=graph), path)
    assert state["a"] == [1, value]


@pytest.mark.parametrize("value", [10**400, "x", [1]], ids=["huge", "text", "list"])
def test_a_metric_that_is_no_number_is_refused_at_the_save(tmp_path, value):
    with pytest.raises(TypeError, match=r"metrics: the metric 'loss' must be a number, got"):
        Saver().save(make_session(), tmp_path / "m", 1, metrics={"loss": value})
    with pytest.raises(ValueError, match=r"global_step must fit into 64 bits"):
        Saver().save(make_session(), tmp_path / "m", 10**400)


# -- time and memory ------------------------------------------------------------------------------

MEBI = 1 << 20
BOMBS = {
    "empty lists": lambda size: b'{"a":[' + b"[]," * (size // 3) + b"[]]}",
    "empty objects": lambda size: b'{"a":[' + b"{}," * (size // 3) + b"{}]}",
    "objects": lambda size: b'{"a":[' + b'{"a":1},' * (size // 8) + b"1]}",
    "lists of one": lambda size: b'{"a":[' + b"[1]," * (size // 4) + b"1]}",
    "floats": lambda size: b'{"a":[' + b"1.5," * (size // 4) + b"1]}",
    "integers": lambda size: b'{"a":[' + b"999," * (size // 4) + b"1]}",
    "strings": lambda size: b'{"a":[' + b'"ab",' * (size // 5) + b"1]}",
    "wide characters": lambda size: '{"a":"\U0001f600'.encode() + b"x" * size + b'"}',
    "tensors": lambda size: b"{" + b",".join(
        b'"%d":{"dtype":"I8","shape":[],"data_offsets":[0,0]}' % i for i in range(size // 52)
    ) + b"}",
}  # fmt: skip


@pytest.mark.parametrize("where", ["header", "document"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_header_costs_no_more_than_its_size_times_a_few(tmp_path, path, name, where, monkeypatch):
    monkeypatch.setattr(layout, "_ALWAYS_FINE", MEBI)  # 64 MiB, which any header may cost
    size = MEBI
    if where == "header":
        text = BOMBS[name](size)
        content = struct.pack("<Q", len(text)) + text
    else:
        head, _, data = hostile.parts_of(content_of(path))
        content = hostile.joined(head, BOMBS[name](size), data)
    rewrite(path, content)
    del content
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointFormatError):
            CheckpointReader(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * os.path.getsize(path) + MEBI


@pytest.mark.long
@pytest.mark.parametrize("name", BOMBS)
def test_a_header_of_27_mb_costs_no_more_than_its_size_times_a_few(tmp_path, path, name):
    text = BOMBS[name](27_000_000)
    rewrite(path, struct.pack("<Q", len(text)) + text)
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(CheckpointFormatError):
            CheckpointReader(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{name}: {peak / len(text):.1f} times, {time.process_time() - began:.1f} s")
    assert peak < 16 * len(text)


def test_what_is_saved_can_be_read_whatever_its_density(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "_ALWAYS_FINE", MEBI)
    graph = Graph()
    state = {"a": [[] for _ in range(11_000)]}
    graph.attach("p", state)
    with pytest.raises(
        ValueError, match=r"not saved: the state has too many lists and mappings be"
    ):
        Saver().save(Session(graph=graph), tmp_path / "m", 1)
    assert not list(tmp_path.glob("m-*"))
    state["a"] = state["a"][:10_000]
    saver = Saver()
    CheckpointReader(saver.save(Session(graph=graph), tmp_path / "m", 1)).close()
    saver.close()


def test_a_header_too_large_to_be_read_is_not_written(tmp_path):
    graph = Graph()
    graph.attach("p", {"text": "x" * 101_000_000})
    with pytest.raises(
        ValueError, match=r"not saved: the header would have 1\d+ bytes, and at mos"
    ):
        Saver().save(Session(graph=graph), tmp_path / "m", 1)
    assert not list(tmp_path.glob("m-*"))


def sparse(path, size, shape):
    """A file of a valid header, no document, and a hole."""
    text = json.dumps({"w": {"dtype": "U8", "shape": shape, "data_offsets": [0, size]}}).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        try:
            file.truncate(8 + len(text) + size)
        except OSError:
            pytest.skip("the file system has no sparse files of this size")


def test_a_hole_asks_for_nothing(tmp_path):
    path = str(tmp_path / "m.safetensors")
    sparse(path, 1 << 40, [1 << 40])
    graph = Graph()
    graph.variable("w", np.zeros(3, np.uint8), validate=False)
    for action in (
        lambda: CheckpointReader(path),
        lambda: Saver().restore(Session(graph=graph), path),
    ):
        with pytest.raises(CheckpointFormatError, match=r"nearly nothing of it is on disk"):
            action()


def test_a_small_hole_is_an_honest_file_of_zeros(tmp_path):
    path = str(tmp_path / "m.safetensors")
    sparse(path, 1 << 20, [1 << 20])
    with CheckpointReader(path) as reader:
        assert not reader.get_tensor("w").any()


def test_a_shape_that_numpy_can_not_have_is_a_format_error(tmp_path):
    text = b'{"w":{"dtype":"U8","shape":[4611686018427387904,0],"data_offsets":[0,0]}}       '
    text += b" " * (-len(text) % 8)
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with CheckpointReader(path) as reader, contextlib.suppress(CheckpointFormatError):
        assert reader.get_tensor("w").size == 0
    text = text.replace(b"[4611686018427387904,0]", b"[" + b"1," * 63 + b"0]")
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with CheckpointReader(path) as reader, contextlib.suppress(CheckpointFormatError):
        assert reader.get_tensor("w").size == 0


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("where", ["file", "folder"])
def test_a_data_file_that_is_a_link_is_not_taken_from_a_folder(tmp_path, where, listed):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    target = Saver().save(make_session(step=3), outside / "m", 3)
    folder.mkdir()
    name = "m-3.safetensors"
    if where == "file":
        os.symlink(target, folder / name)
    else:
        os.symlink(outside, folder / "sub")
        name = f"sub/{name}"
    if listed:
        (folder / "checkpoint").write_text(f'model_checkpoint_path: "{name}"\n')
    session = make_session(step=1)
    with contextlib.suppress(CheckpointError):
        assert restore_newest(Saver(), session, folder) is None
    assert step_of(session) == 1
    # A path that the user gives may be a link.
    Saver().restore(session, folder / name)
    assert step_of(session) == 3
