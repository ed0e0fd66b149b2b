"""The graph: what can be added, under which names, and how wrong additions are refused."""

import contextvars
import functools
import inspect
import random
import threading

import numpy as np
import pytest

from runloop.data import Batches
from runloop.graph import (
    Graph,
    get_default_graph,
    get_global_step,
    get_or_create_global_step,
)
from runloop.graph.elements import REQUIRED, Op, Variable, parameters
from runloop.graph.references import check_references
from runloop.session import Session
from tests.checks import fails, id_of


def returns_none():
    return None


# -- variables ------------------------------------------------------------------------------------


def test_a_variable_knows_its_name_its_graph_and_its_flags():
    graph = Graph()
    w = graph.variable("w", 0.0)
    b = graph.variable("b", 0.0, trainable=False, validate=False)
    assert (w.name, w.graph, w.trainable, w.validate) == ("w", graph, True, True)
    assert (b.name, b.graph, b.trainable, b.validate) == ("b", graph, False, False)
    assert repr(w) == "<Variable 'w'>"


def test_variables_are_listed_in_the_order_in_which_they_were_made():
    graph = Graph()
    made = [graph.variable(name, 0.0, trainable=name != "b") for name in "cab"]
    assert graph.variables == tuple(made)
    assert graph.trainable_variables == tuple(made[:2])


def test_variables_and_ops_are_hashable_by_identity():
    graph, other = Graph(), Graph()
    one, two = graph.variable("w", 0.0), other.variable("w", 0.0)
    op = graph.op(returns_none)
    assert one != two
    assert {one: 1, two: 2, op: 3}[two] == 2


def test_the_flags_of_a_variable_are_keyword_only():
    with pytest.raises(TypeError):
        Graph().variable("w", 0.0, True)


# -- names ----------------------------------------------------------------------------------------


def _adders(graph):
    return {
        "variable": lambda name: graph.variable(name, 0.0),
        "attach": lambda name: graph.attach(name, {}),
        "input": lambda name: graph.input(name, []),
        "inputs": lambda name: graph.input(("i", name), []),
        "op": lambda name: graph.op(lambda: 0, name=name),
        "output": lambda name: graph.op(lambda: 0, name="o", outputs=name),
        "outputs": lambda name: graph.op(lambda: 0, name="p", outputs=("q", name)),
        "train_op": lambda name: graph.train_op(lambda: 0, name=name),
    }


ADDERS = tuple(_adders(None))


@pytest.mark.parametrize("second", ADDERS)
@pytest.mark.parametrize("first", ["variable", "attach", "input", "op", "train_op"])
def test_a_name_used_twice_says_where_it_was_first_defined(first, second):
    graph = Graph()
    graph.variable("w", 0.0)
    _adders(graph)[first]("twice")
    names = dict(graph.elements)
    with pytest.raises(ValueError) as info:
        _adders(graph)[second]("twice")
    text, _, line = str(info.value).rpartition(":")
    assert text == f"the name 'twice' is in use: it was first defined at {__file__}"
    assert line.isdigit()
    assert dict(graph.elements) == names  # the other names of a refused addition are not there


def test_the_site_of_the_first_definition_is_the_users_own_line():
    graph = Graph()
    line = inspect.currentframe().f_lineno + 1
    graph.variable("w", 0.0)
    with fails(ValueError, f"the name 'w' is in use: it was first defined at {__file__}:{line}"):
        graph.attach("w", {})


@pytest.mark.parametrize("name", ["", 3, None, b"w"])
def test_a_name_is_a_string_that_is_not_empty(name):
    with fails(ValueError, f"a name must be a non-empty string, got {name!r}"):
        Graph().variable(name, 0.0)


def test_a_name_does_not_end_as_tensorflows_outputs_do():
    with fails(ValueError, "'w:0': a name can't end in ':0', TensorFlow's output suffix"):
        Graph().variable("w:0", 0.0)


# -- attached state -------------------------------------------------------------------------------


class WithStateDict:
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class WithGetState:
    def get_state(self):
        return {}

    def set_state(self, state):
        pass


@pytest.mark.parametrize(
    "obj",
    [
        {"w": np.zeros(2), "layers": [{"b": np.zeros(1)}]},
        [np.zeros(2)],
        np.zeros(2),
        np.random.default_rng(0),
        np.random.RandomState(0),
        random.Random(0),
        WithStateDict(),
        WithGetState(),
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_state_of_every_kind_is_attached_as_the_object_itself(obj):
    graph = Graph()
    graph.attach("state", obj)
    assert graph.attached["state"] is obj


@pytest.mark.parametrize("obj", [None, 3, "text", object, WithStateDict, lambda: 0], ids=id_of)
def test_what_has_no_state_is_refused_with_what_can_be_attached(obj):
    with fails(
        TypeError,
        f"can't attach 'state': {type(obj).__name__} has no state; attach a mapping or list of "
        f"arrays, a numpy.random.Generator or RandomState, a random.Random, the modules "
        f"numpy.random and random (their global generators), or an object with state_dict() and "
        f"load_state_dict(), or get_state() and set_state(); for the attributes of any other object "
        f"there is runloop.attributes(obj, names)",
    ):
        Graph().attach("state", obj)


# -- inputs ---------------------------------------------------------------------------------------


def test_an_input_with_state_is_attached_under_its_first_name():
    graph = Graph()
    batches = Batches((np.arange(4), np.arange(4)), 2)
    graph.input(("x", "y"), batches)
    assert dict(graph.attached) == {"x": batches}


def test_an_input_without_state_is_not_attached():
    graph = Graph()
    graph.input("x", [1, 2])
    graph.input("y", iter([1, 2]))
    assert dict(graph.attached) == {}


def test_an_input_needs_a_name():
    with fails(ValueError, "graph.input needs at least one name, got none"):
        Graph().input((), [])


def test_the_names_of_an_input_differ():
    with fails(ValueError, "graph.input: duplicate name in ('x', 'y', 'x')"):
        Graph().input(["x", "y", "x"], [])


@pytest.mark.parametrize("names", [3, None, (3,), ("x", None)])
def test_the_names_of_an_input_are_names(names):
    bad = names[-1] if isinstance(names, tuple) else names
    with fails(ValueError, f"a name must be a non-empty string, got {bad!r}"):
        Graph().input(names, [])


def test_an_input_must_be_iterable():
    def batches():
        yield 1

    with fails(
        TypeError,
        f"input 'x': expected an iterable, got {batches!r}; call it if it is a generator function",
    ):
        Graph().input(("x", "y"), batches)


# -- ops ------------------------------------------------------------------------------------------


def test_an_op_is_added_by_a_call_or_as_a_decorator_and_is_returned():
    graph = Graph()

    @graph.op
    def bare(x):
        return x

    @graph.op(name="named", outputs=("a", "b"))
    def decorated(x):
        return x, x

    called = graph.op(lambda x: x, name="called")
    assert (bare.name, decorated.name, called.name) == ("bare", "named", "called")
    assert graph.ops == (bare, decorated, called)
    assert all(isinstance(op, Op) and op.graph is graph for op in graph.ops)
    assert repr(bare) == "<Op 'bare'>"


def test_an_op_is_called_like_its_function():
    op = Graph().op(lambda x, *, y=1: (x, y), name="op")
    assert op(2, y=3) == (2, 3)
    assert op.fn(2) == (2, 1)


def test_updates_and_outputs_and_after_take_one_name_or_several():
    graph = Graph()
    first = graph.op(returns_none, name="first")
    assert graph.op(returns_none, name="a", updates="w").updates == "w"
    assert graph.op(returns_none, name="b", updates=["w"]).updates == ("w",)
    assert graph.op(returns_none, name="c", outputs="x").outputs == "x"
    assert graph.op(returns_none, name="d", outputs=["y"]).outputs == ("y",)
    assert graph.op(returns_none, name="e", after="first").after == ("first",)
    assert graph.op(returns_none, name="f", after=first).after == ("first",)
    assert graph.op(returns_none, name="g", after=[first, "e"]).after == ("first", "e")


def test_a_single_output_may_have_the_name_of_its_op():
    graph = Graph()
    op = graph.op(lambda: 1, name="loss", outputs="loss")
    assert graph.elements["loss"] is op


@pytest.mark.parametrize("add", ["op", "train_op"])
def test_an_op_must_be_callable(add):
    with fails(TypeError, "an op must be callable, got 'train'"):
        getattr(Graph(), add)("train")


def test_a_function_without_a_name_of_its_own_must_be_given_one():
    fn = lambda: 0  # noqa: E731
    with fails(ValueError, f"{fn!r} has no name to use for the op: pass one with name=..."):
        Graph().op(fn)
    part = functools.partial(returns_none)
    with fails(ValueError, f"{part!r} has no name to use for the op: pass one with name=..."):
        Graph().op(part)


def test_an_op_may_have_outputs_and_updates_with_different_names():
    op = Graph().op(returns_none, name="train", outputs="loss", updates=("w", "b"))
    assert (op.outputs, op.updates) == ("loss", ("w", "b"))
    for outputs in ("w", ("loss", "w")):
        with fails(ValueError, "op 'train': 'w' is in both updates= and outputs="):
            Graph().op(returns_none, name="train", outputs=outputs, updates="w")


@pytest.mark.parametrize("outputs", [("a", "a"), ("a", "b", "a")])
@pytest.mark.parametrize("option", ["outputs", "updates"])
def test_the_members_of_a_result_have_different_names(option, outputs):
    with fails(ValueError, f"op 'op': duplicate name in {option}={outputs}"):
        Graph().op(returns_none, name="op", **{option: outputs})


def test_an_op_of_several_outputs_does_not_share_its_name_with_one():
    with fails(ValueError, "op 'op': an output can't have the name of its op"):
        Graph().op(returns_none, name="op", outputs=("op", "b"))


@pytest.mark.parametrize("option", ["outputs", "updates"])
def test_names_are_names_and_not_the_things_themselves(option):
    graph = Graph()
    w = graph.variable("w", 0.0)
    for given in (w, (w,)):
        with fails(
            TypeError, f"op 'op': {option}= takes a name or a tuple of names, got <Variable 'w'>"
        ):
            graph.op(returns_none, name="op", **{option: given})
    assert graph.ops == ()


def test_what_stands_after_is_an_op_or_a_name_and_of_this_graph():
    graph = Graph()
    w = graph.variable("w", 0.0)
    for given in (w, [w]):
        with fails(TypeError, "op 'op': after= takes ops or their names, got <Variable 'w'>"):
            graph.op(returns_none, name="op", after=given)
    foreign = Graph().op(returns_none, name="far")
    with fails(ValueError, "op 'op': after=<Op 'far'> belongs to another graph"):
        graph.op(returns_none, name="op", after=foreign)


def test_a_function_whose_parameters_cant_be_read_is_refused():
    with fails(
        TypeError,
        f"op 'int': the parameters of {int!r} can't be read; wrap it in a lambda or a def",
    ):
        Graph().op(int)


# -- parameters -----------------------------------------------------------------------------------


def positional_only(a, b=2, /, c=3, *args, d, e=5, **kwargs):
    return a, b, c, args, d, e, kwargs


class Callable:
    def __call__(self, x, y=1):
        return x, y

    def method(self, x):
        return x

    @classmethod
    def of_class(cls, x):
        return x

    @staticmethod
    def static(x):
        return x


def wrapped(x, *, y):
    return x, y


@functools.wraps(wrapped)
def wrapper(*args, **kwargs):
    return wrapped(*args, **kwargs)


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda: 0, []),
        (lambda x: x, ["x"]),
        (lambda x, y=1: x, ["x", "y=1"]),
        (lambda *args, **kwargs: 0, []),
        (lambda x, *, k, m=2: x, ["x", "*k", "*m=2"]),
        (positional_only, ["a", "b=2", "c=3", "*d", "*e=5"]),
        (functools.partial(lambda x, y: x, 1), ["y"]),
        (functools.partial(lambda x, y: x, y=1), ["x", "*y=1"]),
        (Callable(), ["x", "y=1"]),
        (Callable().method, ["x"]),
        (Callable.of_class, ["x"]),
        (Callable.static, ["x"]),
        (wrapper, ["x", "*y"]),
        (len, ["obj"]),
    ],
)
def test_parameters_are_read_from_every_kind_of_callable(fn, expected):
    found = [
        ("*" if p.keyword_only else "")
        + p.name
        + ("" if p.default is REQUIRED else f"={p.default}")
        for p in parameters(fn, "op 'f'")
    ]
    assert found == expected


# -- the global step ------------------------------------------------------------------------------


def test_the_first_train_op_makes_the_global_step_and_later_ones_use_it():
    graph = Graph()
    assert get_global_step(graph) is None
    graph.train_op(returns_none, name="one")
    step = get_global_step(graph)
    graph.train_op(returns_none, name="two")
    assert get_global_step(graph) is step
    assert graph.variables == (step,)
    assert graph.trainable_variables == ()
    value = Session(graph=graph).run(step)
    assert (type(value), value) == (np.int64, 0)


def test_get_or_create_makes_it_once_and_finds_it_again():
    graph = Graph()
    step = get_or_create_global_step(graph)
    assert get_or_create_global_step(graph) is step is get_global_step(graph)
    with graph.as_default():
        assert get_or_create_global_step() is step is get_global_step()


def test_the_global_step_is_not_made_in_a_finalized_graph():
    graph = Graph()
    graph.finalize()
    with fails(RuntimeError, "Graph is finalized and cannot be modified.") as caught:
        get_or_create_global_step(graph)
    assert "in a hook's begin()" in caught.value.__notes__[0]


@pytest.mark.parametrize("initial", [7, np.int32(7), np.array(7, np.uint8), lambda: 7])
def test_the_global_step_is_an_int64_scalar_whatever_it_begins_with(initial):
    graph = Graph()
    graph.variable("global_step", initial)
    value = Session(graph=graph).run("global_step")
    assert (type(value), value) == (np.int64, 7)


@pytest.mark.parametrize("initial", [0.5, "0", np.zeros(1, int), None, True], ids=repr)
def test_the_global_step_begins_with_an_integer_scalar(initial):
    with fails(TypeError, f"'global_step' must be an integer scalar, got {initial!r}"):
        Graph().variable("global_step", initial)
    graph = Graph()
    graph.variable("global_step", lambda: initial)
    with fails(TypeError, f"'global_step' must be an integer scalar, got {initial!r}"):
        Session(graph=graph)


@pytest.mark.parametrize("increment", [1.0, "1", None, True])
def test_the_increment_is_an_int(increment):
    with fails(TypeError, f"train_op: increment must be an int, got {increment!r}"):
        Graph().train_op(returns_none, increment=increment)


def test_something_else_called_global_step_is_not_taken_for_it():
    graph = Graph()
    graph.attach("global_step", {"a": 1})
    found = graph.elements["global_step"]
    text = f"'global_step' must be a variable, it is {found!r}"
    with fails(TypeError, text):
        get_global_step(graph)
    with fails(TypeError, text):
        get_or_create_global_step(graph)
    with fails(TypeError, text):
        graph.train_op(returns_none, name="train")
    assert graph.ops == ()


def test_a_train_op_does_not_update_the_step_itself():
    graph = Graph()
    with fails(
        ValueError,
        "op 'train' updates 'global_step', which a train op raises by itself: take it out of "
        "updates=, or make it a plain op",
    ):
        graph.train_op(returns_none, name="train", updates=("w", "global_step"))
    assert dict(graph.elements) == {}


@pytest.mark.parametrize(
    "names", [{"name": "global_step"}, {"name": "t", "outputs": ("a", "global_step")}]
)
def test_a_train_op_does_not_take_the_name_of_the_step(names):
    graph = Graph()
    with fails(
        ValueError,
        f"train op {names['name']!r}: neither it nor an output can be called 'global_step': that "
        f"is the variable which it raises",
    ):
        graph.train_op(returns_none, **names)
    assert dict(graph.elements) == {}


def test_a_refused_train_op_leaves_the_graph_as_it_was():
    graph = Graph()
    graph.variable("w", 0.0)
    with pytest.raises(ValueError):
        graph.train_op(returns_none, name="w")
    assert list(graph.elements) == ["w"]


# -- summaries and collections --------------------------------------------------------------------


def test_summaries_are_kept_by_tag_and_read_only():
    graph = Graph()
    graph.summary("loss", "loss")
    assert dict(graph.summaries) == {"loss": "loss"}
    with pytest.raises(TypeError):
        graph.summaries["other"] = "x"
    with fails(ValueError, "summary 'loss' is already defined, as 'loss'"):
        graph.summary("loss", "other")


def test_a_collection_is_a_list_by_key():
    graph = Graph()
    assert graph.get_collection("savers") == []
    graph.add_to_collection("savers", 1)
    graph.get_collection("savers").append(2)
    assert graph.get_collection("savers") == [1]
    graph.get_collection_ref("savers").append(2)
    graph.get_collection_ref("new").append(3)
    assert graph.get_collection("savers") == [1, 2]
    assert graph.get_collection("new") == [3]


def test_views_of_the_graph_are_read_only():
    graph = Graph()
    graph.variable("w", 0.0)
    for view in (graph.elements, graph.attached, graph.summaries):
        with pytest.raises(TypeError):
            view["x"] = 1
    assert repr(graph) == "<Graph: 1 variables, 0 ops>"


# -- finalizing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "add",
    [
        *(lambda g, kind=kind: _adders(g)[kind]("new") for kind in ADDERS),
        lambda g: g.summary("new", "w"),
        lambda g: g.add_to_collection("new", 1),
        get_or_create_global_step,
    ],
)
def test_adding_to_a_finalized_graph_is_refused(add):
    graph = Graph()
    graph.variable("w", 0.0)
    graph.finalize()
    names = dict(graph.elements)
    with fails(RuntimeError, "Graph is finalized and cannot be modified."):
        add(graph)
    assert dict(graph.elements) == names


def test_finalizing_is_seen_done_twice_and_undone():
    graph = Graph()
    assert graph.finalized is False
    graph.finalize()
    graph.finalize()
    assert graph.finalized is True
    graph.reopen()
    assert graph.finalized is False
    graph.variable("w", 0.0)


def test_updates_of_what_is_no_variable_are_found_when_the_graph_is_finalized():
    graph = Graph()
    graph.variable("weight", 0.0)
    graph.op(returns_none, name="train", updates=("weights",))
    with fails(
        ValueError, "op 'train': updates='weights' is not a variable. Did you mean 'weight'?"
    ):
        graph.finalize()
    assert not graph.finalized


def test_after_what_is_no_op_is_found_when_the_graph_is_finalized():
    graph = Graph()
    graph.variable("w", 0.0)
    graph.op(returns_none, name="first")
    graph.op(returns_none, name="second", after="w")
    with fails(ValueError, "op 'second': after='w' is not an op. Known names: 'first', 'second'."):
        graph.finalize()


def test_references_may_point_forward():
    graph = Graph()
    graph.op(returns_none, name="train", updates="w", after="later")
    graph.op(returns_none, name="later")
    graph.variable("w", 0.0)
    graph.finalize()


def test_a_cycle_is_shown_as_a_path():
    graph = Graph()
    graph.op(lambda c: c, name="a")
    graph.op(lambda a: a, name="b", outputs="b_out")
    graph.op(lambda b_out: b_out, name="c")
    graph.op(lambda a: a, name="entry")
    with fails(
        ValueError,
        "ops depend on each other in a cycle: a -> c -> b -> a (each needs the next)",
    ):
        graph.finalize()


def test_an_op_that_needs_itself_is_a_cycle():
    graph = Graph()
    graph.op(lambda loss: loss, name="loss")
    with fails(
        ValueError, "ops depend on each other in a cycle: loss -> loss (each needs the next)"
    ):
        graph.finalize()


def test_a_cycle_through_after_is_a_cycle():
    graph = Graph()
    graph.op(returns_none, name="a", after="b")
    graph.op(lambda a: a, name="b")
    with fails(
        ValueError, "ops depend on each other in a cycle: a -> b -> a (each needs the next)"
    ):
        graph.finalize()


def _chain(graph, count, closed):
    """op0 needs op1 needs op2 ...; the last needs nothing, or the first."""
    for i in range(count):
        after = (f"op{i + 1}",) if i + 1 < count else ("op0",) * closed
        graph.op(returns_none, name=f"op{i}", after=after)


def test_a_chain_of_5000_ops_is_no_problem_and_a_cycle_of_5000_is_found():
    graph = Graph()
    _chain(graph, 5000, closed=False)
    graph.finalize()
    graph = Graph()
    _chain(graph, 5000, closed=True)
    with pytest.raises(ValueError) as info:
        graph.finalize()
    names = str(info.value).removeprefix("ops depend on each other in a cycle: ").split(" -> ")
    assert len(names) == 5001
    assert names[:2] == ["op0", "op1"]
    assert names[-1] == "op0 (each needs the next)"


def test_a_diamond_of_many_paths_is_walked_once():
    graph = Graph()
    graph.op(returns_none, name="a0")
    graph.op(returns_none, name="b0")
    for i in range(1, 60):  # 2**60 paths from the top to the bottom
        for name in "ab":
            graph.op(returns_none, name=f"{name}{i}", after=(f"a{i - 1}", f"b{i - 1}"))
    check_references(graph.elements, graph.ops)


# -- the default graph ----------------------------------------------------------------------------


def test_the_default_graph_is_the_innermost():
    outer, inner = Graph(), Graph()
    with outer.as_default() as given:
        assert given is outer
        with inner.as_default():
            assert get_default_graph() is inner
        assert get_default_graph() is outer


def test_without_any_one_graph_is_made_for_the_context():
    def twice():
        return get_default_graph(), get_default_graph()

    one, again = contextvars.copy_context().run(twice)
    assert one is again
    assert isinstance(one, Graph)


def test_each_thread_has_a_default_graph_of_its_own():
    seen = []
    with Graph().as_default() as mine:
        thread = threading.Thread(target=lambda: seen.append(get_default_graph()))
        thread.start()
        thread.join()
    assert seen[0] is not mine


def test_the_default_graph_is_put_back_after_an_exception():
    with Graph().as_default() as outer:
        with pytest.raises(KeyError), Graph().as_default():
            raise KeyError
        assert get_default_graph() is outer


def test_a_variable_is_a_variable():
    assert isinstance(Graph().variable("w", 0.0), Variable)


def test_an_async_function_is_refused_as_an_op():
    graph = Graph()

    async def later(x):
        return x

    async def many(x):
        yield x

    for fn in (later, many):
        text = (
            f"op {fn.__name__!r}: {fn!r} is async, and a run does not await; write a def that "
            f"calls asyncio.run(...)"
        )
        with fails(TypeError, text):
            graph.op(fn)
        with pytest.raises(TypeError, match=r"^op 'part': .* is async"):
            graph.op(functools.partial(fn, 1), name="part")
