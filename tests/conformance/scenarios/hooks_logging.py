"""``LoggingTensorHook``."""

import numpy as np

from tests.conformance.collect import scenario

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
def logging_arrays(s):
    values = [(1.0, -2.5), (1e-9, 1.23456789), (float("nan"), 1e9)]
    with s.building(values={"loss": values}):
        hook = s.train.LoggingTensorHook({"loss": s.fetch("loss")}, every_n_iter=1)
        with s.open(hooks=[hook]) as session:
            for _ in values:
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
