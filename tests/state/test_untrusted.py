"""Documents that anybody may have written, with right checksums: only CheckpointErrors come out."""

import json
import random
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from runloop.checkpoint import CheckpointReader, Saver
from runloop.checkpoint.layout import CRC_KEY, DOCUMENT_KEY, PREFIX
from runloop.errors import CheckpointError
from runloop.graph import Graph
from runloop.session import Session
from runloop.state import pack
from runloop.state.changes import same_value
from runloop.state.decode import decode, keyed
from runloop.state.small import put_small, take_small
from tests.state.test_all_or_nothing import program, snapshot

ATOMS = [
    None, True, 0, -1, 7, 2**31, 2**63, 2**64, -(2**70), 1.5, 1e308, "", "x", "p/flat", "v", "float64",
    "Generator", "state_dict", "attributes", "MT19937", "0" * 16, "zz", "-0x1f", "\ud800", [], {}, [[]],
    [None, None], {"a": 1},
]  # fmt: skip
TAGS = [
    "$tensor", "$torch", "$jax", "$key", "$bytes", "$scalar", "$float", "$int", "$complex", "$tuple",
    "$dict", "$as", "$object", "$array", "$hex", "$large", "$what", "$",
]  # fmt: skip
NODES = [
    {"$as": ["deque", 2, [1, 2, 3]]}, {"$as": ["deque", -1, []]}, {"$as": ["defaultdict", "eval", {}]},
    {"$as": ["P", ["a", "b"], {"$tuple": [1, 2]}]}, {"$as": ["P", ["def", "1"], {"$tuple": [1, 2]}]},
    {"$as": ["x" * 9, ["a"], {"$tuple": [1, 2]}]}, {"$as": [[], {}, 3]}, {"$dict": [[[], 1]]},
    {"$dict": [[{"$tuple": [{}]}, 1]]}, {"$scalar": [3, "00"]}, {"$scalar": ["datetime64[zz]", "00"]},
    {"$array": ["float64", [-1], ""]}, {"$array": ["float64", [2**62, 0], ""]}, {"$int": "0x" + "f" * 999},
    {"$object": ["Generator", None]}, {"$object": ["attributes", {"__class__": 1}]}, {"$object": [{}, {}]},
    {"$complex": [{"$float": 3}, None]}, {"$float": "7ff0000000000000"}, {"$tuple": {"$tuple": []}},
]  # fmt: skip


def spots(node, found=None):
    """Every (container, key) in a document's nodes."""
    found = [] if found is None else found
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in list(items):
        found.append((node, key))
        spots(value, found)
    return found


def one_of(nodes, rng):
    """A copy of one of the nodes: a shared list would be changed itself, or put into itself."""
    return json.loads(json.dumps(rng.choice(nodes)))


def mutate(nodes, rng):
    """Change one to three things in the nodes, each anywhere."""
    for _ in range(rng.randint(1, 3)):
        places = spots(nodes)
        if not places:
            return
        container, key = rng.choice(places)
        choice = rng.randrange(7)
        if choice == 0:
            container[key] = one_of(ATOMS, rng)
        elif choice == 1:
            container[key] = {rng.choice(TAGS): container[key]}
        elif choice == 2:
            container[key] = one_of(NODES, rng)
        elif choice == 3:
            del container[key]
        elif choice == 4:
            other, name = rng.choice(places)
            container[key] = json.loads(json.dumps(other[name])) if name in (
                other if isinstance(other, dict) else range(len(other))) else None  # fmt: skip
        elif choice == 5 and isinstance(container, dict):
            container[rng.choice([*TAGS, "a", "n"])] = container.pop(key)
        elif isinstance(container, list):
            container.insert(rng.randrange(len(container) + 1), one_of(ATOMS, rng))
        else:
            container[key] = [container[key]]


def with_nodes(raw, change):
    """The bytes of a checkpoint with its nodes changed, and all checksums right."""
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    document = json.loads(header["__metadata__"][DOCUMENT_KEY])
    change(document)
    header["__metadata__"][DOCUMENT_KEY] = json.dumps(document)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    assert text.startswith(PREFIX)
    new = bytearray(struct.pack("<Q", len(text)) + text)
    at = 8 + len(PREFIX)
    new[at : at + 8] = b"00000000"
    new[at : at + 8] = f"{zlib.crc32(new):08x}".encode()
    assert CRC_KEY.encode() in PREFIX
    return bytes(new) + raw[8 + length :]


@pytest.mark.filterwarnings("ignore:.*shared memory:UserWarning")
@pytest.mark.filterwarnings("ignore:.*stood in two places:UserWarning")
@pytest.mark.parametrize("count", [400, pytest.param(100_000, marks=pytest.mark.long)])
def test_only_checkpoint_errors_come_out_of_a_mutated_document(tmp_path, count):
    path = Saver().save(program(3), tmp_path / "m")
    raw = Path(path).read_bytes()
    rng = random.Random(count)
    session = program(1)
    before = snapshot(session)
    refused = restored = 0
    slowest = 0.0
    for number in range(count):
        Path(path).write_bytes(with_nodes(raw, lambda d: mutate([d["attached"], d["hooks"]], rng)))
        started = time.perf_counter()
        try:
            Saver().restore(session, path, strict=bool(number % 2))
        except CheckpointError:
            refused += 1
            assert same_value(snapshot(session), before), number
        else:
            restored += 1
            for generator in (session.state().attached["rng"],):
                generator.integers(2**32, size=20, dtype=np.uint32)  # would crash on a bad position
            session = program(1)
            before = snapshot(session)
        slowest = max(slowest, time.perf_counter() - started)
    assert refused > count / 4
    assert restored > count / 40
    assert slowest < 5


def test_the_mutations_begin_with_a_file_that_is_accepted(tmp_path):
    path = Saver().save(program(3), tmp_path / "m")
    raw = Path(path).read_bytes()
    Path(path).write_bytes(with_nodes(raw, lambda document: None))
    with CheckpointReader(path) as reader:
        reader.verify()
    Saver().restore(program(1), path)


@pytest.mark.parametrize("count", [1000, pytest.param(100_000, marks=pytest.mark.long)])
def test_only_checkpoint_errors_come_out_of_mutated_small_state(count):
    rng = random.Random(count)

    def state():
        return {"rng": random.Random(1), "np": np.random.default_rng(2), "n": 1, "log": [1, {"a": 2}],
                "t": (1, "x"), "w": np.zeros(2)}  # fmt: skip

    good = take_small("state", state())
    for _ in range(count):
        node = [json.loads(json.dumps(good))]
        mutate(node, rng)
        if not node:
            continue
        try:
            put_small("state", state(), node[0])
        except CheckpointError:
            pass


class Key:
    """A key whose hash was chosen; counts how often two are compared."""

    def __init__(self, number, hash_value, compared):
        self.number, self.hash_value, self.compared = number, hash_value, compared

    def __hash__(self):
        return self.hash_value

    def __eq__(self, other):
        self.compared.append(1)
        return self.number == other.number


@pytest.mark.parametrize("with_one_hash", [1, 2, 50, 51, 2000])
def test_keys_with_one_hash_are_compared_a_bounded_number_of_times(with_one_hash):
    compared = []
    pairs = [(Key(i, i // with_one_hash, compared), i) for i in range(2000)]
    if with_one_hash > 50:
        with pytest.raises(ValueError, match=f"{with_one_hash} keys of one mapping have the same"):
            keyed(pairs)
        assert not compared
    else:
        assert [*keyed(pairs).values()] == [*range(2000)]
        assert len(compared) <= with_one_hash * len(pairs)


P = sys.hash_info.modulus


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ([i * P + 5 for i in range(51)], "51 keys of one mapping have the same hash"),
        ([{"$tuple": [i * P, "x"]} for i in range(51)], "51 keys of one mapping have the same"),
        ([float(i) for i in (3, 4)] + [3], "a mapping in the document has a duplicate key"),
    ],
)
@pytest.mark.parametrize("beside", [{}, {"w": {"$tensor": "p/w"}}])
def test_keys_that_were_chosen_to_collide_are_refused(tmp_path, keys, says, beside):
    graph = Graph()
    graph.attach("p", state := {"w": np.zeros(1), "d": {1: 2}} if beside else {"d": {1: 2}})
    session = Session(graph=graph)
    path = Saver().save(session, tmp_path / "m")

    def edit(document):
        document["attached"]["p"] = {**beside, "d": {"$dict": [[key, 0] for key in keys]}}

    Path(path).write_bytes(with_nodes(Path(path).read_bytes(), edit))
    with pytest.raises(CheckpointError, match=says):
        Saver().restore(session, path)
    assert state["d"] == {1: 2}


def test_what_could_not_be_restored_is_not_saved():
    with pytest.raises(TypeError, match="p/d can't be stored: 51 keys of one mapping have the"):
        pack("p", {"d": dict.fromkeys(i * P for i in range(51))})
    keys = {i * P: i for i in range(50)} | {-1: "a", -2: "b", "x": 1, (1, 2): 3, None: 4}
    assert decode(pack("p", keys)[1], None) == keys
