"""``CheckpointSaverHook``, its listeners, retention, restart."""

from tests.conformance.collect import scenario


def _session(s, folder, scaffold, hooks, *, restore=True):
    creator = s.chief(scaffold, checkpoint_dir=folder if restore else None)
    return s.open(session_creator=creator, hooks=hooks)


@scenario(save_steps=[1, 2, 3, 10], steps=[0, 1, 4])
def every_n_steps(s, save_steps, steps):
    folder = s.folder()
    with s.building():
        scaffold = s.train.Scaffold()
        hook = s.saver_hook(folder, scaffold, s.listener("L"), save_steps=save_steps)
        with _session(s, folder, scaffold, [hook]) as session:
            for _ in range(steps):
                session.run()
        s.show("listed", s.backend.listed(folder))


@scenario(secs=[1, 2, 100])
def every_n_secs(s, secs):
    folder = s.folder()
    with s.building():
        scaffold = s.train.Scaffold()
        hook = s.saver_hook(folder, scaffold, save_secs=secs)
        with _session(s, folder, scaffold, [hook]) as session:
            for _ in range(6):
                s.clock.advance(0.75)
                session.run()
            s.clock.advance(200.0)
            session.run("w")


@scenario()
def the_train_op_counts_by_three(s):
    folder = s.folder()
    with s.building(increment=3):
        scaffold = s.train.Scaffold()
        with _session(
            s, folder, scaffold, [s.saver_hook(folder, scaffold, save_steps=2)]
        ) as session:
            for _ in range(3):
                session.run()


@scenario()
def several_runs_between_two_steps(s):
    folder = s.folder()
    with s.building():
        scaffold = s.train.Scaffold()
        with _session(
            s, folder, scaffold, [s.saver_hook(folder, scaffold, save_steps=1)]
        ) as session:
            for names in ("w", "train", "w", "loss", "train"):
                session.run(names)


@scenario()
def two_listeners_and_other_hooks(s):
    folder = s.folder()
    with s.building():
        scaffold = s.train.Scaffold()
        saver = s.saver_hook(folder, scaffold, s.listener("L"), s.listener("M"), save_steps=2)
        with _session(s, folder, scaffold, [s.hook("a"), saver, s.hook("b")]) as session:
            for _ in range(3):
                session.run()


@scenario(steps=[[0], [2], [4], [3]])
def a_listener_asks_to_stop(s, steps):
    folder = s.folder()
    with s.building():
        scaffold = s.train.Scaffold()
        listeners = [s.listener("L", stops=steps), s.listener("M")]
        saver = s.saver_hook(folder, scaffold, *listeners, save_steps=2)
        with _session(s, folder, scaffold, [saver]) as session:
            session.loop(most=5)
            session.should_stop()


@scenario(method=["begin", "before_save", "after_save", "end"], call=[1, 2])
def a_listener_raises(s, method, call):
    folder = s.folder()
    with s.building(), s.going_on():
        scaffold = s.train.Scaffold()
        bad = s.listener("L", errors={method: {call: ("ValueError", "user: listener")}})
        saver = s.saver_hook(folder, scaffold, bad, s.listener("M"), save_steps=1)
        with s.going_on(), _session(s, folder, scaffold, [saver, s.hook("a")]) as session:
            session.run()
            session.run()
        s.show("listed", s.backend.listed(folder))


@scenario(method=["before_save", "after_save"], call=[2, 3])
def the_data_end_in_a_listener(s, method, call):
    folder = s.folder()
    with s.building(), s.going_on():
        scaffold = s.train.Scaffold()
        bad = s.listener("L", errors={method: {call: ("OutOfRange", "user: listener")}})
        saver = s.saver_hook(folder, scaffold, bad, save_steps=1)
        with s.going_on(), _session(s, folder, scaffold, [saver, s.hook("a")]) as session:
            session.run()
            session.run()
        s.show("listed", s.backend.listed(folder))


@scenario()
def a_listener_is_lost(s):
    folder = s.folder()
    with s.building():
        scaffold = s.train.Scaffold()
        bad = s.listener("L", errors={"after_save": {2: ("Aborted", "user: lost")}})
        saver = s.saver_hook(folder, scaffold, bad, save_steps=1)
        with _session(s, folder, scaffold, [saver]) as session:
            session.run(["train", "global_step"])
            session.run(["train", "global_step"])


@scenario(family=["OutOfRange", "ValueError"])
def leaving_by_an_error(s, family):
    folder = s.folder()
    with s.building(), s.going_on():
        scaffold = s.train.Scaffold()
        saver = s.saver_hook(folder, scaffold, s.listener("L"), save_steps=10)
        with s.going_on(), _session(s, folder, scaffold, [saver]) as session:
            session.run()
            raise s.error(family, "user: body")
        s.show("listed", s.backend.listed(folder))


@scenario()
def restarted_three_times(s):
    folder = s.folder()
    with s.building():
        for _ in range(3):
            scaffold = s.train.Scaffold()
            saver = s.saver_hook(folder, scaffold, s.listener("L"), save_steps=3)
            with _session(s, folder, scaffold, [saver, s.hook("a", fetch="w")]) as session:
                for _ in range(4):
                    session.run()
        s.show("listed", s.backend.listed(folder))


@scenario()
def restarted_in_a_new_program(s):
    folder = s.folder()
    for start in (0.0, 100.0):
        with s.building(variables={"w": start}):
            scaffold = s.train.Scaffold()
            saver = s.saver_hook(folder, scaffold, save_steps=2)
            with _session(s, folder, scaffold, [saver, s.hook("a", fetch="w")]) as session:
                session.run()
                session.run(["w", "global_step"])


@scenario(keep=[1, 2, 5, None, 0])
def only_so_many_are_kept(s, keep):
    folder = s.folder()
    with s.building():
        scaffold = s.train.Scaffold(saver=s.train.Saver(max_to_keep=keep))
        saver = s.saver_hook(folder, scaffold, save_steps=1)
        with _session(s, folder, scaffold, [saver]) as session:
            for _ in range(7):
                session.run()
        s.show("listed", s.backend.listed(folder))


@scenario()
def only_so_many_are_kept_over_a_restart(s):
    folder = s.folder()
    with s.building():
        for _ in range(2):
            scaffold = s.train.Scaffold(saver=s.train.Saver(max_to_keep=3))
            saver = s.saver_hook(folder, scaffold, save_steps=1)
            with _session(s, folder, scaffold, [saver]) as session:
                for _ in range(4):
                    session.run()
            s.show("listed", s.backend.listed(folder))


@scenario()
def some_are_kept_by_the_hour(s):
    folder = s.folder()
    with s.building():
        saver = s.train.Saver(max_to_keep=2, keep_checkpoint_every_n_hours=1.0)
        scaffold = s.train.Scaffold(saver=saver)
        hook = s.saver_hook(folder, scaffold, save_steps=1)
        with _session(s, folder, scaffold, [hook]) as session:
            for _ in range(9):
                s.clock.advance(1200.0)
                session.run()
        s.show("on disk", s.backend.checkpoints(folder))


@scenario()
def a_basename_of_ones_own(s):
    folder = s.folder()
    with s.building():
        scaffold = s.train.Scaffold()
        saver = s.saver_hook(folder, scaffold, save_steps=2, checkpoint_basename="mine")
        with _session(s, folder, scaffold, [saver]) as session:
            session.run()
        s.show("listed", s.backend.listed(folder))


@scenario()
def a_saver_of_the_hooks_own(s):
    folder = s.folder()
    with s.building():
        hook = s.train.CheckpointSaverHook(folder, save_steps=1, saver=s.train.Saver(max_to_keep=1))
        with s.open(hooks=[hook]) as session:
            session.run()
            session.run()
        s.show("listed", s.backend.listed(folder))


@scenario()
def two_saver_hooks(s):
    first, second = s.folder("first"), s.folder("second")
    with s.building():
        scaffold = s.train.Scaffold()
        hooks = [
            s.saver_hook(first, scaffold, s.listener("L"), save_steps=2),
            s.saver_hook(second, scaffold, s.listener("M"), save_steps=3),
        ]
        with _session(s, first, scaffold, hooks) as session:
            for _ in range(4):
                session.run()


@scenario()
def what_a_subclass_overrides(s):
    folder = s.folder()

    class Mine(s.train.CheckpointSaverHook):
        def _save(self, session, step):
            s.show("_save", step)
            return super()._save(session, step)

    with s.building():
        scaffold = s.train.Scaffold()
        hook = Mine(folder, save_steps=2, scaffold=scaffold)
        with _session(s, folder, scaffold, [hook]) as session:
            for _ in range(3):
                session.run()


@scenario()
def read_back(s):
    folder = s.folder()
    with s.building(variables={"w": 1.5, "v": -2.0}):
        scaffold = s.train.Scaffold()
        saver = s.saver_hook(folder, scaffold, save_steps=2)
        with _session(s, folder, scaffold, [saver]) as session:
            for _ in range(3):
                session.run()
        s.show("w", s.train.load_variable(folder, "w"))
        s.show("variables", [name for name, _ in s.train.list_variables(folder)])
        reader = s.train.load_checkpoint(folder)
        s.show("step", reader.get_tensor("global_step"))
        s.show("has v", [reader.has_tensor("v"), reader.has_tensor("nothing")])
        latest = s.train.latest_checkpoint(folder)
        s.show("latest", latest.rpartition("/")[2].removesuffix(".safetensors"))


@scenario()
def reading_where_nothing_is(s):
    folder = s.folder()
    with s.building():
        s.show("latest", s.train.latest_checkpoint(folder))
        s.show("state", s.train.get_checkpoint_state(folder))
