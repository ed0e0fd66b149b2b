"""The stock hooks, every argument of each, as far as the checkpoint's are not elsewhere."""

from pathlib import Path

import numpy as np

from tests.conformance.collect import scenario

# StopAtStepHook


@scenario(arguments=[{"num_steps": 3}, {"last_step": 3}, {"num_steps": 1}, {"last_step": 1}])
def stop_at_step(s, arguments):
    hooks = [s.train.StopAtStepHook(**arguments), s.hook("a")]
    with s.building(), s.open(hooks=hooks) as session:
        session.loop()


@scenario(arguments=[{"num_steps": 0}, {"last_step": 0}, {"last_step": -1}])
def stop_at_a_step_that_is_already_reached(s, arguments):
    with s.building(), s.open(hooks=[s.train.StopAtStepHook(**arguments)]) as session:
        session.loop()


@scenario()
def stop_at_step_with_runs_that_do_not_train(s):
    with s.building(), s.open(hooks=[s.train.StopAtStepHook(last_step=2)]) as session:
        for names in ("w", "train", "w", "loss", "train"):
            session.should_stop()
            session.run(names)
        session.should_stop()


@scenario()
def stop_at_step_with_bigger_steps(s):
    with s.building(increment=5), s.open(hooks=[s.train.StopAtStepHook(last_step=7)]) as session:
        session.loop()


@scenario()
def stop_at_step_counts_steps_in_the_second_session_too(s):
    with s.building():
        hook = s.train.StopAtStepHook(num_steps=2)
        for _ in range(2):
            with s.open(hooks=[hook]) as session:
                session.loop()


@scenario(arguments=[{"last_step": 3}, {"num_steps": 2}])
def stop_at_step_after_a_restore(s, arguments):
    folder = s.folder()
    with s.building():
        for _ in range(3):
            with s.open(
                "MonitoredTrainingSession",
                checkpoint_dir=folder,
                hooks=[s.train.StopAtStepHook(**arguments)],
                save_checkpoint_steps=1,
            ) as session:
                session.loop()


# LoggingTensorHook


@scenario(every=[1, 2, 3, 100], at_end=[False, True])
def logging_every_n_runs(s, every, at_end):
    with s.building():
        tensors = {"step": s.fetch("global_step"), "loss": s.fetch("loss")}
        hook = s.train.LoggingTensorHook(tensors, every_n_iter=every, at_end=at_end)
        with s.open(hooks=[hook]) as session:
            for _ in range(5):
                s.clock.advance(1.5)
                session.run()


@scenario(secs=[0, 2, 3.5])
def logging_every_n_secs(s, secs):
    with s.building():
        hook = s.train.LoggingTensorHook({"loss": s.fetch("loss")}, every_n_secs=secs)
        with s.open(hooks=[hook]) as session:
            for _ in range(6):
                s.clock.advance(1.0)
                session.run()


@scenario()
def logging_only_at_the_end(s):
    with s.building():
        hook = s.train.LoggingTensorHook({"loss": s.fetch("loss"), "w": s.fetch("w")}, at_end=True)
        with s.open(hooks=[hook]) as session:
            session.run()
            session.run()


@scenario()
def logging_at_the_end_when_the_data_are_over(s):
    with s.building(data={"x": 2}, needs={"loss": ["x"], "train": ["loss"]}), s.going_on():
        hook = s.train.LoggingTensorHook({"loss": s.fetch("loss")}, every_n_iter=1, at_end=True)
        with s.open(hooks=[hook, s.hook("a")]) as session:
            session.loop()


@scenario()
def logging_names_keep_their_order(s):
    with s.building(values={"loss": [1.0], "b": [2.0], "a": [3.0]}):
        hook = s.train.LoggingTensorHook(["loss", "b", "a"], every_n_iter=1)
        with s.open(hooks=[hook]) as session:
            session.run()


@scenario()
def logging_tags_are_sorted(s):
    with s.building(values={"loss": [1.0], "b": [2.0], "a": [3.0]}):
        tensors = {"z": s.fetch("a"), "m": s.fetch("b"), "c": s.fetch("loss")}
        hook = s.train.LoggingTensorHook(tensors, every_n_iter=1)
        with s.open(hooks=[hook]) as session:
            session.run()


@scenario()
def logging_with_a_formatter(s):
    with s.building():

        def formatter(values):
            return f"user: {sorted(values)} {float(values['loss'])}"

        hook = s.train.LoggingTensorHook(
            {"loss": s.fetch("loss"), "w": s.fetch("w")},
            every_n_iter=2,
            at_end=True,
            formatter=formatter,
        )
        with s.open(hooks=[hook]) as session:
            for _ in range(3):
                session.run()


@scenario()
def logging_odd_values(s):
    values = [1e-9, 123456789.123, float("nan"), float("inf"), -0.0]
    with s.building(values={"loss": values}):
        hook = s.train.LoggingTensorHook({"loss": s.fetch("loss")}, every_n_iter=1)
        with s.open(hooks=[hook]) as session:
            for _ in values:
                session.run()


@scenario()
def logging_leaves_numpys_print_options_alone(s):
    with s.building():
        hook = s.train.LoggingTensorHook({"loss": s.fetch("loss")}, every_n_iter=1)
        with np.printoptions(precision=3, suppress=False), s.open(hooks=[hook]) as session:
            session.run()
            options = np.get_printoptions()
            s.show("options", [options["precision"], options["suppress"]])


@scenario()
def logging_counts_runs_and_not_steps(s):
    with s.building(increment=10):
        hook = s.train.LoggingTensorHook({"step": s.fetch("global_step")}, every_n_iter=2)
        with s.open(hooks=[hook]) as session:
            for names in ("train", "w", "w", "train", "train"):
                session.run(names)


@scenario()
def logging_when_a_run_fails(s):
    with s.building(errors={"loss": {2: ("ValueError", "user: op")}}):
        hook = s.train.LoggingTensorHook({"loss": s.fetch("loss")}, every_n_iter=1)
        with s.open(hooks=[hook]) as session:
            for _ in range(3):
                with s.going_on():
                    session.run()


@scenario()
def logging_in_two_sessions(s):
    with s.building():
        hook = s.train.LoggingTensorHook({"loss": s.fetch("loss")}, every_n_iter=2)
        for _ in range(2):
            with s.open(hooks=[hook]) as session:
                for _ in range(3):
                    s.clock.advance(1.0)
                    session.run()


@scenario()
def logging_what_a_subclass_uses(s):
    with s.building():

        class Mine(s.train.LoggingTensorHook):
            def before_run(self, run_context):
                request = super().before_run(run_context)
                s.show("asks", [self._should_trigger, self._iter_count, request is not None])
                return request

            def _log_tensors(self, tensor_values):
                s.show("values", tensor_values)
                s.show("tags", self._tag_order)
                super()._log_tensors(tensor_values)

        hook = Mine({"b": s.fetch("loss"), "a": s.fetch("w")}, every_n_iter=2)
        with s.open(hooks=[hook]) as session:
            for _ in range(3):
                session.run()


# StepCounterHook


@scenario(every=[1, 2, 3, 100])
def step_counter(s, every):
    with s.building():
        writer = s.backend.writer(s.trace)
        hook = s.train.StepCounterHook(every_n_steps=every, summary_writer=writer)
        with s.open(hooks=[hook]) as session:
            for _ in range(7):
                s.clock.advance(0.5)
                session.run()


@scenario()
def step_counter_and_flushing(s):
    with s.building():
        writer = s.backend.writer(s.trace, flushes=True)
        hook = s.train.StepCounterHook(every_n_steps=1, summary_writer=writer)
        with s.open(hooks=[hook, s.hook("a")]) as session:
            for _ in range(2):
                s.clock.advance(0.5)
                session.run()


@scenario(secs=[1, 2])
def step_counter_by_time(s, secs):
    with s.building():
        hook = s.train.StepCounterHook(every_n_steps=None, every_n_secs=secs)
        with s.open(hooks=[hook]) as session:
            for _ in range(7):
                s.clock.advance(0.75)
                session.run()


@scenario()
def step_counter_with_bigger_steps(s):
    with s.building(increment=10):
        hook = s.train.StepCounterHook(every_n_steps=15)
        with s.open(hooks=[hook]) as session:
            for _ in range(6):
                s.clock.advance(2.0)
                session.run()


@scenario()
def step_counter_with_runs_that_do_not_train(s):
    with s.building():
        hook = s.train.StepCounterHook(every_n_steps=2)
        with s.open(hooks=[hook]) as session:
            for names in ("w", "train", "w", "train", "w", "w", "train", "train"):
                s.clock.advance(1.0)
                session.run(names)


@scenario()
def step_counter_writes_into_a_folder(s):
    folder = s.folder()
    with s.building():
        hook = s.train.StepCounterHook(every_n_steps=2, output_dir=folder)
        with s.open(hooks=[hook]) as session:
            for _ in range(6):
                s.clock.advance(0.25)
                session.run()
        s.show("scalars", s.backend.scalars(folder))


@scenario()
def step_counter_what_a_subclass_overrides(s):
    class Mine(s.train.StepCounterHook):
        def _log_and_record(self, elapsed_steps, elapsed_time, global_step):
            s.show("record", [elapsed_steps, elapsed_time, global_step])
            s.show("writer", self._summary_writer)

    with s.building(), s.open(hooks=[Mine(every_n_steps=2)]) as session:
        for _ in range(5):
            s.clock.advance(0.5)
            session.run()


@scenario()
def step_counter_in_two_sessions(s):
    with s.building():
        hook = s.train.StepCounterHook(every_n_steps=2)
        for _ in range(2):
            with s.open(hooks=[hook]) as session:
                for _ in range(4):
                    s.clock.advance(0.5)
                    session.run()


# NanTensorHook


@scenario(fail=[True, False], value=["nan", "inf", "-inf"])
def nan_tensor(s, fail, value):
    with s.building(values={"loss": [1.0, float(value), 1.0]}), s.going_on():
        hooks = [s.hook("a"), s.train.NanTensorHook(s.fetch("loss"), fail), s.hook("b")]
        with s.open(hooks=hooks) as session:
            session.loop(most=3)


@scenario()
def nan_tensor_in_a_variable(s):
    with s.building(variables={"w": float("nan")}), s.going_on():
        with s.open(hooks=[s.train.NanTensorHook(s.fetch("w"))]) as session:
            session.run()


# SummarySaverHook


@scenario(every=[1, 2, 3, 100])
def summary_saver(s, every):
    with s.building():
        hook = s.train.SummarySaverHook(
            save_steps=every,
            summary_writer=s.backend.writer(s.trace),
            summary_op=s.backend.summary_op(s.program, {"a/loss": "loss", "a/w": "w"}),
        )
        with s.open(hooks=[hook]) as session:
            for _ in range(6):
                session.run()


@scenario(secs=[1, 2, 100])
def summary_saver_by_time(s, secs):
    with s.building():
        hook = s.train.SummarySaverHook(
            save_secs=secs,
            summary_writer=s.backend.writer(s.trace),
            summary_op=s.backend.summary_op(s.program, {"a/loss": "loss"}),
        )
        with s.open(hooks=[hook]) as session:
            for _ in range(6):
                s.clock.advance(0.75)
                session.run()


@scenario()
def summary_saver_with_runs_that_do_not_train(s):
    with s.building():
        hook = s.train.SummarySaverHook(
            save_steps=2,
            summary_writer=s.backend.writer(s.trace),
            summary_op=s.backend.summary_op(s.program, {"a/loss": "loss"}),
        )
        with s.open(hooks=[hook]) as session:
            for names in ("w", "w", "train", "train", "w", "train", "train"):
                session.run(names)


@scenario()
def summary_saver_with_bigger_steps(s):
    with s.building(increment=5):
        hook = s.train.SummarySaverHook(
            save_steps=7,
            summary_writer=s.backend.writer(s.trace),
            summary_op=s.backend.summary_op(s.program, {"a/loss": "loss"}),
        )
        with s.open(hooks=[hook]) as session:
            for _ in range(5):
                session.run()


@scenario(summaries=[{}, {"a/loss": "loss"}, {"x": "loss", "b": "w"}])
def summary_saver_with_a_scaffold(s, summaries):
    with s.building(summaries=summaries):
        scaffold = s.train.Scaffold()
        hook = s.train.SummarySaverHook(
            save_steps=2, summary_writer=s.backend.writer(s.trace), scaffold=scaffold
        )
        with s.open(session_creator=s.chief(scaffold), hooks=[hook]) as session:
            for _ in range(4):
                session.run()


@scenario()
def summary_saver_into_a_folder(s):
    folder = s.folder()
    with s.building():
        hook = s.train.SummarySaverHook(
            save_steps=2,
            output_dir=folder,
            summary_op=s.backend.summary_op(s.program, {"a/loss": "loss"}),
        )
        with s.open(hooks=[hook]) as session:
            for _ in range(4):
                session.run()
        s.show("scalars", s.backend.scalars(folder))


@scenario()
def summary_saver_without_a_writer(s):
    with s.building():
        hook = s.train.SummarySaverHook(
            save_steps=1, summary_op=s.backend.summary_op(s.program, {"a/loss": "loss"})
        )
        with s.open(hooks=[hook]) as session:
            session.run("w")
            session.run()


@scenario()
def summary_saver_flushes_at_the_end(s):
    with s.building():
        hook = s.train.SummarySaverHook(
            save_steps=1,
            summary_writer=s.backend.writer(s.trace, flushes=True),
            summary_op=s.backend.summary_op(s.program, {"a/loss": "loss"}),
        )
        with s.open(hooks=[s.hook("a"), hook, s.hook("b")]) as session:
            session.run()


@scenario()
def summary_saver_after_an_error(s):
    with s.building(), s.going_on():
        hook = s.train.SummarySaverHook(
            save_steps=1,
            summary_writer=s.backend.writer(s.trace, flushes=True),
            summary_op=s.backend.summary_op(s.program, {"a/loss": "loss"}),
        )
        with s.open(hooks=[hook]) as session:
            session.run()
            raise s.error("ValueError", "user: body")


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
