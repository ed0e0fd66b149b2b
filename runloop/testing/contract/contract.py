"""``assert_hook_contract``: runs a hook in random programs and checks what every hook must do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runloop.graph import Graph
from runloop.monitored.dispatch import check_hooks

__all__ = ["assert_hook_contract"]


def assert_hook_contract(
    make_hook: Callable[[], Any],
    *,
    outputs: Mapping[str, Any] | None = None,
    make_graph: Callable[[], Graph] | None = None,
    may_raise: tuple[type[BaseException], ...] = (),
    max_examples: int = 60,
    steps: int = 10,
) -> None:
    """Run a hook in random programs, and fail if it breaks the contract of hooks.

        assert_hook_contract(lambda: MyHook(every_n_iter=2))

    A program is a random sequence of: runs, with and without the program's own feeds; runs in
    which an op fails and the program catches the error; runs in which the session is lost (in an
    op, or in the ``before_run`` or ``after_run`` of another hook) and re-created from the newest
    checkpoint; time that passes; data that is exhausted; leaving the ``with`` block, normally and
    by an exception; a process that dies and is restarted from the checkpoint with a new hook.

    The contract:

    1. The hook's methods do not raise.
    2. It does not change the graph after its ``begin``.
    3. A second ``begin`` changes nothing in the graph.
    4. The session accepts what it fetches and feeds.
    5. ``after_run`` can handle what ``before_run`` asked for, whichever runs failed before.
    6. It works in a re-created session, and does not use the lost one.
    7. It does not close the session.
    8. If it has ``state_dict()`` and ``load_state_dict(state)``: the state can be saved, is the
       same after a save and a restore, and a restored hook fetches the same, feeds the same and
       stops at the same step as one that was not interrupted.

    Each call tries the same programs. One that fails is shortened to a minimal one.

    Args:
        make_hook: Makes the hook; called for every program and every restart. An exception of its
            first call is let through.
        outputs: ``{name: values}`` as for :class:`HookHarness`. There is always a ``"loss"``, by
            default with random numbers.
        make_graph: Makes the graph, for hooks that need a certain one.
        may_raise: Exceptions that the hook raises on purpose; they end the program.
        max_examples: How many programs to try.
        steps: The most steps that a program may have.

    Raises:
        AssertionError: Names the broken rule, what happened, and the minimal program, a line a step.
        ImportError: If ``hypothesis`` is not installed.
        TypeError: If ``make_hook`` can't be called, or does not make a hook.
    """
    if not callable(make_hook):
        raise TypeError(
            f"assert_hook_contract: make_hook must be a function that makes a new hook, got "
            f"{make_hook!r}; write lambda: {type(make_hook).__name__}(...)"
        )
    with (make_graph or Graph)().as_default():
        check_hooks([make_hook()])
    try:
        from runloop.testing.contract import process, random_scripts
    except ImportError as exc:
        raise ImportError(
            "assert_hook_contract needs the package hypothesis; install runloop-hooks[test]"
        ) from exc
    subject = process.Subject(make_hook, dict(outputs or {}), make_graph or Graph, may_raise)
    random_scripts.check(subject, max_examples=max_examples, steps=steps)
