"""Names that files need only in order to load: switches, decorators, ``tf.app.run``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from runloop.contexts import contextmanager

__all__ = [
    "Estimator",
    "ModeKeys",
    "disable_eager_execution",
    "disable_resource_variables",
    "disable_v2_behavior",
    "enable_resource_variables",
    "executing_eagerly",
    "run_app",
    "silence",
    "tf_export",
]


def disable_v2_behavior() -> None:
    """Do nothing: the shim always behaves like TensorFlow 1.x."""


disable_eager_execution = disable_resource_variables = disable_v2_behavior
enable_resource_variables = disable_v2_behavior


def executing_eagerly() -> bool:
    """Return ``False``."""
    return False


class ModeKeys:
    """Names of modes. Follows ``tf.estimator.ModeKeys`` of TensorFlow Estimator 2.15."""

    TRAIN = "train"
    EVAL = "eval"
    PREDICT = "infer"


class Estimator:
    """A name for annotations and ``isinstance``; it can't be instantiated.

    Raises:
        TypeError: Always.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            "tf.estimator.Estimator builds TensorFlow graphs, which is out of scope: write the "
            "loop with train.MonitoredTrainingSession and a program made with runloop.Graph"
        )


def run_app(
    main: Callable[[list[str]], Any] | None = None, argv: list[str] | None = None
) -> NoReturn:
    """Call ``main(argv)`` and exit with its result.

    Args:
        main: The function, ``main`` of the main module if ``None``.
        argv: The command line, ``sys.argv`` if ``None``.
    """
    function = main if main is not None else sys.modules["__main__"].main
    sys.exit(function(sys.argv if argv is None else argv))


def tf_export(*names: str, **options: Any) -> Callable[[Any], Any]:
    """Return a decorator that changes nothing; ``names`` are not exported."""
    del names, options
    return lambda exported: exported


@contextmanager
def silence() -> Iterator[None]:
    """Do nothing: the shim has no deprecation warnings to silence."""
    yield
