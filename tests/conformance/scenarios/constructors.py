"""What constructors accept and refuse, and what a missing global step says."""

from tests.conformance.collect import scenario

REFUSED = {
    "StopAtStepHook": [{}, {"num_steps": 1, "last_step": 1}],
    "LoggingTensorHook": [
        {"tensors": []},
        {"tensors": [], "every_n_iter": 1, "every_n_secs": 1},
        {"tensors": [], "every_n_iter": 1, "every_n_secs": 1, "at_end": True},
        {"tensors": [], "every_n_iter": 0},
        {"tensors": [], "every_n_iter": -3},
        {"tensors": [], "every_n_iter": -1, "at_end": True},
    ],
    "StepCounterHook": [
        {"every_n_steps": None},
        {"every_n_steps": 1, "every_n_secs": 1},
        {"every_n_secs": 1},
    ],
    "SummarySaverHook": [
        {},
        {"save_steps": 1},
        {"summary_op": "s"},
        {"save_steps": 1, "save_secs": 1, "summary_op": "s"},
        {"save_steps": 1, "summary_op": "s", "scaffold": "Scaffold"},
    ],
    "CheckpointSaverHook": [
        {"checkpoint_dir": "d"},
        {"checkpoint_dir": "d", "save_steps": 1, "save_secs": 1},
        {"checkpoint_dir": "d", "save_steps": 1, "saver": "s", "scaffold": "Scaffold"},
        {"checkpoint_dir": None, "save_steps": 1},
    ],
    "ProfilerHook": [{}, {"save_steps": 1, "save_secs": 1}],
    "SecondOrStepTimer": [{}, {"every_secs": 1, "every_steps": 1}],
    "LooperThread": [
        {"coord": None, "timer_interval_secs": 1},
        {"coord": "Coordinator", "timer_interval_secs": 1, "args": (1,)},
        {"coord": "Coordinator", "timer_interval_secs": 1, "kwargs": {"a": 1}},
    ],
}

ACCEPTED = {
    "StopAtStepHook": [(None, 3), (3,), (3, None)],
    "LoggingTensorHook": [
        ([], 1),
        ([], None, 1),
        ([], None, 0),
        ([], None, None, True),
        ({}, 1, None, True, str),
    ],
    "StepCounterHook": [(), (1,), (None, 1), (1, None, "d")],
    "SummarySaverHook": [(1, None, None, None, None, "s"), (None, 1, "d", None, None, "s")],
    "GlobalStepWaiterHook": [(0,), (-1,)],
    "NanTensorHook": [("t",), ("t", False)],
    "FinalOpsHook": [(None,), ("t", {})],
    "FeedFnHook": [(dict,)],
    "SecondOrStepTimer": [(1,), (None, 1), (0,), (None, 0)],
    "NeverTriggerTimer": [()],
}


def _filled(s, arguments):
    made = {"Scaffold": s.train.Scaffold, "Coordinator": s.train.Coordinator}
    return {k: made[v]() if isinstance(v, str) and v in made else v for k, v in arguments.items()}


@scenario(kind=list(REFUSED))
def refused(s, kind):
    with s.building():
        for arguments in REFUSED[kind]:
            filled = _filled(s, arguments)
            s.attempt(f"{kind} {arguments}", lambda f=filled: getattr(s.train, kind)(**f))


@scenario(kind=list(ACCEPTED))
def accepted_by_position(s, kind):
    with s.building():
        for arguments in ACCEPTED[kind]:
            made = s.attempt(kind, lambda a=arguments: getattr(s.train, kind)(*a))
            s.show("a hook", isinstance(made, s.train.SessionRunHook))


@scenario(kind=["StopAtStepHook", "StepCounterHook", "SummarySaverHook", "CheckpointSaverHook",
                "GlobalStepWaiterHook", "ProfilerHook", "LoggingTensorHook", "NanTensorHook",
                "FinalOpsHook", "FeedFnHook"])  # fmt: skip
def without_a_global_step(s, kind):
    folder = s.folder()
    with s.building(increment=None, needs={}), s.going_on():
        arguments = {
            "StopAtStepHook": {"last_step": 1},
            "StepCounterHook": {},
            "SummarySaverHook": {
                "save_steps": 1,
                "summary_op": s.backend.summary_op(s.program, {"loss": "loss"}),
            },
            "CheckpointSaverHook": {"checkpoint_dir": folder, "save_steps": 1},
            "GlobalStepWaiterHook": {"wait_until_step": 1},
            "ProfilerHook": {"save_steps": 1, "output_dir": folder},
            "LoggingTensorHook": {"tensors": {"loss": s.fetch("loss")}, "every_n_iter": 1},
            "NanTensorHook": {"loss_tensor": s.fetch("loss")},
            "FinalOpsHook": {"final_ops": s.fetch("w")},
            "FeedFnHook": {"feed_fn": dict},
        }[kind]
        with s.open(hooks=[getattr(s.train, kind)(**arguments)]) as session:
            session.run("w")


@scenario()
def a_monitored_session_by_position(s):
    with s.building():
        creator = s.train.ChiefSessionCreator(s.train.Scaffold(), "", None, s.folder(), None)
        with s.open("MonitoredSession", creator, [s.hook("a")], 7) as session:
            session.run()


@scenario()
def a_singular_session_by_position(s):
    with s.building():
        given = ([s.hook("a")], s.train.Scaffold(), "", None, s.folder(), 7, None)
        with s.open("SingularMonitoredSession", *given) as session:
            session.run()


@scenario(save_graph_def=[True, False])
def a_training_session_by_position(s, save_graph_def):
    folder, summaries = s.folder(), s.folder("summaries")
    first = ("", True, folder, s.train.Scaffold(), [s.hook("a")], [s.hook("chief")])
    with s.building(summaries={"a/loss": "loss"}):
        rest = (None, 2, None, None, 7, 3, 60, 2, summaries, save_graph_def)
        with s.open("MonitoredTrainingSession", *first, *rest) as session:
            for _ in range(5):
                s.clock.advance(1.0)
                session.run()
        s.show("in the folder", s.backend.scalars(folder))
        s.show("in summaries", s.backend.scalars(summaries))


@scenario()
def a_saver_hook_by_position(s):
    folder = s.folder()
    with s.building():
        scaffold = s.train.Scaffold()
        hook = s.train.CheckpointSaverHook(
            folder, None, 2, None, "mine", scaffold, [s.listener("L")], False
        )
        with s.open(session_creator=s.chief(scaffold), hooks=[hook]) as session:
            for _ in range(3):
                session.run()
        s.show("listed", s.backend.listed(folder))


@scenario()
def logging_something_unknown(s):
    with s.building(), s.going_on():
        s.open(hooks=[s.train.LoggingTensorHook(["nothing_of_this_name"], every_n_iter=1)])
