"""Safetensors has the last word on a file before it gets its name."""

import os

import numpy as np
import pytest

from runloop import Graph, Saver, Session
from runloop.checkpoint import layout, writer
from runloop.errors import CheckpointFormatError


@pytest.fixture
def session():
    graph = Graph()
    graph.variable("w", np.arange(3.0))
    return Session(graph=graph)


def test_a_file_that_safetensors_can_not_open_gets_no_name(tmp_path, session, monkeypatch):
    saver = Saver()
    before = saver.save(session, tmp_path / "model.ckpt", global_step=1)
    whole = layout.HeaderTemplate.render
    monkeypatch.setattr(
        layout.HeaderTemplate,
        "render",
        lambda self, crcs: whole(self, crcs).replace(b'"dtype":"F64"', b'"dtype":"X64"'),
    )
    fresh = Saver()
    saver.close()
    with pytest.raises(CheckpointFormatError, match=r"not saved: safetensors can't open what was"):
        fresh.save(session, tmp_path / "model.ckpt", global_step=2)
    fresh.close()
    names = sorted(name for name in os.listdir(tmp_path) if not name.startswith(".runloop.lock"))
    assert names == ["checkpoint", os.path.basename(before)]


def test_a_file_with_other_tensors_gets_no_name(tmp_path, session, monkeypatch):
    whole = layout.HeaderTemplate.render
    monkeypatch.setattr(
        layout.HeaderTemplate,
        "render",
        lambda self, crcs: whole(self, crcs).replace(b'"w":{"dtype', b'"v":{"dtype'),
    )
    saver = Saver()
    with pytest.raises(CheckpointFormatError, match=r"finds other tensors in it .*\['v'\]"):
        saver.save(session, tmp_path / "model.ckpt", global_step=2)
    saver.close()
    assert not [name for name in os.listdir(tmp_path) if not name.startswith(".runloop.lock")]


def test_only_the_first_file_of_a_layout_is_opened(tmp_path, session, monkeypatch):
    import safetensors

    opened = []
    whole = safetensors.safe_open

    def counting(path, **options):
        opened.append(path)
        return whole(path, **options)

    monkeypatch.setattr(safetensors, "safe_open", counting)
    saver = Saver()
    for step in range(3):
        saver.save(session, tmp_path / "model.ckpt", global_step=step)
    assert len(opened) == 1
    session.graph.variable("v", np.zeros(2))
    saver.save(session, tmp_path / "model.ckpt", global_step=3)
    saver.close()
    saver.save(session, tmp_path / "other", global_step=3)  # and it knows on
    saver.close()
    assert len(opened) == 2


def test_names_that_the_format_has_no_room_for_are_known_by_their_stored_names(tmp_path):
    arrays = {"__metadata__": np.zeros(2), "h\u00e9llo/\u4e16\u754c": np.ones(2)}
    graph = Graph()
    for name, array in arrays.items():
        graph.variable(name, array)
    saver = Saver()
    path = saver.save(Session(graph=graph), tmp_path / "model.ckpt", global_step=0)
    saver.close()
    writer.FormatCheck().check(path, layout.Layout(arrays))
