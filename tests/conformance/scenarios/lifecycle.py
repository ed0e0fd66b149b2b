"""Who is called when: creation, runs, the graph, what may be a hook."""

from tests.conformance.collect import scenario

KINDS = ["MonitoredSession", "SingularMonitoredSession"]


@scenario(kind=KINDS)
def order_of_all_calls(s, kind):
    with s.building(), s.open(kind, hooks=[s.hook(n) for n in "abc"]) as session:
        session.run()
        session.run("loss")


@scenario(kind=KINDS)
def no_hooks(s, kind):
    with s.building(), s.open(kind) as session:
        session.should_stop()
        session.run()
        session.run(["loss", "w", "global_step"])
        session.should_stop()
    session.should_stop()


@scenario()
def hooks_given_as_none(s):
    with s.building(), s.open(hooks=None) as session:
        session.run()


@scenario()
def the_same_hook_twice(s):
    with s.building():
        hook = s.hook("a")
        with s.open(hooks=[hook, hook]) as session:
            session.run()


@scenario()
def something_that_is_not_a_hook(s):
    with s.building(), s.open(hooks=[s.hook("a"), 3]):
        pass


@scenario()
def a_duck_typed_hook(s):
    with s.building(), s.open(hooks=[s.hook("a", base=object), s.hook("b")]) as session:
        session.run()


@scenario(kind=KINDS)
def the_graph_is_finalized_and_reopened(s, kind):
    with s.building():
        with s.open(kind, hooks=[s.hook("a")]) as session:
            s.show("finalized inside", s.program.graph_is_finalized())
            session.run()
        s.show("finalized after", s.program.graph_is_finalized())


@scenario()
def a_graph_that_was_finalized_before_stays_so(s):
    with s.building():
        with s.open():
            pass
        s.program.finalize_graph()
        with s.open(hooks=[s.hook("a")]) as session:
            session.run()
        s.show("finalized after", s.program.graph_is_finalized())


@scenario()
def the_graph_is_reopened_after_an_error(s):
    with s.building(), s.going_on():
        with s.going_on(), s.open() as session:
            session.run()
            raise s.error("ValueError", "user: body")
        s.show("finalized after", s.program.graph_is_finalized())


@scenario(method=["begin", "after_create_session"])
def the_graph_after_a_session_that_could_not_be_made(s, method):
    failing = s.hook("a", errors={method: {1: ("ValueError", "user: hook")}})
    with s.building():
        with s.going_on():
            s.open(hooks=[failing])
        s.show("finalized after", s.program.graph_is_finalized())
        with s.open(hooks=[s.hook("b")]) as session:
            session.run()


@scenario()
def begin_adds_a_variable(s):
    class Adds(s.train.SessionRunHook):
        def begin(self):
            s.program.add_variable("late", 5.0)

        def after_create_session(self, session, coord):
            s.show("late", session.run(s.fetch("late")))

    with s.building(), s.open(hooks=[s.hook("a"), Adds(), s.hook("b")]) as session:
        session.run()
        session.run("late")


@scenario()
def two_sessions_of_one_graph_one_after_the_other(s):
    with s.building():
        hook = s.hook("a")
        for _ in range(2):
            with s.open(hooks=[hook]) as session:
                session.run()
                session.run()


@scenario()
def a_hook_without_any_method(s):
    class Plain(s.train.SessionRunHook):
        pass

    with s.building(), s.open(hooks=[Plain(), s.hook("a")]) as session:
        session.run()


@scenario()
def a_hook_that_renames_every_parameter(s):
    class Renamed(s.train.SessionRunHook):
        def after_create_session(self, my_session, my_threads):
            s.note("after_create_session")

        def before_run(self, ctx):
            s.note("before_run")
            return s.train.SessionRunArgs(s.fetch("w"))

        def after_run(self, ctx, values):
            s.show("after_run", values.results)

        def end(self, my_session):
            s.note("end")

    with s.building(), s.open(hooks=[Renamed()]) as session:
        session.run()


@scenario()
def a_hook_that_cannot_be_hashed(s):
    with s.building(), s.going_on():
        hook = s.hook("a", fetch="w")
        type(hook).__hash__ = None
        with s.open(hooks=[hook]) as session:
            session.run()


@scenario()
def the_graph_of_a_session(s):
    with s.building():
        with s.open() as session:
            s.show("graph is there", session.raw.graph is not None)
        s.show("graph after", session.raw.graph)


@scenario()
def the_raw_session_of_a_singular_one(s):
    with s.building():
        with s.open("SingularMonitoredSession", hooks=[s.hook("a")]) as session:
            session.run()
            s.show("raw", session.raw.raw_session().run(s.fetch("w")))
        s.show("raw after", session.raw.raw_session())
