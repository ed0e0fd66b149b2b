"""The coordinator of a session, its threads, and a coordinator alone."""

import threading

from tests.conformance.collect import scenario

KINDS = ["MonitoredSession", "SingularMonitoredSession"]


@scenario(
    kind=KINDS,
    family=["ValueError", "Aborted", "OutOfRange", "StopIteration"],
    where=["after_create_session", "before_run", "after_run"],
)
def a_thread_fails_during_a_call(s, kind, family, where):
    hook = s.hook("a", threads={where: {1: (family, "user: thread")}})
    with s.building(), s.going_on():
        with s.open(kind, hooks=[hook, s.hook("b")]) as session:
            session.should_stop()
            session.run()
            session.should_stop()
            session.run()
        session.should_stop()


@scenario(kind=KINDS, family=["ValueError", "Unavailable"])
def a_thread_fails_between_two_runs(s, kind, family):
    hook = s.hook("a")
    with s.building(), s.going_on(), s.open(kind, hooks=[hook]) as session:
        session.run()
        s.fail_in_thread(hook.coord, family, "user: thread")
        session.run()
        session.should_stop()
        session.run()
        session.should_stop()


@scenario(
    kind=KINDS,
    thread=["ValueError", "Aborted", "OutOfRange"],
    body=["nothing", "KeyError", "OutOfRange", "Aborted", "KeyboardInterrupt"],
)
def a_thread_failed_when_the_session_is_left(s, kind, thread, body):
    hook = s.hook("a")
    with s.building(), s.going_on():
        with s.going_on(), s.open(kind, hooks=[hook]) as session:
            session.run()
            s.fail_in_thread(hook.coord, thread, "user: thread")
            if body != "nothing":
                raise s.error(body, "user: body")
        session.should_stop()


@scenario(kind=KINDS, thread=["ValueError", "Aborted", "OutOfRange"])
def a_run_fails_after_a_thread_did(s, kind, thread):
    hook = s.hook("a", errors={"before_run": {2: ("KeyError", "user: hook")}})
    with s.building(), s.going_on(), s.open(kind, hooks=[hook]) as session:
        session.run()
        s.fail_in_thread(hook.coord, thread, "user: thread")
        with s.going_on():
            session.run()
        session.should_stop()
        session.run()


@scenario(kind=KINDS, thread=["ValueError", "Aborted"])
def a_run_after_a_stop_when_a_thread_has_failed(s, kind, thread):
    hook = s.hook("a", stops={"after_run": [1]})
    with s.building(), s.going_on(), s.open(kind, hooks=[hook]) as session:
        session.run()
        s.fail_in_thread(hook.coord, thread, "user: thread")
        session.run()
        session.should_stop()


@scenario()
def a_thread_is_interrupted_and_a_run_fails(s):
    hook = s.hook("a", errors={"before_run": {1: ("KeyError", "user: hook")}})
    with s.building(), s.going_on(), s.open(hooks=[hook]) as session:
        s.fail_in_thread(hook.coord, "KeyboardInterrupt", "user: thread")
        session.run()


@scenario()
def a_thread_and_an_end_fail(s):
    hook = s.hook("a", errors={"end": {1: ("KeyError", "user: end")}})
    with s.building(), s.going_on():
        with s.going_on(), s.open(hooks=[hook, s.hook("b")]) as session:
            s.fail_in_thread(hook.coord, "ValueError", "user: thread")
        session.should_stop()


@scenario()
def the_first_of_two_threads_counts(s):
    hook = s.hook("a")
    with s.building(), s.going_on(), s.open(hooks=[hook]) as session:
        s.fail_in_thread(hook.coord, "ValueError", "user: first")
        s.fail_in_thread(hook.coord, "KeyError", "user: second")
        session.should_stop()


@scenario(kind=KINDS)
def the_coordinator_is_asked_to_stop_without_an_error(s, kind):
    hook = s.hook("a")
    with s.building(), s.open(kind, hooks=[hook]) as session:
        session.run()
        hook.coord.request_stop()
        session.should_stop()
        session.run()
        session.should_stop()


@scenario()
def the_coordinator_of_a_session_is_stopped_after_the_ends(s):
    class Looks(s.train.SessionRunHook):
        def after_create_session(self, session, coord):
            self.coord = coord
            s.show("stops", coord.should_stop())

        def end(self, session):
            s.show("stops in end", self.coord.should_stop())

    with s.building():
        hook = Looks()
        with s.open(hooks=[hook]) as session:
            session.run()
        s.show("stops after", hook.coord.should_stop())
        s.show("joined after", hook.coord.joined)


@scenario()
def each_recovered_session_has_a_coordinator_of_its_own(s):
    seen = []

    class Looks(s.train.SessionRunHook):
        def after_create_session(self, session, coord):
            seen.append(coord)

    hooks = [Looks(), s.hook("a", errors={"before_run": {1: ("Aborted", "user: lost")}})]
    with s.building(), s.open(hooks=hooks) as session:
        session.run()
        s.show("coordinators", len(seen))
        s.show("different", seen[0] is not seen[1])
        s.show("stopped", [c.should_stop() for c in seen])


def _waits_for(event, coord, name="slow"):
    thread = threading.Thread(target=event.wait, name=name, daemon=True)
    coord.register_thread(thread)
    thread.start()
    return thread


@scenario(secs=[0, 7, 120])
def a_thread_that_does_not_stop(s, secs):
    event = threading.Event()

    class Starts(s.train.SessionRunHook):
        def after_create_session(self, session, coord):
            _waits_for(event, coord)

    try:
        with s.building(), s.open(hooks=[Starts()], stop_grace_period_secs=secs) as session:
            session.run()
            before = s.clock.now
        s.show("waited", round(s.clock.now - before))
    finally:
        event.set()


@scenario()
def a_thread_that_stops_when_it_is_asked_to(s):
    class Starts(s.train.SessionRunHook):
        def after_create_session(self, session, coord):
            self.thread = threading.Thread(target=coord.wait_for_stop)
            # The clock stands still while the thread comes to its end: wait for it in truth.
            s.clock.on_sleep = lambda _: self.thread.join()
            coord.register_thread(self.thread)
            self.thread.start()

    with s.building():
        hook = Starts()
        with s.open(hooks=[hook]) as session:
            session.run()
            s.show("alive", hook.thread.is_alive())
        s.show("alive", hook.thread.is_alive())


@scenario()
def a_coordinator_alone(s):
    with s.building():
        coord = s.train.Coordinator()
        s.show("at first", [coord.should_stop(), coord.joined])
        s.show("waits", coord.wait_for_stop(0.0))
        coord.request_stop()
        s.show("asked", [coord.should_stop(), coord.joined])
        s.show("waits", coord.wait_for_stop(0.0))
        s.attempt("join", coord.join)
        s.show("joined", [coord.should_stop(), coord.joined])
        coord.clear_stop()
        s.show("cleared", [coord.should_stop(), coord.joined])
        s.attempt("raise", coord.raise_requested_exception)


@scenario(family=["ValueError", "OutOfRange", "StopIteration", "KeyboardInterrupt"])
def stop_on_exception(s, family):
    with s.building():
        coord = s.train.Coordinator()
        with coord.stop_on_exception():
            raise s.error(family, "user: body")
        s.show("stops", coord.should_stop())
        s.attempt("raise", coord.raise_requested_exception)
        s.attempt("join", coord.join)
        s.attempt("join again", coord.join)


@scenario()
def stop_on_exception_after_a_join(s):
    with s.building():
        coord = s.train.Coordinator()
        coord.request_stop()
        coord.join()

        def late():
            with coord.stop_on_exception():
                raise s.error("ValueError", "user: late")

        s.attempt("late", late)


@scenario()
def the_first_exception_of_a_coordinator_counts(s):
    with s.building():
        coord = s.train.Coordinator()
        for text in ("user: first", "user: second"):
            with coord.stop_on_exception():
                raise s.error("ValueError", text)
        s.attempt("join", coord.join)
        coord.clear_stop()
        s.attempt("join after it was cleared", coord.join)


@scenario(family=["OutOfRange", "StopIteration", "ValueError"])
def exceptions_that_stop_cleanly(s, family):
    with s.building():
        coord = s.train.Coordinator(clean_stop_exception_types=(StopIteration, ValueError))
        with coord.stop_on_exception():
            raise s.error(family, "user: body")
        s.show("stops", coord.should_stop())
        s.attempt("join", coord.join)


@scenario()
def an_exception_handed_to_request_stop(s):
    with s.building():
        coord = s.train.Coordinator()
        try:
            raise s.error("ValueError", "user: handed over")
        except ValueError as error:
            coord.request_stop(error)
        s.attempt("join", coord.join)


@scenario(ignore=[True, False])
def a_join_with_stragglers(s, ignore):
    event = threading.Event()
    try:
        with s.building():
            coord = s.train.Coordinator()
            _waits_for(event, coord, "laggard")
            coord.request_stop()
            before = s.clock.now
            s.attempt(
                "join",
                lambda: coord.join(stop_grace_period_secs=3, ignore_live_threads=ignore),
            )
            s.show("waited", round(s.clock.now - before))
            s.attempt("join again", lambda: coord.join(stop_grace_period_secs=3))
    finally:
        event.set()


@scenario()
def a_join_with_threads_that_are_over(s):
    with s.building():
        coord = s.train.Coordinator()
        threads = [threading.Thread(target=coord.wait_for_stop) for _ in range(2)]
        for thread in threads:
            thread.start()
        s.clock.on_sleep = lambda _: [thread.join() for thread in threads] and None
        coord.request_stop()
        s.attempt("join", lambda: coord.join(threads))
        s.show("alive", [t.is_alive() for t in threads])


@scenario(asked=["before", "inside"])
def a_looper_thread(s, asked):
    with s.building():
        coord = s.train.Coordinator()
        calls = []

        class Looper(s.train.LooperThread):
            def start_loop(self):
                calls.append("start")

            def run_loop(self):
                calls.append("run")
                if len(calls) == 4:
                    coord.request_stop()

            def stop_loop(self):
                calls.append("stop")

        if asked == "before":
            coord.request_stop()
        looper = Looper(coord, None)
        s.show("daemon", looper.daemon)
        looper.start()
        s.attempt("join", coord.join)
        s.show("calls", calls)


@scenario()
def a_looper_thread_whose_target_fails(s):
    with s.building():
        coord = s.train.Coordinator()
        calls = []

        def target(word, times):
            calls.append(word)
            if len(calls) == times:
                raise s.error("ValueError", "user: looper")

        s.train.LooperThread.loop(coord, None, target, args=("x",), kwargs={"times": 3})
        s.attempt("join", coord.join)
        s.show("calls", calls)
