"""How a session comes to be: Scaffold, its ops in order, readiness, restoring, workers."""

from tests.conformance.collect import scenario

EMPTY = [[]]
PIECES = ["init", "local", "ready", "ready_local"]


def _scaffold_program(s, **values):
    names = {"ready": EMPTY, "ready_local": EMPTY, **values}
    return s.building(
        values={"loss": [1.0, 0.5], "init": [0.0], "local": [0.0], **names},
        echoes={"y": ("f", 1.0)},
        alone=PIECES,
    )


def _scaffold(s, **more):
    arguments = {
        "init_op": s.backend.init_op(s.program, "init"),
        "init_fn": lambda scaffold, session: s.note("init_fn"),
        "ready_op": s.fetch("ready"),
        "ready_for_local_init_op": s.fetch("ready_local"),
        "local_init_op": s.fetch("local"),
        **more,
    }
    return s.train.Scaffold(**arguments)


@scenario()
def the_order_of_a_scaffolds_pieces(s):
    with _scaffold_program(s):
        creator = s.chief(_scaffold(s))
        with s.open(session_creator=creator, hooks=[s.hook("a"), s.hook("b")]) as session:
            session.run()


@scenario()
def the_same_pieces_when_a_session_is_recovered(s):
    hook = s.hook("a", errors={"before_run": {2: ("Aborted", "user: lost")}})
    with _scaffold_program(s):
        with s.open(session_creator=s.chief(_scaffold(s)), hooks=[hook]) as session:
            session.run()
            session.run()


@scenario()
def init_fn_gets_the_scaffold_and_a_session(s):
    with s.building():

        def init_fn(scaffold, session):
            s.show("the scaffold", scaffold is mine)
            s.show("w", session.run(s.fetch("w")))

        mine = s.train.Scaffold(init_fn=init_fn)
        with s.open(session_creator=s.chief(mine), hooks=[s.hook("a")]) as session:
            session.run()


@scenario()
def init_fn_changes_a_variable(s):
    with s.building(echoes={"y": ("f", 1.0)}):
        assign = s.backend.assign_op(s.program, "w", "f")
        scaffold = s.train.Scaffold(
            init_fn=lambda scaffold, session: session.run(assign, s.feed({"f": 42.0}))
        )
        with s.open(session_creator=s.chief(scaffold), hooks=[s.hook("a")]) as session:
            session.run("w")


@scenario()
def feeds_of_the_init_ops(s):
    with s.building(echoes={"y": ("f", 1.0)}, variables={"w": 0.0, "v": 0.0}):
        first = s.backend.assign_op(s.program, "w", "f")
        second = s.backend.assign_op(s.program, "v", "f")
        scaffold = s.train.Scaffold(
            init_fn=lambda scaffold, session: s.note("init_fn"),
            local_init_op=second,
            local_init_feed_dict=s.feed({"f": 4.0}),
        )
        extended = s.train.Scaffold(copy_from_scaffold=scaffold)
        with s.open(session_creator=s.chief(extended)) as session:
            session.run(["w", "v"])
        s.show("kept", [extended.local_init_op is second, first is not None])


@scenario()
def the_init_op_is_fed(s):
    with s.building(echoes={"y": ("f", 1.0)}, variables={"w": 0.0}, increment=None, needs={}):
        scaffold = s.train.Scaffold(
            init_op=s.backend.assign_op(s.program, "w", "f"), init_feed_dict=s.feed({"f": 3.0})
        )
        with s.open(session_creator=s.chief(scaffold)) as session:
            session.run("w")


@scenario(piece=["ready", "ready_local"])
def not_ready(s, piece):
    with _scaffold_program(s, **{piece: [["v", "w"]]}), s.going_on():
        with s.open(session_creator=s.chief(_scaffold(s)), hooks=[s.hook("a")]):
            pass


@scenario(piece=["init_op", "init_fn", "ready", "ready_local", "local"])
def a_piece_raises(s, piece):
    def init_fn(scaffold, session):
        s.note("init_fn")
        if piece == "init_fn":
            raise s.error("ValueError", "user: init_fn")

    name = {"init_op": "init"}.get(piece, piece)
    errors = {name: {1: ("ValueError", "user: piece")}}
    names = {"ready": EMPTY, "ready_local": EMPTY}
    values = {"loss": [1.0], "init": [0.0], "local": [0.0], **names}
    with s.building(values=values, errors=errors, alone=PIECES), s.going_on():
        creator = s.chief(_scaffold(s, init_fn=init_fn))
        with s.open(session_creator=creator, hooks=[s.hook("a")]):
            pass


@scenario()
def restored_sessions_skip_the_initialisation(s):
    folder = s.folder()
    with _scaffold_program(s):
        for _ in range(2):
            scaffold = _scaffold(s)
            creator = s.chief(scaffold, checkpoint_dir=folder)
            hooks = [s.saver_hook(folder, scaffold, save_steps=10), s.hook("a")]
            with s.open(session_creator=creator, hooks=hooks) as session:
                session.run(["train", "w"])


@scenario(kind=["chief", "singular"])
def restored_from_one_file(s, kind):
    folder = s.folder()
    with s.building():
        scaffold = s.train.Scaffold()
        hooks = [s.saver_hook(folder, scaffold, save_steps=1)]
        with s.open(session_creator=s.chief(scaffold), hooks=hooks) as session:
            for _ in range(3):
                session.run()
        path = f"{folder}/model.ckpt-2"
        if kind == "chief":
            creator = s.chief(scaffold, checkpoint_filename_with_path=path)
            opened = s.open(session_creator=creator, hooks=[s.hook("a")])
        else:
            opened = s.open(
                "SingularMonitoredSession",
                scaffold=scaffold,
                checkpoint_filename_with_path=path,
                hooks=[s.hook("a")],
            )
        with opened as session:
            session.run(["train", "w", "global_step"])


@scenario()
def a_folder_and_a_file_at_once(s):
    with s.building(), s.going_on():
        s.open(
            "SingularMonitoredSession",
            checkpoint_dir="somewhere",
            checkpoint_filename_with_path="somewhere/else",
        )


@scenario()
def an_empty_folder_is_a_fresh_start(s):
    folder = s.folder()
    with s.building():
        creator = s.chief(checkpoint_dir=folder)
        with s.open(session_creator=creator, hooks=[s.hook("a")]) as session:
            session.run("w")


@scenario()
def a_folder_that_does_not_exist_is_a_fresh_start(s):
    folder = s.folder() + "/not/there"
    with s.building():
        creator = s.chief(checkpoint_dir=folder)
        with s.open(session_creator=creator, hooks=[s.hook("a")]) as session:
            session.run("w")


@scenario()
def copied_scaffolds(s):
    with _scaffold_program(s):
        first = _scaffold(s)
        second = s.train.Scaffold(
            init_fn=lambda scaffold, session: s.note("the other init_fn"),
            copy_from_scaffold=first,
        )
        s.show("the same local_init_op", first.local_init_op is second.local_init_op)
        s.show("the same ready_op", first.ready_op is second.ready_op)
        with s.open(session_creator=s.chief(second)) as session:
            session.run()


@scenario()
def copied_from_something_else(s):
    with s.building():
        s.attempt("Scaffold", lambda: s.train.Scaffold(copy_from_scaffold=1))


@scenario()
def a_worker_gives_up_waiting(s):
    slept = []
    s.clock.on_sleep = slept.append
    with _scaffold_program(s, ready_local=[["w"]]), s.going_on():
        creator = s.train.WorkerSessionCreator(_scaffold(s), max_wait_secs=65)
        try:
            s.open(session_creator=creator, hooks=[s.hook("a")])
        finally:
            s.show("slept", slept)


@scenario()
def a_creator_of_ones_own(s):
    class Creator(s.train.SessionCreator):
        def create_session(self):
            s.note("create_session")
            return s.chief().create_session()

    with s.building(), s.open(session_creator=Creator(), hooks=[s.hook("a")]) as session:
        session.run()


@scenario()
def a_creator_that_fails(s):
    class Creator(s.train.SessionCreator):
        def create_session(self):
            raise ValueError("user: creator")

    with s.building(), s.going_on(), s.open(session_creator=Creator(), hooks=[s.hook("a")]):
        pass


@scenario()
def the_abstract_creator(s):
    with s.building():
        try:
            s.train.SessionCreator()
        except TypeError:
            s.note("it cannot be made")
