"""``StopAtStepHook`` and ``NanTensorHook``."""

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


@scenario(arguments=[{"num_steps": 4}, {"last_step": 4}])
def stop_at_step_after_a_recovery_that_restores(s, arguments):
    folder = s.folder()
    hooks = [
        s.train.StopAtStepHook(**arguments),
        s.hook("a", errors={"before_run": {3: ("Aborted", "user: lost")}}),
    ]
    with (
        s.building(),
        s.open(
            "MonitoredTrainingSession", checkpoint_dir=folder, hooks=hooks, save_checkpoint_steps=1
        ) as session,
    ):
        session.loop()


# NanTensorHook


@scenario(fail=[True, False], value=["nan", "inf", "-inf"])
def nan_tensor(s, fail, value):
    with s.building(values={"loss": [1.0, float(value), 1.0]}), s.going_on():
        hooks = [s.hook("a"), s.train.NanTensorHook(s.fetch("loss"), fail), s.hook("b")]
        with s.open(hooks=hooks) as session:
            session.loop(most=3)


@scenario(second=[2.0, float("nan")])
def nan_tensor_in_an_array(s, second):
    with s.building(values={"loss": [(1.0, second)]}), s.going_on():
        with s.open(hooks=[s.train.NanTensorHook(s.fetch("loss"))]) as session:
            session.run("w")


@scenario()
def nan_tensor_in_a_variable(s):
    with s.building(variables={"w": float("nan")}), s.going_on():
        with s.open(hooks=[s.train.NanTensorHook(s.fetch("w"))]) as session:
            session.run()
