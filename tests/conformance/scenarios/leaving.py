"""The ways out of a session: errors, the end of the data, interrupts, closing."""

from tests.conformance.collect import scenario
from tests.conformance.interface import FAMILIES
from tests.conformance.recorders import METHODS

KINDS = ["MonitoredSession", "SingularMonitoredSession"]
NOT_RECOVERED = [f for f in FAMILIES if f not in {"Aborted", "Unavailable"}]


@scenario(kind=KINDS, method=METHODS, family=NOT_RECOVERED)
def a_hook_raises(s, kind, method, family):
    failing = s.hook("b", errors={method: {1: (family, "user: hook")}})
    with (
        s.building(),
        s.going_on(),
        s.open(kind, hooks=[s.hook("a"), failing, s.hook("c")]) as session,
    ):
        session.run()
        session.run()
        session.should_stop()


@scenario(method=METHODS)
def a_hook_raises_in_its_second_call(s, method):
    failing = s.hook("b", errors={method: {2: ("ValueError", "user: hook")}})
    with s.building(), s.going_on():
        with s.open(hooks=[s.hook("a"), failing, s.hook("c")]) as session:
            session.run()
            session.run()
        session.should_stop()


@scenario(family=["KeyboardInterrupt", "SystemExit"], method=["before_run", "after_run"])
def an_interrupt_in_a_hook(s, family, method):
    failing = s.hook("b", errors={method: {2: (family, "user: stop")}})
    with s.building(), s.going_on():
        with s.open(hooks=[s.hook("a"), failing]) as session:
            session.run()
            with s.going_on():
                session.run()
            session.should_stop()
            session.run()
            raise s.error(family, "user: again")
        session.should_stop()


@scenario(family=["KeyboardInterrupt", "ValueError", "OutOfRange"], kind=KINDS)
def an_op_raises(s, family, kind):
    errors = {"loss": {2: (family, "user: op")}}
    with s.building(errors=errors), s.going_on():
        with s.open(kind, hooks=[s.hook("a"), s.hook("b", fetch="w")]) as session:
            session.run()
            session.run()
        session.should_stop()


@scenario(family=["ValueError", "OutOfRange", "StopIteration", "KeyboardInterrupt", "Aborted"])
def the_body_raises(s, family):
    with s.building(), s.going_on(), s.open(hooks=[s.hook("a")]) as session:
        session.run()
        raise s.error(family, "user: body")


@scenario(kind=KINDS)
def the_data_end(s, kind):
    with s.building(data={"x": 3}, needs={"loss": ["x"], "train": ["loss"]}):
        with s.open(kind, hooks=[s.hook("a"), s.hook("b", fetch="loss")]) as session:
            session.loop()
        session.should_stop()


@scenario()
def an_error_that_the_body_catches(s):
    errors = {"loss": {1: ("ValueError", "user: op")}}
    with s.building(errors=errors), s.open(hooks=[s.hook("a")]) as session:
        with s.going_on():
            session.run()
        session.should_stop()
        session.run()


@scenario()
def the_end_of_data_that_the_body_catches(s):
    with s.building(data={"x": 1}, needs={"loss": ["x"], "train": ["loss"]}):
        with s.open(hooks=[s.hook("a")]) as session:
            session.run()
            with s.going_on():
                session.run()
            session.should_stop()
            session.run("w")
        session.should_stop()


@scenario(kind=KINDS)
def closed_by_hand(s, kind):
    with s.building():
        session = s.open(kind, hooks=[s.hook("a"), s.hook("b")])
        session.run()
        session.close()
        session.should_stop()
        s.show("graph finalized", s.program.graph_is_finalized())


@scenario(kind=KINDS)
def closed_twice(s, kind):
    with s.building():
        session = s.open(kind, hooks=[s.hook("a")])
        session.close()
        with s.going_on():
            session.close()
        session.should_stop()


@scenario()
def closed_inside_its_own_block(s):
    with s.building(), s.going_on(), s.open(hooks=[s.hook("a")]) as session:
        session.close()


@scenario()
def a_closed_session_left_by_an_error(s):
    with s.building(), s.going_on(), s.open(hooks=[s.hook("a")]) as session:
        session.close()
        raise s.error("ValueError", "user: body")


@scenario()
def a_run_after_closing(s):
    with s.building():
        session = s.open(hooks=[s.hook("a")])
        session.close()
        with s.going_on():
            session.run()
        with s.going_on():
            session.step(lambda step_context: 1)


@scenario()
def end_raises_and_then_closed_again(s):
    failing = s.hook("b", errors={"end": {1: ("ValueError", "user: end")}})
    with s.building():
        session = s.open(hooks=[s.hook("a"), failing, s.hook("c")])
        with s.going_on():
            session.close()
        session.should_stop()
        s.show("graph finalized", s.program.graph_is_finalized())
        with s.going_on():
            session.close()


@scenario()
def two_ends_raise(s):
    hooks = [s.hook(n, errors={"end": {1: ("ValueError", f"user: {n}")}}) for n in "ab"]
    with s.building(), s.going_on(), s.open(hooks=[*hooks, s.hook("c")]) as session:
        session.run()


@scenario()
def an_end_raises_after_the_data_ended(s):
    failing = s.hook("a", errors={"end": {1: ("ValueError", "user: end")}})
    with (
        s.building(data={"x": 1}, needs={"loss": ["x"], "train": ["loss"]}),
        s.going_on(),
        s.open(hooks=[failing, s.hook("b")]) as session,
    ):
        session.loop()


@scenario()
def closed_inside_its_block_and_left_by_the_end_of_data(s):
    with s.building(), s.going_on(), s.open(hooks=[s.hook("a")]) as session:
        session.close()
        raise s.error("OutOfRange", "user: body")


@scenario(family=["OutOfRange", "StopIteration"])
def the_body_raises_a_subclass(s, family):
    class Mine(type(s.error(family, ""))):
        pass

    with s.building(), s.going_on(), s.open(hooks=[s.hook("a")]) as session:
        session.run()
        raise Mine(None, None, "user: body") if family == "OutOfRange" else Mine("user: body")


@scenario()
def the_raw_session_in_end_still_runs(s):
    ends = s.hook("a", nested={"end": "train"})
    with s.building(), s.open(hooks=[ends, s.hook("b")]) as session:
        session.run()


@scenario(closing=["alone", "by an error"])
def a_foreign_session_fails_to_close(s, closing):
    class Foreign:
        def __init__(self, session):
            self._session = session
            self.graph = session.graph

        def run(self, *args, **kwargs):
            return self._session.run(*args, **kwargs)

        def close(self):
            s.note("close")
            self._session.close()
            raise ValueError("user: closing")

    class Creator(s.train.SessionCreator):
        def create_session(self):
            return Foreign(s.chief().create_session())

    with (
        s.building(),
        s.going_on(),
        s.open(session_creator=Creator(), hooks=[s.hook("a")]) as session,
    ):
        session.run()
        if closing == "by an error":
            raise s.error("KeyError", "user: body")
