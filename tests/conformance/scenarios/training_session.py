"""``MonitoredTrainingSession``: what it adds, in which order, with which defaults."""

from tests.conformance.collect import scenario

CHOICES = {
    "defaults": {},
    "checkpoint steps": {"save_checkpoint_steps": 5},
    "checkpoint secs": {"save_checkpoint_secs": 5},
    "checkpoint secs None": {"save_checkpoint_secs": None},
    "checkpoint steps None": {"save_checkpoint_steps": None},
    "checkpoint steps 0": {"save_checkpoint_steps": 0},
    "checkpoint both": {"save_checkpoint_steps": 3, "save_checkpoint_secs": 4},
    "summaries steps": {"save_summaries_steps": 7},
    "summaries steps None": {"save_summaries_steps": None},
    "summaries secs": {"save_summaries_secs": 4},
    "summaries secs None": {"save_summaries_secs": None},
    "summaries steps 0": {"save_summaries_steps": 0},
    "summaries both": {"save_summaries_steps": 3, "save_summaries_secs": 4},
    "count steps": {"log_step_count_steps": 9},
    "count None": {"log_step_count_steps": None},
    "count 0": {"log_step_count_steps": 0},
}


@scenario(choice=list(CHOICES))
def the_hooks_it_adds(s, choice):
    folder = s.folder()
    with s.building(), s.going_on():
        session = s.open(
            "MonitoredTrainingSession",
            checkpoint_dir=folder,
            hooks=[s.hook("user")],
            chief_only_hooks=[s.hook("chief")],
            **CHOICES[choice],
        )
        names = [getattr(h, "label", type(h).__name__) for h in s.backend.hooks_of(session.raw)]
        s.show("hooks", names)
        session.close()


@scenario(folders=["none", "summaries only", "both"])
def the_folders(s, folders):
    checkpoints, summaries = s.folder("checkpoints"), s.folder("summaries")
    arguments = {
        "none": {},
        "summaries only": {"summary_dir": summaries},
        "both": {"checkpoint_dir": checkpoints, "summary_dir": summaries},
    }[folders]
    with s.building(summaries={"a/loss": "loss"}):
        session = s.open("MonitoredTrainingSession", hooks=[s.hook("user")], **arguments)
        names = [getattr(h, "label", type(h).__name__) for h in s.backend.hooks_of(session.raw)]
        s.show("hooks", names)
        session.run()
        session.close()
        s.show("in checkpoints", s.backend.scalars(checkpoints))
        s.show("in summaries", s.backend.scalars(summaries))


@scenario()
def a_worker_adds_nothing(s):
    values = {"loss": [1.0], "ready": [[]], "local": [0.0]}
    with s.building(values=values):
        scaffold = s.train.Scaffold(
            ready_op=s.fetch("ready"),
            ready_for_local_init_op=s.fetch("ready"),
            local_init_op=s.backend.init_op(s.program, "local"),
        )
        session = s.open(
            "MonitoredTrainingSession",
            is_chief=False,
            checkpoint_dir=s.folder(),
            scaffold=scaffold,
            hooks=[s.hook("user")],
            chief_only_hooks=[s.hook("chief")],
        )
        names = [getattr(h, "label", type(h).__name__) for h in s.backend.hooks_of(session.raw)]
        s.show("hooks", names)
        session.run()
        session.close()


@scenario()
def a_whole_training_run(s):
    folder = s.folder()
    with s.building(summaries={"a/loss": "loss"}):
        hooks = [s.train.StopAtStepHook(last_step=6), s.hook("user")]
        with s.open(
            "MonitoredTrainingSession",
            checkpoint_dir=folder,
            hooks=hooks,
            save_checkpoint_steps=2,
            save_summaries_steps=2,
            log_step_count_steps=2,
        ) as session:
            session.loop(secs=1.0, most=20)
        s.show("scalars", s.backend.scalars(folder))
        s.show("listed", s.backend.listed(folder))


@scenario()
def a_training_run_that_is_continued(s):
    folder = s.folder()
    with s.building():
        for last in (3, 5, 5):
            hooks = [s.train.StopAtStepHook(last_step=last), s.hook("user", fetch="w")]
            with s.open(
                "MonitoredTrainingSession",
                checkpoint_dir=folder,
                hooks=hooks,
                save_checkpoint_steps=2,
            ) as session:
                session.loop(most=20)
        s.show("listed", s.backend.listed(folder))


@scenario()
def the_default_intervals(s):
    folder = s.folder()
    with s.building(summaries={"a/loss": "loss"}):
        with s.open("MonitoredTrainingSession", checkpoint_dir=folder) as session:
            for n in range(205):
                s.clock.advance(3.0)
                session.raw.run(s.fetch("global_step" if n == 150 else "train"))
        s.show("scalars", [(step, tag) for step, tag, _ in s.backend.scalars(folder)])


@scenario()
def a_session_lost_in_a_training_session(s):
    folder = s.folder()
    hook = s.hook("user", errors={"before_run": {4: ("Aborted", "user: lost")}})
    with s.building(summaries={"a/loss": "loss"}):
        with s.open(
            "MonitoredTrainingSession",
            checkpoint_dir=folder,
            hooks=[hook],
            save_checkpoint_steps=2,
            save_summaries_steps=1,
            log_step_count_steps=1,
        ) as session:
            for _ in range(5):
                s.clock.advance(1.0)
                session.run(["train", "global_step"])
        s.show("scalars", s.backend.scalars(folder))


@scenario()
def an_error_saves_nothing_more(s):
    folder = s.folder()
    with s.building(), s.going_on():
        with (
            s.going_on(),
            s.open(
                "MonitoredTrainingSession", checkpoint_dir=folder, save_checkpoint_steps=2
            ) as session,
        ):
            for _ in range(3):
                session.run()
            raise s.error("ValueError", "user: body")
        s.show("listed", s.backend.listed(folder))


@scenario()
def the_end_of_data_saves_the_last_step(s):
    folder = s.folder()
    with s.building(data={"x": 3}, needs={"loss": ["x"], "train": ["loss"]}):
        with s.open(
            "MonitoredTrainingSession", checkpoint_dir=folder, save_checkpoint_steps=2
        ) as session:
            session.loop()
        s.show("listed", s.backend.listed(folder))


@scenario()
def a_scaffold_of_ones_own(s):
    folder = s.folder()
    with s.building():
        scaffold = s.train.Scaffold(
            init_fn=lambda scaffold, session: s.note("init_fn"),
            saver=s.train.Saver(max_to_keep=2),
        )
        with s.open(
            "MonitoredTrainingSession",
            checkpoint_dir=folder,
            scaffold=scaffold,
            save_checkpoint_steps=1,
            hooks=[s.hook("user")],
        ) as session:
            for _ in range(4):
                session.run()
        s.show("listed", s.backend.listed(folder))
