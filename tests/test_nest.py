"""Nested structures: what is a structure and what a leaf, and that structure in is structure out."""

from collections import Counter, OrderedDict, UserDict, defaultdict
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runloop import nest
from runloop.testing.strategies import (
    Frozen,
    Open,
    Pair,
    Slotted,
    Triple,
    fetch_structures,
)
from tests.checks import id_of


class Leaf(nest.Leaf):
    pass


class Names(list):
    """A list with something of its own."""

    def __init__(self, members, label):
        super().__init__(members)
        self.label = label


def mapped(structure, function):
    """The plain definition of "the same structure with other leaves", case by case."""
    if isinstance(structure, (Pair, Triple)):
        return type(structure)(*(mapped(member, function) for member in structure))
    if isinstance(structure, (list, tuple)):
        return type(structure)(mapped(member, function) for member in structure)
    if isinstance(structure, defaultdict):
        made = defaultdict(structure.default_factory)
        made.update({name: mapped(value, function) for name, value in structure.items()})
        return made
    if isinstance(structure, (dict, MappingProxyType)):
        return type(structure)({k: mapped(v, function) for k, v in structure.items()})
    if isinstance(structure, (Frozen, Open, Slotted)):
        return type(structure)(x=mapped(structure.x, function), y=mapped(structure.y, function))
    return function(structure)


def same(one, other):
    """Equal, and of the same types all the way down, keys in the same order."""
    assert type(one) is type(other)
    assert one == other
    if isinstance(one, (dict, MappingProxyType)):
        assert list(one) == list(other)
    if isinstance(one, defaultdict):
        assert one.default_factory is other.default_factory
    mine, theirs = nest.children(one), nest.children(other)
    for left, right in zip(mine or (), theirs or (), strict=True):
        same(left, right)


@settings(max_examples=150, deadline=None)
@given(fetch_structures(st.text(max_size=3)))
def test_structure_in_equals_structure_out(structure):
    slots = []

    def slot(leaf):
        slots.append(leaf)
        return len(slots) - 1

    pack = nest.packer(structure, slot)
    packed = pack([("value of", leaf) for leaf in slots], structure)
    same(packed, mapped(structure, lambda leaf: ("value of", leaf)))


@settings(max_examples=100, deadline=None)
@given(fetch_structures(st.text(max_size=3)))
def test_leaves_come_depth_first_and_in_order(structure):
    seen = []
    mapped(structure, seen.append)
    assert nest.leaves(structure) == seen


@settings(max_examples=100, deadline=None)
@given(fetch_structures(st.text(max_size=3)))
def test_packing_does_not_touch_the_request(structure):
    before = mapped(structure, lambda leaf: leaf)
    pack = nest.packer(structure, lambda leaf: 0)
    pack(["changed"], structure)
    same(structure, before)


@settings(max_examples=150, deadline=None)
@given(fetch_structures(st.sampled_from("ab")), fetch_structures(st.sampled_from("ab")))
def test_keys_are_equal_exactly_when_types_names_and_leaves_are(one, other):
    def shape(structure):
        members = nest.children(structure)
        if members is None:
            return structure
        names = tuple(structure) if isinstance(structure, (dict, MappingProxyType)) else ()
        return (type(structure).__name__, names, tuple(map(shape, members)))

    assert hash(nest.key(one)) == hash(nest.key(mapped(one, lambda leaf: leaf)))
    assert nest.key(one) == nest.key(mapped(one, lambda leaf: leaf))
    assert (nest.key(one) == nest.key(other)) == (shape(one) == shape(other))


def test_a_list_subclass_keeps_its_type_and_what_it_carries():
    request = Names(["a", "b"], "mine")
    result = nest.packer(request, {"a": 0, "b": 1}.get)([1, 2], request)
    assert type(result) is Names
    assert result == [1, 2]
    assert result.label == "mine"
    assert request == ["a", "b"]


def test_any_mapping_is_a_structure():
    request = UserDict(a="x", b="y")
    result = nest.packer(request, {"x": 0, "y": 1}.get)([1, 2], request)
    assert type(result) is UserDict
    assert dict(result) == {"a": 1, "b": 2}


def test_a_tuple_subclass_that_is_no_named_tuple_is_made_from_its_members():
    class Row(tuple):
        __slots__ = ()

    result = nest.rebuild(Row(("a", "b")), [1, 2])
    assert type(result) is Row
    assert result == (1, 2)


def test_a_counter_and_a_dict_with_odd_keys_keep_their_keys():
    assert nest.rebuild(Counter(a=1, b=2), ["x", "y"]) == {"a": "x", "b": "y"}
    assert nest.rebuild({(1, 2): "a", None: "b"}, [1, 2]) == {(1, 2): 1, None: 2}


def test_a_frozen_dataclass_stays_frozen_and_its_post_init_is_not_run_again():
    ran = []

    @dataclass(frozen=True)
    class Checked:
        x: Any

        def __post_init__(self):
            ran.append(self.x)
            assert isinstance(self.x, str)

    result = nest.rebuild(Checked("loss"), [1.5])
    assert result.x == 1.5
    assert ran == ["loss"]
    with pytest.raises(AttributeError):
        result.x = 2


@pytest.mark.parametrize(
    "leaf",
    ["loss", Leaf(), len, lambda: 0, {"a", "b"}, iter(["a"]), range(3), 5, None, Frozen, b"loss"],
    ids=id_of,
)
def test_everything_else_is_a_leaf(leaf):
    assert nest.children(leaf) is None
    assert nest.leaves(leaf) == [leaf]


@pytest.mark.parametrize("empty", [[], (), {}, OrderedDict(), [[], {}]], ids=repr)
def test_empty_structures_have_no_leaves_and_come_back(empty):
    assert nest.leaves(empty) == []
    same(nest.packer(empty, None)([], empty), empty)


def test_the_factory_of_a_defaultdict_comes_from_the_call_and_not_from_the_plan():
    first, second = defaultdict(list, a="x"), defaultdict(set, a="x")
    assert nest.key(first) == nest.key(second)
    pack = nest.packer(first, lambda leaf: 0)
    assert pack([1], second).default_factory is set


def test_keys_tell_apart_what_looks_alike():
    alike = ["a", ["a"], ("a",), [["a"]], {"a": "a"}, {"a": ["a"]}, OrderedDict(a="a"), Frozen("a")]
    assert len({nest.key(structure) for structure in alike}) == len(alike)
    assert nest.key({"a": "x", "b": "y"}) != nest.key({"b": "y", "a": "x"})
    assert nest.key(Pair("a", "b")) != nest.key(("a", "b"))


def test_functions_and_bound_methods_are_keys_by_themselves():
    class Counting:
        def count(self):
            return 1

    one, other = Counting(), Counting()
    assert nest.key(one.count) == nest.key(one.count)
    assert nest.key(one.count) != nest.key(other.count)
    assert nest.key([len]) == nest.key([len])


def test_other_leaves_are_keys_by_identity_even_if_equal_or_unhashable():
    class Equal:
        __hash__ = None

        def __eq__(self, other):
            return True

        def __call__(self):
            return 0

    one, other = Equal(), Equal()
    assert nest.key(one) != nest.key(other)
    assert hash(nest.key(one)) is not None


def test_what_never_changes_is_atoms_and_tuples_of_them():
    leaf = nest.Leaf()
    assert all(map(nest.never_changes, ["a", leaf, len, (), ("a", (leaf,)), (leaf, len)]))
    assert not any(map(nest.never_changes, [["a"], {}, (["a"],), Pair("a", "b"), 7, (7,)]))
