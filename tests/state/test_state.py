"""State objects to tensors and JSON, and back."""

import collections
import enum
import json
import random
import typing

import numpy as np
import pytest

from runloop.checkpoint.in_place import place
from runloop.errors import CheckpointFormatError
from runloop.state import (
    check_attachable,
    is_array,
    is_stateful,
    kind_of,
    pack,
    read_leaf,
)
from runloop.state.changes import make_all
from runloop.state.decode import decode, references
from runloop.state.kinds import GENERATOR_KINDS
from runloop.state.matching import ABSENT, Matching


class Loader:
    def __init__(self, position=0):
        self.position = position

    def state_dict(self):
        return {"position": self.position, "seen": np.arange(self.position)}

    def load_state_dict(self, state):
        if state["position"] < 0:
            raise KeyError("position")
        self.position = state["position"]


class GrainLike:
    def __init__(self, state=b""):
        self.state = state

    def get_state(self):
        return self.state

    def set_state(self, state):
        self.state = state


class Memory:
    """Tensors in a dictionary."""

    def __init__(self, tensors):
        self.tensors = {name: np.array(array) for name, array in tensors.items()}

    def spec(self, name):
        array = self.tensors.get(name)
        return None if array is None else (array.shape, array.dtype)

    def read(self, name):
        if name not in self.tensors:
            raise ValueError(f"no tensor {name}")
        return self.tensors[name].copy()


def round_trip(value):
    tensors, node = pack("x", value)
    return decode(json.loads(json.dumps(node, allow_nan=False)), Memory(tensors))


class Pair(typing.NamedTuple):
    a: object
    b: object


class Colour(enum.IntEnum):
    RED = 3


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -5, 2**127 + 1, 1.5, -0.0, 1e-320, "", "text é 😀 \ud800", [], {}, (),
        [1, [2, [3]]], {"a": {"b": [None]}}, (1, (2, "x")), 3 + 4j, complex(1, float("inf")),
        {1: "int", "1": "text", None: 0, False: 2, (1, 2): 3}, {"$tensor": "no tensor"}, {"$x": 1},
        b"", b"bytes\0", float("inf"), float("-inf"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_json_holds_comes_back(value):
    found = round_trip(value)
    assert found == value
    assert type(found) is type(value)
    assert repr(found) == repr(value)


def test_nan_comes_back_bit_for_bit():
    payload = np.frombuffer(bytes.fromhex("010000000000f97f"), "<f8")
    for value in (float("nan"), float(payload[0])):
        found = round_trip({"x": value})["x"]
        assert np.float64(found).tobytes() == np.float64(value).tobytes()


@pytest.mark.parametrize(
    "value",
    [np.float32(1.5), np.int64(7), np.bool_(True), np.complex128(1j), np.datetime64("2024-01-01"),
     np.float16("nan"), np.longdouble(3)],
    ids=repr,
)  # fmt: skip
def test_numpy_scalars_come_back_as_what_they_are(value):
    found = round_trip([value])[0]
    assert type(found) is type(value)
    assert found.dtype == value.dtype
    assert found.tobytes()[:8] == value.tobytes()[:8]
    assert pack("x", value)[0] == {}  # and take no tensor each


def test_arrays_are_named_by_their_path_and_not_copied():
    inner = np.arange(3)
    tree = {"a": [inner, {"b": np.ones(2)}], "n": 3, "t": (np.zeros(1),)}
    tensors, node = pack("params", tree)
    assert list(tensors) == ["params/a/0", "params/a/1/b", "params/t/0"]
    assert tensors["params/a/0"] is inner
    assert node == {
        "a": [{"$tensor": "params/a/0"}, {"b": {"$tensor": "params/a/1/b"}}],
        "n": 3,
        "t": {"$tuple": [{"$tensor": "params/t/0"}]},
    }
    assert sorted(references(node)) == sorted(tensors)
    assert pack("w", inner) == ({"w": inner}, {"$tensor": "w"})


def test_leaves_with_one_name_are_kept_apart():
    tree = {"a/b": np.zeros(1), "a": {"b": np.ones(1)}}
    tensors, _ = pack("x", tree)
    assert list(tensors) == ["x/a/b", "x/a/b#2"]
    np.testing.assert_equal(round_trip(tree), tree)


class Letter(str, enum.Enum):  # noqa: UP042 # the case: str() of a member is its name
    A = "a"


class Liar(int):
    def __int__(self):
        return 7

    def __str__(self):
        return "seven"


class LyingFloat(float):
    def __float__(self):
        return 7.0


class LyingBytes(bytes):
    def __bytes__(self):
        return b"no"


def test_subclasses_of_plain_values_are_stored_by_their_true_value():
    assert round_trip([Colour.RED, np.str_("s"), np.bytes_(b"b")]) == [3, "s", b"b"]
    found = round_trip([Letter.A, Liar(3), LyingFloat(1.5), LyingBytes(b"x"), bytearray(b"y")])
    assert found == ["a", 3, 1.5, b"x", b"y"]
    assert [type(item) for item in found] == [str, int, float, bytes, bytearray]


def test_a_member_of_an_enum_is_one_again_where_one_stands():
    current = {"letter": Letter.A, "colour": Colour.RED}
    give_back({"letter": Letter.A, "colour": Colour.RED}, current)
    assert current["letter"] is Letter.A
    assert current["colour"] is Colour.RED


@pytest.mark.parametrize("number", [10**4300, -(10**5000), 2**2100, 2**2101], ids=int.bit_length)
def test_large_integers_come_back(number):
    assert round_trip({"n": number})["n"] == number


COLLECTIONS = {
    "Counter": collections.Counter(a=2, b=-1),
    "OrderedDict": collections.OrderedDict(b=1, a=2),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "defaultdict without": collections.defaultdict(None, a=1),
    "deque": collections.deque([1, 2, 3], 5),
    "deque without end": collections.deque([(1, 2)]),
}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_collections_come_back_as_what_they_were(name):
    saved = COLLECTIONS[name]
    there = {"x": type(saved)() if name != "deque" else collections.deque(maxlen=5)}
    if name == "defaultdict":
        there["x"].default_factory = list
    before = there["x"]
    give_back({"x": saved}, there)
    assert there["x"] is before  # refilled
    nothing = {"x": None}
    give_back({"x": saved}, nothing)
    for found in (round_trip(saved), there["x"], nothing["x"]):
        assert found == saved
        assert type(found) is type(saved)
        assert getattr(found, "default_factory", 0) is getattr(saved, "default_factory", 0)
        assert getattr(found, "maxlen", 0) == getattr(saved, "maxlen", 0)
        assert repr(found) == repr(saved)


def test_what_only_the_program_can_make_is_refilled_or_refused_by_name():
    table = collections.defaultdict(lambda: np.zeros(1))
    table[1, 2] = np.ones(1)
    there = {"x": collections.defaultdict(lambda: np.zeros(1))}
    give_back({"x": table}, there)
    assert there["x"][1, 2] == 1
    assert there["x"]["new"] == 0
    for saved, name in ((table, "defaultdict"), (Pair(1, 2), "Pair")):
        found = give_back({"x": saved}, {"x": None})
        (problem,) = found.mismatched.values()
        assert problem == (
            f"found a '{name}', which only the program can make: put one where it belongs before the "
            f"restore"
        )
    pair = {"x": Pair(0, [0])}
    give_back({"x": Pair(1, [2])}, pair)
    assert type(pair["x"]) is Pair
    assert pair["x"] == Pair(1, [2])
    with pytest.raises(TypeError, match="x/q can't be stored: the default_factory of this default"):
        pack("x", Holder({"q": collections.defaultdict(lambda: 1)}))


class Holder:
    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def test_the_state_of_an_object_keeps_its_collections():
    state = {"pair": Pair(1, 2), "count": collections.Counter("aab")}
    found = round_trip(Holder(state))
    assert found["pair"] == (1, 2)
    assert found["pair"].b == 2
    assert type(found["count"]) is collections.Counter
    there = Holder({"pair": Pair(0, 0), "count": None})
    give_back(Holder(state), there)
    assert type(there.state["pair"]) is Pair


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"f": print}, "x/f can't be stored: builtin_function_or_method is neither an array nor"),
        ([{"o": object()}], "x/0/o can't be stored: object is neither an array nor JSON"),
        ({"a": np.array([{}])}, "x/a can't be stored: dtype object can't be stored"),
        ({"a": np.array(["s"])}, "x/a can't be stored: dtype <U1 can't be stored"),
        ({"s": {1, 2}}, "x/s can't be stored: set is neither an array nor JSON"),
        (
            {frozenset(): 1},
            r"x can't be stored: its key frozenset\(\) is not a string, number or tuple",
        ),
        ({"r": random.SystemRandom()}, "x/r can't be stored: SystemRandom keeps no state"),
        ({"v": np.void(b"ab")}, "x/v can't be stored: dtype"),
    ],
)
def test_what_cant_be_stored_is_named_by_its_path(value, message):
    with pytest.raises(TypeError, match=message):
        pack("x", value)


def test_nesting_without_end_is_refused():
    cycle = {"a": []}
    cycle["a"].append(cycle)
    with pytest.raises(TypeError, match="x/a/0 can't be stored: it contains itself"):
        pack("x", cycle)
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(TypeError, match="nested deeper than 100 levels"):
        pack("x", deep)
    shared = [1]
    assert round_trip([shared, shared]) == [[1], [1]]


# -- what can be attached -------------------------------------------------------------------------


def test_what_has_state():
    for obj in (np.random.default_rng(), np.random.RandomState(), random.Random(), Loader(),
                GrainLike()):  # fmt: skip
        assert is_stateful(obj)
        check_attachable("x", obj)
    for obj in ({}, [], np.zeros(2), {"a": [1]}):
        assert not is_stateful(obj)
        check_attachable("x", obj)
    assert kind_of(Loader) is None  # the class is no object with state
    for obj in (3, "text", None, object(), print, Loader):
        with pytest.raises(
            TypeError, match=r"can't attach 'x': \w+ has no state; attach a mapping"
        ):
            check_attachable("x", obj)


@pytest.mark.parametrize(
    ("obj", "problem"),
    [
        ((1, 2), "x/0 is int 1"),
        ((np.zeros(1), ("s",)), "x/1/0 is str 's'"),
        (Pair(np.zeros(1), np.broadcast_to(0.0, 3)), "x/1 is a read-only array"),
    ],
    ids=repr,
)
def test_what_a_restore_would_have_to_rebind_is_refused_when_it_is_attached(obj, problem):
    with pytest.raises(TypeError, match=rf"can't attach 'x': {problem}, and .* runloop.attributes"):
        check_attachable("x", obj)


def test_tuples_of_what_stays_in_place_are_attachable_and_restored():
    pair = Pair(np.zeros(2), ({"n": 1}, [np.zeros(1)]))
    check_attachable("x", pair)
    array, data = pair.a, pair.b[0]
    give_back(Pair(np.ones(2), ({"n": 5, "m": 6}, [np.ones(1)])), pair)
    assert pair.a is array
    assert array.tolist() == [1, 1]
    assert data == {"n": 5, "m": 6}
    assert pair.b[1][0] == 1


def test_what_is_an_array():
    assert is_array(np.zeros(()))
    assert not is_array(np.float64(1))
    assert not is_array([1])
    assert not is_array(np.ndarray)


def test_a_leaf_is_read_by_its_path():
    tree = {"a": {"b": [np.zeros(1), np.ones(1)]}, "c/d": 4, 5: "five", "r": Loader(2)}
    assert read_leaf("p", tree, "a/b/1") is tree["a"]["b"][1]
    assert read_leaf("p", tree, "c/d") == 4
    assert read_leaf("p", tree, "5") == "five"
    assert read_leaf("p", tree, "a") is tree["a"]
    assert read_leaf("p", tree, "r/position") == 2
    for path in ("a/b/2", "a/x", "", "c", "a/b/-1"):
        with pytest.raises(ValueError, match=f"^'p/{path}' is not a leaf of attached 'p'"):
            read_leaf("p", tree, path)
    with pytest.raises(ValueError, match="Did you mean 'p/a/b/"):
        read_leaf("p", tree, "a/b/3")


# -- the way back ---------------------------------------------------------------------------------


def give_back(saved, current):
    """Pack `saved`, and put it into `current`; returns the notes."""
    tensors, node = pack("x", saved)
    source = Memory(tensors)
    matching = Matching(source, lambda name: name, lambda name: True)
    matching.tree("x", current, json.loads(json.dumps(node)))
    if matching.missing or matching.missing_objects or matching.unexpected or matching.mismatched:
        return matching
    exchanges, _ = place([(read, source.read(read.source_name)) for read in matching.reads])
    matching.stage()
    make_all([*matching.states, *exchanges, *matching.containers])
    return matching


GENERATORS = {
    **{
        name: lambda seed, name=name: np.random.Generator(getattr(np.random, name)(seed))
        for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
    },
    "RandomState": np.random.RandomState,
    "RandomState of Philox": lambda seed: np.random.RandomState(np.random.Philox(seed)),
    "random.Random": random.Random,
}


def draw(generator):
    if isinstance(generator, random.Random):
        return [generator.random(), generator.gauss(0, 1), generator.getrandbits(80)]
    if isinstance(generator, np.random.RandomState):
        return [generator.rand(), generator.randn(), generator.randint(9)]
    return [generator.random(), generator.normal(), generator.integers(2**32, dtype=np.uint32)]


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_go_on_where_they_were(name):
    saved, current = GENERATORS[name](1), GENERATORS[name](2)
    for _ in range(3):
        draw(saved)  # leaves a normal number, and half a word, in store
    tree = {"rng": current}
    give_back({"rng": saved}, tree)
    assert tree["rng"] is current
    for _ in range(5):
        assert draw(current) == draw(saved)
    alone = GENERATORS[name](3)
    give_back(saved, alone)
    assert draw(alone) == draw(saved)


@pytest.mark.parametrize(
    ("module", "kind"),
    [(np.random, np.random.RandomState), (random, random.Random)],
    ids=["numpy.random", "random"],
)
def test_a_module_stands_for_the_generator_that_its_functions_share(module, kind):
    before = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002  # under test
    try:
        check_attachable("rng", module)
        assert kind_of(module).name in GENERATOR_KINDS  # and so counts as small state
        saved = kind(5)
        give_back({"rng": saved}, {"rng": module})
        assert [module.random() for _ in range(3)] == [saved.random() for _ in range(3)]
        current = kind(6)
        give_back({"rng": module}, {"rng": current})
        assert [module.random() for _ in range(3)] == [current.random() for _ in range(3)]
    finally:
        np.random.set_state(before[0])  # noqa: NPY002  # under test
        random.setstate(before[1])


def test_objects_get_their_state_back():
    current = {"it": Loader(), "grain": GrainLike()}
    before = dict(current)
    give_back({"it": Loader(4), "grain": GrainLike(b"\0state")}, current)
    assert current == before
    assert current["it"].position == 4
    assert current["grain"].state == b"\0state"


def test_arrays_are_restored_in_place_and_the_rest_is_replaced():
    saved = {
        "w": np.arange(3.0),
        "layers": [np.ones(2), (np.full(2, 5), 7)],
        "lr": 0.5,
        "history": [1, 2, 3],
        "best": np.float64(2),
        "grown": {"new": 1},
        "filled": {"m": np.ones(1)},
        "was none": np.ones(2),
        "pair": Pair(1, "b"),
    }
    w, one, five = np.zeros(3), np.zeros(2), np.zeros(2, int)
    history = [9]
    current = {
        "w": w,
        "layers": [one, (five, 0)],
        "lr": 9.0,
        "history": history,
        "best": None,
        "grown": {"old": 1},
        "filled": {},
        "was none": None,
        "gone": "data that was not there yet",
        "pair": Pair(0, "a"),
    }
    give_back(saved, current)
    np.testing.assert_equal(current, saved)
    assert current["w"] is w
    assert current["layers"][0] is one
    assert current["layers"][1][0] is five
    assert current["history"] is history
    assert type(current["pair"]) is Pair


def test_a_return_to_before_empties_what_was_filled_in():
    current = {"best": np.ones(2), "slots": {"m": np.ones(1)}, "log": [np.ones(1)]}
    give_back({"best": None, "slots": {}, "log": []}, current)
    assert current == {"best": None, "slots": {}, "log": []}


def test_roots_of_every_kind():
    array, listed, mapping = np.zeros(2), [0, np.zeros(1)], {1: np.zeros(1)}
    give_back(np.ones(2), array)
    give_back([5, np.ones(1)], listed)
    give_back({1: np.ones(1)}, mapping)
    assert array.tolist() == [1, 1]
    assert listed == [5, np.ones(1)]
    assert mapping == {1: np.ones(1)}


@pytest.mark.parametrize(
    ("saved", "current", "missing", "unexpected", "mismatched"),
    [
        ({"a": np.ones(1)}, {"b": np.ones(1)}, ["x/b"], ["x/a"], {}),
        ({"a": np.ones(1)}, {"a": np.ones(2)}, [], [],
         {"x/a": "expected float64 (2,), found float64 (1,)"}),
        ({"a": np.ones(1)}, {"a": np.ones(1, int)}, [], [],
         {"x/a": "expected int64 (1,), found float64 (1,)"}),
        ([np.ones(1)], [np.ones(1)] * 2, ["x/1"], [], {}),
        ([np.ones(1)] * 2, [np.ones(1)], [], ["x/1"], {}),
        ({"a": Loader()}, {"a": random.Random()}, [], [],
         {"x/a": "expected the state of a Random, found that of a 'state_dict'"}),
        ({"a": 3}, {"a": Loader()}, [], [], {"x/a": "expected the state of a Loader"}),
        ({"b": np.ones(1)}, {"a": Loader(), "b": np.ones(1)}, ["x/a"], [], {}),
        ({"a": np.random.default_rng()}, {"a": np.random.Generator(np.random.SFC64())}, [], [],
         {"x/a": "expected bit generator SFC64, found 'PCG64'"}),
        ({"a": 3}, {"a": [np.ones(1)]}, ["x/a/0"], [],
         {"x/a": "expected a list, found another structure"}),
        ({"a": [1]}, {"a": {"b": np.ones(1)}}, ["x/a/b"], [],
         {"x/a": "expected a dict, found another structure"}),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_noted_and_nothing_is_touched(
    saved, current, missing, unexpected, mismatched
):
    found = give_back(saved, current)
    assert found.missing + found.missing_objects == missing
    assert found.unexpected == unexpected
    assert found.mismatched == mismatched


def test_a_state_that_an_object_does_not_take_gives_the_others_theirs_back():
    first, second = Loader(1), Loader(2)
    with pytest.raises(
        CheckpointFormatError, match="x/b: Loader did not take the saved state: 'position'"
    ):
        give_back({"a": Loader(5), "b": LoaderAt(-1)}, {"a": first, "b": second})
    assert (first.position, second.position) == (1, 2)


class LoaderAt(Loader):
    def state_dict(self):
        return {"position": self.position}


def test_a_tuple_at_the_root_cant_be_replaced():
    found = give_back({"t": 1}, {"t": 1})
    assert not found.mismatched
    matching = Matching(Memory({}), lambda name: name, lambda name: True)
    matching.tree("x", (1, 2), {"$tuple": [3, 4]})
    assert matching.mismatched == {"x": "a tuple that can't be replaced here"}


def test_what_is_absent_leaves_data_alone():
    current = {"n": 3, "w": np.zeros(2)}
    matching = Matching(Memory({"x/w": np.ones(2)}), lambda name: name, lambda name: True)
    matching.tree("x", current, ABSENT)
    assert [read.name for read in matching.reads] == ["x/w"]
    assert not matching.missing
    assert repr(ABSENT) == "ABSENT"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"$what": 1}, "unknown kind of value '\\$what'"),
        ({"$tuple": 3}, "malformed value \\$tuple"),
        ({"$float": "zz"}, "non-hexadecimal"),
        ({"$float": "00"}, "malformed value \\$float"),
        ({"$scalar": ["object", ""]}, "unknown dtype 'object'"),
        ({"$scalar": ["float64", ""]}, "buffer"),
        ({"$scalar": []}, "malformed value \\$scalar"),
        ({"$object": 3}, "malformed value \\$object"),
        ({"$tensor": "none"}, "no tensor none"),
    ],
)
def test_a_node_that_is_none_is_an_error(node, message):
    with pytest.raises(ValueError, match=message):
        decode(node, Memory({}))
