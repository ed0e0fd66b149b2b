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


DIFFERENCES = (
    Difference(
        name="every end is called",
        reason="A hook whose end raises does not rob the later ones of theirs: every end is "
        "called, the first error is raised, the others are notes on it.",
        adds=r"\w+\.end .*|ran .*|< left, raised .* \(note: user: .*\)|< left, raised .*",
        drops=r"< left, raised .*",
        scenarios=(
            "lifecycle/a_hook_raises[MonitoredSession,end,",
            "lifecycle/a_hook_raises[SingularMonitoredSession,end,",
            "lifecycle/end_raises_and_then_closed_again",
            "lifecycle/two_ends_raise",
            "lifecycle/an_end_raises_after_the_data_ended",
            "recovery/lost_in_end_is_not_recovered",
            "threads/a_thread_and_an_end_fail",
            "stock_hooks/logging_at_the_end_when_the_data_are_over",
            "stock_hooks/final_ops_that_fail",
            "checkpoints/a_listener_raises[end,1]",
        ),
    ),
    Difference(
        name="a closed session is closed",
        reason="A second close() raises without calling end again, and a run of a closed session "
        "says so; TensorFlow stumbles over its own None.",
        adds=r"< raised RuntimeError: Session is already closed\.",
        drops=r"\w+\.end|< raised AttributeError: 'NoneType' object has no attribute '\w+'",
        scenarios=(
            "lifecycle/closed_twice",
            "lifecycle/closed_inside_its_own_block",
            "lifecycle/end_raises_and_then_closed_again",
            "lifecycle/a_run_after_closing",
        ),
    ),
    Difference(
        name="closing masks nothing",
        reason="Closing never masks the exception that is on its way; what fails while closing is "
        "a note on it.",
        adds=r"< left, raised .*",
        drops=r"< left, raised .*",
        scenarios=(
            "lifecycle/a_closed_session_left_by_an_error",
            "lifecycle/a_foreign_session_fails_to_close[by an error]",
            *(
                f"threads/a_thread_failed_when_the_session_is_left[{kind},{thread},{body}]"
                for kind in ("MonitoredSession", "SingularMonitoredSession")
                for thread in ("ValueError", "Aborted", "OutOfRange")
                for body in ("KeyError", "Aborted", "KeyboardInterrupt")
                # MonitoredSession forgets what a lost session's thread raised.
                if (kind, thread) != ("MonitoredSession", "Aborted")
            ),
            "threads/a_thread_and_an_end_fail",
        ),
    ),
    Difference(
        name="a failure to close is raised",
        reason="On a normal exit a session that fails to close says so; TensorFlow says nothing.",
        adds=r"< left, raised .*",
        drops=r"< left",
        scenarios=("lifecycle/a_foreign_session_fails_to_close[alone]",),
    ),
    Difference(
        name="subclasses count",
        reason="Subclasses of OutOfRangeError and StopIteration end a loop as these do.",
        adds=r"\w+\.end .*|< left|> leave by .*",
        drops=r"< left, raised .*|> leave by .*",
        scenarios=("lifecycle/the_body_raises_a_subclass",),
    ),
    Difference(
        name="hooks need not be hashable",
        reason="TensorFlow uses hooks as keys of a dict; runloop does not.",
        adds=r".*",
        drops=r".*TypeError: unhashable type: 'Recorder'",
        scenarios=("lifecycle/a_hook_that_cannot_be_hashed",),
    ),
    Difference(
        name="wrong things are refused by name",
        reason="What is no hook, no RunArgs, no fetch or no feed is refused with an error that "
        "names it, and what is no hook before any hook is called; an unknown name is a ValueError "
        "whoever asks for it.",
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
        name="own words",
        reason="What is not ready, and how long a worker waited, is said with runloop's words: "
        "TensorFlow's speak of its graph.",
        adds=r"< raised .*",
        drops=r"< raised .*",
        scenarios=("creation/not_ready", "creation/a_worker_gives_up_waiting"),
    ),
    Difference(
        name="only a full trace is recorded",
        reason="TensorFlow's levels below FULL_TRACE choose among its own tracers; runloop has "
        "one, and pays for it only at FULL_TRACE.",
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
        reason="After a recovery StepContext.session is the new session; TensorFlow hands out "
        "the old one, which is closed.",
        adds=r"raw: 0",
        drops=r"raw raised RuntimeError: Attempted to use a closed Session\.",
        scenarios=("step_fn/the_raw_session_after_it_was_lost",),
    ),
    Difference(
        name="a timeline is written when its run is over",
        reason="A timeline shows every hook's after_run, so ProfilerHook writes it when the next "
        "run begins or the session ends.",
        adds=r"timelines: .*",
        drops=r"timelines: .*",
        scenarios=("stock_hooks/profiler[", "stock_hooks/profiler_with_runs_that_do_not_train"),
    ),
    Difference(
        name="writers are flushed",
        reason="Whichever way a session is left, a hook flushes the writer that it was given.",
        adds=r"writer flushed",
        scenarios=(
            "stock_hooks/step_counter_and_flushing",
            "stock_hooks/summary_saver_after_an_error",
        ),
    ),
    Difference(
        name="all checkpoints are listed",
        reason="With max_to_keep 0 or None the state file lists every checkpoint; TensorFlow "
        "lists the newest.",
        adds=r"listed: .*",
        drops=r"listed: .*",
        scenarios=(
            "checkpoints/only_so_many_are_kept[None]",
            "checkpoints/only_so_many_are_kept[0]",
        ),
    ),
    Difference(
        name="checkpoints are counted by folder",
        reason="A Saver that saves into two folders keeps max_to_keep in each; TensorFlow deletes "
        "from one folder for what it saved into the other.",
        drops=r"disk <first> -model\.ckpt-0",
        scenarios=("checkpoints/two_saver_hooks",),
    ),
)
