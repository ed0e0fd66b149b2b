"""`tf.nest`: what TensorFlow 2.21 gave for the same calls."""

from collections import OrderedDict
from typing import Any, NamedTuple

import pytest

from runloop.compat.tf import nest


class Pair(NamedTuple):
    x: Any
    y: Any


NESTED = {"b": 1, "a": [2, (3, Pair(4, 5))]}


def test_leaves_come_in_the_order_of_sorted_keys():
    assert nest.flatten(NESTED) == [2, 3, 4, 5, 1]
    assert [nest.flatten(x) for x in (None, 3, "abc", [])] == [[None], [3], ["abc"], []]


def test_a_structure_is_put_together_as_it_was():
    packed = nest.pack_sequence_as(NESTED, [1, 2, 3, 4, 5])

    assert packed == {"b": 5, "a": [1, (2, Pair(3, 4))]}
    assert list(packed) == ["b", "a"]
    assert type(packed["a"][1][1]) is Pair
    assert nest.pack_sequence_as(OrderedDict(b=1, a=2), (1, 2)) == OrderedDict(b=2, a=1)
    assert nest.pack_sequence_as(0, [7]) == 7


def test_a_function_is_mapped_over_several_structures():
    assert nest.map_structure(lambda a, b: a + b, {"a": [1, (2,)]}, {"a": [10, (20,)]}) == {
        "a": [11, (22,)]
    }


def test_what_is_nested():
    assert [nest.is_nested(x) for x in ([1], "a", {}, Pair(1, 2), 3)] == [
        True, False, True, True, False
    ]  # fmt: skip


def test_a_list_and_a_tuple_are_the_same_if_types_do_not_count():
    nest.assert_same_structure([1], (1,), check_types=False)
    nest.assert_same_structure(NESTED, {"b": 0, "a": [0, (0, Pair(0, 0))]})


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: nest.pack_sequence_as([1, 2], [1]),
            ValueError,
            (
                "Could not pack sequence. Structure had 2 atoms, but flat_sequence had 1 items.  "
                "Structure: [1, 2], flat_sequence: [1]."
            ),
        ),
        (
            lambda: nest.pack_sequence_as([1], 3),
            TypeError,
            "pack_sequence_as takes a list of leaves, got 3",
        ),
        (lambda: nest.map_structure(3, [1]), TypeError, "func must be callable, got: 3"),
        (
            lambda: nest.map_structure(lambda: 0),
            ValueError,
            "Must provide at least one structure",
        ),
        (
            lambda: nest.map_structure(lambda a, b: 0, [1], [1, 2]),
            ValueError,
            "the two structures differ: [1] and [1, 2]",
        ),
        (
            lambda: nest.assert_same_structure([1], (1,)),
            TypeError,
            "the two structures differ: [1] and (1,): list and tuple",
        ),
        (
            lambda: nest.assert_same_structure({"a": 1}, {"b": 1}),
            ValueError,
            "the two structures differ: {'a': 1} and {'b': 1}",
        ),
        (
            lambda: nest.assert_same_structure(1, [1]),
            ValueError,
            "the two structures differ: 1 and [1]",
        ),
        (
            lambda: nest.flatten({1: 1, "a": 2}),
            TypeError,
            "'<' not supported between instances of 'str' and 'int'",
        ),
    ],
)
def test_mistakes_are_said(call, kind, text):
    with pytest.raises(kind) as info:
        call()

    assert str(info.value) == text
