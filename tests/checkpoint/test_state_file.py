"""The state file is TensorFlow's, with relative names."""

import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runloop.checkpoint import (
    Saver,
    get_checkpoint_state,
    latest_checkpoint,
    list_variables,
    load_checkpoint,
    load_variable,
)
from runloop.checkpoint.state_file import CheckpointState, format_state, parse_state
from runloop.errors import CheckpointFormatError, CheckpointNotFoundError, CheckpointReadError
from tests.checkpoint.programs import make_session, set_step

# Written by TensorFlow 2.21's `update_checkpoint_state_internal`.
TENSORFLOWS = rb"""model_checkpoint_path: "mod\303\251l \"x\".ckpt-2"
all_model_checkpoint_paths: "model.ckpt-1"
all_model_checkpoint_paths: "mod\303\251l \"x\".ckpt-2"
all_model_checkpoint_timestamps: 1700000000.123
all_model_checkpoint_timestamps: 1700000060.0
last_preserved_timestamp: 1700000000.0
"""


def test_tensorflows_file_is_read():
    state = parse_state(TENSORFLOWS, "checkpoint")
    newest = os.fsdecode('modél "x".ckpt-2'.encode())  # the file's name in any locale
    assert state == CheckpointState(
        newest,
        ["model.ckpt-1", newest],
        [1700000000.123, 1700000060.0],
        1700000000.0,
    )
    assert format_state(state) == TENSORFLOWS


# A file's name is bytes. A strictly ASCII locale has a string for each, too.
texts = st.text(st.characters(exclude_characters="\0/\\", exclude_categories=["Cs"]), min_size=1)
raw = st.lists(st.integers(1, 255).filter(lambda byte: byte not in b"/\\"), min_size=1).map(bytes)
paths = st.one_of(texts.map(str.encode), raw).filter(lambda name: name not in (b"..", b"."))
paths = paths.map(os.fsdecode)


@given(newest=paths, others=st.lists(paths, max_size=4), times=st.lists(st.floats(0, 2e9)))
def test_what_is_written_is_read(newest, others, times):
    state = CheckpointState(newest, others, times, 5.5)
    assert parse_state(format_state(state), "checkpoint") == state


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"model_checkpoint_path: 3",
            "model_checkpoint_path of the state file: expected a string in",
        ),
        (b'model_checkpoint_path: "a', "line 1 of the state file can't be read"),
        (b'model_checkpoint_path: "a"\n???', "line 2 of the state file can't be read"),
        (b'model_checkpoint_path: "a\\q"', "unknown escape"),
        (b'model_checkpoint_path: "a"\nlast_preserved_timestamp: x', "expected a number"),
        (b'model_checkpoint_path: "a"\nlast_preserved_timestamp: nan', "expected a number"),
        (b'model_checkpoint_path: "a"\nother: 3', "no such field"),
        (b'model_checkpoint_path: "/abs"', "which is not inside its folder"),
        (b'model_checkpoint_path: "a\\000b"', "which is not inside its folder"),
        (b'model_checkpoint_path: "a"\nall_model_checkpoint_paths: ""', "which is not inside"),
        (b"", "has no model_checkpoint_path"),
    ],
)
def test_a_damaged_one_is_an_error_that_names_it(tmp_path, content, message):
    (tmp_path / "checkpoint").write_bytes(content)
    with pytest.raises(CheckpointFormatError, match=message) as caught:
        get_checkpoint_state(tmp_path)
    assert str(tmp_path / "checkpoint") in str(caught.value)


def test_one_that_is_too_large_or_no_file(tmp_path):
    with open(tmp_path / "checkpoint", "wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(CheckpointFormatError, match="the state file is larger than 16777216 bytes"):
        get_checkpoint_state(tmp_path)
    (tmp_path / "checkpoint").unlink()
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(CheckpointReadError, match="the state file can't be read"):
        get_checkpoint_state(tmp_path)


def test_escapes_of_protobuf_are_understood():
    content = rb"""model_checkpoint_path: 'a\x41\n\t\'\101'  """
    assert parse_state(content, "checkpoint").model_checkpoint_path == "aA\n\t'A"


def saved(folder, *steps, **more):
    saver, session = Saver(**more), make_session()
    for step in steps:
        set_step(session, step)
        saver.save(session, folder / "m", step)
    saver.close()


def test_a_folder_can_be_moved(tmp_path):
    saved(tmp_path / "a", 1, 2)
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert latest_checkpoint(tmp_path / "b") == str(tmp_path / "b" / "m-2.safetensors")
    state = get_checkpoint_state(tmp_path / "b")
    assert state.model_checkpoint_path == str(tmp_path / "b" / "m-2.safetensors")
    assert state.all_model_checkpoint_paths == [
        str(tmp_path / "b" / f"m-{step}.safetensors") for step in (1, 2)
    ]
    assert str(tmp_path) not in (tmp_path / "b" / "checkpoint").read_text()


def test_latest_checkpoint(tmp_path, caplog):
    assert latest_checkpoint(tmp_path) is None
    assert get_checkpoint_state(tmp_path) is None
    saved(tmp_path, 1, 2)
    assert latest_checkpoint(os.fspath(tmp_path)) == str(tmp_path / "m-2.safetensors")
    # TensorFlow's names have no suffix.
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "m-1"\n')
    assert latest_checkpoint(tmp_path) == str(tmp_path / "m-1.safetensors")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "m-9"\n')
    assert latest_checkpoint(tmp_path) is None
    assert "which is not there" in caplog.text
    (tmp_path / "checkpoint").rename(tmp_path / "other")
    assert latest_checkpoint(tmp_path) == str(tmp_path / "m-2.safetensors")
    (tmp_path / "other").write_text('model_checkpoint_path: "m-1"\n')
    assert latest_checkpoint(tmp_path, "other") == str(tmp_path / "m-1.safetensors")


def test_what_stands_in_a_folder_can_be_looked_at(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="there is no checkpoint in the folder"):
        load_checkpoint(tmp_path)
    saved(tmp_path, 1, 2)
    expected = [("global_step", []), ("params/b", [3]), ("w", [8])]
    assert list_variables(tmp_path) == expected
    assert list_variables(tmp_path / "m-1") == expected
    assert (load_variable(tmp_path, "w") == 2).all()
    assert (load_variable(tmp_path / "m-1.safetensors", "w:0") == 1).all()
    with pytest.raises(KeyError, match=r"has no tensor 'params/c'. Did you mean 'params/b'?"):
        load_variable(tmp_path, "params/c")
    with load_checkpoint(tmp_path) as reader:
        assert reader.has_tensor("w")
        assert not reader.has_tensor("v")
        assert reader.step == 2
        assert reader.debug_string() == (
            "global_step (int64) []\nparams/b (float32) [3]\nw (float64) [8]\n"
        )
        assert repr(reader) == f"CheckpointReader({str(tmp_path / 'm-2.safetensors')!r})"
        with pytest.raises(ValueError, match="has no tensor 'x'"):
            reader.read("x")
        assert reader.spec("x") is None
