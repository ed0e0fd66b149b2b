"""An object's attributes as state, and what a save warns of."""

import types

import numpy as np
import pytest

import runloop as rl
from runloop.checkpoint import mistakes
from runloop.errors import CheckpointMismatchError
from runloop.graph import Graph
from runloop.session import Session


class Net:
    def __init__(self, size=3):
        self.weights = [np.zeros(size), np.zeros(size)]
        self.bias = np.zeros(2)
        self.step = 0
        self.rng = np.random.default_rng(size)
        self.activate = np.tanh
        self.history = []


def session_of(**attached):
    graph = Graph()
    with graph.as_default():
        rl.get_or_create_global_step()
    for name, obj in attached.items():
        graph.attach(name, obj)
    return Session(graph=graph)


def at(session, step):
    session.assign({"global_step": np.int64(step)})
    return session


def test_attributes_may_be_rebound(tmp_path):
    net = Net()
    session = session_of(net=rl.attributes(net, "weights bias step rng history"))
    saver = rl.Saver()
    saver.save(at(session, 1), tmp_path / "m", 1)
    net.weights = [np.full(5, 2.0), np.full(4, 3.0), np.ones(1)]
    net.bias = net.bias.astype(np.float32) + 1
    net.step = 7
    net.history.append(1.5)
    net.rng.random(3)
    path = saver.save(at(session, 2), tmp_path / "m", 2)
    fresh = Net()
    history = fresh.history
    rl.Saver().restore(session_of(net=rl.attributes(fresh, "weights bias step rng history")), path)
    np.testing.assert_equal(fresh.weights, net.weights)
    assert fresh.bias.dtype == np.float32
    assert fresh.bias.tolist() == [1, 1]
    assert fresh.step == 7
    assert fresh.history is history
    assert history == [1.5]
    assert fresh.rng.random() == net.rng.random()


def test_attributes_that_fit_are_restored_in_place(tmp_path):
    net = Net()
    session = session_of(net=rl.attributes(net, ["weights", "bias"]))
    path = rl.Saver().save(session, tmp_path / "m")
    weights, first, bias = net.weights, net.weights[0], net.bias
    first += 1
    bias += 1
    rl.Saver().restore(session, path)
    assert net.weights is weights
    assert weights[0] is first
    assert net.bias is bias
    assert first.tolist() == [0, 0, 0]
    assert bias.tolist() == [0, 0]


def test_ops_get_the_object_itself_and_leaves_can_be_fetched():
    net = Net()
    session = session_of(net=rl.attributes(net, "bias"))
    seen = []
    session.graph.op(lambda net: seen.append(net), name="look")  # noqa: PLW0108 # its parameter has a name
    session.run("look")
    assert seen == [net]
    assert session.run("net/bias").tolist() == [0, 0]
    assert session.run("net") is net


def test_without_names_all_that_can_be_stored_is_state(tmp_path):
    net = Net()
    net.open = object()
    session = session_of(net=rl.attributes(net))
    net.late = np.ones(2)
    path = rl.Saver().save(session, tmp_path / "m")
    assert rl.CheckpointReader(path).names() == [
        "global_step", "net/bias", "net/late", "net/weights/0", "net/weights/1",
    ]  # fmt: skip
    fresh = Net()
    fresh.open = object()
    fresh.bias += 5
    rl.Saver().restore(session_of(net=rl.attributes(fresh)), path)
    assert fresh.late.tolist() == [1, 1]
    assert fresh.bias.tolist() == [0, 0]
    fresh.later = np.zeros(1)
    other = session_of(net=rl.attributes(net))
    net.later = np.zeros(1)
    rl.Saver().restore(other, path)
    assert not hasattr(net, "later")  # it appeared after what was restored had been saved


def test_the_names_of_a_module_are_state(tmp_path):
    module = types.ModuleType("program")
    exec("import os\nn = 3\nw = [1.0]\ndef f(): pass", vars(module))
    path = rl.Saver().save(session_of(m=rl.attributes(module)), tmp_path / "m")
    module.n, module.w = 5, None
    rl.Saver().restore(session_of(m=rl.attributes(module, "n, w")), path)
    assert (module.n, module.w) == (3, [1.0])
    assert repr(rl.attributes(module, "n")) == "runloop.attributes(module program, 'n')"


def test_slots_are_attributes(tmp_path):
    class Slotted:
        __slots__ = ("a", "b")

    thing = Slotted()
    thing.a = 1
    session = session_of(t=rl.attributes(thing))
    path = rl.Saver().save(session, tmp_path / "m")
    thing.a = 2
    rl.Saver().restore(session, path)
    assert thing.a == 1


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: rl.attributes(Net(), "wieghts"), ValueError,
         "attributes: a Net has no attribute 'wieghts'. Did you mean 'weights'"),
        (lambda: rl.attributes(Net(), ""), ValueError, "names is empty"),
        (lambda: rl.attributes(Net(), ["bias", 3]), TypeError, "names must be strings, got 3"),
        (lambda: rl.attributes(Net(), "bias bias"), ValueError, "a name is a duplicate"),
        (lambda: rl.attributes(3), TypeError, "int 3 has no attributes to set"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_an_attribute_that_is_gone_or_cant_be_stored_is_an_error_of_the_save(tmp_path):
    net = Net()
    session = session_of(net=rl.attributes(net, "bias step"))
    net.step = print
    with pytest.raises(TypeError, match="net/step can't be stored: builtin_function"):
        rl.Saver().save(session, tmp_path / "m")
    del net.step
    with pytest.raises(ValueError, match="a Net has no attribute 'step' any more"):
        rl.Saver().save(session, tmp_path / "m")


def test_an_attribute_that_the_file_lacks_is_missing(tmp_path):
    net = Net()
    path = rl.Saver().save(session_of(net=rl.attributes(net, "step")), tmp_path / "m")
    with pytest.raises(CheckpointMismatchError, match="net/bias"):
        rl.Saver().restore(session_of(net=rl.attributes(net, "step bias")), path)
    path = rl.Saver().save(session_of(net=rl.attributes(net, "step bias")), tmp_path / "n")
    with pytest.raises(CheckpointMismatchError, match="net/bias"):
        rl.Saver().restore(session_of(net=rl.attributes(net, "step")), path)


# -- was it rebound? ------------------------------------------------------------------------------


def twice(tmp_path, obj, change, *, steps=(10, 20), constant=False, **options):
    """Save, change, save."""
    graph = Graph()
    with graph.as_default():
        rl.get_or_create_global_step()
    graph.attach("params", obj, constant=constant)
    session = Session(graph=graph)
    saver = rl.Saver(**options)
    for step in steps:
        saver.save(at(session, step), tmp_path / "m", step)
        change()
    saver.close()


@pytest.mark.parametrize("background", [False, True])
def test_arrays_that_never_change_are_warned_of_once(tmp_path, background):
    net = Net()

    def rebind():
        net.weights = [w + 1 for w in net.weights]

    with pytest.warns(UserWarning, match="rebound") as caught:
        twice(tmp_path, net.weights, rebind, steps=(10, 20, 30), background=background)
    (warning,) = caught
    assert str(warning.message) == (
        "attached 'params': none of its arrays (params/1, ...) changed between the saves at steps 10 "
        "and 20. Was it rebound? What is saved is the object that was attached: change it in place, "
        "or attach runloop.attributes(owner, names). graph.attach('params', ..., constant=True) says "
        "that it is meant"
    )
    assert len(list(tmp_path.glob("m-*"))) == 3


def test_no_warning_where_nothing_is_wrong(tmp_path):
    large = np.zeros(100_000)
    place = iter(range(40_000, 50_000))

    def deep_inside():
        large[next(place)] += 1  # no sample sees it

    weights = [np.zeros(2), np.zeros(2)]

    def one_of_two():
        weights[1] += 1

    twice(tmp_path / "a", {"w": large}, deep_inside)
    twice(tmp_path / "b", weights, one_of_two)
    twice(tmp_path / "c", {"w": np.zeros(2)}, lambda: None, constant=True)
    twice(tmp_path / "d", {"w": np.zeros(2)}, lambda: None, steps=(10, 10))  # no step was made
    twice(tmp_path / "e", np.random.Generator(np.random.MT19937(0)), lambda: None)
    twice(tmp_path / "f", {"n": 1}, lambda: None)


def test_a_frozen_part_costs_one_look_into_the_last_checkpoint(tmp_path, monkeypatch):
    looks = []
    first_change = mistakes._first_change

    def counting(*args):
        looks.append(first_change(*args))
        return looks[-1]

    monkeypatch.setattr(mistakes, "_first_change", counting)
    weights = {f"w{i}": np.zeros(2) for i in range(100)}
    session, saver = session_of(params=weights), rl.Saver()
    for step in range(10):
        saver.save(session, tmp_path / "m", step)
        weights["w77"] += 1  # the others never change, and no sample is taken of this one
    assert looks == ["params/w77"]
    weights["w77"] -= 1  # as it was at the last save
    with pytest.warns(
        UserWarning, match="none of its arrays .* changed between the saves at steps 9"
    ):
        saver.save(session, tmp_path / "m", 10)
    assert looks == ["params/w77", None]


# -- drift ----------------------------------------------------------------------------------------


def drifts(w):
    def change():
        w["a"] = w["a"].astype(np.float32) + 1

    return change


CHANGES = {
    "dtype": (lambda w: w.update(a=w["a"].astype(np.float32)), "expected float64 (2,), found float32 (2,)"),
    "shape": (lambda w: w.update(a=np.ones(3)), "expected float64 (2,), found float64 (3,)"),
    "key": (lambda w: w.update(b=np.ones(3)), "params/b was not there"),
    "gone": (lambda w: w.pop("c"), "params/c is not there any more"),
    "named tuple": (lambda w: w.update(n=Pair(1, 2)), "which only the program can make"),
}  # fmt: skip
Pair = __import__("collections").namedtuple("Pair", "a b")


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_that_the_program_could_not_load_is_warned_of(tmp_path, name):
    change, text = CHANGES[name]
    w = {"a": np.zeros(2), "c": np.zeros(1), "n": None, "d": 0}

    def all_of_it():
        w["a"] += 1
        w["d"] += 1
        if w["d"] == 1:
            change(w)

    with pytest.warns(
        UserWarning, match="a strict restore into what it starts with would"
    ) as caught:
        twice(tmp_path, w, all_of_it, steps=(1, 2, 3))
    assert len(caught) == 1
    assert text in str(caught[0].message)
    with pytest.raises(CheckpointMismatchError):
        rl.Saver().restore(
            session_of(params={"a": np.zeros(2), "c": np.zeros(1), "n": None, "d": 0}),
            tmp_path / "m-3",
        )


def test_what_is_filled_in_later_is_no_drift(tmp_path):
    w = {"a": np.zeros(1), "best": None, "slots": {}, "log": []}

    def change():
        w["a"] += 1
        w["best"] = w["a"] + 1
        w["slots"]["m"] = np.ones(2)
        w["log"].append(1.5)

    twice(tmp_path, w, change)
    fresh = {"a": np.zeros(1), "best": None, "slots": {}, "log": []}
    rl.Saver().restore(session_of(params=fresh), tmp_path / "m-20")
    assert fresh["best"] == 2


def test_what_a_restore_filled_in_is_not_what_the_program_starts_with(tmp_path):
    w = {"a": np.zeros(1), "best": None}
    session = session_of(params=w)
    saver = rl.Saver()
    w["best"] = np.ones(2)
    path = saver.save(at(session, 1), tmp_path / "m", 1)
    fresh = {"a": np.zeros(1), "best": None}
    again = session_of(params=fresh)
    rl.Saver().restore(again, path)
    fresh["best"] = np.ones(3)
    fresh["a"] += 1
    rl.Saver().save(at(again, 2), tmp_path / "n", 2)  # None accepts any shape
