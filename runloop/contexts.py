"""``contextmanager`` for blocks of other people's code, whose exceptions it leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

__all__ = ["contextmanager"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Block(AbstractContextManager[_T]):
    def __init__(self, steps: Iterator[_T]) -> None:
        self._steps = steps

    def __enter__(self) -> _T:
        return next(self._steps)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if exc is None:
            for _ in self._steps:
                raise RuntimeError("the generator of a context manager must yield once")
            return False
        try:
            self._steps.throw(exc)  # type: ignore[attr-defined]  # it is a generator
        except StopIteration as stopped:
            # The generator returned: it handled the exception.
            return stopped is not exc
        except RuntimeError as raised:
            # A StopIteration of the block becomes a RuntimeError when it leaves the generator.
            if raised is exc or (isinstance(exc, StopIteration) and raised.__cause__ is exc):
                return False
            raise
        except BaseException as raised:
            if raised is exc:
                return False
            raise
        raise RuntimeError("the generator of a context manager must yield once")


def contextmanager(
    function: Callable[_P, Iterator[_T]],
) -> Callable[_P, AbstractContextManager[_T]]:
    """Make a context manager of a generator function, as ``contextlib.contextmanager`` does.

    That one assigns to ``__traceback__`` of the exception that leaves the block. With an exception
    that takes no attributes (a frozen dataclass), the assignment raises and hides it (seen in
    Python 3.11).
    """

    @wraps(function)
    def make(*args: _P.args, **kwargs: _P.kwargs) -> AbstractContextManager[_T]:
        return _Block(function(*args, **kwargs))

    return make
