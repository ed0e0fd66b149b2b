"""The part of TensorFlow that hooks need, with nothing installed but runloop.

There are two ways to use it, with the same objects behind both::

    import runloop.compat.tf as tf  # in place of: import tensorflow as tf

    with runloop.compat.tf.install():  # or files that say "import tensorflow" run unchanged
        import hooks_written_for_tensorflow

``python -m runloop.compat.tf script.py ...`` and pytest's option ``--runloop-tf`` do the second. A
class is the same object under each of its names; the classes that sessions know
(``SessionRunHook``, ``SessionRunArgs``, ``errors.OutOfRangeError``, ...) are runloop's own. A name
that is missing raises an ``AttributeError`` that says why and what to do.

Follows TensorFlow 2.21's ``tf.compat.v1``.
"""

import sys as _sys
from typing import Any as _Any

from runloop.compat._tf.modules import Installation, install
from runloop.compat._tf.modules import modules as _modules

__all__ = ["Installation", "install"]

_ROOT = "tensorflow"

for _name, _module in _modules().items():
    _top, _, _inner = _name.partition(".")
    if _top == _ROOT and _inner:
        _sys.modules[f"{__name__}.{_inner}"] = _module


def __getattr__(name: str) -> _Any:
    return getattr(_modules()[_ROOT], name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_modules()[_ROOT])})
