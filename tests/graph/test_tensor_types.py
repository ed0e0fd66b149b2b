import numpy as np
import pytest

from runloop.graph.tensor_types import DType, TensorShape


def test_a_dtype_equals_its_name_and_numpys_type():
    assert DType.of(np.zeros(2, np.float32)) == np.float32 == DType("float32")
    assert DType("int64") == "int64"
    assert DType("int64") != np.int32
    assert DType("int64") != None  # noqa: E711  # the comparison is what is tested
    assert DType("int64") != object()
    assert DType.of(3) == np.int64
    assert DType.of(DType("bool")).name == "bool"
    assert DType.of("no such type").name == "no such type"
    assert len({DType("int8"), DType("int8")}) == 1


def test_a_dtype_tells_what_it_is():
    step, text = DType("int64"), DType.of(np.array(["a"]))
    assert (step.as_numpy_dtype, step.base_dtype, step.size) == (np.int64, step, 8)
    assert (step.is_integer, step.is_floating) == (True, False)
    assert (text.name, text.as_numpy_dtype, text.size) == ("string", object, 1)
    assert DType("float32").is_floating
    assert (repr(step), str(step)) == ("tf.int64", "<dtype: 'int64'>")


def test_a_shape_is_a_sequence_of_sizes():
    shape = TensorShape([2, None, 3])
    assert shape.as_list() == [2, None, 3]
    assert [dim.value for dim in shape if dim is not None] == [2, 3]
    assert (shape.ndims, shape.rank, len(shape), shape[0], shape[1:]) == (3, 3, 3, 2, [None, 3])
    assert shape.num_elements() is None
    assert not shape.is_fully_defined()
    assert TensorShape((2, 3)).num_elements() == np.prod(TensorShape((2, 3))) == 6
    assert TensorShape(()).num_elements() == 1
    assert TensorShape(TensorShape([1])) == (1,)
    assert TensorShape(())
    assert len({TensorShape([1]), TensorShape([1])}) == 1
    assert [str(TensorShape(s)) for s in ([], [1], [1, None])] == ["()", "(1,)", "(1, ?)"]
    assert repr(TensorShape([1, 2])) == "TensorShape([1, 2])"


def test_an_unknown_shape_says_what_to_do():
    shape = TensorShape(None)
    assert (shape.ndims, shape.num_elements(), bool(shape), shape == None) == (  # noqa: E711
        None, None, False, True,
    )  # fmt: skip
    assert (str(shape), repr(shape)) == ("<unknown>", "TensorShape(None)")
    for ask in (shape.as_list, lambda: len(shape), lambda: list(shape)):
        with pytest.raises(ValueError, match=r"unknown TensorShape: .*handle.set_shape"):
            ask()
