import numpy as np
import pytest

import runloop as rl
from runloop.graph import Graph, get_or_create_global_step
from runloop.session import Session


@pytest.fixture
def graph():
    graph = Graph()
    get_or_create_global_step(graph)
    graph.variable("layer/w", np.zeros((4, 3), np.float32))
    graph.variable("seen", lambda: np.zeros(2), trainable=False)
    graph.input("x", [1.0, 2.0])
    graph.attach("params", {"b": np.ones(2)})

    @graph.op
    def loss(global_step, x, lr=0.5):
        return lr * x / (1 + global_step)

    graph.train_op(lambda seen: seen + 1, name="train", updates="seen")
    return graph


def test_a_tensor_has_a_name_with_0_and_its_operation_one_without(graph):
    loss = graph.get_tensor_by_name("loss:0")
    assert (loss.name, loss.op.name, loss.graph, loss.value_index, loss.device) == (
        "loss:0", "loss", graph, 0, "",
    )  # fmt: skip
    assert loss.op.outputs == [loss]
    assert loss.op.values() == (loss,)
    assert [tensor.name for tensor in loss.op.inputs] == ["global_step:0", "x:0"]
    assert graph.get_operation_by_name("layer/w").inputs == ()
    assert [graph.get_operation_by_name(n).type for n in ("layer/w", "x", "params", "loss")] == [
        "VarHandleOp", "Placeholder", "Placeholder", "PyFunc",
    ]  # fmt: skip
    assert repr(loss) == "<Tensor 'loss:0'>"


def test_there_is_one_handle_for_each_part_so_that_it_can_be_a_key(graph):
    assert graph.get_tensor_by_name("loss:0") is graph.get_tensor_by_name("loss:0")
    assert graph.get_collection("variables")[0] is graph.variable_handle("global_step")
    assert graph.get_tensor_by_name("loss:0") != graph.get_tensor_by_name("x:0")


def test_handles_are_fetches_and_feeds_in_any_nesting(graph):
    session = Session(graph=graph)
    loss, step = graph.get_tensor_by_name("loss:0"), graph.variable_handle("global_step")
    lr = graph.get_tensor_by_name("lr:0")  # what is only fed has one, too
    assert session.run({"l": [loss], "s": step}, {lr: 1.0}) == {"l": [1.0], "s": 0}
    leaf = graph.get_tensor_by_name("params/b:0")
    np.testing.assert_array_equal(leaf.eval(session=session), np.ones(2))
    graph.get_operation_by_name("train").run(session=session)
    assert step.eval(session=session) == 1
    assert step  # truthy at any step


def test_shapes_and_types_of_variables_are_known(graph):
    weights = graph.variable_handle("layer/w")
    assert weights.shape == weights.get_shape() == (4, 3)
    assert weights.get_shape().as_list() == [4, 3]
    assert weights.dtype == np.float32
    assert (weights.trainable, graph.variable_handle("seen").trainable) == (True, False)
    assert graph.variable_handle("seen").shape == (2,)  # its function was called
    assert graph.variable_handle("global_step").shape == ()
    assert weights.read_value() is weights.value() is graph.get_tensor_by_name("layer/w:0")


def test_the_shape_of_an_op_is_what_is_said(graph):
    loss = graph.get_tensor_by_name("loss:0")
    assert loss.shape.ndims is None
    assert loss.dtype.name == "unknown"
    assert loss.ndim is None
    loss.set_shape([])
    assert loss.ndim == 0
    assert len(loss.shape) == 0


def test_the_functions_that_make_initial_values_are_called_once_for_a_handle():
    made = []
    graph = Graph()
    graph.variable("w", lambda: made.append(1) or np.zeros(3))
    for _ in range(3):
        assert graph.variable_handle("w").shape == (3,)
    assert made == [1]


def test_a_value_can_be_loaded_into_a_variable(graph):
    graph.finalize()
    session = Session(graph=graph)
    weights = graph.variable_handle("layer/w")
    value = np.ones((4, 3))
    weights.load(value, session)
    value[:] = 7
    assert weights.eval(session=session).dtype == np.float32
    assert weights.eval(session=session).sum() == 12
    with rl.MonitoredSession(graph=graph) as monitored:
        weights.load(np.full((4, 3), 2), monitored)
        assert monitored.run("layer/w").sum() == 24
    with pytest.raises(ValueError, match="load of 'layer/w:0' needs a session: give session="):
        weights.load(value)
    with pytest.raises(ValueError, match="shape"):
        weights.load(np.zeros(3), session)


def test_collections_begin_with_handles_of_the_graphs_own_variables(graph):
    names = lambda key, scope=None: [v.name for v in graph.get_collection(key, scope)]  # noqa: E731
    assert names("variables") == ["global_step:0", "layer/w:0", "seen:0"]
    assert names("trainable_variables") == ["layer/w:0"]
    assert names("global_step") == ["global_step:0"]
    assert names("variables", "layer") == ["layer/w:0"]
    graph.add_to_collection("variables", graph.variable_handle("seen"))  # is in it already
    graph.add_to_collection("losses", graph.get_tensor_by_name("loss:0"))
    graph.add_to_collection("losses", 3)
    assert len(graph.get_collection("variables")) == 3
    assert graph.get_collection("losses")[1] == 3
    assert names("losses", "lo") == ["loss:0"]
    assert graph.get_collection("none") == []
    graph.get_collection("losses").clear()
    assert len(graph.get_collection(name="losses")) == 2  # it was a copy
    assert set(graph.get_all_collection_keys()) == {"variables", "losses"}
    graph.clear_collection("losses")
    graph.clear_collection("none")
    assert graph.get_collection("losses") == graph.get_collection_ref("losses") == []


def test_anything_that_means_a_part_gives_its_handle(graph):
    loss = graph.get_tensor_by_name("loss:0")
    assert graph.as_graph_element("loss:0") is graph.as_graph_element(loss) is loss
    assert graph.as_graph_element("loss") is loss.op is graph.as_graph_element(loss.op)
    assert graph.as_graph_element(graph.variables[1]).name == "layer/w:0"
    assert graph.as_graph_element(graph.variable_handle("seen")).name == "seen:0"
    assert graph.as_graph_element(graph.ops[0]) is loss.op
    assert graph.as_graph_element(graph.ops[0], allow_operation=False) is loss
    assert loss.op in graph.get_operations()


@pytest.mark.parametrize(
    ("ask", "error", "problem"),
    [
        (lambda g: g.get_tensor_by_name("los:0"), KeyError, "tensor that does not exist.*'loss'"),
        (lambda g: g.get_tensor_by_name("loss:1"), KeyError, "'loss' has one output, loss:0"),
        (lambda g: g.get_tensor_by_name("loss:x"), ValueError, "is not a tensor's name"),
        (lambda g: g.get_tensor_by_name("loss"), ValueError, "did you mean loss:0"),
        (lambda g: g.get_tensor_by_name(3), TypeError, "a name must be a string, got 3"),
        (lambda g: g.get_operation_by_name("los"), KeyError, "not in the graph.*'loss'"),
        (lambda g: g.get_operation_by_name("loss:0"), ValueError, "did you mean loss?"),
        (lambda g: g.as_graph_element(3.0), TypeError, "3.0 can't be turned into a part"),
        (
            lambda g: g.as_graph_element(g.variable_handle("seen"), allow_tensor=False),
            TypeError,
            "expected an operation, got <VariableHandle 'seen:0'>; its .op is one",
        ),
        (
            lambda g: Graph().as_graph_element(g.get_tensor_by_name("loss:0")),
            ValueError,
            "<Tensor 'loss:0'> is not an element of this graph",
        ),
        (lambda g: g.variable_handle("loss"), KeyError, "there is no variable 'loss'"),
        (
            lambda g: g.get_tensor_by_name("loss:0").eval(),
            ValueError,
            "eval of 'loss:0' needs a session",
        ),
        (
            lambda g: g.get_operation_by_name("train").run(),
            ValueError,
            "Operation.run of 'train' needs a session",
        ),
    ],
)
def test_mistakes_are_said(graph, ask, error, problem):
    with pytest.raises(error, match=problem):
        ask(graph)


def test_a_graph_describes_itself(graph):
    description = graph.as_graph_def(add_shapes=True)
    (loss,) = [node for node in description.node if node.name == "loss"]
    assert (loss.op, loss.input) == ("PyFunc", ("global_step", "x"))
    assert 'node {\n  name: "loss"\n  op: "PyFunc"\n  input: "global_step"\n' in str(description)


def test_hooks_can_open_a_finalized_graph_by_tensorflows_private_name(graph):
    session = Session(graph=graph)
    graph.finalize()
    graph._unsafe_unfinalize()
    graph.op(lambda: 7, name="late")
    assert session.run(graph.get_tensor_by_name("late:0")) == 7
