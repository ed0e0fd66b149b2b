"""Arrays of NumPy, PyTorch and JAX: seen as NumPy's, and made again as what they were."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["as_jax", "as_key", "as_torch", "is_key", "key_implementation", "like", "to_numpy"]


def to_numpy(value: Any) -> np.ndarray[Any, Any]:
    """Return an array of any library as NumPy's own, without a copy where that is possible.

    A new-style key of JAX (``jax.random.key``) gives its data, as ``jax.random.key_data`` does.

    Raises:
        TypeError: If it is a masked array that masks something, or PyTorch's ``bfloat16`` and
            ``ml_dtypes`` is not installed.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ndarray):
        if np.ma.is_masked(value):
            raise TypeError("it is a masked array; store its data and its mask, each for itself")
        return np.asarray(value)
    if callable(getattr(value, "detach", None)) and callable(getattr(value, "cpu", None)):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            try:
                from ml_dtypes import bfloat16
            except ImportError as exc:
                raise TypeError("a bfloat16 tensor needs the package ml_dtypes") from exc
            import torch

            bits: np.ndarray[Any, Any] = value.view(torch.int16).numpy()
            return bits.view(bfloat16)
    elif is_key(value):
        import jax

        value = jax.random.key_data(value)
    return np.asarray(value)


def is_key(value: Any) -> bool:
    """Whether ``value`` is an array of new-style keys of JAX, which NumPy can't see."""
    return str(getattr(value, "dtype", "")).startswith("key<")


def key_implementation(key: Any) -> str:
    """Return the name of the generator that a new-style key of JAX is for."""
    import jax

    return str(jax.random.key_impl(key))


def as_torch(array: np.ndarray[Any, Any]) -> Any:
    """Return ``array`` as a tensor of PyTorch on the CPU.

    Raises:
        ValueError: If torch is not installed.
    """
    try:
        import torch
    except ImportError as exc:
        raise ValueError("the checkpoint holds tensors of PyTorch: install torch") from exc
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def as_jax(array: np.ndarray[Any, Any]) -> Any:
    """Return ``array`` as an array of JAX on the default device.

    Raises:
        ValueError: If jax is not installed, or would change the dtype.
    """
    try:
        import jax
    except ImportError as exc:
        raise ValueError("the checkpoint holds arrays of JAX: install jax") from exc
    made = jax.numpy.asarray(array)
    if made.dtype != array.dtype:
        raise ValueError(f"JAX makes {made.dtype} of {array.dtype} here: set jax_enable_x64")
    return made


def as_key(array: np.ndarray[Any, Any], implementation: str) -> Any:
    """Return ``array`` as new-style keys of JAX.

    Raises:
        ValueError: If jax is not installed, or knows no such generator.
    """
    try:
        import jax
    except ImportError as exc:
        raise ValueError("the checkpoint holds keys of JAX: install jax") from exc
    try:
        return jax.random.wrap_key_data(array, impl=implementation)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"not a key of JAX for {implementation!r:.40}: {exc}") from exc


def like(array: np.ndarray[Any, Any], current: Any) -> Any:
    """Return ``array`` as an array of the library, and on the device, of ``current``."""
    if isinstance(current, np.ndarray) or np.isscalar(current):
        return array
    if hasattr(current, "detach"):
        return _like_tensor(as_torch(array), current)
    if is_key(current):
        return _on_device(as_key(array, key_implementation(current)), current)
    if type(current).__module__.partition(".")[0] in {"jax", "jaxlib"}:
        return _on_device(as_jax(array), current)
    if hasattr(current, "__array_namespace__"):
        return current.__array_namespace__().asarray(array)
    return array


def _like_tensor(made: Any, current: Any) -> Any:
    made = made.to(current.device)
    if type(current).__name__ == "Parameter":
        return type(current)(made, requires_grad=current.requires_grad)
    return made.requires_grad_() if getattr(current, "requires_grad", False) else made


def _on_device(made: Any, current: Any) -> Any:
    import jax

    return jax.device_put(made, current.sharding)
