"""The state of random generators: taken whole, and checked before it is given back.

NumPy's setters copy numbers into C structures without looking at them: a position beyond the end of
a buffer makes the next draw read foreign memory. So every field is checked here first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = [
    "check_bit_generator",
    "check_generator",
    "check_python_random",
    "give_generator",
    "give_python_random",
    "take_generator",
    "take_python_random",
    "wrong_bit_generator",
]

_SEEDS = "seed_sequence"
_WORDS = 624  # of the Mersenne Twister

# What each bit generator of NumPy keeps: {field: (dtype, shape)} for arrays, {field: largest} for
# integers, first inside "state", then beside it.
_INNER: dict[str, dict[str, tuple[str, tuple[int, ...]] | int]] = {
    "MT19937": {"key": ("uint32", (_WORDS,)), "pos": _WORDS},
    "PCG64": {"state": 2**128 - 1, "inc": 2**128 - 1},
    "PCG64DXSM": {"state": 2**128 - 1, "inc": 2**128 - 1},
    "Philox": {"counter": ("uint64", (4,)), "key": ("uint64", (2,))},
    "SFC64": {"state": ("uint64", (4,))},
}
_HALF_WORD: dict[str, tuple[str, tuple[int, ...]] | int] = {"has_uint32": 1, "uinteger": 2**32 - 1}
_OUTER: dict[str, dict[str, tuple[str, tuple[int, ...]] | int]] = {
    "MT19937": {},
    "PCG64": _HALF_WORD,
    "PCG64DXSM": _HALF_WORD,
    "Philox": {"buffer": ("uint64", (4,)), "buffer_pos": 4, **_HALF_WORD},
    "SFC64": _HALF_WORD,
}


def take_generator(generator: Any) -> dict[str, Any]:
    """Return the state of a ``numpy.random.Generator``, its seed sequence included.

    The seed sequence counts the children that ``spawn`` made: without it they would repeat.
    """
    bits = generator.bit_generator
    state = dict(bits.state)
    seeds = bits.seed_seq
    if type(seeds) is np.random.SeedSequence:
        state[_SEEDS] = dict(seeds.state)
    return state


def give_generator(generator: Any, state: Mapping[str, Any]) -> None:
    """Give a ``numpy.random.Generator`` back what :func:`take_generator` took.

    A state without a seed sequence, as older files have it, leaves the present one alone.
    """
    bits = generator.bit_generator
    seeds = state.get(_SEEDS)
    if seeds is not None:
        _give_seeds(bits, np.random.SeedSequence(**seeds))
    bits.state = {key: value for key, value in state.items() if key != _SEEDS}


def _give_seeds(bits: Any, new: np.random.SeedSequence) -> None:
    current = bits.seed_seq
    if type(current) is np.random.SeedSequence:
        # Pickle's way in: the sequence stays the object that others may hold.
        current.__setstate__(new.__reduce__()[2])  # type: ignore[attr-defined]
    else:
        bits.__setstate__((bits.state, new))


def check_generator(generator: Any, state: Any) -> None:
    """Check a state for a ``numpy.random.Generator``.

    Raises:
        ValueError: If a field is missing, of another type or out of bounds; names it.
    """
    check_bit_generator(state)
    seeds = state.get(_SEEDS)
    if seeds is not None:
        _check_seeds(seeds)
    if state["bit_generator"] != type(generator.bit_generator).__name__:
        raise ValueError(f"the state is that of a {state['bit_generator']!r:.40}")


def _check_seeds(seeds: Any) -> None:
    if not isinstance(seeds, dict) or set(seeds) != {
        "entropy",
        "spawn_key",
        "pool_size",
        "n_children_spawned",
    }:
        raise ValueError(f"{_SEEDS} must hold the four fields of a SeedSequence")
    _check_number(_SEEDS, seeds, "pool_size", 2**16, least=4)
    _check_number(_SEEDS, seeds, "n_children_spawned", 2**32 - 1)
    if not isinstance(seeds["spawn_key"], (tuple, list)) or not all(
        map(_is_word, seeds["spawn_key"])
    ):
        raise ValueError(f"{_SEEDS}: spawn_key must be a tuple of integers")
    entropy = seeds["entropy"]
    if isinstance(entropy, np.ndarray):
        fine = entropy.dtype.kind in "ui" and not bool((entropy < 0).any())
    elif isinstance(entropy, (list, tuple)):
        fine = all(map(_is_natural, entropy))
    else:
        fine = entropy is None or _is_natural(entropy)
    if not fine:
        raise ValueError(f"{_SEEDS}: entropy must be integers that are not negative")


def _is_natural(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= 0)


def _is_word(value: Any) -> bool:
    return _is_natural(value) and value < 2**32


def check_bit_generator(state: Any) -> None:
    """Check a state in the form of ``bit_generator.state`` or ``RandomState.get_state(legacy=False)``.

    The bit generators of other packages are left to their own setters.

    Raises:
        ValueError: If a field is missing, of another type or out of bounds; names it.
    """
    if not isinstance(state, dict) or not isinstance(state.get("bit_generator"), str):
        raise ValueError("the state of a generator must be a dict that names its bit_generator")
    name = state["bit_generator"]
    if name not in _INNER:
        return
    if not isinstance(state.get("state"), dict):
        raise ValueError(f"{name}: state must be a dict")
    _check_fields(name, state["state"], _INNER[name])
    _check_fields(name, state, _OUTER[name])
    if "has_gauss" in state or "gauss" in state:  # RandomState keeps the second of two normals
        _check_number(name, state, "has_gauss", 1)
        if type(state.get("gauss")) not in {float, np.float64}:
            raise ValueError(f"{name}: gauss must be a float, got {state.get('gauss')!r:.40}")


def _check_fields(
    name: str, state: Mapping[str, Any], fields: Mapping[str, tuple[str, tuple[int, ...]] | int]
) -> None:
    for field, wanted in fields.items():
        if isinstance(wanted, int):
            _check_number(name, state, field, wanted)
            continue
        dtype, shape = wanted
        array = state.get(field)
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
            got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
            raise ValueError(f"{name}: {field} must be {dtype} {shape}, got {got:.60}")


def _check_number(
    name: str, state: Mapping[str, Any], field: str, largest: int, least: int = 0
) -> None:
    value = state.get(field)
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_whole or not least <= value <= largest:  # type: ignore[operator]
        raise ValueError(
            f"{name}: {field} must be an integer from {least} to {largest}, got {value!r:.60}"
        )


def wrong_bit_generator(current: Any, node: Any) -> str | None:
    """Return what is wrong where a node holds another bit generator than ``current`` has."""
    if current is np.random:
        current = np.random.mtrand._rand  # noqa: SLF001 # what the module's functions draw from
    bits = current.bit_generator if isinstance(current, np.random.Generator) else None
    bits = current._bit_generator if bits is None else bits  # noqa: SLF001 # RandomState has no other
    have = type(bits).__name__
    saved = node.get("bit_generator") if isinstance(node, dict) else None
    return None if saved == have else f"expected bit generator {have}, found {saved!r:.40}"


def take_python_random(generator: Any) -> dict[str, Any]:
    """Return the state of a ``random.Random``."""
    version, words, gauss = generator.getstate()
    return {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}


def give_python_random(generator: Any, state: Mapping[str, Any]) -> None:
    """Give a ``random.Random`` back what :func:`take_python_random` took."""
    generator.setstate((state["version"], tuple(state["words"].tolist()), state["gauss"]))


def check_python_random(generator: Any, state: Any) -> None:
    """Check a state for a ``random.Random``.

    Raises:
        ValueError: If a field is missing, of another type or out of bounds; names it.
    """
    del generator
    if not isinstance(state, dict):
        raise ValueError("the state of a random.Random must be a dict")
    _check_number("Random", state, "version", 3, least=3)
    _check_fields("Random", state, {"words": ("uint32", (_WORDS + 1,))})
    if state["words"][-1] > _WORDS:
        raise ValueError(f"Random: the last of the words must be at most {_WORDS}")
    if state.get("gauss") is not None and type(state["gauss"]) is not float:
        raise ValueError(f"Random: gauss must be a float or None, got {state['gauss']!r:.40}")
