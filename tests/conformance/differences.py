"""Where runloop differs from TensorFlow 2.21 on purpose. There is no other difference.

Each entry says why, in which scenarios it shows, and which lines of a trace it may add and take
away. runloop's own trace of each of these scenarios is kept in ``golden/differences.json``
(``python -m tests.conformance.accept`` renews it), so that it is checked like every other.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One deliberate difference.

    Attributes:
        name: What it is called in messages.
        reason: Why runloop departs from TensorFlow.
        adds: A pattern of the lines that runloop's trace has and TensorFlow's has not.
        drops: A pattern of the lines that TensorFlow's trace has and runloop's has not.
        scenarios: Where it shows: the beginnings of the names of scenarios.
        programs: In which random programs it shows.
    """

    name: str
    reason: str
    scenarios: tuple[str, ...]
    adds: str = "(?!)"
    drops: str = "(?!)"
    programs: tuple[int, ...] = ()

    def touches(self, scenario: str) -> bool:
        """Whether it shows in a scenario."""
        group, _, rest = scenario.partition("/")
        if group == "random":
            return int(rest) in self.programs
        return scenario.startswith(self.scenarios)

    def allows(self, line: str, *, added: bool) -> bool:
        """Whether it explains one line of a difference."""
        return re.fullmatch(self.adds if added else self.drops, line) is not None


_SESSIONS = ("MonitoredSession", "SingularMonitoredSession")

DIFFERENCES = (
    Difference(
        name="every end is called",
        reason="If one hook's end() raises, the others' end() still run.",
        adds=r"\w+\.(end|before_save|after_save) .*|\w+\.end raises \w+|ran .*",
        scenarios=(
            *(f"leaving/a_hook_raises[{kind},end," for kind in _SESSIONS),
            "leaving/end_raises_and_then_closed_again",
            "leaving/two_ends_raise",
            "leaving/an_end_raises_after_the_data_ended",
            "recovery/lost_in_end_is_not_recovered",
            "threads/a_thread_and_an_end_fail",
            "hooks_logging/logging_at_the_end_when_the_data_are_over",
            "hooks_others/final_ops_that_fail",
            "checkpoints/a_listener_raises[end,1]",
        ),
        programs=(
            121,
            134,
            163,
            184,
            266,
            269,
            287,
            344,
            421,
            430,
            600,
            746,
            784,
            789,
            955,
            984,
            1034,
        ),
    ),
    Difference(
        name="the first error comes out",
        reason="A failure while a session is closed never replaces an earlier exception; it is "
        "added to it as a note.",
        adds=r"< left, raised .*|< left",
        drops=r"< left, raised .*",
        scenarios=(
            "leaving/two_ends_raise",
            "leaving/a_closed_session_left_by_an_error",
            "leaving/closed_inside_its_block_and_left_by_the_end_of_data",
            "leaving/a_foreign_session_fails_to_close[by an error]",
            *(
                f"threads/a_thread_failed_when_the_session_is_left[{kind},{thread},{body}]"
                for kind in _SESSIONS
                for thread in ("ValueError", "Aborted", "OutOfRange")
                for body in ("KeyError", "Aborted", "KeyboardInterrupt")
                # MonitoredSession drops what a thread of a lost session raised.
                if (kind, thread) != ("MonitoredSession", "Aborted")
            ),
            "threads/a_run_after_a_stop_when_a_thread_has_failed[MonitoredSession,ValueError]",
            "threads/a_run_after_a_stop_when_a_thread_has_failed[SingularMonitoredSession,ValueError]",
            "threads/a_thread_is_interrupted_and_a_run_fails",
            "threads/a_thread_and_an_end_fail",
        ),
        programs=(
            8,
            283,
            306,
            362,
            393,
            437,
            505,
            537,
            593,
            621,
            689,
            789,
            869,
            890,
            1122,
            1150,
            1161,
        ),
    ),
    Difference(
        name="a thread's interrupt stays with the thread",
        reason="A failed run raises its own error; in TensorFlow, a KeyboardInterrupt that a thread "
        "caught replaces it.",
        adds=r"(<|> leave by|< left,) .*|\w+\.end .*",
        drops=r"(<|> leave by|< left,) .*",
        scenarios=("threads/a_thread_is_interrupted_and_a_run_fails",),
        programs=(475, 999),
    ),
    Difference(
        name="a closed session is closed",
        reason="A second close() raises without calling end again, and run() after close() says "
        "that the session is closed; TensorFlow fails with an error about None.",
        adds=r"(<|> leave by) (raised )?RuntimeError: Session is already closed\.",
        drops=r"\w+\.end|(<|> leave by) (raised )?AttributeError: 'NoneType' object has no .*",
        scenarios=(
            "leaving/closed_twice",
            "leaving/closed_inside_its_own_block",
            "leaving/closed_inside_its_block_and_left_by_the_end_of_data",
            "leaving/end_raises_and_then_closed_again",
            "leaving/a_run_after_closing",
        ),
        programs=(
            43,
            74,
            95,
            99,
            152,
            158,
            205,
            206,
            218,
            270,
            275,
            281,
            346,
            378,
            424,
            425,
            427,
            464,
            466,
            493,
            499,
            630,
            638,
            725,
            916,
            931,
            958,
            979,
        ),
    ),
    Difference(
        name="no end without a session",
        reason="If a lost session could not be re-created, end is not called; TensorFlow passes it "
        "the incomplete session, or the lost one, which is closed.",
        adds=r"< left",
        drops=r"\w+\.end .*|log .*|< left, raised RuntimeError: Attempted to use a closed .*",
        scenarios=("recovery/the_data_end_while_it_is_recovered",),
        programs=(46, 416, 797),
    ),
    Difference(
        name="a graph is always reopened",
        reason="If a session could not be created, the graph is not left finalized.",
        adds=r"\w+\.begin graph=open|finalized after: False",
        drops=r"\w+\.begin graph=finalized|finalized after: True",
        scenarios=(
            "lifecycle/the_graph_after_a_session_that_could_not_be_made[after_create_session]",
        ),
        programs=(471, 514, 541, 735),
    ),
    Difference(
        name="a failure to close is raised",
        reason="On a normal exit, an error while closing is raised; TensorFlow ignores it.",
        adds=r"< left, raised ValueError: user: closing",
        drops=r"< left",
        scenarios=("leaving/a_foreign_session_fails_to_close[alone]",),
    ),
    Difference(
        name="subclasses count",
        reason="Subclasses of OutOfRangeError and StopIteration end a loop like these themselves.",
        adds=r"\w+\.end .*|< left|> leave by .*",
        drops=r"< left, raised .*|> leave by .*",
        scenarios=("leaving/the_body_raises_a_subclass",),
    ),
    Difference(
        name="hooks need not be hashable",
        reason="TensorFlow uses hooks as the keys of a dict; runloop does not.",
        adds=r".*",
        drops=r".*TypeError: unhashable type: 'Recorder'",
        scenarios=("lifecycle/a_hook_that_cannot_be_hashed",),
    ),
    Difference(
        name="wrong arguments are named",
        reason="Something that is not a hook, RunArgs, fetch or feed is refused with an error that "
        "names it; a wrong hook is refused before any hook is called. An unknown name is always a "
        "ValueError.",
        adds=r".*(TypeError|ValueError): .*",
        drops=r"a\.begin .*|.*(AttributeError|TypeError|ValueError|KeyError): .*",
        scenarios=(
            "lifecycle/something_that_is_not_a_hook",
            "running/before_run_gives_back_something_else",
            "running/a_fetch_that_cannot_be",
            "running/a_feed_that_nothing_knows",
            "constructors/logging_something_unknown",
        ),
    ),
    Difference(
        name="late fetches are looked up early",
        reason="Names that a hook fetches only in end are looked up when the session is created; "
        "in TensorFlow, a wrong name is an error after the training.",
        adds=r"< raised ValueError: .*",
        drops=r"[ab]\..*|< made|> .*|< None|ran .*|< left, raised ValueError: .*",
        scenarios=("hooks_others/final_ops_of_something_unknown",),
    ),
    Difference(
        name="arrays are checked for NaN",
        reason="NanTensorHook also takes an array, in which any NaN counts; TensorFlow's fails on "
        "arrays with NumPy's error.",
        adds=r".*NanLossDuringTrainingError.*|< 0|> leave|< left",
        drops=r".*ValueError: The truth value of an array .*",
        scenarios=("hooks_stopping/nan_tensor_in_an_array",),
    ),
    Difference(
        name="own words",
        reason="Messages about variables that are not ready and about waiting workers have "
        "runloop's words, because TensorFlow's are about its graph.",
        adds=r"< raised .*",
        drops=r"< raised .*",
        scenarios=("creation/not_ready", "creation/a_worker_gives_up_waiting"),
    ),
    Difference(
        name="only a full trace is recorded",
        reason="TensorFlow's trace levels below FULL_TRACE select its tracers; runloop has a single "
        "tracer, which runs only at FULL_TRACE.",
        adds=r"\w+\.after_run .* traced=False",
        drops=r"\w+\.after_run .* traced=True",
        scenarios=(
            "running/options_are_merged_by_maximum",
            "running/a_trace_is_recorded[1]",
            "running/a_trace_is_recorded[2]",
        ),
    ),
    Difference(
        name="the raw session of a repeated step_fn",
        reason="After a recovery, StepContext.session is the new session; TensorFlow passes the old "
        "one, which is closed.",
        adds=r"raw: 0",
        drops=r"raw raised RuntimeError: Attempted to use a closed Session\.",
        scenarios=("step_fn/the_raw_session_after_it_was_lost",),
    ),
    Difference(
        name="a step may be profiled twice",
        reason="runloop writes only timelines; TensorFlow's ProfilerHook also writes to an event "
        "file, which refuses a second trace of the same step.",
        adds=r".*",
        drops=r".*ValueError: The provided tag was already used for this event type",
        scenarios=("hooks_others/profilers_of_two_sessions_in_one_folder",),
        programs=(440, 484),
    ),
    Difference(
        name="a failed save is repeated",
        reason="A step counts as saved when its checkpoint is on disk; in TensorFlow it counts as "
        "saved before that, so that a last step whose save failed is never saved.",
        adds=r"L\.(before_save|after_save) .*|disk .*|listed: .*",
        drops=r"listed: .*",
        scenarios=("checkpoints/the_data_end_in_a_listener[before_save,",),
    ),
    Difference(
        name="all checkpoints are listed",
        reason="With max_to_keep 0 or None, the state file lists every checkpoint; TensorFlow lists "
        "only the newest.",
        adds=r"listed: .*",
        drops=r"listed: .*",
        scenarios=(
            "checkpoints/only_so_many_are_kept[None]",
            "checkpoints/only_so_many_are_kept[0]",
        ),
    ),
    Difference(
        name="checkpoints are counted by folder",
        reason="A Saver that saves into two folders keeps max_to_keep checkpoints in each; "
        "TensorFlow deletes in one folder because of checkpoints in the other.",
        drops=r"disk <first> -model\.ckpt-0",
        scenarios=("checkpoints/two_saver_hooks",),
    ),
    Difference(
        name="what is finished stays finished",
        reason="A session that starts at or past the last step of StopAtStepHook is asked to stop before "
        "any run, so that a finished training started again changes nothing; TensorFlow trains one step "
        "more. runloop.compat.tf trains it, too.",
        adds=r"should_stop: (True|False)|-?> (leave.*|run .*)|< (None|left.*|raised .*)|"
        r"\w+\.end .*|ran .*|disk .*|log .*|listed: .*|scalars: .*",
        drops=r"should_stop: (True|False)|step_fn|-?> (leave.*|run .*)|< (None|left.*|raised OutOfRange)|"
        r"\w+\.(after_create_session|before_run|after_run|end) .*|\w+\.after_run (ran|raises) .*|"
        r"ran .*|disk .*|log .*|listed: .*|scalars: .*",
        scenarios=(
            "hooks_stopping/stop_at_a_step_that_is_already_reached",
            "hooks_stopping/stop_at_step_after_a_restore[{'last_step': 3}]",
            "training_session/a_training_run_that_is_continued",
        ),
        programs=(92, 297, 532, 610, 667, 865, 968, 1090),
    ),
)
