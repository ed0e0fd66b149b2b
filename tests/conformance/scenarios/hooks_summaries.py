"""``StepCounterHook`` and ``SummarySaverHook``."""

from tests.conformance.collect import scenario

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
