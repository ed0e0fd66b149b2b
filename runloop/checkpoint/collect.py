"""What a save takes from a session: live arrays by name, and the JSON part of the document.

Nothing is copied here and nothing is written. What can't be saved is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from runloop.checkpoint.array_bytes import CHUNK_BYTES
from runloop.checkpoint.layout import HOOKS
from runloop.graph import GLOBAL_STEP
from runloop.messages import nearest
from runloop.session import Session, SessionState
from runloop.state import pack, to_numpy

__all__ = [
    "Array",
    "CurrentStep",
    "choose_variables",
    "collect",
    "nonfinite",
    "outdated_step",
    "raw_session",
    "step_of",
]

Array = np.ndarray[Any, Any]


def choose_variables(
    var_list: Iterable[Any] | Mapping[str, Any] | None, known: Iterable[str]
) -> dict[str, str]:
    """Return ``{name of a variable: its name in checkpoints}``.

    Args:
        var_list: A list of variables or names, or ``{name in checkpoints: variable or name}``;
            ``None`` for all.
        known: The names of the graph's variables.

    Raises:
        ValueError: If a variable is unknown or a duplicate, or two get one name.
    """
    if var_list is None:
        return {name: name for name in known}
    known = set(known)
    pairs: Iterator[tuple[Any, Any]]
    if isinstance(var_list, Mapping):
        pairs = ((v, str(k)) for k, v in var_list.items())
    else:
        pairs = ((v, None) for v in var_list)
    chosen: dict[str, str] = {}
    for variable, saved_name in pairs:
        name = str(getattr(variable, "name", variable)).removesuffix(":0")
        if name not in known:
            raise ValueError(f"var_list: the graph has no variable {name!r}.{nearest(name, known)}")
        if name in chosen:
            raise ValueError(f"var_list: duplicate variable {name!r}")
        chosen[name] = saved_name or name
    if len(set(chosen.values())) < len(chosen):
        raise ValueError("var_list: two variables have one name in the checkpoint")
    return chosen


def collect(
    state: SessionState, chosen: Mapping[str, str] | None
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the live arrays by their names in the checkpoint, and the document's JSON part.

    Args:
        state: The session's state of one moment.
        chosen: What :func:`choose_variables` returned; ``None`` for all under their own names.

    Raises:
        TypeError: If something can't be stored; names it.
        ValueError: If two tensors would have one name; names both.
    """
    if chosen is None:  # the usual case: training waits, and there may be 10,000 variables
        arrays = dict(state.variables)
    else:
        arrays = {saved: state.variables[name] for name, saved in chosen.items()}
    if not set(map(type, arrays.values())) <= {np.ndarray}:
        for name, value in arrays.items():
            try:
                arrays[name] = to_numpy(value)
            except TypeError as exc:
                raise TypeError(f"variable {name!r} can't be saved: {exc}") from exc
    owners: dict[str, str] = {}
    document: dict[str, Any] = {"attached": {}, "hooks": {}}
    groups = [("attached", name, name, obj) for name, obj in state.attached.items()]
    groups += [(HOOKS, name, f"{HOOKS}/{name}", o) for name, o in state.companions.items()]
    for group, name, prefix, obj in groups:
        tensors, node = pack(prefix, obj)
        for tensor_name, array in tensors.items():
            if tensor_name in arrays:
                other = owners.get(tensor_name) or _variable(tensor_name, chosen)
                raise ValueError(
                    f"two tensors would be called {tensor_name!r} in the checkpoint: {other} "
                    f"and one of {group} {name!r}; rename one"
                )
            owners[tensor_name] = f"one of {group} {name!r}"
            arrays[tensor_name] = array
        document[group][name] = node
    return arrays, document


def _variable(saved_name: str, chosen: Mapping[str, str] | None) -> str:
    names = {saved: name for name, saved in (chosen or {}).items()}
    return f"variable {names.get(saved_name, saved_name)!r}"


def nonfinite(arrays: Mapping[str, Array]) -> list[str]:
    """Return the names of the arrays with NaN or infinity; the hooks' arrays are not checked."""
    return [
        name
        for name, array in arrays.items()
        if not name.startswith(f"{HOOKS}/") and not _all_finite(array)
    ]


def _all_finite(array: Array) -> bool:
    if array.dtype.kind in "biumM":
        return True
    flat = array.reshape(-1) if array.flags.c_contiguous else array.ravel(order="K")
    size = max(1, CHUNK_BYTES // max(1, array.itemsize))
    try:
        return all(bool(np.isfinite(flat[i : i + size]).all()) for i in range(0, flat.size, size))
    except TypeError:  # isfinite does not know the dtype: small integers of ml_dtypes
        return True


def raw_session(session: Any, verb: str) -> Session:
    """Return the ``Session`` that ``session`` is, or is a monitored session of.

    Raises:
        TypeError: If it is neither.
    """
    raw = session
    if not isinstance(raw, Session) and callable(getattr(session, "raw_session", None)):
        raw = session.raw_session()
    if not isinstance(raw, Session):
        raise TypeError(
            f"Saver can {verb} a runloop Session or a monitored session of one, got {session!r:.80}"
        )
    return raw


class CurrentStep(int):
    """A step that was just read, for ``Saver.save``: the one of the moment of the copy is saved.

    Another thread may train between the reading and the copy. A saver that is not runloop's sees
    an int.

    Attributes:
        name: The variable that counts the steps.
        saved: The step that was saved; before that, the one that was read.
    """

    name: str
    saved: int

    def __new__(cls, step: Any, name: str) -> Self:
        """Make it of a step and the name of the variable that it was read from."""
        self = super().__new__(cls, step)
        self.name, self.saved = name, int(step)
        return self


def step_of(session: Session, state: SessionState, global_step: Any) -> int | None:
    """Return the step of ``state`` that the caller asks for; without one, the graph's.

    A :class:`CurrentStep` is told which one that is.

    Raises:
        ValueError: If it does not fit into 64 bits.
    """
    if global_step is None:
        counted = state.variables.get(GLOBAL_STEP)
        return None if counted is None else int(counted)
    step = global_step
    if isinstance(step, CurrentStep):
        current, step = step, int(state.variables.get(step.name, step))
        current.saved = step
    elif not isinstance(step, (int, np.integer)):
        name = str(getattr(global_step, "name", global_step)).removesuffix(":0")
        # From the state, where it can be: another thread may train on meanwhile.
        known = name in state.variables
        step = state.variables[name] if known else session.run(global_step)
    step = int(step)
    if not -(2**63) < step < 2**63:
        raise ValueError(f"global_step must fit into 64 bits, got {step.bit_length()} bits")
    return step


def outdated_step(state: SessionState, global_step: Any) -> str | None:
    """Return what to warn of if ``global_step`` is an int and ``state`` is at a later step.

    So it is if another thread trained meanwhile. A number ahead of the step can only be meant.
    """
    counted = state.variables.get(GLOBAL_STEP)
    if counted is None or isinstance(global_step, CurrentStep):
        return None
    if not isinstance(global_step, (int, np.integer)) or int(counted) <= int(global_step):
        return None
    return (
        f"Saver.save was given global_step={int(global_step)}, but the state that it saved has "
        f"{GLOBAL_STEP} {int(counted)}: the file is called {int(global_step)}. To number files by "
        f"the step that they hold, pass global_step={GLOBAL_STEP!r}; to number them by something "
        f"else, such as epochs, put the number into save_path"
    )
