"""``tf.logging``: the logger called ``tensorflow``.

As in TensorFlow, lines of the level that is set (``WARN`` at first) and above are shown; here by
whatever handlers the program has, or by Python's last resort. Nothing is configured on import.
``python -m runloop.compat.tf`` shows them by :func:`shown`, as TensorFlow's own logger does.
"""

from __future__ import annotations

import logging as _logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from logging import DEBUG, ERROR, FATAL, INFO, WARN, getLogger
from typing import Any

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

# The lines of TensorFlow's stock hooks are of its own logger; those of runloop's are of these.
_LOGGERS = ("tensorflow", "runloop")
# The caller of these functions is the one that the record is to name.
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
    """Log at ``ERROR`` with the traceback of the exception that is being handled."""
    get_logger().error(msg, *args, exc_info=True, stacklevel=_CALLER, **kwargs)


def fatal(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at ``FATAL``; the process goes on."""
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
    """Log the first and then every ``n``-th time that this line of the program is reached."""
    if (_times_before() % n) == 0:
        get_logger().log(level, msg, *args, stacklevel=_CALLER)


def log_first_n(level: int, msg: Any, n: int, *args: Any) -> None:
    """Log the first ``n`` times that this line of the program is reached."""
    if _times_before() < n:
        get_logger().log(level, msg, *args, stacklevel=_CALLER)


def _times_before() -> int:
    """Return how often the calling line asked before; counted with the logger, as it is one too."""
    frame = sys._getframe(2)  # noqa: SLF001  # inspect.currentframe() is the same, after a slow import
    counts = vars(get_logger()).setdefault("_runloop_counts", Counter())
    place = frame.f_code.co_filename, frame.f_lineno
    counts[place] += 1
    return int(counts[place]) - 1


def set_verbosity(v: int | str) -> None:
    """Set the level from which on lines are shown: a number or a name such as ``"INFO"``.

    It holds for the lines of the stock hooks and sessions, too, whose logger is ``runloop``.
    """
    for name in _LOGGERS:
        getLogger(name).setLevel(v)


def get_verbosity() -> int:
    """Return the level from which on lines are shown."""
    return get_logger().getEffectiveLevel()


class _Shown(_logging.StreamHandler):  # type: ignore[type-arg]  # it is generic in its stub only
    """Shows lines as long as the program has no handlers of its own."""

    def emit(self, record: _logging.LogRecord) -> None:
        if not getLogger().handlers:
            super().emit(record)


@contextmanager
def shown() -> Iterator[None]:
    """Show log lines on standard error inside the ``with`` block, unless the program does it."""
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
    """Do nothing: handlers flush by themselves."""
