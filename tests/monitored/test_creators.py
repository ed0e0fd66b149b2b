"""Session creators: what a session goes through until it can be run."""

import numpy as np
import pytest

from runloop.checkpoint import Saver
from runloop.errors import CheckpointMismatchError
from runloop.graph import Graph, get_default_graph
from runloop.monitored import creators
from runloop.monitored.creators import ChiefSessionCreator, SessionCreator, WorkerSessionCreator
from runloop.monitored.scaffold import Scaffold
from runloop.session import Session
from runloop.testing import FakeClock
from tests.checks import fails


def program(log=None, missing=()):
    """A graph whose ops write down that they run; `missing` is what is not ready, call by call."""
    log = [] if log is None else log
    answers = iter(missing)
    graph = Graph()
    graph.variable("w", 1.0)
    for name in ("init", "local"):
        graph.op(lambda name=name: log.append(name), name=name)
    for name in ("ready_for_local", "ready"):
        graph.op(lambda name=name: log.append(name) or next(answers, []), name=name)
    scaffold = Scaffold(
        init_op="init",
        init_fn=lambda scaffold, session: log.append("init_fn"),
        ready_for_local_init_op="ready_for_local",
        local_init_op="local",
        ready_op="ready",
    )
    return graph, scaffold


@pytest.fixture
def checkpoint(tmp_path):
    """A folder with a checkpoint in which w is 7."""
    graph, _ = program()
    session = Session(graph=graph)
    session.assign({"w": np.asarray(7.0)})
    return Saver().save(session, str(tmp_path / "model.ckpt"), global_step=3)


def test_a_creator_must_say_how():
    class Mine(SessionCreator):
        pass

    with pytest.raises(TypeError, match=r"abstract class Mine .*create_session"):
        Mine()


# -- the chief ------------------------------------------------------------------------------------


def test_without_a_checkpoint_a_session_is_initialised_in_tensorflows_order():
    log = []
    graph, scaffold = program(log)
    session = ChiefSessionCreator(scaffold, graph=graph).create_session()
    assert log == ["init", "init_fn", "ready_for_local", "local", "ready"]
    assert isinstance(session, Session)
    assert session.graph is graph
    assert session.run("w") == 1.0
    assert graph.finalized
    assert isinstance(scaffold.saver, Saver)


def test_a_restored_session_is_not_initialised_but_locally(checkpoint, tmp_path):
    for options in (
        {"checkpoint_dir": str(tmp_path)},
        {"checkpoint_filename_with_path": checkpoint},
    ):
        log = []
        graph, scaffold = program(log)
        session = ChiefSessionCreator(scaffold, graph=graph, **options).create_session()
        assert log == ["ready_for_local", "local", "ready"]
        assert session.run("w") == 7.0


def test_an_empty_folder_is_nothing_to_restore(tmp_path):
    log = []
    graph, scaffold = program(log)
    for folder in (tmp_path, tmp_path / "not there"):
        ChiefSessionCreator(scaffold, checkpoint_dir=str(folder), graph=graph).create_session()
    assert log.count("init") == 2


def test_a_folder_and_a_file_to_restore_are_not_both_given():
    creator = ChiefSessionCreator(
        checkpoint_dir="ckpt", checkpoint_filename_with_path="ckpt/model", graph=Graph()
    )
    with fails(
        ValueError, "Can not provide both checkpoint_dir and checkpoint_filename_with_path."
    ):
        creator.create_session()


def test_what_is_not_ready_for_local_init_is_told():
    log = []
    graph, scaffold = program(log, missing=[["q", "r"]])
    with fails(
        RuntimeError,
        f"Init operations did not make model ready for local_init.  Init op: 'init', init fn: "
        f"{scaffold._user_init_fn!r}, error: Variables not initialized: q, r",
    ):
        ChiefSessionCreator(scaffold, graph=graph).create_session()
    assert log == ["init", "init_fn", "ready_for_local"]


def test_what_is_not_ready_is_told():
    log = []
    graph, scaffold = program(log, missing=[[], ["q"]])
    with fails(
        RuntimeError,
        f"Init operations did not make model ready.  Init op: 'init', init fn: "
        f"{scaffold._user_init_fn!r}, local_init_op: 'local', error: Variables not initialized: q",
    ):
        ChiefSessionCreator(scaffold, graph=graph).create_session()
    assert log[-1] == "ready"


@pytest.mark.parametrize("kind", [ChiefSessionCreator, WorkerSessionCreator])
def test_a_session_that_could_not_be_made_ready_is_closed(kind, monkeypatch):
    made = []

    def broken(w):
        made.append(1)
        raise KeyError("broken")

    class Watched(Session):
        def close(self):
            made.append("closed")
            super().close()

    monkeypatch.setattr(creators, "Session", Watched)
    graph = Graph()
    graph.variable("w", 1.0)
    with pytest.raises(KeyError, match="broken"):
        kind(Scaffold(local_init_op=broken), graph=graph).create_session()
    assert made == [1, "closed"]


def test_the_default_graph_is_that_of_the_call():
    creator = ChiefSessionCreator()
    with Graph().as_default() as graph:
        assert creator.create_session().graph is graph


def test_the_creators_own_graph_is_the_default_graph_while_it_makes_the_session():
    graph = Graph()
    seen = []
    scaffold = Scaffold(init_fn=lambda *_: seen.append(get_default_graph()))
    ChiefSessionCreator(scaffold, graph=graph).create_session()
    assert seen == [graph]


def test_each_call_makes_another_session():
    creator = ChiefSessionCreator(graph=Graph())
    assert creator.create_session() is not creator.create_session()


def test_a_master_is_refused():
    with pytest.raises(ValueError, match=r"^target \(master\) must be ''"):
        ChiefSessionCreator(master="grpc://host", graph=Graph()).create_session()


# -- the worker -----------------------------------------------------------------------------------


def test_a_worker_restores_and_initialises_nothing_but_locally():
    log = []
    graph, scaffold = program(log)
    session = WorkerSessionCreator(scaffold, graph=graph).create_session()
    assert log == ["ready_for_local", "local", "ready"]
    assert session.run("w") == 1.0


def test_a_worker_asks_again_every_thirty_seconds_until_it_is_ready():
    log = []
    graph, scaffold = program(log, missing=[["w"], [], ["v"], [], []])
    with FakeClock().use() as clock:
        WorkerSessionCreator(scaffold, graph=graph).create_session()
    assert clock.slept == [30.0, 30.0]
    assert log == [
        "ready_for_local",
        *["ready_for_local", "local", "ready"],
        *["ready_for_local", "local", "ready"],
    ]


def test_a_worker_gives_up_when_no_time_is_left_for_another_wait():
    graph, scaffold = program(missing=[["w"]] * 100)
    with FakeClock().use() as clock:
        creator = WorkerSessionCreator(scaffold, max_wait_secs=65, graph=graph)
    with fails(
        TimeoutError,
        "Session was not ready after waiting 65 secs. Variables not initialized: w",
    ):
        creator.create_session()
    assert clock.slept == [30.0, 30.0]


def test_a_worker_waits_half_an_hour_by_default():
    graph, scaffold = program(missing=[["w"]] * 100)
    with FakeClock().use() as clock:
        creator = WorkerSessionCreator(scaffold, graph=graph)
    with pytest.raises(TimeoutError):
        creator.create_session()
    assert sum(clock.slept) == 1800


@pytest.mark.parametrize("kind", [ChiefSessionCreator, WorkerSessionCreator])
def test_without_a_scaffold_there_is_a_default_one(kind):
    graph = Graph()
    graph.variable("w", 1.0)
    assert kind(graph=graph).create_session().run("w") == 1.0


def test_who_changed_the_model_is_told_what_to_do(tmp_path):
    graph = Graph()
    graph.variable("w", np.zeros(2))
    Saver().save(Session(graph=graph), str(tmp_path / "model.ckpt"), global_step=3)
    changed = Graph()
    changed.variable("w", np.zeros(3))
    with pytest.raises(CheckpointMismatchError) as caught:
        ChiefSessionCreator(checkpoint_dir=str(tmp_path), graph=changed).create_session()
    (note,) = caught.value.__notes__
    assert f"checkpoint_dir={str(tmp_path)!r}" in note
    assert "to start over, give it another folder" in note
