"""``tf.Session``, the default session, and the session with hooks that tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any, Self

from runloop import session
from runloop.compat._tf import clock
from runloop.contexts import contextmanager
from runloop.graph import Graph
from runloop.monitored.dispatch import Dispatcher
from runloop.run import RunMetadata, RunOptions

__all__ = ["HookedSession", "Session", "get_default_session"]

_default: ContextVar[Any] = ContextVar("runloop_compat_default_session", default=None)


def get_default_session() -> Any:
    """Return the session of the innermost ``with`` block, ``None`` outside of one.

    Follows ``tf.compat.v1.get_default_session`` of TensorFlow 2.21.
    """
    return _default.get()


class _AnySession(type):
    """Makes every ``runloop.Session`` an instance, because hooks receive those."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, session.Session)


class Session(session.Session, metaclass=_AnySession):
    """:class:`runloop.Session` whose ``with`` makes it the default session, and its graph the default.

    Follows ``tf.compat.v1.Session`` of TensorFlow 2.21.
    """

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None) -> None:
        super().__init__(target, graph, config)
        self._stack = ExitStack()

    @contextmanager
    def as_default(self) -> Iterator[Self]:
        """Make this the default session inside the ``with`` block, which does not close it."""
        token = _default.set(self)
        try:
            yield self
        finally:
            _default.reset(token)

    def make_callable(
        self, fetches: Any, feed_list: Iterable[Any] | None = None
    ) -> Callable[..., Any]:
        """Return a function that runs ``fetches`` and feeds its arguments to ``feed_list``."""
        keys = tuple(feed_list or ())
        return lambda *values: self.run(fetches, dict(zip(keys, values, strict=True)))

    def __enter__(self) -> Self:
        super().__enter__()
        self._stack.enter_context(self.graph.as_default())
        self._stack.enter_context(self.as_default())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.close()


class HookedSession:
    """A session that calls ``before_run`` and ``after_run`` of hooks, for tests of hooks.

    A test calls ``begin``, ``after_create_session`` and ``end`` itself.

    Args:
        sess: The session that runs the fetches.
        hooks: The hooks.

    Raises:
        TypeError: If one of ``hooks`` is not a hook.

    Follows ``_HookedSession`` of TensorFlow 2.21's ``tensorflow.python.training.monitored_session``.
    """

    def __init__(self, sess: Any, hooks: Iterable[Any]) -> None:
        self._sess = sess
        self._hooks = Dispatcher(hooks, clock.current())
        self._should_stop = False

    @property
    def graph(self) -> Any:
        """The session's graph."""
        return self._sess.graph

    def should_stop(self) -> bool:
        """Return whether a hook has requested a stop."""
        return self._should_stop

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: RunOptions | None = None,
        run_metadata: Any = None,
    ) -> Any:
        """Run ``fetches`` together with the hooks' fetches.

        Raises:
            RuntimeError: If a hook has requested a stop.
        """
        if self._should_stop:
            raise RuntimeError("Run called even after should_stop requested.")
        metadata = RunMetadata() if run_metadata is None else run_metadata
        result, stop = self._hooks.run(self._sess, fetches, feed_dict, options, metadata)
        self._should_stop = stop
        return result

    def close(self) -> None:
        """Close the session without calling a hook."""
        self._sess.close()
