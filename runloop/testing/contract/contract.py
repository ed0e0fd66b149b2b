"""``assert_hook_contract``: takes a hook through random lives and checks what every hook owes."""

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
    """Take hooks through random lives, and fail if one does not do what every hook owes.

        assert_hook_contract(lambda: MyHook(every_n_iter=2))

    A life is a random sequence of: runs, with and without feeds of the program's own; runs in
    which an op fails, which the program catches; runs during which the session is lost (in an op,
    in the ``before_run`` or ``after_run`` of another hook) and made anew from the newest
    checkpoint; time that passes; data that comes to an end; leaving the ``with`` block normally and
    by an exception; a process that dies and is started again from the checkpoint with a new hook.

    What a hook owes:

    1. it raises nothing of its own in any method;
    2. it does not change the graph after its ``begin``;
    3. a second ``begin`` changes nothing in the graph;
    4. what it asks for and feeds is accepted by the session;
    5. ``after_run`` copes with what it asked for, after any history of runs that failed;
    6. it goes on in a session that was made anew, and does not use the one that was lost;
    7. it does not close the session;
    8. if it has ``state_dict()`` and ``load_state_dict(state)``: the state can be saved, is the
       same after it was saved and restored, and a restored hook asks for the same, feeds the same
       and stops at the same step as one that was not interrupted.

    The lives are the same in each call. What fails is shortened to a minimal life.

    Args:
        make_hook: Makes the hook; called anew for every life and every restart. What it raises
            the first time comes out as it is.
        outputs: ``{name: values}`` as for :class:`HookHarness`. There is always a ``"loss"``, by
            default with random numbers.
        make_graph: Makes the graph in which the hook lives, for hooks that need one of their own.
        may_raise: Exceptions that the hook raises on purpose; they end a life.
        max_examples: How many lives.
        steps: The length of the longest ones.

    Raises:
        AssertionError: With what is owed, what happened, and the minimal life, one line a step.
        ImportError: If ``hypothesis`` is not installed.
        TypeError: If ``make_hook`` is no function, or what it makes is not a hook.
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
    world = process.World(make_hook, dict(outputs or {}), make_graph or Graph, may_raise)
    random_scripts.check(world, max_examples=max_examples, steps=steps)
