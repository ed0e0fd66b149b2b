"""How a session is initialised, when it is ready, and what saves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from runloop import nest
from runloop.checkpoint import Saver
from runloop.graph import get_default_graph
from runloop.graph.tensorflow_names import SAVERS

__all__ = ["SUMMARY_OP", "Scaffold"]

SUMMARY_OP = "summary_op"
"""Name of the graph's collection for a summary op."""


class Scaffold:
    """How a session is initialised and saved; :meth:`finalize` fills in the defaults.

    Args:
        init_op: A fetch that is run if no checkpoint was restored. Variables get their initial
            values without it.
        init_feed_dict: Feeds of ``init_op``.
        init_fn: Called as ``init_fn(scaffold, session)`` after ``init_op``.
        ready_op: A fetch that returns the names of what is not ready yet; empty means ready.
        ready_for_local_init_op: The same, checked before ``local_init_op``.
        local_init_op: A fetch that is run in every new session, restored or not.
        summary_op: ``{tag: fetch}``, or a fetch that returns ``{tag: scalar}``; the graph's
            summaries by default.
        saver: A :class:`~runloop.Saver`; by default the one in the graph's collection
            ``"savers"``, else a new one.
        copy_from_scaffold: Another scaffold, which supplies every argument that is not given.
        local_init_feed_dict: Feeds of ``local_init_op``.

    Raises:
        TypeError: If ``copy_from_scaffold`` is not a scaffold.

    Follows ``tf.compat.v1.train.Scaffold`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        init_op: Any = None,
        init_feed_dict: Mapping[Any, Any] | None = None,
        init_fn: Callable[[Scaffold, Any], None] | None = None,
        ready_op: Any = None,
        ready_for_local_init_op: Any = None,
        local_init_op: Any = None,
        summary_op: Any = None,
        saver: Saver | None = None,
        copy_from_scaffold: Scaffold | None = None,
        local_init_feed_dict: Mapping[Any, Any] | None = None,
    ) -> None:
        other = copy_from_scaffold
        if other is not None and not isinstance(other, Scaffold):
            raise TypeError("copy_from_scaffold is not a Scaffold instance.")

        def own(given: Any, name: str) -> Any:
            return getattr(other, name) if given is None and other is not None else given

        self._init_op = own(init_op, "_init_op")
        self._init_feed_dict: Mapping[Any, Any] | None = own(init_feed_dict, "_init_feed_dict")
        self._user_init_fn = own(init_fn, "_user_init_fn")
        self._ready_op = own(ready_op, "_ready_op")
        self._ready_for_local_init_op = own(ready_for_local_init_op, "_ready_for_local_init_op")
        self._local_init_op = own(local_init_op, "_local_init_op")
        self._local_init_feed_dict: Mapping[Any, Any] | None = own(
            local_init_feed_dict, "_local_init_feed_dict"
        )
        self._summary_op = own(summary_op, "_summary_op")
        self._saver: Saver | None = own(saver, "_saver")

    def finalize(self) -> Scaffold:
        """Fill in the defaults and finalize the default graph. A second call changes nothing.

        Raises:
            RuntimeError: If no saver is given and the graph's collection holds several.
            ValueError: If the graph refers to an unknown name; see ``Graph.finalize``.
        """
        graph = get_default_graph()
        if self._summary_op is None:
            self._summary_op = Scaffold.get_or_default("summary_op", SUMMARY_OP, lambda: None)
        if self._summary_op is None:
            # Not stored in the collection: the graph may have more summaries at its next session.
            self._summary_op = dict(graph.summaries) or None
        if self._saver is None:
            self._saver = Scaffold.get_or_default("saver", SAVERS, Saver)
        graph.finalize()
        return self

    @staticmethod
    def get_or_default(
        arg_name: str, collection_key: str, default_constructor: Callable[[], Any]
    ) -> Any:
        """Return the only member of a collection of the default graph, or create it.

        Args:
            arg_name: The scaffold's argument, for the error message.
            collection_key: The collection's name.
            default_constructor: Creates the member if the collection is empty; a result other than
                ``None`` is added to the collection.

        Raises:
            RuntimeError: If the collection has several members.
        """
        graph = get_default_graph()
        with graph.lock:
            found = graph.get_collection_ref(collection_key)
            if len(found) > 1:
                raise RuntimeError(
                    f"More than one item in the collection {collection_key!r}, got {found!r}. Say "
                    f"which one to use: Scaffold({arg_name}=...)"
                )
            made = found[0] if found else default_constructor()
            if made is not None and not found:
                found.append(made)
        return made

    @property
    def init_op(self) -> Any:
        """The fetch that is run if no checkpoint was restored, or ``None``."""
        return self._init_op

    @property
    def init_feed_dict(self) -> Mapping[Any, Any] | None:
        """Feeds of ``init_op``, or ``None``."""
        return self._init_feed_dict

    @property
    def init_fn(self) -> Callable[[Any], None] | None:
        """``init_fn`` bound to this scaffold, called with the session; or ``None``."""
        user_init_fn = self._user_init_fn
        return None if user_init_fn is None else lambda session: user_init_fn(self, session)

    @property
    def ready_op(self) -> Any:
        """The fetch that returns what is not ready, or ``None``."""
        return self._ready_op

    @property
    def ready_for_local_init_op(self) -> Any:
        """The fetch that returns what is not ready for ``local_init_op``, or ``None``."""
        return self._ready_for_local_init_op

    @property
    def local_init_op(self) -> Any:
        """The fetch that is run in every new session, or ``None``."""
        return self._local_init_op

    @property
    def local_init_feed_dict(self) -> Mapping[Any, Any] | None:
        """Feeds of ``local_init_op``, or ``None``."""
        return self._local_init_feed_dict

    @property
    def summary_op(self) -> Any:
        """The fetches to write as summaries, or ``None``."""
        return self._summary_op

    @property
    def saver(self) -> Saver | None:
        """The saver; before :meth:`finalize` ``None`` unless one was given."""
        return self._saver

    # -- used by the session creators -----------------------------------------------------------

    def initialize(self, session: Any) -> None:
        """Run ``init_op``, then ``init_fn``."""
        if self._init_op is not None:
            session.run(self._init_op, self._init_feed_dict)
        if self.init_fn is not None:
            self.init_fn(session)

    def initialize_locally(self, session: Any) -> str | None:
        """Check ``ready_for_local_init_op``, then run ``local_init_op``.

        Returns:
            ``None``, or a description of what is not ready; then nothing was run.
        """
        missing = _not_ready(session, self._ready_for_local_init_op)
        if missing is None and self._local_init_op is not None:
            session.run(self._local_init_op, self._local_init_feed_dict)
        return missing

    def not_ready(self, session: Any) -> str | None:
        """Return a description of what ``ready_op`` reports as missing, or ``None``."""
        return _not_ready(session, self._ready_op)

    def describe(self) -> str:
        """Return a description of the init arguments, for messages."""
        return f"Init op: {self._init_op!r}, init fn: {self._user_init_fn!r}"


def _not_ready(session: Any, op: Any) -> str | None:
    names = [] if op is None else _names(session.run(op))
    return f"Variables not initialized: {', '.join(names)}" if names else None


def _names(value: Any) -> list[str]:
    """Return the names in a value: a name, an array or any nesting of names, or ``None``."""
    if value is None:
        return []
    if isinstance(value, (set, frozenset)):
        return sorted(name for member in value for name in _names(member))
    members = nest.children(value.tolist() if isinstance(value, np.ndarray) else value)
    if members is not None:
        return [name for member in members for name in _names(member)]
    name = value.decode() if isinstance(value, bytes) else str(value)
    return [name] if name else []
