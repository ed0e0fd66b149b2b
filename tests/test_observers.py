"""Observers: what is watched from outside, and by whom."""

import runloop as rl
from runloop import observers
from runloop.monitored.coordinated import CoordinatedSession
from runloop.monitored.dispatch import Dispatcher


class Observer:
    """Marks the classes that it is given, and writes down what is saved and restored."""

    def __init__(self, name, told):
        self.name = name
        self.told = told

    def dispatcher(self, kind):
        return type(f"{self.name}{kind.__name__}", (kind,), {})

    def life(self, kind):
        return type(f"{self.name}{kind.__name__}", (kind,), {})

    def transfer(self, what, call):
        def told(*args, **kwargs):
            self.told.append(f"{self.name} {what}")
            return call(*args, **kwargs)

        return told


def training():
    graph = rl.Graph()
    graph.train_op(lambda: None, name="train")
    return graph


def test_nobody_watches_unless_asked_to():
    assert observers.current() == ()
    with rl.MonitoredSession(graph=training()) as session:
        assert (type(session._hooks), type(session._life)) == (Dispatcher, CoordinatedSession)


def test_a_session_keeps_the_observers_it_was_made_under():
    told = []
    with observers.use(Observer("A", told)):
        with observers.use(Observer("B", told)):
            session = rl.MonitoredSession(graph=training())
        assert len(observers.current()) == 1
    assert observers.current() == ()
    assert type(session._hooks).__name__ == "BADispatcher"
    assert type(session._life).__name__ == "BACoordinatedSession"
    session.close()


def test_saves_and_restores_are_seen_from_outside_in(tmp_path):
    told = []
    saver = rl.Saver()
    with rl.Session(graph=training()) as session:
        with observers.use(Observer("A", told)), observers.use(Observer("B", told)):
            path = saver.save(session, tmp_path / "model.ckpt", global_step=0)
        saver.save(session, tmp_path / "model.ckpt", global_step=1)
        with observers.use(Observer("A", told)):
            saver.restore(session, path=path)
    assert told == ["B save", "A save", "A restore"]
