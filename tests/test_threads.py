"""Threads: several sessions of one graph, several threads on one session."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from runloop.graph import Graph, get_default_graph, get_or_create_global_step
from runloop.monitored import MonitoredSession
from runloop.run import RunArgs
from runloop.session import Session

from .checks import fails


@pytest.fixture(autouse=True)
def threads_switch_often():
    """Let the interpreter change threads as often as it can, so that races are met and not hoped for."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*functions):
    """Run the functions in threads that start at one moment; return or raise what they do."""
    start = threading.Barrier(len(functions))

    def run(function):
        start.wait(timeout=30)
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(run, f) for f in functions]]


def test_several_sessions_of_one_graph_in_several_threads_do_not_disturb_each_other():
    graph = Graph()
    graph.variable("w", np.zeros(3))
    graph.input("x", range(1, 1000))
    graph.op(lambda w, x: w + x, name="total")
    graph.train_op(lambda total: total, name="train", updates="w")

    def train():
        session = Session(graph=graph)
        for _ in range(100):
            session.run(["train", "w"])
        return session.run(["w", "global_step"])

    for w, step in together(*[train] * 4):
        assert w.tolist() == [5050.0] * 3
        assert step == 100


class Steps:
    """A hook that writes down the steps it saw, all in one session."""

    def __init__(self, graph):
        self.graph = graph
        self.seen = []

    def begin(self):
        assert get_default_graph() is self.graph

    def after_create_session(self, session, coord):
        self.session = session

    def before_run(self, context):
        assert context.session is self.session
        return RunArgs("global_step")

    def after_run(self, context, values):
        self.seen.append(values.results)

    def end(self, session):
        assert session is self.session


@pytest.mark.parametrize("attempt", range(5))
def test_monitored_sessions_of_one_graph_in_several_threads_do_not_disturb_each_other(attempt):
    graph = Graph()
    graph.variable("w", 0.0)
    graph.train_op(lambda w: w + 1, name="train", updates="w")
    graph.finalize()

    def train():
        hook = Steps(graph)
        with MonitoredSession(hooks=[hook], graph=graph) as session:
            for _ in range(50):
                session.run("train")
        return hook.seen

    for seen in together(*[train] * 4):
        assert seen == list(range(50))


def test_a_global_step_that_several_threads_ask_for_is_made_once():
    for _ in range(50):
        graph = Graph()
        steps = together(*[lambda graph=graph: get_or_create_global_step(graph)] * 4)
        assert set(steps) == set(graph.variables)


def test_several_threads_on_one_session_lose_no_step():
    graph = Graph()
    graph.train_op(lambda: None, name="train", increment=3)
    session = Session(graph=graph)
    together(*[lambda: [session.run("train") for _ in range(300)]] * 4)
    assert session.run("global_step") == 4 * 300 * 3


def test_each_run_sees_one_moment():
    """All variables are always replaced together; no run and no state may see some without others."""
    graph = Graph()
    # So many that a commit is long enough for another thread to get its turn in the middle.
    names = tuple(f"v{i}" for i in range(100))
    for name in names:
        graph.variable(name, np.int64(0))
    graph.op(lambda v0: (v0 + 1,) * len(names), name="all", updates=names)
    session = Session(graph=graph)
    fetches = list(names)

    def write():
        for _ in range(500):
            session.run("all")

    def read():
        for _ in range(500):
            assert len(set(session.run(fetches))) == 1
            assert session.run(lambda v0, v99: v0 - v99) == 0
            assert len({int(value) for value in session.state().variables.values()}) == 1

    together(write, write, read, read)


def test_every_thread_gets_what_it_asked_for():
    """Threads ask for other things of one session in turn; nobody may get another's plan."""
    graph = Graph()
    names = [f"v{i}" for i in range(6)]
    for i, name in enumerate(names):
        graph.variable(name, np.int64(i))
    session = Session(graph=graph)

    def ask(first):
        def run():
            for turn in range(400):
                i, j = (first + turn) % 6, (first * turn) % 6
                assert session.run([names[i], names[j]]) == [i, j]
                assert session.run(names[i]) == i
                assert session.run([names[j], names[i]], {names[i]: np.int64(50)})[1] == 50
                if turn % 100 == 0:
                    assert session.run(lambda v3, n=turn: v3 + n) == 3 + turn

        return run

    together(*(ask(first) for first in range(4)))


def test_nobody_gets_the_plan_that_another_thread_is_making():
    session = Session(graph=Graph())

    def ask(thread):
        def run():
            for turn in range(500):
                request = [lambda n=(thread, turn): n]
                for _ in range(4):
                    assert session.run(request) == [(thread, turn)]

        return run

    together(*(ask(thread) for thread in range(4)))


def test_an_input_gives_each_item_to_one_run_only():
    def slowly():  # a generator can't be entered twice at once
        for i in range(800):
            for _ in range(500):
                pass
            yield i

    graph = Graph()
    graph.input("x", slowly())
    one, two = Session(graph=graph), Session(graph=graph)
    pulled = together(
        *[lambda: [one.run("x") for _ in range(200)]] * 2,
        *[lambda: [two.run("x") for _ in range(200)]] * 2,
    )
    assert sorted(x for xs in pulled for x in xs) == list(range(800))


def test_a_variable_that_is_added_while_threads_run_gets_one_initial_value():
    for _ in range(30):
        graph = Graph()
        graph.variable("w", 1.0)
        session = Session(graph=graph)
        session.run("w")
        made = []
        graph.variable("first", lambda made=made: made.append(1) or np.float64(10))
        graph.variable("second", 20.0)

        def use(session=session):
            return session.run(["w", "first", "second"])

        assert together(*[use] * 3) == [[1.0, 10.0, 20.0]] * 3
        assert made == [1]
        assert len(session.state().variables) == 3


def test_the_default_graph_of_one_thread_is_not_that_of_another():
    graphs = [Graph() for _ in range(4)]

    def use(graph):
        def run():
            for _ in range(200):
                with graph.as_default():
                    assert get_default_graph() is graph
                    assert Session().graph is graph

        return run

    together(*map(use, graphs))


def test_a_run_that_meets_the_close_of_its_session_ends_well_or_says_that_it_is_closed():
    for _ in range(40):
        graph = Graph()
        graph.variable("w", 1.0)
        graph.train_op(lambda w: w, name="train", updates="w")
        session = Session(graph=graph)

        def run(session=session):
            with fails(RuntimeError, "Attempted to use a closed Session."):
                while True:
                    assert session.run(["w", "global_step", "train"])[0] == 1.0
                    assert len(session.state().variables) == 2

        together(run, run, session.close)
