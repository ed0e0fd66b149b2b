"""What is loaded equals what was saved, bit for bit, for every dtype and layout."""

import math
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runloop.checkpoint import CheckpointReader, Saver, load_variable
from runloop.checkpoint.files import Files
from runloop.checkpoint.layout import Layout
from runloop.checkpoint.payload import Copies, LiveArrays
from runloop.checkpoint.writer import FormatCheck, write_checkpoint
from runloop.graph import Graph
from runloop.session import Session
from runloop.state.dtypes import CODES, named, storage_of
from runloop.testing.strategies import array_trees, names

ml_dtypes = pytest.importorskip("ml_dtypes")

DOCUMENT = {
    "step": 1,
    "serial": 1,
    "time": 0.0,
    "started": 0.0,
    "metrics": {},
    "attached": {},
    "hooks": {},
}
NUMPY = ["?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "g", "F", "D", "G"]
BIG = [">i2", ">u4", ">i8", ">f2", ">f4", ">f8", ">c8", ">c16", ">M8[ns]", ">m8[s]", ">g"]
TIMES = ["M8[D]", "M8[ns]", "M8[25s]", "m8[us]", "m8"]
ML = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e8m0fnu", "int4"]


def write(path, arrays):
    """Write a checkpoint from the arrays and from a copy of them: the same bytes."""
    layout, copies = Layout(arrays), Copies()
    copies.take(layout, arrays)
    files = []
    for content in (copies, LiveArrays(layout, arrays)):
        write_checkpoint(Files(), str(path), content, DOCUMENT, FormatCheck())
        files.append(Path(path).read_bytes())
    if not any(array.dtype.char in "gG" for array in arrays.values()):
        assert files[0] == files[1]


def assert_same(loaded, saved):
    assert loaded.dtype == saved.dtype
    assert loaded.shape == saved.shape
    if saved.dtype.char in "gG":  # their padding is nobody's value
        np.testing.assert_array_equal(loaded, saved)
    else:
        assert loaded.tobytes() == saved.tobytes()


def sample(dtype, shape):
    """Random bits of a dtype: NaN payloads, infinities and denormals among them."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.random.default_rng(0).random(shape) < 0.5
    if dtype.char in "gG":
        return np.random.default_rng(0).normal(size=shape).astype(dtype)
    count = math.prod(shape)
    bits = np.random.default_rng(0).integers(0, 256, count * dtype.itemsize, np.uint8)
    return bits.view(dtype).reshape(shape) if count else np.empty(shape, dtype)


@pytest.mark.parametrize("dtype", [*NUMPY, *BIG, *TIMES, *ML])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (3, 4)], ids=str)
def test_every_dtype_and_shape_comes_back(tmp_path, dtype, shape):
    dtype = np.dtype(getattr(ml_dtypes, dtype) if dtype in ML else dtype)
    saved = sample(dtype, shape)
    write(tmp_path / "x.safetensors", {"x": saved})
    with CheckpointReader(tmp_path / "x") as reader:
        assert_same(reader.get_tensor("x"), saved)
        assert reader.get_variable_to_dtype_map() == {"x": dtype}
        assert reader.get_variable_to_shape_map() == {"x": list(shape)}


LAYOUTS = {
    "contiguous": lambda a: a,
    "Fortran order": np.asfortranarray,
    "transposed": lambda a: a.T,
    "strided": lambda a: a[::2, 1::2],
    "reversed": lambda a: a[::-1, ::-1],
    "broadcast": lambda a: np.broadcast_to(a[0], (7, *a[0].shape)),
    "a row of it": lambda a: a[1],
    "an element of it": lambda a: a[1, 2, ...],
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "read-only": lambda a: np.broadcast_to(a, a.shape),
    "three axes moved": lambda a: np.moveaxis(a.reshape(4, 3, 2), 0, 1),
}


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "c16", ">c16", "i2", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_comes_back(tmp_path, layout, dtype):
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    saved = LAYOUTS[layout](sample(dtype, (4, 6)))
    write(tmp_path / "x.safetensors", {"x": saved, "other": np.arange(3)})
    assert_same(load_variable(tmp_path / "x.safetensors", "x"), saved)


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided", "reversed"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8"])
def test_arrays_larger_than_a_piece_come_back(tmp_path, layout, dtype):
    saved = LAYOUTS[layout](sample(dtype, (1500, 1100)))  # 13 MB
    write(tmp_path / "x.safetensors", {"x": saved})
    with CheckpointReader(tmp_path / "x") as reader:
        reader.verify()
        assert_same(reader.get_tensor("x"), saved)
    tall = LAYOUTS[layout](sample(dtype, (2, 1_100_000)))  # one row is larger than a piece
    write(tmp_path / "y.safetensors", {"x": tall})
    assert_same(load_variable(tmp_path / "y.safetensors", "x"), tall)


def flat(tree):
    if isinstance(tree, dict):
        return [leaf for key in tree for leaf in flat(tree[key])]
    if isinstance(tree, (list, tuple)):
        return [leaf for item in tree for leaf in flat(item)]
    return [tree]


def emptied(tree):
    """The same structure with other values in it."""
    if isinstance(tree, dict):
        return {key: emptied(item) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(emptied(item) for item in tree)
    return np.zeros(tree.shape, tree.dtype)


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(tree=st.dictionaries(names(), array_trees(), max_size=4))
def test_saved_equals_loaded(tmp_path_factory, tree):
    folder = tmp_path_factory.mktemp("tree")
    graph = Graph()
    graph.attach("tree", tree)
    with Session(graph=graph) as session:
        path = Saver().save(session, folder / "m")
    other = Graph()
    target = emptied(tree)
    before = [id(leaf) for leaf in flat(target)]
    other.attach("tree", target)
    with Session(graph=other) as session:
        Saver().restore(session, path)
    assert [id(leaf) for leaf in flat(target)] == before
    for loaded, saved in zip(flat(target), flat(tree), strict=True):
        assert_same(loaded, saved)


# -- traps of safetensors 0.8.0, and how our files are read by it -----------------------------------


def test_safetensors_reads_our_files(tmp_path):
    saved = {
        "f": sample("f4", (3, 4)),
        "i": sample("i8", (5,)),
        "reversed": np.arange(10)[::-1],
        "fortran": np.asfortranarray(sample("f8", (3, 4))),
        "0-d": np.array(2.5),
        "empty": np.empty((0, 3), np.int16),
        "flag": np.array([True, False]),
        "c64": sample("c8", (2,)),
        "bf16": sample(ml_dtypes.bfloat16, (3,)),
        "a/β/😀": np.arange(3, dtype=np.uint8),
    }
    path = tmp_path / "x.safetensors"
    write(path, saved)
    loaded = safetensors.numpy.load_file(path)
    assert set(loaded) == set(saved)
    for name, array in saved.items():
        assert_same(loaded[name], np.ascontiguousarray(array).reshape(array.shape))
    with safetensors.safe_open(path, framework="np") as file:
        assert set(file.keys()) == set(saved)
        assert set(file.metadata()) == {"runloop", "runloop.crc32"}
        assert_same(file.get_tensor("0-d"), saved["0-d"])


def test_what_safetensors_has_no_word_for_does_not_keep_it_from_the_rest(tmp_path):
    saved = {
        "c128": sample("c16", (3,)),
        "f8": sample(ml_dtypes.float8_e4m3fn, (4,)),
        "when": np.array(["2024-01-01"], "M8[D]"),
        "long": np.ones(2, np.longdouble),
        "big": np.arange(3, dtype=">i4"),
        "__metadata__": np.arange(4),
        "\ud800": np.arange(2),
        "w": np.arange(3.0),
    }
    path = tmp_path / "x.safetensors"
    write(path, saved)
    loaded = safetensors.numpy.load_file(path)
    assert len(loaded) == len(saved)
    assert_same(loaded["c128"].view(np.complex128)[..., 0], saved["c128"])
    assert_same(loaded["f8"].view(ml_dtypes.float8_e4m3fn), saved["f8"])
    np.testing.assert_array_equal(loaded["big"], [0, 1, 2])
    with CheckpointReader(path) as reader:
        for name, array in saved.items():
            assert_same(reader.get_tensor(name), array)


def test_we_read_the_files_of_safetensors(tmp_path):
    saved = {"w": sample("f4", (3, 4)), "n": np.array(7), "h": sample("f2", (2, 2))}
    saved["b"] = sample(ml_dtypes.bfloat16, (3,))
    saved["f8"] = sample(ml_dtypes.float8_e5m2, (3,))  # it writes these, and can't read them back
    path = tmp_path / "theirs.safetensors"
    safetensors.numpy.save_file(saved, path, {"format": "np"})
    with CheckpointReader(path) as reader:
        assert reader.document is None
        assert reader.step is None
        assert reader.metadata == {"format": "np"}
        for name, array in saved.items():
            assert_same(reader.get_tensor(name), array)
        reader.verify()


def test_the_header_is_what_safetensors_itself_would_accept_and_aligned(tmp_path):
    path = tmp_path / "x.safetensors"
    write(path, {"a": np.zeros(3, np.int8), "b": np.zeros(2), "c": np.zeros(1, np.int16)})
    with CheckpointReader(path) as reader:
        assert reader.data_start % 8 == 0
        assert sorted(reader.stored, key=lambda n: reader.stored[n].start) == ["b", "c", "a"]
        assert all(stored.start % CODES[stored.code][1] == 0 for stored in reader.stored.values())


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_of_a_file_is_what_the_umask_allows(tmp_path, umask, mode):
    old = os.umask(umask)
    try:
        write(tmp_path / "x.safetensors", {"x": np.zeros(3)})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x.safetensors").stat().st_mode) == mode


def test_arrays_that_share_memory_are_saved_each_for_itself(tmp_path):
    base = np.arange(10.0)
    saved = {"all": base, "left": base[:5], "right": base[5:], "again": base, "even": base[::2]}
    write(tmp_path / "x.safetensors", saved)
    with CheckpointReader(tmp_path / "x") as reader:
        for name, array in saved.items():
            assert_same(reader.get_tensor(name), array)


@settings(max_examples=50, deadline=None)
@given(saved_names=st.sets(st.text(st.characters(), min_size=0, max_size=20), max_size=5))
def test_any_unicode_name_survives(tmp_path_factory, saved_names):
    path = tmp_path_factory.mktemp("names") / "x.safetensors"
    write(path, {name: np.array(i) for i, name in enumerate(saved_names)})
    with CheckpointReader(path) as reader:
        assert set(reader.names()) == saved_names
        for i, name in enumerate(saved_names):
            assert reader.get_tensor(name) == i
    assert len(safetensors.numpy.load_file(path)) == len(saved_names)


@pytest.mark.parametrize("dtype", ["O", "U3", "S2", "V4", "i4,f8"])
def test_a_dtype_that_cant_be_stored_is_named(tmp_path, dtype):
    array = np.zeros(2, dtype)
    with pytest.raises(
        TypeError, match=r"tensor 'layer/w' can't be saved: dtype .* can't be stored"
    ):
        write(tmp_path / "x.safetensors", {"layer/w": array})
    assert list(tmp_path.iterdir()) == []


def test_names_of_dtypes_are_looked_up_in_a_list_of_known_ones():
    for logical in (
        "float128",
        "O",
        "str",
        "object",
        "datetime64[xx]",
        "int8_t",
        "",
        ">",
        "__doc__",
    ):
        with pytest.raises(ValueError, match="unknown dtype"):
            named(logical)
    with pytest.raises(ValueError, match="is of a machine with another long double"):
        named("longdouble/7")
    for dtype in [*NUMPY, *BIG, *TIMES]:
        assert named(storage_of(np.dtype(dtype)).logical) == np.dtype(dtype)


def test_without_ml_dtypes_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    write(path, {"b": np.zeros(3, ml_dtypes.bfloat16), "w": np.zeros(2)})
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with CheckpointReader(path) as reader:
        reader.verify()
        reader.get_tensor("w")
        assert reader.get_variable_to_shape_map() == {"b": [3], "w": [2]}
        with pytest.raises(ValueError, match=r"tensor 'b': dtype 'bfloat16' needs the package ml_"):
            reader.get_tensor("b")
