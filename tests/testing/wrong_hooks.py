"""Hooks with a mistake each, as people make them; what the contract says of each is beside it."""

import math

import runloop as rl

Hook = rl.SessionRunHook


class GrowsTheGraph(Hook):
    def before_run(self, context):
        rl.get_default_graph().op(lambda: 1, name="late")


class ChangesACollection(Hook):
    def after_run(self, context, values):
        rl.get_default_graph().get_collection_ref("seen").append(1)


class CanNotBeginTwice(Hook):
    def begin(self):
        rl.get_default_graph().op(lambda loss: -loss, name="negative_loss")


class AddsMoreInASecondBegin(Hook):
    def begin(self):
        graph = rl.get_default_graph()
        graph.variable(f"count_{len(graph.variables)}", 0.0)


class AddsASummaryInEachBegin(Hook):
    def begin(self):
        graph = rl.get_default_graph()
        graph.summary(f"loss_{len(graph.summaries)}", "loss")


class AsksForWhatIsNotThere(Hook):
    def before_run(self, context):
        return rl.RunArgs("accuracy")


class FeedsWhatIsNotThere(Hook):
    def before_run(self, context):
        return rl.RunArgs(None, {"learning_rate": 0.1})


class ReturnsADict(Hook):
    def before_run(self, context):
        return {"loss": "loss"}


class KeepsTheFirstSession(Hook):
    session = None

    def after_create_session(self, session, coord):
        self.session = self.session or session

    def after_run(self, context, values):
        self.session.run("loss")


class OpensItsFileTwice(Hook):
    opened = False

    def after_create_session(self, session, coord):
        if self.opened:
            raise RuntimeError("the file is open already")
        self.opened = True


class ReadsWhatItDidNotAskFor(Hook):
    def begin(self):
        self.runs = 0

    def before_run(self, context):
        self.runs += 1
        return rl.RunArgs({"loss": "loss"}) if self.runs % 2 else None

    def after_run(self, context, values):
        self.last = values.results["loss"]


class ThinksEveryRunSucceeds(Hook):
    inside = False

    def before_run(self, context):
        if self.inside:
            raise RuntimeError("before_run without after_run")
        self.inside = True

    def after_run(self, context, values):
        self.inside = False


class ThinksStepsOnlyGrow(Hook):
    last = -1

    def before_run(self, context):
        return rl.RunArgs("global_step")

    def after_run(self, context, values):
        if values.results <= self.last:
            raise ValueError(f"step {values.results} after step {self.last}")
        self.last = values.results


class DividesByItsRuns(Hook):
    def begin(self):
        self.runs, self.total = 0, 0.0

    def before_run(self, context):
        return rl.RunArgs("loss")

    def after_run(self, context, values):
        self.runs += 1
        self.total += values.results

    def end(self, session):
        self.mean = self.total / self.runs


class ClosesTheSession(Hook):
    def after_run(self, context, values):
        context.session.close()


class HasStateThatCanNotBeStored(Hook):
    def state_dict(self):
        return {"file": object()}

    def load_state_dict(self, state):
        pass


class ForgetsHowLongItWaited(Hook):
    def __init__(self):
        self.best, self.bad = math.inf, 0

    def state_dict(self):
        return {"best": self.best}  # and not how many were no better

    def load_state_dict(self, state):
        self.best = state["best"]

    def before_run(self, context):
        return rl.RunArgs("loss")

    def after_run(self, context, values):
        self.bad = 0 if values.results < self.best else self.bad + 1
        self.best = min(self.best, values.results)
        if self.bad >= 3:
            context.request_stop()


class RestoresOtherKeys(Hook):
    def __init__(self):
        self.seen = {}

    def state_dict(self):
        return {"seen": dict(self.seen)}

    def load_state_dict(self, state):
        self.seen = {str(step): loss for step, loss in state["seen"].items()}

    def before_run(self, context):
        return rl.RunArgs(["global_step", "loss"])

    def after_run(self, context, values):
        step, loss = values.results
        self.seen[int(step)] = float(loss)


OWN = "a hook's methods must not raise"
GRAPH = "a hook must not change the graph after its begin"
BEGIN = "a second begin must change nothing"
ACCEPTED = "what a hook fetches, feeds and keeps must be acceptable"

MADE = "create a session; loss is [0.0]"
LOST = "run: the session is lost in an op and re-created, the run is repeated"
LOST_LATER = (
    "run: the session is lost in after_run of the hook after it and re-created, the run is repeated"
)
DIES = "kill the process; restart from the newest checkpoint with a new hook"

WRONG = {
    GrowsTheGraph: (
        GRAPH,
        [MADE, "run"],
        (
            "GrowsTheGraph.before_run step=0 raises RuntimeError: Graph is finalized and cannot be "
            "modified."
        ),
    ),
    ChangesACollection: (GRAPH, [MADE, "run"], "the graph's collection 'seen' changed"),
    CanNotBeginTwice: (
        BEGIN,
        [MADE],
        "CanNotBeginTwice.begin raises ValueError: the name 'negative_loss' is in use",
    ),
    AddsMoreInASecondBegin: (BEGIN, [MADE], "the graph got the element 'count_2'"),
    AddsASummaryInEachBegin: (BEGIN, [MADE], "the graph got the summary 'loss_1'"),
    AsksForWhatIsNotThere: (
        ACCEPTED,
        [MADE, "run"],
        (
            "AsksForWhatIsNotThere.before_run step=0 asks='accuracy'; then the session: ValueError: "
            "nothing is called 'accuracy'"
        ),
    ),
    FeedsWhatIsNotThere: (
        ACCEPTED,
        [MADE, "run"],
        (
            "FeedsWhatIsNotThere.before_run step=0 feeds={'learning_rate': 0.1}; then the session: "
            "ValueError: nothing takes a feed called 'learning_rate'"
        ),
    ),
    ReturnsADict: (
        ACCEPTED,
        [MADE, "run"],
        (
            "ReturnsADict.before_run step=0; then the session: TypeError: ReturnsADict.before_run must "
            "return RunArgs or None"
        ),
    ),
    KeepsTheFirstSession: (
        OWN,
        [MADE, LOST],
        (
            "KeepsTheFirstSession.after_run step=1 raises RuntimeError: Attempted to use a closed "
            "Session."
        ),
    ),
    OpensItsFileTwice: (
        OWN,
        [MADE, LOST],
        "OpensItsFileTwice.after_create_session step=0 raises RuntimeError: the file is open",
    ),
    ReadsWhatItDidNotAskFor: (
        OWN,
        None,  # two runs, or one that is repeated
        "ReadsWhatItDidNotAskFor.after_run step=",
    ),
    ThinksEveryRunSucceeds: (
        OWN,
        [MADE, LOST],
        "ThinksEveryRunSucceeds.before_run step=0 raises RuntimeError: before_run without",
    ),
    ThinksStepsOnlyGrow: (
        OWN,
        [MADE, LOST_LATER],
        "ThinksStepsOnlyGrow.after_run step=1 got=0 raises ValueError: step 0 after step 0",
    ),
    DividesByItsRuns: (
        OWN,
        [MADE, "leave the with block normally"],
        "DividesByItsRuns.end step=0 raises ZeroDivisionError",
    ),
    ClosesTheSession: ("a hook must not close the session", [MADE, "run"], "SessionClosedError"),
    HasStateThatCanNotBeStored: (
        ACCEPTED,
        [MADE],
        "TypeError: hooks/HasStateThatCanNotBeStored/file can't be stored",
    ),
    ForgetsHowLongItWaited: (
        "a restored hook must behave like one that was not interrupted",
        None,  # several are as short
        "The one that was not interrupted: at step",
    ),
    RestoresOtherKeys: (
        "a hook's state must be the same after a save and a restore",
        [MADE, "run", DIES],
        "it was ",
    ),
}
