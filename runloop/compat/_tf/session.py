"""``tf.Session``, the default session, and the session that tests give hooks to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Self

from runloop import session
from runloop.compat._tf import clock
from runloop.compat._tf.metadata import RunMetadata
from runloop.graph import Graph
from runloop.monitored.dispatch import Dispatcher
from runloop.run import RunOptions

__all__ = ["HookedSession", "Session", "get_default_session"]

_default: ContextVar[Any] = ContextVar("runloop_compat_default_session", default=None)


def get_default_session() -> Any:
    """Return the session of the innermost ``with``, ``None`` without one.

    Follows ``tf.compat.v1.get_default_session`` of TensorFlow 2.21.
    """
    return _default.get()


class _AnySession(type):
    """Makes every session of runloop an instance: hooks are handed those of the core."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, session.Session)


class Session(session.Session, metaclass=_AnySession):
    """:class:`runloop.Session` that is the default one, and its graph too, inside its ``with``.

    Follows ``tf.compat.v1.Session`` of TensorFlow 2.21.
    """

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None) -> None:
        super().__init__(target, graph, config)
        self._stack = ExitStack()

    @contextmanager
    def as_default(self) -> Iterator[Self]:
        """Make this the default session inside the ``with`` block; it is not closed after it."""
        token = _default.set(self)
        try:
            yield self
        finally:
            _default.reset(token)

    def make_callable(
        self, fetches: Any, feed_list: Iterable[Any] | None = None
    ) -> Callable[..., Any]:
        """Return a function that runs ``fetches``, its arguments being what is fed."""
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
    """A session that calls hooks on each run and nothing else: for tests of hooks.

    ``begin``, ``after_create_session`` and ``end`` are the test's to call.

    Args:
        sess: The session below the hooks.
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
        """Return whether a hook asked to stop."""
        return self._should_stop

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: RunOptions | None = None,
        run_metadata: Any = None,
    ) -> Any:
        """Run ``fetches`` together with what the hooks ask for.

        Raises:
            RuntimeError: If a hook asked to stop before.
        """
        if self._should_stop:
            raise RuntimeError("Run called even after should_stop requested.")
        metadata = RunMetadata() if run_metadata is None else run_metadata
        result, stop = self._hooks.run(self._sess, fetches, feed_dict, options, metadata)
        self._should_stop = stop
        return result

    def close(self) -> None:
        """Close the session below; no hook is called."""
        self._sess.close()
