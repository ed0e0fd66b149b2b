"""Layouts: which states one fits, and that what is made once serves every save."""

import os
import tempfile
import zlib

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from runloop.checkpoint import CheckpointReader, Saver, layout
from runloop.checkpoint.files import Files
from runloop.checkpoint.layout import HeaderTemplate, Layout
from runloop.checkpoint.payload import Copies, LiveArrays
from runloop.graph import Graph
from runloop.session import Session

ARRAYS = {"b": np.zeros((2, 3), np.float32), "a": np.zeros(4, np.int64)}


def test_a_layout_fits_other_numbers_in_the_same_form():
    other = {name: array + 1 for name, array in ARRAYS.items()}
    assert Layout(ARRAYS).fits(other)
    assert Layout({}).fits({})


@pytest.mark.parametrize(
    "changed",
    [
        {"b": ARRAYS["b"]},
        {**ARRAYS, "c": np.zeros(1)},
        {"a": ARRAYS["a"], "b": ARRAYS["b"]},
        {"b": ARRAYS["b"], "c": ARRAYS["a"]},
        {**ARRAYS, "b": np.zeros((3, 2), np.float32)},
        {**ARRAYS, "b": np.zeros((2, 3), np.int32)},
        {**ARRAYS, "b": np.zeros((2, 3), ">f4")},
    ],
    ids=["fewer", "more", "other order", "other name", "other shape", "other dtype", "big-endian"],
)
def test_a_layout_does_not_fit_what_lies_otherwise(changed):
    assert not Layout(ARRAYS).fits(changed)


def test_the_widest_dtypes_come_first_without_gaps():
    made = Layout({"x": np.zeros(3, np.int8), **ARRAYS, "e": np.zeros((0, 2))})
    assert [entry.name for entry in made.entries] == ["a", "e", "b", "x"]
    assert [(e.start, e.end) for e in made.entries] == [(0, 32), (32, 32), (32, 56), (56, 59)]
    assert made.size == 59


@given(
    st.dictionaries(st.text(max_size=9), st.integers(0, 2**32 - 1), max_size=4),
    st.text(max_size=9),
)
def test_the_size_of_a_header_is_known_before_its_checksums(crcs, text):
    form = Layout({name: np.zeros(2) for name in crcs})
    header = HeaderTemplate(form, {"text": text})
    assert len(header.render(list(crcs.values()))) == header.size


ORDERS = (
    lambda a: a,
    lambda a: a[::-1],
    lambda a: np.asfortranarray(np.stack([a, a])),
    lambda a: a[::2],
    lambda a: a[:0],
    lambda a: np.array(7, a.dtype),
    lambda a: np.broadcast_to(a[:1], (3, 1)),
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("f4", ">f4", "f8", "i1", "?", "c16", "M8[s]")),
            st.integers(1, 40),
            st.sampled_from(ORDERS),
        ),
        max_size=30,
    ),
    st.integers(1, 300),
    st.integers(1, 600),
)
def test_small_tensors_are_written_together_as_they_are_one_by_one(parts, small, together):
    arrays = {
        f"t{i}": order((np.arange(size) % 7 + i % 2).astype(dtype))
        for i, (dtype, size, order) in enumerate(parts)
    }
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(layout, "_SMALL_BYTES", small)
        patch.setattr(layout, "_RUN_BYTES", together)
        form, copies = Layout(arrays), Copies()
        assert [i for run in form.runs for i in range(run.first, run.last)] == [*range(len(parts))]
        copies.take(form, arrays)
        expected = b""
        for entry in form.entries:
            array = arrays[entry.name]
            expected += array.astype(array.dtype.newbyteorder("<")).tobytes()
        for number, content in enumerate((copies, LiveArrays(form, arrays))):
            path = os.path.join(folder, str(number))
            fd = os.open(path, os.O_RDWR | os.O_CREAT)
            crcs = content.write(Files(), fd, 5)
            os.close(fd)
            with open(path, "rb") as file:
                assert file.read()[5:] == expected
            assert crcs == [zlib.crc32(expected[e.start : e.end]) for e in form.entries]


def test_a_layout_is_made_once_for_a_form(tmp_path, monkeypatch):
    made = []

    class Counting(Layout):
        def __init__(self, arrays):
            made.append(list(arrays))
            super().__init__(arrays)

    monkeypatch.setattr(layout, "Layout", Counting)
    graph = Graph()
    w = graph.variable("w", np.zeros(2))
    session = Session(graph=graph)
    saver = Saver()
    for step in range(3):
        session.assign({"w": np.full(2, float(step))})
        path = saver.save(session, tmp_path / "m", step)
        assert safetensors.numpy.load_file(path)["w"].tolist() == [step, step]
    graph.attach("more", [np.ones(1)])
    path = saver.save(session, tmp_path / "m", 3)
    saver.close()
    assert made == [["w"], ["w", "more/0"]]
    with CheckpointReader(path) as reader:
        assert reader.get_tensor(w.name).tolist() == [2, 2]


@pytest.mark.parametrize(
    "size", [0, 1, (5 << 10) - 1, 5 << 10, (5 << 10) + 1, (128 << 10) - 1, 128 << 10, 5 << 20]
)
def test_the_checksums_of_a_copy_are_those_of_the_arrays(tmp_path, size):
    rng = np.random.default_rng(size)
    arrays = {"x": np.frombuffer(rng.bytes(size), np.uint8), "y": rng.random(3)}
    form, copies = Layout(arrays), Copies()
    copies.take(form, arrays)
    found = []
    for content in (copies, LiveArrays(form, arrays)):
        path = tmp_path / type(content).__name__
        with path.open("wb") as file:
            found.append(content.write(Files(), file.fileno(), 0))
    assert found[0] == found[1]
    assert (tmp_path / "Copies").read_bytes() == (tmp_path / "LiveArrays").read_bytes()
