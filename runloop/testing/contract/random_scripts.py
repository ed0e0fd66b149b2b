"""Random scripts: the state machine behind ``assert_hook_contract``, and how a script is shortened."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runloop.testing.contract.process import Subject
from runloop.testing.contract.script import BrokenContractError, Script, Step

__all__ = ["check"]

_PLACES = (
    "an op",
    "before_run of the hook before it",
    "before_run of the hook after it",
    "after_run of the hook before it",
    "after_run of the hook after it",
)


def check(subject: Subject, *, max_examples: int, steps: int) -> None:
    """Run random scripts with the hook of ``subject``.

    Raises:
        BrokenContractError: With a script that can't be made shorter.
    """

    class RandomScript(_RandomScript):
        pass

    RandomScript.subject = subject
    with _quiet():
        try:
            run_state_machine_as_test(
                RandomScript,
                settings=settings(
                    max_examples=max_examples,
                    stateful_step_count=steps,
                    derandomize=True,
                    database=None,
                    deadline=None,
                    print_blob=False,
                    report_multiple_bugs=False,
                    phases=(Phase.generate,),
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except BrokenContractError as exc:
            broken = _shortest(subject, exc)
        else:
            return
    broken.__notes__ = []  # hypothesis describes the script there; the message says it better
    raise broken.with_traceback(None) from broken.__cause__


@contextmanager
def _quiet() -> Iterator[None]:
    """Disable logging up to ``WARNING``: hundreds of programs would bury the finding."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


class _RandomScript(RuleBasedStateMachine):
    """A script that hypothesis writes."""

    subject: Subject
    script: Script | None = None

    @initialize(losses=st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=6))
    def make_session(self, losses: list[float]) -> None:
        self.script = Script(self.subject, losses)
        self.script.act("make_session")

    def _act(self, name: str, **how: Any) -> None:
        if self.script is not None:
            self.script.act(name, **how)

    def _can(self, name: str) -> bool:
        return self.script is not None and self.script.is_possible(name)

    @precondition(lambda self: self._can("run"))
    @rule(times=st.integers(1, 4), fed=st.booleans())
    def run(self, times: int, fed: bool) -> None:
        self._act("run", times=times, fed=fed)

    @precondition(lambda self: self._can("op_fails"))
    @rule()
    def op_fails(self) -> None:
        self._act("op_fails")

    @precondition(lambda self: self._can("session_is_lost"))
    @rule(where=st.sampled_from(_PLACES))
    def session_is_lost(self, where: str) -> None:
        self._act("session_is_lost", where=where)

    @precondition(lambda self: self._can("time_passes"))
    @rule(secs=st.sampled_from([0.5, 5.0, 1000.0]))
    def time_passes(self, secs: float) -> None:
        self._act("time_passes", secs=secs)

    @precondition(lambda self: self._can("leave"))
    @rule(how=st.sampled_from(["leave", "leave_by_error", "data_ends"]))
    def end(self, how: str) -> None:
        self._act(how if self._can(how) else "leave")

    @precondition(lambda self: self._can("process_dies"))
    @rule(before=st.integers(0, 2), after=st.integers(0, 4))
    def process_dies(self, before: int, after: int) -> None:
        # Wrong state shows in what a hook does with it: die right after runs, and run on after it.
        if before and self._can("run"):
            self._act("run", times=before, fed=False)
        self._act("process_dies")
        if after and self._can("run"):
            self._act("run", times=after, fed=False)

    @precondition(lambda self: self.script is not None and self.script.over)
    @rule()
    def stay_over(self) -> None:
        """Hypothesis needs a rule that is possible at any time."""

    def teardown(self) -> None:
        if self.script is not None:
            self.script.close()


# -- shortening a script ---------------------------------------------------------------------------
# Hypothesis shortens what it drew, which is not the same: it needs many more tries, and keeps steps
# that have nothing to do with the failure.


def _shortest(subject: Subject, broken: BrokenContractError) -> BrokenContractError:
    """Drop and simplify steps for as long as the same rule is broken."""
    smaller = True
    while smaller:
        smaller = False
        for losses, steps in _smaller(broken.losses, broken.steps):
            found = _replay(subject, losses, steps)
            if found is not None and found.rule == broken.rule:
                broken, smaller = found, True
                break
    return broken


def _smaller(losses: list[float], steps: list[Step]) -> Iterator[tuple[list[float], list[Step]]]:
    for i in range(1, len(steps)):
        yield losses, steps[:i] + steps[i + 1 :]
    for i in range(1, len(steps)):
        name, how = steps[i]
        times = how["times"] - 1 if name == "run" else 1
        plainer: list[Step] = [("run", {"times": max(times, 1), "fed": False})]
        if name == "run":
            plainer.append(("run", {**how, "fed": False}))
        for other in plainer:
            if steps[i] != other:
                yield losses, [*steps[:i], other, *steps[i + 1 :]]
    lost: Step = ("session_is_lost", {"where": "an op"})
    leave: Step = ("leave", {})
    plainer_kinds = {
        "session_is_lost": lost,
        "op_fails": lost,  # where both fail: this one needs no other step after it
        "data_ends": leave,
        "leave_by_error": leave,
    }
    for i in range(1, len(steps)):
        plain = plainer_kinds.get(steps[i][0], steps[i])
        if steps[i] != plain:
            yield losses, [*steps[:i], plain, *steps[i + 1 :]]
    for i in range(len(losses)):
        if len(losses) > 1:
            yield losses[:i] + losses[i + 1 :], steps
    for i in range(len(losses)):
        if losses[i]:
            yield [*losses[:i], 0.0, *losses[i + 1 :]], steps


def _replay(subject: Subject, losses: list[float], steps: list[Step]) -> BrokenContractError | None:
    script = Script(subject, losses)
    try:
        for name, how in steps:
            if script.is_possible(name):
                script.act(name, **how)
    except BrokenContractError as exc:
        return exc
    finally:
        script.close()
    return None
