"""``GlobalStepWaiterHook``, ``FinalOpsHook``, ``FeedFnHook``, ``ProfilerHook``, and all together."""

from pathlib import Path

from tests.conformance.collect import scenario

# GlobalStepWaiterHook


@scenario(step=[-1, 0, 1, 3])
def global_step_waiter(s, step):
    slept = []

    class Knows(s.train.SessionRunHook):
        def after_create_session(self, session, coord):
            self.session = session

    knows = Knows()

    def on_sleep(secs):
        slept.append(secs)
        knows.session.run(s.fetch("train"))

    s.clock.on_sleep = on_sleep
    hooks = [knows, s.hook("a"), s.train.GlobalStepWaiterHook(step), s.hook("b")]
    with s.building(), s.open(hooks=hooks) as session:
        session.run("w")
        session.run("w")
    s.show("slept", slept)


# FinalOpsHook


@scenario(fetches=["w", ["w", "loss"], {"a": ["w"], "b": ("global_step",)}, None, [], "train"])
def final_ops(s, fetches):
    with s.building():
        hook = s.train.FinalOpsHook(None if fetches is None else s.fetch(fetches))
        with s.open(hooks=[s.hook("a"), hook, s.hook("b")]) as session:
            session.run()
            s.show("before", hook.final_ops_values)
        s.show("after", hook.final_ops_values)


@scenario()
def final_ops_of_something_unknown(s):
    with s.building(), s.going_on():
        hook = s.train.FinalOpsHook("nothing_of_this_name:0")
        with s.open(hooks=[s.hook("a"), hook, s.hook("b")]) as session:
            session.run()


@scenario()
def final_ops_with_a_feed(s):
    with s.building(echoes={"y": ("f", 1.0)}):
        hook = s.train.FinalOpsHook(s.fetch("y"), s.feed({"f": 6.0}))
        with s.open(hooks=[hook]) as session:
            session.run()
        s.show("after", hook.final_ops_values)


@scenario(family=["OutOfRange", "ValueError"])
def final_ops_that_fail(s, family):
    with s.building(errors={"loss": {2: (family, "user: op")}}), s.going_on():
        hook = s.train.FinalOpsHook(s.fetch("loss"))
        with s.going_on(), s.open(hooks=[s.hook("a"), hook, s.hook("b")]) as session:
            session.run()
        s.show("after", hook.final_ops_values)


@scenario()
def final_ops_that_are_out_of_data(s):
    with s.building(data={"x": 1}, needs={"loss": ["x"], "train": ["loss"]}), s.going_on():
        hook = s.train.FinalOpsHook(s.fetch("loss"))
        with s.open(hooks=[s.hook("a"), hook]) as session:
            session.loop()


@scenario()
def final_ops_after_an_error(s):
    with s.building(), s.going_on():
        hook = s.train.FinalOpsHook(s.fetch("w"))
        with s.going_on(), s.open(hooks=[hook]) as session:
            session.run()
            raise s.error("ValueError", "user: body")
        s.show("after", hook.final_ops_values)


# FeedFnHook


@scenario()
def feed_fn(s):
    with s.building(echoes={"y": ("f", 1.0)}):
        values = iter([3.0, 4.0])
        hook = s.train.FeedFnHook(lambda: s.feed({"f": next(values)}))
        with s.open(hooks=[hook, s.hook("a", fetch="y")]) as session:
            session.run()
            session.run("y")


@scenario(gives=["None", "empty"])
def feed_fn_that_feeds_nothing(s, gives):
    with s.building(echoes={"y": ("f", 1.0)}):
        hook = s.train.FeedFnHook(lambda: None if gives == "None" else {})
        with s.open(hooks=[hook, s.hook("a", fetch="y")]) as session:
            session.run()


@scenario()
def feed_fn_that_is_out_of_data(s):
    with s.building(echoes={"y": ("f", 1.0)}):
        values = iter([3.0])
        hook = s.train.FeedFnHook(lambda: s.feed({"f": next(values)}))
        with s.open(hooks=[hook, s.hook("a", fetch="y")]) as session:
            session.loop()


# ProfilerHook


def _timelines(folder):
    return sorted(p.name for p in Path(folder).glob("timeline-*.json"))


@scenario(every=[1, 2, 3])
def profiler(s, every):
    folder = s.folder()
    with s.building():
        hooks = [
            s.train.ProfilerHook(save_steps=every, output_dir=folder),
            s.hook("a", options={}),
        ]
        with s.open(hooks=hooks) as session:
            for _ in range(5):
                session.run()
                s.show("timelines", _timelines(folder))


@scenario(secs=[1, 2])
def profiler_by_time(s, secs):
    folder = s.folder()
    with s.building():
        hook = s.train.ProfilerHook(
            save_secs=secs, output_dir=folder, show_dataflow=False, show_memory=False
        )
        with s.open(hooks=[hook]) as session:
            for _ in range(6):
                s.clock.advance(0.75)
                session.run()
        s.show("timelines", _timelines(folder))


@scenario()
def profiler_with_runs_that_do_not_train(s):
    folder = s.folder()
    with s.building():
        hook = s.train.ProfilerHook(save_steps=2, output_dir=folder)
        with s.open(hooks=[hook]) as session:
            for names in ("w", "w", "train", "w", "train", "train"):
                session.run(names)
                s.show("timelines", _timelines(folder))


@scenario()
def profilers_of_two_sessions_in_one_folder(s):
    folder = s.folder()
    with s.building(), s.going_on():
        for _ in range(2):
            hook = s.train.ProfilerHook(save_steps=1, output_dir=folder)
            with s.open(hooks=[hook]) as session:
                session.run()
                session.run()
        s.show("timelines", _timelines(folder))


# All together


@scenario()
def all_stock_hooks_together(s):
    folder = s.folder()
    with s.building(echoes={"y": ("f", 1.0)}, summaries={"a/loss": "loss"}):
        scaffold = s.train.Scaffold()
        writer = s.backend.writer(s.trace)
        hooks = [
            s.train.StopAtStepHook(last_step=5),
            s.train.NanTensorHook(s.fetch("loss")),
            s.train.LoggingTensorHook({"loss": s.fetch("loss")}, every_n_iter=2),
            s.train.StepCounterHook(every_n_steps=2, summary_writer=writer),
            s.train.SummarySaverHook(save_steps=2, summary_writer=writer, scaffold=scaffold),
            s.train.CheckpointSaverHook(folder, save_steps=2, scaffold=scaffold),
            s.train.FinalOpsHook(s.fetch("w")),
            s.train.FeedFnHook(lambda: s.feed({"f": 2.0})),
            s.train.GlobalStepWaiterHook(0),
            s.hook("a", fetch=["y", "global_step"]),
        ]
        with s.open(session_creator=s.chief(scaffold), hooks=hooks) as session:
            session.loop(secs=1.0)
