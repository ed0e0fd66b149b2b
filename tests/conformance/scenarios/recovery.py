"""AbortedError and UnavailableError: the session is made again and the call repeated."""

from tests.conformance.collect import scenario

LOST = ["Aborted", "Unavailable"]
KINDS = ["MonitoredSession", "SingularMonitoredSession"]
IN_A_RUN = ["before_run", "after_run", "loss", "train"]


@scenario(kind=KINDS, family=LOST, where=IN_A_RUN)
def a_session_is_lost_in_a_run(s, kind, family, where):
    error = {2: (family, "user: lost")}
    in_op = where in {"loss", "train"}
    hook = s.hook("b", fetch="loss", errors={} if in_op else {where: error})
    with s.building(errors={where: error} if in_op else {}), s.going_on():
        with s.open(kind, hooks=[s.hook("a"), hook, s.hook("c")]) as session:
            for _ in range(3):
                session.run()
            session.should_stop()
        session.should_stop()


@scenario(kind=KINDS)
def lost_while_after_create_session(s, kind):
    hook = s.hook("b", errors={"after_create_session": {1: ("Aborted", "user: lost")}})
    with s.building(), s.going_on(), s.open(kind, hooks=[s.hook("a"), hook]) as session:
        session.run()


@scenario()
def lost_again_while_it_is_recovered(s):
    hook = s.hook(
        "b",
        errors={
            "after_create_session": {2: ("Unavailable", "user: 1"), 3: ("Aborted", "user: 2")},
            "before_run": {1: ("Aborted", "user: 0")},
        },
    )
    with s.building(), s.open(hooks=[s.hook("a"), hook]) as session:
        session.run()


@scenario()
def another_error_while_it_is_recovered(s):
    hook = s.hook(
        "b",
        errors={
            "after_create_session": {2: ("ValueError", "user: 1")},
            "before_run": {1: ("Aborted", "user: 0")},
        },
    )
    with s.building(), s.going_on():
        with s.open(hooks=[s.hook("a"), hook]) as session:
            with s.going_on():
                session.run()
            session.should_stop()
            with s.going_on():
                session.run()
            session.should_stop()
        session.should_stop()


@scenario(family=["OutOfRange", "StopIteration"])
def the_data_end_while_it_is_recovered(s, family):
    hook = s.hook(
        "a",
        errors={
            "after_create_session": {2: (family, "user: 1")},
            "before_run": {1: ("Aborted", "user: 0")},
        },
    )
    with s.building(), s.open(hooks=[hook, s.hook("b")]) as session:
        session.run()


@scenario()
def lost_in_begin_is_not_recovered(s):
    hook = s.hook("b", errors={"begin": {1: ("Aborted", "user: lost")}})
    with s.building(), s.going_on(), s.open(hooks=[s.hook("a"), hook]):
        pass


@scenario(kind=KINDS)
def lost_in_end_is_not_recovered(s, kind):
    hook = s.hook("a", errors={"end": {1: ("Aborted", "user: lost")}})
    with s.building(), s.going_on(), s.open(kind, hooks=[hook, s.hook("b")]) as session:
        session.run()


@scenario(kind=KINDS)
def lost_in_init_fn(s, kind):
    calls = []

    def init_fn(scaffold, session):
        calls.append(1)
        s.note(f"init_fn {len(calls)}")
        if len(calls) < 3:
            raise s.error("Aborted", "user: lost")

    with s.building(), s.going_on():
        scaffold = s.train.Scaffold(init_fn=init_fn)
        arguments = {"scaffold": scaffold}
        if kind == "MonitoredSession":
            arguments = {"session_creator": s.chief(scaffold)}
        with s.open(kind, hooks=[s.hook("a")], **arguments) as session:
            session.run()


@scenario()
def lost_many_times_in_one_run(s):
    errors = {"before_run": {n: ("Aborted", f"user: {n}") for n in range(1, 6)}}
    with s.building(), s.open(hooks=[s.hook("a", errors=errors)]) as session:
        session.run()


@scenario()
def lost_in_the_body_is_not_recovered(s):
    with s.building(), s.going_on(), s.open(hooks=[s.hook("a")]) as session:
        session.run()
        raise s.error("Unavailable", "user: body")


@scenario()
def the_state_starts_anew_without_a_checkpoint(s):
    hook = s.hook("a", errors={"before_run": {4: ("Aborted", "user: lost")}})
    with s.building(), s.open(hooks=[hook]) as session:
        for _ in range(5):
            session.run(["train", "w", "global_step"])


@scenario(save_steps=[1, 2, 3])
def the_state_comes_back_from_a_checkpoint(s, save_steps):
    folder = s.folder()
    hook = s.hook("a", errors={"before_run": {5: ("Aborted", "user: lost")}})
    with s.building():
        scaffold = s.train.Scaffold()
        saver = s.saver_hook(folder, scaffold, s.listener("L"), save_steps=save_steps)
        creator = s.chief(scaffold, checkpoint_dir=folder)
        with s.open(session_creator=creator, hooks=[saver, hook]) as session:
            for _ in range(6):
                session.run(["train", "w", "global_step"])


@scenario()
def a_savers_interval_starts_anew_with_the_session(s):
    folder = s.folder()
    hook = s.hook("a", errors={"before_run": {2: ("Aborted", "user: lost")}})
    with s.building():
        scaffold = s.train.Scaffold()
        saver = s.saver_hook(folder, scaffold, save_secs=3)
        creator = s.chief(scaffold, checkpoint_dir=folder)
        with s.open(session_creator=creator, hooks=[saver, hook]) as session:
            for _ in range(7):
                s.clock.advance(1.0)
                session.run(["train", "global_step"])


@scenario()
def lost_after_the_run_with_checkpoints(s):
    folder = s.folder()
    hook = s.hook("a", errors={"after_run": {3: ("Aborted", "user: lost")}})
    with s.building():
        scaffold = s.train.Scaffold()
        saver = s.saver_hook(folder, scaffold, save_steps=1)
        creator = s.chief(scaffold, checkpoint_dir=folder)
        with s.open(session_creator=creator, hooks=[saver, hook]) as session:
            for _ in range(4):
                session.run(["train", "global_step"])


@scenario()
def stop_at_step_after_a_recovery(s):
    hooks = [
        s.train.StopAtStepHook(num_steps=3),
        s.hook("a", errors={"before_run": {3: ("Aborted", "user: lost")}}),
    ]
    with s.building(), s.open(hooks=hooks) as session:
        session.loop()


@scenario()
def the_data_go_on_after_a_recovery(s):
    hook = s.hook("a", fetch="x", errors={"after_run": {2: ("Aborted", "user: lost")}})
    with s.building(data={"x": 4}, needs={"loss": ["x"], "train": ["loss"]}):
        with s.open(hooks=[hook]) as session:
            session.loop()


@scenario()
def feeds_are_kept_for_the_repeated_call(s):
    hook = s.hook("a", feed={"f": [2.0]}, errors={"after_run": {1: ("Aborted", "user: lost")}})
    with s.building(echoes={"y": ("f", 1.0), "z": ("g", 1.0)}), s.open(hooks=[hook]) as session:
        session.run(["y", "z"], feed={"g": 3.0})


@scenario()
def a_stop_before_the_recovery_is_forgotten(s):
    hook = s.hook("a", stops={"after_run": [1]})
    with s.building(), s.open(hooks=[hook]) as session:
        session.run()
        session.should_stop()
        s.fail_in_thread(hook.coord, "Aborted", "user: thread")
        session.should_stop()
        session.run()


@scenario()
def logging_goes_on_after_a_recovery(s):
    with s.building():
        hooks = [
            s.train.LoggingTensorHook({"step": s.fetch("global_step")}, every_n_iter=2),
            s.hook("a", errors={"before_run": {3: ("Aborted", "user: lost")}}),
        ]
        with s.open(hooks=hooks) as session:
            for _ in range(5):
                s.clock.advance(1.0)
                session.run()


@scenario()
def the_writer_of_the_step_counter_goes_on_after_a_recovery(s):
    with s.building():
        hooks = [
            s.train.StepCounterHook(every_n_steps=2, summary_writer=s.backend.writer(s.trace)),
            s.hook("a", errors={"before_run": {4: ("Aborted", "user: lost")}}),
        ]
        with s.open(hooks=hooks) as session:
            for _ in range(7):
                s.clock.advance(1.0)
                session.run()


@scenario()
def the_foreign_session_is_closed_before_it_is_made_again(s):
    class Creator(s.train.SessionCreator):
        made = 0

        def create_session(self):
            self.made += 1
            number = self.made
            s.note(f"create {number}")
            session = s.chief().create_session()

            class Foreign:
                graph = session.graph

                def run(self, *args, **kwargs):
                    return session.run(*args, **kwargs)

                def close(self):
                    s.note(f"close {number}")
                    session.close()

            return Foreign()

    hook = s.hook("a", errors={"before_run": {1: ("Aborted", "user: lost")}})
    with s.building(), s.open(session_creator=Creator(), hooks=[hook]) as session:
        session.run()


@scenario()
def the_creator_itself_is_lost(s):
    class Creator(s.train.SessionCreator):
        made = 0

        def create_session(self):
            self.made += 1
            s.note(f"create {self.made}")
            if self.made < 3:
                raise s.error("Unavailable", "user: creator")
            return s.chief().create_session()

    with s.building(), s.open(session_creator=Creator(), hooks=[s.hook("a")]) as session:
        session.run()
