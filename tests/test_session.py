"""A session: what can be fetched and fed, what a run changes, and how wrong requests are refused."""

import copy
import functools
import math
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runloop.data import Batches
from runloop.errors import OutOfRangeError
from runloop.graph import Graph, get_or_create_global_step
from runloop.run import OpStats, RunMetadata, RunOptions
from runloop.session import Session
from runloop.testing import FakeClock
from runloop.testing.strategies import Open, fetch_structures
from tests.checks import id_of

from .checks import fails
from .test_nest import mapped, same

FULL = RunOptions(trace_level=RunOptions.FULL_TRACE)


def make(**variables):
    """A graph with these variables, and a session of it."""
    graph = Graph()
    for name, initial in variables.items():
        graph.variable(name, initial)
    return graph, Session(graph=graph)


# -- making one -----------------------------------------------------------------------------------


def test_a_session_takes_the_default_graph():
    with Graph().as_default() as graph:
        assert Session().graph is graph


def test_a_session_takes_tensorflows_parameters_in_its_order():
    graph = Graph()
    assert Session("", graph, {"any": "thing"}).graph is graph


def test_a_target_is_refused():
    with fails(
        ValueError,
        "target (master) must be '': a session runs in its own process, got 'grpc://host:1'",
    ):
        Session("grpc://host:1")


def test_a_graph_in_the_place_of_the_target_is_told_where_it_belongs():
    graph = Graph()
    with fails(
        TypeError,
        f"target (master), the first argument, must be a string, got {graph!r}; write graph=...",
    ):
        Session(graph)


def test_a_graph_must_be_a_graph():
    with fails(TypeError, "graph must be a runloop.Graph, got 'graph'"):
        Session(graph="graph")


# -- variables ------------------------------------------------------------------------------------


def test_initial_values_are_copied_so_that_sessions_are_independent():
    mine = np.zeros(2)
    graph, one = make(w=mine)
    graph.op(lambda w: w + 1, name="step", updates="w")
    two = Session(graph=graph)
    mine[:] = 9
    one.run("step")
    assert one.run("w").tolist() == [1, 1]
    assert two.run("w").tolist() == [0, 0]
    assert mine.tolist() == [9, 9]


def test_an_initial_function_is_called_once_for_each_session():
    made = []

    def initial():
        made.append(np.zeros(2))
        return made[-1]

    graph, one = make(w=initial)
    one.run("w")
    Session(graph=graph).run("w")
    assert len(made) == 2


@pytest.mark.parametrize(
    ("initial", "dtype", "shape"),
    [
        (1, np.dtype(int), ()),
        (1.5, np.dtype(float), ()),
        (np.float32(1.5), np.dtype("f4"), ()),
        ([[1, 2]], np.dtype(int), (1, 2)),
        (np.zeros((0, 3), ">f4"), np.dtype(">f4"), (0, 3)),
    ],
)
def test_numbers_and_lists_become_arrays(initial, dtype, shape):
    _, session = make(w=initial)
    value = session.state().variables["w"]
    assert (type(value), value.dtype, value.shape) == (np.ndarray, dtype, shape)


def test_a_variable_without_an_initial_value_is_refused():
    for initial in (None, lambda: None):
        graph = Graph()
        graph.variable("w", initial)
        with fails(TypeError, "variable 'w': its initial value is None; give an array"):
            Session(graph=graph)


@pytest.mark.parametrize("initial", [{"a": np.zeros(2)}, {1, 2}, object(), [None, 1]], ids=id_of)
def test_what_is_no_array_is_no_initial_value(initial):
    for given_initial in (initial, lambda: initial):
        graph = Graph()
        graph.variable("w", given_initial)
        with fails(
            TypeError,
            f"variable 'w': its initial value is of type {type(initial).__name__}, which is not "
            f"an array; give an array, or graph.attach('w', ...) it",
        ):
            Session(graph=graph)


def test_a_list_whose_parts_are_not_of_one_shape_is_no_initial_value():
    with fails(
        ValueError,
        "variable 'w': its initial value is not an array, since its parts differ in shape: "
        "[[1, 2], [3]]; give an array, or graph.attach('w', ...) it",
    ):
        make(w=[[1, 2], [3]])


def test_a_failing_initial_function_says_which_variable_it_is_for():
    def initial():
        raise TypeError("needs a size")

    with fails(TypeError, "needs a size") as info:
        make(w=initial)
    assert info.value.__notes__ == ["(raised by the function that gives variable 'w' its value)"]


def test_an_array_of_objects_is_an_array():
    _, session = make(w=np.array([None, "text"], object))
    assert session.run("w").tolist() == [None, "text"]


def test_a_variable_may_be_added_while_the_session_lives():
    graph, session = make(w=1.0)
    assert session.run("w") == 1.0
    graph.variable("b", 2.0)
    assert session.run(["w", "b"]) == [1.0, 2.0]


class Duck:
    """An array of no library."""

    def __init__(self, value, dtype="duck"):
        self.value = value
        self.dtype = dtype
        self.shape = np.shape(value)


def test_any_array_type_will_do():
    graph, session = make(w=Duck([1, 2]))
    graph.op(lambda w: Duck([w.value[0] + 1, 5]), name="step", updates="w")
    fetched = session.run("w")
    assert fetched.value == [1, 2]
    session.run("step")
    assert session.run("w").value == [2, 5]
    graph.op(lambda w: Duck([1, 2, 3]), name="grow", updates="w")
    with pytest.raises(ValueError, match=r"expected duck of shape \(2,\), got duck of shape \(3,"):
        session.run("grow")


def test_a_fetched_variable_is_a_copy_the_callers_to_keep():
    _, session = make(w=np.zeros(2))
    fetched = session.run("w")
    fetched += 1
    assert session.run("w").tolist() == [0, 0]


def test_one_variable_fetched_twice_gives_two_copies():
    _, session = make(w=np.zeros(2))
    one, two = session.run(["w", "w"])
    one += 1
    assert two.tolist() == [0, 0]


def test_a_fetched_variable_shows_the_value_before_the_runs_updates():
    graph, session = make(w=np.zeros(2))

    @graph.train_op(updates="w")
    def train(w):
        return w + 1

    assert session.run(["w", "train", "global_step"])[0].tolist() == [0, 0]
    w, step = session.run([graph.variables[0], "global_step", "train"])[:2]
    assert w.tolist() == [1, 1]
    assert step == 1
    assert session.run("global_step") == step + 1


def test_a_fetched_variable_keeps_its_layout_and_dtype():
    _, session = make(f=np.asfortranarray(np.ones((2, 3))), b=np.ones(2, ">i2"))
    f, b = session.run(["f", "b"])
    assert f.flags.f_contiguous
    assert b.dtype == np.dtype(">i2")


def test_0d_arrays_come_out_as_numpy_scalars():
    graph, session = make(w=1.5)
    graph.op(lambda w: np.array(2, np.int8), name="op")
    graph.op(lambda w: (np.asarray(w), [np.asarray(w)]), name="pair", outputs=("first", "second"))
    assert type(session.run("w")) is np.float64
    assert type(session.run("op")) is np.int8
    assert type(session.run("first")) is np.float64
    assert type(session.run(lambda: np.array(1.5))) is np.float64
    assert type(session.run(lambda x: x, {"x": np.array(1, np.int8)})) is np.int8


def test_inside_an_op_a_0d_variable_is_an_array():
    _, session = make(w=1.5)
    assert session.run(lambda w: [type(w)]) == [np.ndarray]


def test_the_global_step_is_an_int64_scalar_everywhere():
    graph = Graph()
    graph.train_op(lambda global_step: [type(global_step)], name="train")
    session = Session(graph=graph)
    assert session.run("train") == [np.int64]
    assert type(session.run("global_step")) is np.int64
    assert type(session.state().variables["global_step"]) is np.int64


# -- what can be fetched --------------------------------------------------------------------------


def everything():
    graph = Graph()
    graph.variable("w", np.arange(2.0))
    graph.attach("params", {"layers": [{"b": np.arange(3.0)}], "a/b": np.ones(1)})
    graph.input(("x", "y"), [(1, 2), (3, 4)])
    graph.op(lambda w: w.sum(), name="loss")
    graph.op(lambda: (5, 6), name="both", outputs=("five", "six"))
    graph.op(lambda: 7, name="seven_op", outputs="seven")
    return graph


def test_every_kind_of_name_can_be_fetched():
    session = Session(graph=everything())
    fetched = session.run(["w", "x", "y", "loss", "both", "five", "six", "seven_op", "seven"])
    assert fetched[0].tolist() == [0, 1]
    assert fetched[1:] == [1, 2, 1.0, (5, 6), 5, 6, 7, 7]


def test_variables_and_ops_are_fetched_as_objects():
    graph = everything()
    session = Session(graph=graph)
    w, loss = session.run((graph.variables[0], graph.ops[0]))
    assert w.tolist() == [0, 1]
    assert loss == 1.0


def test_tensorflows_output_suffix_is_accepted_for_names_and_for_feeds():
    session = Session(graph=everything())
    assert session.run("loss:0") == 1.0
    assert session.run("five:0") == 5
    assert session.run("loss", {"w:0": np.ones(2)}) == 2.0
    assert session.run("loss", {"loss:0": 5.0}) == 5.0


def test_attached_state_is_fetched_as_the_object_itself_and_a_leaf_as_a_copy():
    graph = everything()
    session = Session(graph=graph)
    params = graph.attached["params"]
    assert session.run("params") is params
    leaf = session.run("params/layers/0/b")
    assert leaf.tolist() == [0, 1, 2]
    leaf += 1
    assert params["layers"][0]["b"].tolist() == [0, 1, 2]
    assert session.run("params/a/b").tolist() == [1]


def test_a_fetched_leaf_shows_the_value_before_the_run():
    graph = everything()
    session = Session(graph=graph)

    def write(params):
        params["layers"][0]["b"] += 1

    assert session.run([write, "params/layers/0/b"])[1].tolist() == [0, 1, 2]
    assert session.run("params/layers/0/b").tolist() == [1, 2, 3]


def test_a_leaf_is_looked_up_at_every_run():
    graph = everything()
    session = Session(graph=graph)
    session.run("params/layers/0/b")
    graph.attached["params"]["layers"][0]["b"] = np.full(2, 9.0)
    assert session.run("params/layers/0/b").tolist() == [9, 9]


def test_an_unknown_leaf_names_the_nearest():
    session = Session(graph=everything())
    with fails(
        ValueError,
        "'params/layers/0/c' is not a leaf of attached 'params'. Did you mean 'params/layers/0/b' or "
        "'params/a/b'?",
    ):
        session.run("params/layers/0/c")


def test_attached_state_is_injected_as_the_object_itself():
    graph = everything()
    session = Session(graph=graph)
    assert session.run(lambda params: params) is graph.attached["params"]


class AsTensorFlowDoes:
    """An object that stands for something in the graph."""

    def __init__(self, element):
        self.element = element

    def _as_graph_element(self):
        return self.element


def test_an_object_that_stands_for_something_in_the_graph_is_fetched_and_fed_as_that():
    graph = everything()
    session = Session(graph=graph)
    w = AsTensorFlowDoes(graph.variables[0])
    assert session.run([w, AsTensorFlowDoes("loss")])[1] == 1.0
    assert session.run("loss", {w: np.ones(2)}) == 2.0
    assert session.run("loss", {AsTensorFlowDoes("w"): np.ones(2)}) == 2.0


def test_an_op_with_updates_fetches_as_none():
    graph, session = make(w=0.0)
    op = graph.op(lambda w: w + 1, name="step", updates="w")
    assert session.run("step") is None
    assert session.run([op, {"a": "step"}]) == [None, {"a": None}]
    assert session.run("w") == 2.0


def test_a_train_op_without_updates_fetches_as_what_it_returns():
    graph, session = make(w=0.0)
    graph.train_op(lambda w: w + 1, name="train")
    assert session.run("train") == 1.0


def test_a_bare_callable_is_an_op_for_this_call():
    graph, session = make(w=2.0)
    assert session.run(lambda w: w * 2) == 4.0
    assert session.run(lambda w, x: w * x, {"x": 5}) == 10.0
    assert session.run({"a": lambda: 1, "b": [lambda: 2]}) == {"a": 1, "b": [2]}
    assert graph.ops == ()


def positional_only(w, x=2, /, *rest, k, m=4, **more):
    return float(w), x, rest, k, m, more


class Model:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, w):
        return w * self.factor

    def method(self, w, bias=0):
        return w * self.factor + bias


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (positional_only, (2.0, 2, (), 7, 4, {})),
        (functools.partial(lambda a, w: (a, float(w)), 1), (1, 2.0)),
        (functools.partial(lambda w, a: (a, float(w)), a=1), (1, 2.0)),
        (Model(3).method, 6.0),
        (Model(3), 6.0),
        (lambda *args, **kwargs: (args, kwargs), ((), {})),
        (lambda *, w: float(w), 2.0),
        (lambda *, m=3, w: (m, float(w)), (3, 2.0)),
    ],
)
def test_a_callable_of_every_kind_is_filled_in(fn, expected):
    _, session = make(w=2.0)
    feeds = {"k": 7} if fn is positional_only else None
    for _ in range(2):
        assert session.run(fn, feeds) == expected


def test_a_function_written_in_c_is_filled_in_where_it_has_parameters():
    graph = Graph()
    graph.variable("x", 4.0)
    session = Session(graph=graph)
    assert session.run(math.sqrt) == 2.0
    graph.op(len, name="length")
    assert session.run("length", {"obj": [1, 2]}) == 2


def test_a_callable_whose_parameters_cant_be_read_is_refused():
    with fails(
        TypeError,
        f"op 'int': the parameters of {int!r} can't be read; wrap it in a lambda or a def",
    ):
        Session(graph=Graph()).run(int)


def test_one_bare_callable_fetched_twice_runs_once():
    runs = []
    _, session = make()

    def count():
        runs.append(1)
        return len(runs)

    assert session.run([count, {"again": count}]) == [1, {"again": 1}]


# -- structure in is structure out ----------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(fetch_structures(st.sampled_from(["w", "loss", "five", "x"])))
def test_structure_in_equals_structure_out(structure):
    graph = Graph()
    graph.variable("w", 1.0)
    graph.op(lambda w: w * 2, name="loss")
    graph.op(lambda: (5, 6), name="both", outputs=("five", "six"))
    graph.input("x", [9])
    before = mapped(structure, lambda leaf: leaf)
    values = {"w": 1.0, "loss": 2.0, "five": 5, "x": 9}
    same(
        mapped(Session(graph=graph).run(structure), float),
        mapped(structure, lambda leaf: float(values[leaf])),
    )
    same(structure, before)


Named = namedtuple("Named", "a b")  # noqa: PYI024


@dataclass(frozen=True)
class Request:
    loss: Any
    rest: Any


@pytest.mark.parametrize("empty", [[], (), {}, OrderedDict(), [[], {}], {"a": ()}], ids=repr)
def test_an_empty_request_gives_the_same_back(empty):
    _, session = make(w=1.0)
    same(session.run(empty), empty)


def test_every_structure_keeps_its_type_at_every_run():
    _, session = make(w=1.0)
    for _ in range(2):
        result = session.run(
            [Named("w", ["w"]), OrderedDict(a="w"), defaultdict(list, a="w"), Request("w", ("w",))]
        )
        assert result == [
            Named(1.0, [1.0]),
            OrderedDict(a=1.0),
            {"a": 1.0},
            Request(1.0, (1.0,)),
        ]
        assert [type(member) for member in result] == [Named, OrderedDict, defaultdict, Request]
        assert result[2].default_factory is list


@pytest.mark.parametrize(
    ("request_", "change"),
    [
        ([["w"], "b"], lambda r: r[0].append("b")),
        ([{"a": "w"}], lambda r: r[0].update(a="b")),
        ([({"a": "w"},)], lambda r: r[0][0].update(c="b")),
        ([Open("w", "b")], lambda r: setattr(r[0], "x", "b")),
        ({"a": ["w"]}, lambda r: r["a"].append("b")),
        (["w"], lambda r: r.append("b")),
        (["w"], lambda r: r.__setitem__(0, "b")),
    ],
    ids=id_of,
)
def test_a_request_changed_in_place_between_runs_gets_what_it_asks_for_now(request_, change):
    _, session = make(w=1.0, b=2.0)
    values = {"w": np.float64(1.0), "b": np.float64(2.0)}
    for _ in range(2):
        same(session.run(request_), mapped(copy.deepcopy(request_), values.get))
    change(request_)
    for _ in range(2):
        expected = mapped(copy.deepcopy(request_), values.get)
        assert session.run(request_) == expected


def test_requests_that_look_alike_get_what_each_asks_for():
    _, session = make(w=1.0, b=2.0)
    requests = [["w"], ("w",), "w", {"a": "w"}, {"a": ["w"]}, [["w"]], ["b"], {"b": "w"}]
    expected = [[1.0], (1.0,), 1.0, {"a": 1.0}, {"a": [1.0]}, [[1.0]], [2.0], {"b": 1.0}]
    for _ in range(3):
        got = [session.run(request) for request in requests]
        assert got == expected
        assert [type(g) for g in got[:2]] == [list, tuple]


# -- wrong requests -------------------------------------------------------------------------------

CANT = (
    "{0!r} can't be fetched: a fetch is a name, a Variable, an Op, a callable, or a list, tuple, "
    "dict or dataclass of these, got {1}"
)


@pytest.mark.parametrize("fetch", [None, 3, 1.5, b"w", {"a", "b"}, np.zeros(2), True], ids=repr)
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: [f], lambda f: {"a": ("w", f)}])
def test_what_cant_be_fetched_is_a_type_error(fetch, wrap):
    _, session = make(w=1.0)
    with fails(TypeError, CANT.format(fetch, type(fetch).__name__)):
        session.run(wrap(fetch))


def test_an_unknown_name_names_the_nearest():
    _, session = make(weights=1.0)
    with fails(
        ValueError,
        "nothing is called 'wieghts': a fetch is the name of an op, an output, a variable, an "
        "input or attached state. Did you mean 'weights'?",
    ):
        session.run("wieghts")
    with fails(
        ValueError,
        "nothing is called 'zzz:0': a fetch is the name of an op, an output, a variable, an "
        "input or attached state. Known names: 'weights'.",
    ):
        session.run("zzz:0")


def test_what_belongs_to_another_graph_is_refused():
    _, session = make(w=1.0)
    other = Graph()
    foreign = other.variable("w", 2.0)
    op = other.op(lambda: 1, name="op")
    with fails(ValueError, "<Variable 'w'> belongs to another graph than this session's"):
        session.run(foreign)
    with fails(ValueError, "<Op 'op'> belongs to another graph than this session's"):
        session.run([op])
    with fails(ValueError, "<Variable 'w'> belongs to another graph than this session's"):
        session.run("w", {foreign: 1.0})


def test_a_parameter_that_nothing_provides_names_op_parameter_and_nearest():
    graph, session = make(weights=1.0)
    graph.op(lambda weihgts: weihgts, name="loss")
    with fails(
        ValueError,
        "op 'loss': nothing provides its parameter 'weihgts': no op, output, variable, input or "
        "attached state has this name, and it is not fed. Feed it ({'weihgts': value}) or define "
        "it. Did you mean 'weights'?",
    ):
        session.run("loss")
    assert session.run("loss", {"weihgts": 3}) == 3


def test_a_bare_callables_missing_parameter_is_named_with_the_callable():
    _, session = make(w=1.0)

    def loss(xx):
        return xx

    with pytest.raises(ValueError, match=r"^op 'loss': nothing provides its parameter 'xx': "):
        session.run(loss)


def test_only_what_is_needed_must_be_provided():
    graph, session = make(w=1.0)
    graph.op(lambda nothing: nothing, name="unused")
    assert session.run("w") == 1.0


def test_an_unknown_feed_names_the_nearest():
    graph, session = make(w=1.0)
    graph.op(lambda batch: batch, name="loss")
    with fails(ValueError, "nothing takes a feed called 'bacth'. Did you mean 'batch'?"):
        session.run("w", {"bacth": 1})


def test_a_leaf_of_attached_state_is_not_fed():
    session = Session(graph=everything())
    with fails(
        ValueError,
        "nothing takes a feed called 'params/layers/0/b'. One leaf of attached state can't be "
        "fed; feed the whole.",
    ):
        session.run("w", {"params/layers/0/b": np.zeros(3)})


@pytest.mark.parametrize("key", [3, None, ("w",), b"w"], ids=repr)
def test_the_key_of_a_feed_is_a_name_a_variable_or_an_op(key):
    _, session = make(w=1.0)
    with fails(TypeError, f"the key of a feed must be a name, a Variable or an Op, got {key!r}"):
        session.run("w", {key: 1.0})


def test_one_thing_is_not_fed_twice():
    graph, session = make(w=1.0)
    w = graph.variables[0]
    with fails(ValueError, "'w' is fed twice, by <Variable 'w'> and 'w:0'"):
        session.run("w", {w: 1.0, "w:0": 2.0})


@pytest.mark.parametrize("feeds", [[("w", 1.0)], "w", 3])
def test_a_feed_dict_is_a_mapping(feeds):
    _, session = make(w=1.0)
    with fails(TypeError, f"feed_dict must be a mapping, got {feeds!r}"):
        session.run("w", feeds)


def test_two_ops_that_update_one_variable_do_not_run_together():
    graph, session = make(w=1.0)
    graph.op(lambda w: w, name="one", updates="w")
    graph.op(lambda w: (w,), name="two", updates=("w",))
    with fails(
        ValueError,
        "ops 'one' and 'two' both update 'w' in one run: fetch one of them, or merge them into one "
        "op",
    ):
        session.run(["one", "two"])


def test_a_train_op_and_an_op_that_sets_the_step_do_not_run_together():
    graph, session = make()
    graph.train_op(lambda: None, name="train")
    graph.op(lambda: 5, name="jump", updates="global_step")
    with fails(
        ValueError,
        "ops 'train' and 'jump' both update 'global_step' in one run: fetch one of them, or "
        "merge them into one op",
    ):
        session.run(["train", "jump"])
    session.run("jump")
    assert session.run("global_step") == 5


def test_a_cycle_is_found_in_a_graph_that_is_not_finalized():
    graph, session = make()
    graph.op(lambda b: b, name="a")
    graph.op(lambda a: a, name="b")
    with fails(
        ValueError, "ops depend on each other in a cycle: a -> b -> a (each needs the next)"
    ):
        session.run("a")


# -- feeds ----------------------------------------------------------------------------------------


def test_a_feed_overrides_every_kind_of_name_for_this_run():
    graph = everything()
    session = Session(graph=graph)
    before = session.run("w").tolist()
    double = {
        "w": np.full(2, 2.0),
        "x": 20,
        "y": 30,
        "loss": 40,
        "five": 50,
        "seven": 60,
        "params": {"other": 1},
    }
    for name, value in double.items():
        assert np.array_equal(session.run(name, {name: value}), value)
        fn = {
            "w": lambda w: w,
            "x": lambda x: x,
            "y": lambda y: y,
            "loss": lambda loss: loss,
            "five": lambda five: five,
            "seven": lambda seven: seven,
            "params": lambda params: params,
        }[name]
        assert np.array_equal(session.run(fn, {name: value}), value)
    assert session.run("w").tolist() == before


def test_a_fed_op_does_not_run_and_its_members_come_from_the_feed():
    runs = []
    graph = Graph()
    op = graph.op(lambda: (runs.append(1), 6), name="both", outputs=("five", "six"))
    session = Session(graph=graph)
    assert session.run(["both", "five", "six"], {op: (7, 8)}) == [(7, 8), 7, 8]
    assert session.run(lambda six: six, {"both": [7, 8]}) == 8
    assert runs == []


def test_an_op_with_a_fed_output_runs_if_another_is_needed():
    graph = everything()
    session = Session(graph=graph)
    assert session.run(["five", "six"], {"five": 50}) == [50, 6]
    assert session.run(lambda five, six: (five, six), {"five": 50}) == (50, 6)


def test_a_fed_result_needs_as_many_members_as_there_are_names():
    session = Session(graph=everything())
    with fails(
        ValueError,
        "op 'both': outputs=('five', 'six') asks for a tuple of 2, it returned 3 members; a bare "
        "value goes with a single string: outputs='name'",
    ):
        session.run("five", {"both": (1, 2, 3)})


def test_a_fed_op_with_updates_updates_nothing():
    graph, session = make(w=1.0)
    graph.op(lambda w: w + 1, name="step", updates="w")
    assert session.run("step", {"step": 5}) == 5
    assert session.run("w") == 1.0


def test_a_fed_train_op_does_not_count():
    graph, session = make()
    graph.train_op(lambda: None, name="train")
    session.run("train", {"train": 0})
    assert session.run("global_step") == 0


def test_a_fed_variable_stays_what_it_was():
    graph, session = make(w=np.zeros(2))
    graph.op(lambda w: w + 1, name="step", updates="w")
    assert session.run(["w", "step"], {"w": np.full(2, 5.0)})[0].tolist() == [5, 5]
    assert session.run("w").tolist() == [6, 6]


def test_a_fed_global_step_is_seen_and_the_real_one_grows():
    graph, session = make()
    graph.train_op(lambda global_step: global_step, name="train")
    assert session.run(["train", "global_step"], {"global_step": 100}) == [100, 100]
    assert session.run("global_step") == 1


def test_a_fed_variable_must_fit():
    graph, session = make(w=np.zeros(2, np.float32))
    for name in ("w", "w:0", graph.variables[0]):
        with fails(
            ValueError,
            "variable 'w': the feed: expected float32 of shape (2,), got float64 of shape (2,). "
            "Convert it (x.astype('float32'), x.reshape(...)), or make the variable with "
            "validate=False if it is meant to change",
        ):
            session.run("w", {name: np.zeros(2)})


def test_a_variable_that_is_not_validated_is_fed_with_anything():
    graph = Graph()
    graph.variable("w", np.zeros(2), validate=False)
    assert Session(graph=graph).run("w", {"w": [1, 2, 3]}).tolist() == [1, 2, 3]


def test_a_parameter_with_a_default_is_an_optional_feed():
    graph, session = make(w=1.0)
    graph.op(lambda w, scale=2, *, shift=3: float(w) * scale + shift, name="loss")
    assert session.run("loss") == 5.0
    assert session.run("loss", {"scale": 10}) == 13.0
    assert session.run("loss", {"shift": 0, "scale": 0}) == 0.0


def test_a_name_of_the_graph_goes_before_a_default():
    _, session = make(w=1.0)
    assert session.run(lambda w=5: float(w)) == 1.0


def test_what_is_fed_can_be_fetched():
    graph, session = make()
    graph.op(lambda x: x, name="op")
    assert session.run(["x", "op"], {"x": 3}) == [3, 3]


def test_a_feed_that_is_not_needed_is_no_error():
    graph, session = make(w=1.0)
    graph.op(lambda x: x, name="op")
    assert session.run("w", {"x": 3}) == 1.0


def test_feeds_of_other_names_make_another_run():
    graph, session = make(w=1.0)
    graph.op(lambda x=1, y=2: (x, y), name="op")
    assert session.run("op", {"x": 5}) == (5, 2)
    assert session.run("op", {"y": 5}) == (1, 5)
    assert session.run("op", {"y": 5, "x": 6}) == (6, 5)
    assert session.run("op", {"x": 6, "y": 5}) == (6, 5)
    assert session.run("op") == (1, 2)


def test_the_callers_feed_dict_is_not_changed():
    graph, session = make(w=1.0)
    feeds = {graph.variables[0]: 2.0}
    session.run("w", feeds)
    assert feeds == {graph.variables[0]: 2.0}


# -- inputs ---------------------------------------------------------------------------------------


def test_an_input_is_pulled_once_in_a_run_that_needs_it_and_not_in_others():
    pulled = []

    class Source:
        def __iter__(self):
            for i in range(10):
                pulled.append(i)
                yield i, -i

    graph = Graph()
    graph.input(("x", "y"), Source())
    graph.variable("w", 1.0)
    session = Session(graph=graph)
    session.run("w")
    assert pulled == []
    assert session.run(["x", "y", "x", lambda y: y]) == [0, 0, 0, 0]
    assert session.run("y") == -1
    assert pulled == [0, 1]


def test_an_input_that_is_fed_whole_is_not_pulled():
    graph = everything()
    session = Session(graph=graph)
    assert session.run(["x", "y"], {"x": 7, "y": 8}) == [7, 8]
    assert session.run(["x", "y"], {"x": 7}) == [7, 2]
    assert session.run(["x", "y"]) == [3, 4]


def test_an_exhausted_input_is_out_of_range_at_every_run_after():
    graph = Graph()
    graph.input(("x", "y"), [(1, 2)])
    session = Session(graph=graph)
    session.run("x")
    for _ in range(2):
        with fails(OutOfRangeError, "input 'x' is exhausted"):
            session.run("y")


def test_an_input_of_one_name_gives_what_is_pulled_whatever_it_is():
    graph = Graph()
    graph.input("x", [(1, 2), [3]])
    session = Session(graph=graph)
    assert session.run("x") == (1, 2)
    assert session.run("x") == [3]


@pytest.mark.parametrize(("item", "got"), [((1,), "1 members"), ([1, 2, 3], "3 members"), (5, "5")])
def test_a_pull_gives_as_many_members_as_there_are_names(item, got):
    graph = Graph()
    graph.input(("x", "y"), [item])
    with fails(
        ValueError,
        f"input ('x', 'y'): a pull must give a tuple of 2 members, or a mapping with these keys, "
        f"got {got}",
    ):
        Session(graph=graph).run("x")


def test_each_session_iterates_the_input_anew():
    graph = Graph()
    graph.input("x", [1, 2, 3])
    one, two = Session(graph=graph), Session(graph=graph)
    assert [one.run("x"), one.run("x"), two.run("x")] == [1, 2, 1]


def test_a_generator_goes_on_where_it_was_for_every_session():
    graph = Graph()
    graph.input("x", (i for i in range(3)))
    assert [Session(graph=graph).run("x") for _ in range(3)] == [0, 1, 2]


def test_an_input_with_state_has_its_position_in_the_sessions_state():
    graph = Graph()
    batches = Batches(np.arange(4), 2, shuffle=False)
    graph.input("x", batches)
    session = Session(graph=graph)
    session.run("x")
    saved = copy.deepcopy(batches.state_dict())
    assert session.state().attached == {"x": batches}
    after = session.run("x").tolist()
    batches.load_state_dict(saved)
    session.finish_restore({})
    assert session.run("x").tolist() == after


def test_an_error_of_an_input_comes_out_and_the_run_changes_nothing():
    def source():
        yield 1
        raise KeyError("broken")

    graph = Graph()
    graph.input("x", source())
    graph.train_op(lambda x: None, name="train")
    session = Session(graph=graph)
    session.run("train")
    with pytest.raises(KeyError, match="broken"):
        session.run("train")
    assert session.run("global_step") == 1


# -- updates --------------------------------------------------------------------------------------


def test_updates_replace_variables_after_the_run():
    graph, session = make(w=np.zeros(2), b=np.ones(1))

    @graph.op(updates=("w", "b"))
    def step(w, b):
        return w + b, b * 2

    @graph.op(updates="b")
    def alone(b):
        return b + 10

    session.run("step")
    session.run(alone)
    assert [value.tolist() for value in session.run(["w", "b"])] == [[1, 1], [12]]


def test_a_tuple_of_one_name_takes_a_tuple_of_one_value():
    graph, session = make(w=np.zeros(2))
    graph.op(lambda w: (w + 1,), name="right", updates=("w",))
    graph.op(lambda w: w + 1, name="wrong", updates=("w",))
    session.run("right")
    assert session.run("w").tolist() == [1, 1]
    with fails(
        ValueError,
        "op 'wrong': updates=('w',) asks for a tuple of 1, it returned <class 'numpy.ndarray'>; a "
        "bare value goes with a single string: updates='name'",
    ):
        session.run("wrong")


@pytest.mark.parametrize(
    ("result", "got"), [((1, 2, 3), "3 members"), (None, "<class 'NoneType'>"), ([], "0 members")]
)
def test_a_result_must_have_as_many_members_as_there_are_names(result, got):
    graph, session = make()
    graph.op(lambda: result, name="op", outputs=("a", "b"))
    with fails(
        ValueError,
        f"op 'op': outputs=('a', 'b') asks for a tuple of 2, it returned {got}; a bare value goes "
        f"with a single string: outputs='name'",
    ):
        session.run("op")


CONVERT = (
    " Convert it (x.astype({0!r}), x.reshape(...)), or make the variable with validate=False if it "
    "is meant to change"
)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (np.zeros(2), "float64 of shape (2,)"),
        (np.zeros(3, np.float32), "float32 of shape (3,)"),
        (np.float32(0), "float32 of shape ()"),
    ],
)
def test_an_update_must_fit_and_the_error_says_variable_expected_and_got(value, got):
    graph, session = make(w=np.zeros(2, np.float32))
    graph.op(lambda: value, name="step", updates="w")
    with fails(
        ValueError,
        f"variable 'w': the update by op 'step': expected float32 of shape (2,), got {got}."
        + CONVERT.format("float32"),
    ):
        session.run("step")


def test_an_update_that_was_not_returned_is_told():
    graph, session = make(w=np.zeros(2, np.float32))
    graph.op(lambda w: None, name="step", updates="w")
    with fails(
        ValueError,
        "variable 'w': the update by op 'step': expected float32 of shape (2,), got None, the "
        "result of a function without a return",
    ):
        session.run("step")


def test_numpys_silent_drift_from_float32_to_float64_is_found():
    graph, session = make(w=np.zeros(2, np.float32))
    graph.op(lambda w: w - 0.1 * np.ones(2), name="step", updates="w")
    with pytest.raises(ValueError, match=r"expected float32 of shape .* got float64 of shape"):
        session.run("step")
    assert session.run("w").dtype == np.float32


def test_a_variable_that_is_not_validated_may_change():
    graph = Graph()
    graph.variable("w", np.zeros(2), validate=False)
    graph.op(lambda: [1, 2, 3], name="step", updates="w")
    session = Session(graph=graph)
    session.run("step")
    assert session.run("w").tolist() == [1, 2, 3]


def test_python_numbers_update_0d_variables():
    graph, session = make(f=np.float32(0), i=np.int8(0))
    graph.op(lambda: (1.5, 3), name="step", updates=("f", "i"))
    graph.op(lambda: 1.5, name="bad", updates="i")
    session.run("step")
    f, i = session.run(["f", "i"])
    assert (type(f), f, type(i), i) == (np.float32, 1.5, np.int8, 3)
    with pytest.raises(ValueError, match=r"expected int8 of shape .* got the float 1.5"):
        session.run("bad")


@pytest.mark.parametrize("value", [1.5, np.float64(1), np.zeros(1, np.int64), np.int32(1), "1"])
def test_the_global_step_takes_nothing_but_an_int64(value):
    graph = Graph()
    graph.variable("global_step", 0, validate=False)
    graph.op(lambda: value, name="jump", updates="global_step")
    session = Session(graph=graph)
    with pytest.raises(ValueError, match=r"^variable 'global_step': the update by op 'jump': "):
        session.run("jump")
    assert session.run("global_step") == 0


def test_the_global_step_grows_by_the_increment():
    graph, session = make()
    graph.train_op(lambda: None, name="one")
    graph.train_op(lambda: None, name="ten", increment=10)
    graph.train_op(lambda: None, name="none", increment=np.int32(0))
    for name, step in [("one", 1), ("ten", 11), ("none", 11), ("one", 12)]:
        session.run(name)
        assert session.run("global_step") == step


def test_a_run_that_raises_commits_nothing():
    graph, session = make(w=np.zeros(2), b=np.zeros(2))
    graph.train_op(lambda w: w + 1, name="train", updates="w")
    graph.op(lambda: np.zeros(3), name="misfit", updates="b")

    @graph.op(after=("train",))
    def broken():
        raise KeyError("broken")

    for fetches in (["train", "broken"], ["train", "misfit"], ["train", "misfit", "broken"]):
        with pytest.raises((KeyError, ValueError)):
            session.run(fetches)
        assert session.run("w").tolist() == [0, 0]
        assert session.run("global_step") == 0


def test_the_op_that_raised_is_noted_once():
    graph, session = make()

    @graph.op
    def broken():
        raise KeyError("broken")

    with pytest.raises(KeyError) as info:
        session.run("broken")
    assert info.value.__notes__ == ["(raised in op 'broken')"]

    @graph.op
    def outer():
        return session.run("broken")

    with pytest.raises(KeyError) as info:
        session.run("outer")
    assert info.value.__notes__ == ["(raised in op 'broken')", "(raised in op 'outer')"]


def test_an_exception_that_is_raised_again_is_not_noted_again():
    graph, session = make()
    error = KeyError("broken")

    @graph.op
    def broken():
        raise error

    for _ in range(3):
        with pytest.raises(KeyError):
            session.run("broken")
    assert error.__notes__ == ["(raised in op 'broken')"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration])
def test_every_exception_of_an_op_comes_out_as_it_is(error):
    graph, session = make(w=0.0)

    @graph.train_op(updates="w")
    def train(w):
        raise error

    with pytest.raises(error):
        session.run("train")
    assert session.run(["w", "global_step"]) == [0.0, 0]


# -- tracing --------------------------------------------------------------------------------------


def traced():
    graph = Graph()
    graph.variable("w", np.zeros(4, np.float32))
    graph.op(lambda w: w * 2, name="first")
    graph.op(lambda first: (first, first), name="second", outputs=("a", "b"))
    graph.op(lambda: None, name="third", after=("second",))
    return graph


def test_a_full_trace_records_each_op_in_microseconds():
    with FakeClock(per_read=1.0).use():
        session = Session(graph=traced())
    metadata = RunMetadata()
    session.run(["third", "b"], options=FULL, run_metadata=metadata)
    stats = metadata.step_stats
    assert [(s.name, s.inputs, s.output_bytes) for s in stats] == [
        ("first", (), 16),
        ("second", ("first",), 32),
        ("third", ("second",), 0),
    ]
    # The clock ticks once a look: the start of the run, then twice for each op.
    assert [(s.start_us, s.duration_us) for s in stats] == [
        (1e6, 1e6),
        (3e6, 1e6),
        (5e6, 1e6),
    ]
    assert all(isinstance(s, OpStats) for s in stats)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_nothing_is_recorded_and_the_clock_not_read_without_a_full_trace(level):
    ticking = FakeClock(per_read=1.0)
    with ticking.use():
        session = Session(graph=traced())
    metadata = RunMetadata()
    session.run("b", options=RunOptions(trace_level=level), run_metadata=metadata)
    session.run("b", run_metadata=metadata)
    session.run("b")
    assert list(metadata.step_stats) == []
    assert metadata.origin is None
    assert ticking.now == 0.0


def test_metadata_of_a_traced_run_shows_nothing_after_one_that_was_not():
    session = Session(graph=traced())
    metadata = RunMetadata()
    session.run("b", options=FULL, run_metadata=metadata)
    assert metadata.step_stats
    session.run("b", run_metadata=metadata)
    assert list(metadata.step_stats) == []


def test_a_trace_without_metadata_is_thrown_away():
    assert Session(graph=traced()).run("a", options=FULL).tolist() == [0, 0, 0, 0]


def test_metadata_that_is_used_again_shows_the_last_run_from_its_own_start():
    with FakeClock(per_read=1.0).use():
        session = Session(graph=traced())
    metadata = RunMetadata()
    for _ in range(3):
        session.run(["first"], options=FULL, run_metadata=metadata)
        assert [(s.name, s.start_us) for s in metadata.step_stats] == [("first", 1e6)]


def test_a_traced_run_gives_the_same_results_and_updates():
    graph = traced()
    graph.train_op(lambda w: w + 1, name="train", updates="w")
    session = Session(graph=graph)
    assert session.run(["train", "a"], options=FULL)[1].tolist() == [0, 0, 0, 0]
    assert session.run("w").tolist() == [1, 1, 1, 1]
    assert session.run("global_step") == 1


def test_a_traced_run_that_raises_commits_nothing_and_shows_what_ran():
    graph = traced()

    @graph.train_op(after="first", updates="w")
    def broken():
        raise KeyError("broken")

    session = Session(graph=graph)
    metadata = RunMetadata()
    with pytest.raises(KeyError) as info:
        session.run("broken", options=FULL, run_metadata=metadata)
    assert info.value.__notes__ == ["(raised in op 'broken')"]
    assert [s.name for s in metadata.step_stats] == ["first", "broken"]
    assert session.run("global_step") == 0


# -- the state of a session -----------------------------------------------------------------------


def test_the_state_is_the_live_objects_in_the_order_of_the_graph():
    graph, session = make(w=np.zeros(2), a=np.zeros(1))
    get_or_create_global_step(graph)
    params = {"b": np.zeros(1)}
    graph.attach("params", params)
    state = session.state()
    assert list(state.variables) == ["w", "a", "global_step"]
    assert state.attached == {"params": params}
    assert state.attached["params"] is params
    assert state.companions == {}
    assert session.state().variables["w"] is state.variables["w"]


def test_the_state_is_of_one_moment():
    graph, session = make(w=np.zeros(2))
    graph.op(lambda w: w + 1, name="step", updates="w")
    state = session.state()
    session.run("step")
    assert state.variables["w"].tolist() == [0, 0]
    assert session.state().variables["w"].tolist() == [1, 1]


def test_assign_replaces_variables_without_a_copy():
    graph, session = make(w=np.zeros(2), b=np.zeros(1))
    get_or_create_global_step(graph)
    new = np.ones(2)
    session.assign({"w": new, "global_step": np.int64(7)})
    assert session.state().variables["w"] is new
    assert session.run(["b", "global_step"]) == [np.zeros(1), 7]
    assert type(session.run("global_step")) is np.int64


def test_assign_replaces_all_or_nothing():
    _, session = make(w=np.zeros(2), b=np.zeros(1))
    with fails(
        ValueError,
        "variable 'b': the assigned value: expected float64 of shape (1,), got float64 of shape "
        "(2,)." + CONVERT.format("float64"),
    ):
        session.assign({"w": np.ones(2), "b": np.ones(2)})
    with fails(ValueError, "there is no variable 'ww'. Did you mean 'w'?"):
        session.assign({"w": np.ones(2), "ww": np.ones(2)})
    assert session.run("w").tolist() == [0, 0]


class Companion:
    def __init__(self):
        self.loaded = []

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        self.loaded.append(state)


def test_companions_get_their_restored_state_whoever_comes_first():
    _, session = make(w=1.0)
    early, late = Companion(), Companion()
    session.add_companions({"early": early})
    session.finish_restore({"early": {"n": 1}, "late": {"n": 2}, "never": {}})
    assert (early.loaded, late.loaded) == ([{"n": 1}], [])
    session.add_companions({"late": late})
    session.add_companions({"late": late})
    assert late.loaded == [{"n": 2}]
    assert session.state().companions == {"early": early, "late": late}


# -- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s.run("w"),
        lambda s: s.run(["w"]),
        lambda s: s.run("w", {"w": 1.0}),
        lambda s: s.state(),
        lambda s: s.assign({"w": np.zeros(())}),
        lambda s: s.__enter__(),
    ],
)
def test_a_closed_session_is_not_used(use):
    _, session = make(w=1.0)
    session.run(["w"])
    assert session.closed is False
    session.close()
    session.close()
    assert session.closed is True
    with fails(RuntimeError, "Attempted to use a closed Session."):
        use(session)


def test_a_session_is_a_context_manager_that_closes_and_swallows_nothing():
    _, session = make(w=1.0)
    with pytest.raises(StopIteration), session as entered:
        assert entered is session
        raise StopIteration
    assert session.closed


def test_a_run_inside_an_op_sees_the_state_of_that_moment():
    graph, session = make(w=1.0)
    graph.op(lambda w: w + 1, name="step", updates="w")

    def inside():
        session.run("step")
        return session.run("w")

    assert session.run([inside, "w"]) == [2.0, 1.0]


# -- the step, without a run ----------------------------------------------------------------------


def test_the_global_step_can_be_read_without_a_run():
    graph, session = make(w=1.0)
    assert session.global_step is None
    graph.train_op(lambda: None, name="train")
    session.run("train")
    assert (type(session.global_step), session.global_step) == (int, 1)
    session.close()
    assert session.global_step is None
