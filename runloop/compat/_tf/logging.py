"""``tf.logging``: the logger called ``tensorflow``.

As in TensorFlow, lines of the current level (``WARN`` at first) and above are shown. The program's
handlers show them, or Python's handler of last resort; importing this module configures nothing.
``python -m runloop.compat.tf`` adds a handler (:func:`shown`), as TensorFlow's own logger does.
"""

from __future__ import annotations

import logging as _logging
import sys
from collections import Counter
from collections.abc import Iterator
from logging import DEBUG, ERROR, FATAL, INFO, WARN, getLogger
from typing import Any

from runloop.contexts import contextmanager

__all__ = [
    "DEBUG",
    "ERROR",
    "FATAL",
    "INFO",
    "WARN",
    "debug",
    "error",
    "exception",
    "fatal",
    "flush",
    "get_logger",
    "get_verbosity",
    "info",
    "log",
    "log_every_n",
    "log_first_n",
    "log_if",
    "set_verbosity",
    "shown",
    "vlog",
    "warning",
]

# TensorFlow's stock hooks log to "tensorflow"; runloop's log to "runloop".
_LOGGERS = ("tensorflow", "runloop")
# The record names the caller of these functions.
_CALLER = 2


def get_logger() -> _logging.Logger:
    """Return the logger ``tensorflow``."""
    return getLogger("tensorflow")


def debug(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at ``DEBUG``."""
    get_logger().debug(msg, *args, stacklevel=_CALLER, **kwargs)


def info(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at ``INFO``."""
    get_logger().info(msg, *args, stacklevel=_CALLER, **kwargs)


def warning(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at ``WARN``."""
    get_logger().warning(msg, *args, stacklevel=_CALLER, **kwargs)


def error(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at ``ERROR``."""
    get_logger().error(msg, *args, stacklevel=_CALLER, **kwargs)


def exception(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at ``ERROR`` with the traceback of the current exception."""
    get_logger().error(msg, *args, exc_info=True, stacklevel=_CALLER, **kwargs)


def fatal(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at ``FATAL``; the process keeps running."""
    get_logger().critical(msg, *args, stacklevel=_CALLER, **kwargs)


def log(level: int, msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at ``level``, a number of Python's ``logging``."""
    get_logger().log(level, msg, *args, stacklevel=_CALLER, **kwargs)


def vlog(level: int, msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at ``level``, as :func:`log`."""
    get_logger().log(level, msg, *args, stacklevel=_CALLER, **kwargs)


def log_if(level: int, msg: Any, condition: Any, *args: Any) -> None:
    """Log if ``condition`` is true."""
    if condition:
        get_logger().log(level, msg, *args, stacklevel=_CALLER)


def log_every_n(level: int, msg: Any, n: int, *args: Any) -> None:
    """Log the first call from this line of the program, and then every ``n``-th."""
    if (_times_before() % n) == 0:
        get_logger().log(level, msg, *args, stacklevel=_CALLER)


def log_first_n(level: int, msg: Any, n: int, *args: Any) -> None:
    """Log the first ``n`` calls from this line of the program."""
    if _times_before() < n:
        get_logger().log(level, msg, *args, stacklevel=_CALLER)


def _times_before() -> int:
    """Return how often the calling line has logged before.

    The counts are kept on the logger: both are the process's.
    """
    frame = sys._getframe(2)  # noqa: SLF001  # inspect.currentframe() is the same, after a slow import
    counts = vars(get_logger()).setdefault("_runloop_counts", Counter())
    place = frame.f_code.co_filename, frame.f_lineno
    counts[place] += 1
    return int(counts[place]) - 1


def set_verbosity(v: int | str) -> None:
    """Set the lowest level that is shown: a number, or a name such as ``"INFO"``.

    It also applies to the stock hooks and sessions, which log to ``runloop``.
    """
    for name in _LOGGERS:
        getLogger(name).setLevel(v)


def get_verbosity() -> int:
    """Return the lowest level that is shown."""
    return get_logger().getEffectiveLevel()


class _Shown(_logging.StreamHandler):  # type: ignore[type-arg]  # it is generic in its stub only
    """Shows lines while the root logger has no handlers."""

    def emit(self, record: _logging.LogRecord) -> None:
        if not getLogger().handlers:
            super().emit(record)


@contextmanager
def shown() -> Iterator[None]:
    """Show log lines on standard error inside the ``with`` block, unless the program shows them."""
    handler = _Shown()
    handler.setFormatter(_logging.Formatter(_logging.BASIC_FORMAT))
    for name in _LOGGERS:
        getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in _LOGGERS:
            getLogger(name).removeHandler(handler)


def flush() -> None:
    """Do nothing: handlers flush after each line."""
