"""Arrays, whoever's: copies, and the check that a new value fits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runloop.plan.arrays import as_array, conform, copy_array, describe
from tests.checks import fails, id_of

DTYPES = ["bool", "int8", "uint16", "int64", "float16", "float32", "float64", "complex64"]


class Duck:
    """An array of no library: a shape, a dtype, and nothing of NumPy."""

    def __init__(self, values, dtype="duck32"):
        self.values = list(values)
        self.shape = (len(self.values),)
        self.dtype = dtype


class Tensor(Duck):
    """Copied as PyTorch's are."""

    def detach(self):
        return Tensor(self.values, self.dtype)

    def clone(self):
        copied = Tensor(self.values, self.dtype)
        copied.cloned = True
        return copied


def test_arrays_of_any_library_are_taken_as_they_are():
    array, duck = np.zeros(3), Duck([1])
    assert as_array(array) is array
    assert as_array(duck) is duck


@pytest.mark.parametrize("value", [1, 1.5, True, [1, 2], np.float32(1.5)])
def test_everything_else_becomes_an_array_of_numpys(value):
    made = as_array(value)
    assert type(made) is np.ndarray
    assert made.dtype == np.asarray(value).dtype
    assert np.array_equal(made, value)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, min_side=0)))
def test_a_copy_is_equal_and_shares_nothing(array):
    copied = copy_array(array)
    assert copied.dtype == array.dtype
    assert copied.shape == array.shape
    assert copied.tobytes() == array.tobytes()
    assert not np.shares_memory(copied, array)
    assert copied.flags.owndata


def test_a_copy_keeps_the_layout_and_the_byte_order():
    fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert copy_array(fortran).flags.f_contiguous
    assert copy_array(np.arange(3, dtype=">f4")).dtype == np.dtype(">f4")


def test_a_copy_of_a_view_that_repeats_itself_has_memory_of_its_own():
    copied = copy_array(np.broadcast_to(np.float64(1), (3,)))
    copied[0] = 5
    assert copied.tolist() == [5, 1, 1]


def test_a_copy_of_a_numpy_scalar_is_the_scalar():
    value = np.float32(1.5)
    assert copy_array(value) is value


def test_a_tensor_is_detached_and_cloned_and_any_other_array_deep_copied():
    assert copy_array(Tensor([1, 2])).cloned
    duck = Duck([1, 2])
    copied = copy_array(duck)
    copied.values.append(3)
    assert duck.values == [1, 2]


def test_arrays_are_described_by_dtype_and_shape_and_the_rest_by_type_and_value():
    assert describe(np.zeros((2, 3), np.float32)) == "float32 of shape (2, 3)"
    assert describe(np.float64(1)) == "float64 of shape ()"
    assert describe(Duck([1])) == "duck32 of shape (1,)"
    assert describe("text") == "str 'text'"


HELP = (
    ". Convert it (x.astype({0!r}), x.reshape(...)), or make the variable with validate=False "
    "if it is meant to change"
)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (np.zeros(2, np.float64), "float64 of shape (2,)"),
        (np.zeros(3, np.float32), "float32 of shape (3,)"),
        (np.zeros((2, 1), np.float32), "float32 of shape (2, 1)"),
        (np.zeros((), np.float32), "float32 of shape ()"),
        (np.zeros(2, ">f4"), ">f4 of shape (2,)"),
        ([1.0, 2.0], "float64 of shape (2,)"),
        (1.0, "float64 of shape ()"),
        ([[1.0], [1.0, 2.0]], "[[1.0], [1.0, 2.0]], whose parts differ in shape"),
        ("text", "<U4 of shape ()"),
        (Duck([1, 2]), "duck32 of shape (2,)"),
    ],
    ids=id_of,
)
def test_what_does_not_fit_is_refused_with_what_is_expected_and_what_came(value, got):
    like = np.zeros(2, np.float32)
    with fails(
        ValueError,
        f"variable 'w': the feed: expected float32 of shape (2,), got {got}"
        + HELP.format("float32"),
    ):
        conform(value, like, "variable 'w': the feed")


def test_nothing_is_refused_with_where_nothing_comes_from():
    with fails(
        ValueError,
        "it: expected float32 of shape (2,), got None, the result of a function without a return",
    ):
        conform(None, np.zeros(2, np.float32), "it")


def test_what_fits_is_taken_without_a_copy():
    like, value = np.zeros(2), np.ones(2)
    assert conform(value, like, "it") is value
    duck = Duck([1, 2])
    assert conform(duck, Duck([3, 4]), "it") is duck


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, "int64"),
        (1, "uint8"),
        (1, "float32"),
        (1, "complex64"),
        (1.5, "float16"),
        (1.5, "float64"),
        (1.5, "complex128"),
        (1j, "complex64"),
        (True, "bool"),
    ],
)
def test_a_python_scalar_is_weak_and_takes_the_dtype_of_a_0d_variable(value, dtype):
    made = conform(value, np.zeros((), dtype), "it")
    assert type(made) is np.ndarray
    assert made.dtype == dtype
    assert made.shape == ()
    assert made == value


@pytest.mark.parametrize(
    ("value", "dtype"), [(1.5, "int64"), (1j, "float64"), (True, "int64"), (1, "bool")]
)
def test_a_python_scalar_of_a_higher_kind_is_refused(value, dtype):
    with fails(
        ValueError,
        f"it: expected {dtype} of shape (), got the {type(value).__name__} {value!r}"
        + HELP.format(dtype),
    ):
        conform(value, np.zeros((), dtype), "it")


def test_a_python_int_out_of_range_is_refused():
    with fails(
        ValueError,
        "it: expected uint8 of shape (), got 300, which is out of its range" + HELP.format("uint8"),
    ):
        conform(300, np.zeros((), np.uint8), "it")


@pytest.mark.parametrize("value", [np.float64(1.5), np.array(1.5)])
def test_a_scalar_of_numpys_is_not_weak(value):
    with fails(
        ValueError,
        "it: expected float32 of shape (), got float64 of shape ()" + HELP.format("float32"),
    ):
        conform(value, np.zeros((), np.float32), "it")


def test_a_scalar_of_numpys_of_the_right_dtype_becomes_a_0d_array():
    made = conform(np.float32(1.5), np.zeros((), np.float32), "it")
    assert type(made) is np.ndarray
    assert made.dtype == np.float32
