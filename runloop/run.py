"""The objects that accompany one ``run()``: request, context, values, options and metadata.

A hook's ``before_run`` gets a :class:`RunContext` and may return :class:`RunArgs`; its
``after_run`` gets the same context and :class:`RunValues`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from runloop.step_stats import OpStats, StepStats, serialized

__all__ = [
    "HookStats",
    "HooksWouldTrainError",
    "MergedOptions",
    "OpStats",
    "RunArgs",
    "RunContext",
    "RunMetadata",
    "RunOptions",
    "RunValues",
]


class RunOptions:
    """Options of one run; where several are given, each number merges by maximum.

    ``Session`` acts on ``trace_level``: from :attr:`FULL_TRACE` on the run records the start and
    duration of every op in ``RunMetadata.step_stats``. The others are passed on to
    foreign sessions.

    Args:
        trace_level: ``NO_TRACE`` (0, the default) to ``FULL_TRACE`` (3).
        timeout_in_ms: Milliseconds; 0 is none.
        inter_op_thread_pool: Number of a thread pool.
        output_partition_graphs: Truth value, merged by "or".
        report_tensor_allocations_upon_oom: Truth value, merged by "or".

    Raises:
        TypeError: If a value is not a number, or an option is not one of these.

    Follows ``tf.compat.v1.RunOptions`` of TensorFlow 2.21.
    """

    NO_TRACE: ClassVar[int] = 0
    SOFTWARE_TRACE: ClassVar[int] = 1
    HARDWARE_TRACE: ClassVar[int] = 2
    FULL_TRACE: ClassVar[int] = 3

    # Defaults on the class: making one takes 70 ns, as long as an empty object.
    trace_level: int = 0
    timeout_in_ms: int = 0
    inter_op_thread_pool: int = 0
    output_partition_graphs: bool = False
    report_tensor_allocations_upon_oom: bool = False

    _FIELDS: ClassVar[tuple[str, ...]] = (
        "trace_level",
        "timeout_in_ms",
        "inter_op_thread_pool",
        "output_partition_graphs",
        "report_tensor_allocations_upon_oom",
    )

    def __init__(self, **given: int) -> None:
        for name, value in given.items():
            if name not in self._FIELDS:
                raise TypeError(
                    f"RunOptions has no option {name!r}; there are {', '.join(self._FIELDS)}"
                )
            if not isinstance(value, int):
                raise TypeError(f"RunOptions: {name} must be an int, got {value!r}")
            setattr(self, name, value)

    def merge(self, other: RunOptions) -> None:
        """Set each option to the maximum of its values here and in ``other``.

        Raises:
            TypeError: If ``other`` has no options.
        """
        if not hasattr(other, "trace_level"):
            raise TypeError(
                f"options must be RunOptions, got {other!r}; write RunOptions(trace_level=...)"
            )
        for name in self._FIELDS:
            setattr(self, name, max(getattr(self, name), getattr(other, name, 0)))

    def copy(self) -> RunOptions:
        """Return an independent copy."""
        return RunOptions(**{name: getattr(self, name) for name in self._FIELDS})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RunOptions):
            return NotImplemented
        return all(getattr(self, n) == getattr(other, n) for n in self._FIELDS)

    __hash__ = None  # type: ignore[assignment]  # mutable, compared by value

    def __repr__(self) -> str:
        shown = (f"{n}={getattr(self, n)}" for n in self._FIELDS if n in vars(self))
        return f"RunOptions({', '.join(shown)})"


class MergedOptions(RunOptions):
    """Options that nobody gave, of a run whose fetches are the caller's, then each hook's.

    They tell a ``Session`` that the later members of the list are hooks' requests, which never make
    an op train or update unless they name it. An option costs the run nothing: a look-up or another
    method would.
    """

    # No __init__ written in Python: calling one costs 90 ns.
    __init__ = object.__init__


class HooksWouldTrainError(Exception):
    """Raised before anything has run, for a list of fetches with :class:`MergedOptions`.

    Args:
        left_out: The requests to leave out: ``(position in the fetches, fetch, op)`` each.
    """

    def __init__(self, left_out: Sequence[tuple[int, Any, str]]) -> None:
        super().__init__(left_out)
        self.left_out = left_out


class HookStats(NamedTuple):
    """The times of one hook method, counted from the same moment as in :class:`OpStats`.

    Attributes:
        hook: The hook's name in the session: its class's, numbered from the second one on.
        method: ``"before_run"`` or ``"after_run"``.
        start_us: Microseconds to its start.
        duration_us: Microseconds that it took.
    """

    hook: str
    method: str
    start_us: float
    duration_us: float


class RunMetadata:
    """What a run records besides its results.

    Attributes:
        step_stats: With ``RunOptions(trace_level=RunOptions.FULL_TRACE)``, one :class:`OpStats`
            per op, in the order in which they ran; else empty. Its ``dev_stats`` has the same in
            the form of TensorFlow's ``StepStats``.
        hook_stats: One :class:`HookStats` for each ``before_run`` and ``after_run``, where a
            hook asked for it by ``wants_hook_stats``; else empty. It goes on growing until the
            last ``after_run`` returned.
        origin: The moment on the session's monotonic clock from which the next run counts both.
            Set it to start measuring before the run; ``None`` counts from the run's start.

    Follows ``tf.compat.v1.RunMetadata`` of TensorFlow 2.21 in its use, not in its fields.
    """

    # Defaults on the class: one is made at each step, and most are never written to.
    step_stats: StepStats = StepStats()
    hook_stats: Sequence[HookStats] = ()
    origin: float | None = None

    def SerializeToString(self) -> bytes:  # noqa: N802  # protobuf's name
        """Return :attr:`step_stats` as the bytes of TensorFlow's ``RunMetadata`` message."""
        return serialized(self.step_stats)

    def __repr__(self) -> str:
        return f"RunMetadata(step_stats={self.step_stats!r}, hook_stats={self.hook_stats!r})"


class RunArgs(NamedTuple):
    """What a hook requests from the next run.

    Attributes:
        fetches: Anything that ``Session.run`` accepts, in any nesting, or ``None`` for nothing.
        feed_dict: ``{name, Variable or Op: value}``, or ``None``.
        options: :class:`RunOptions`, or ``None``.

    Follows ``tf.train.SessionRunArgs`` of TensorFlow 2.21.
    """

    fetches: Any
    feed_dict: Mapping[Any, Any] | None = None
    options: RunOptions | None = None


class RunValues(NamedTuple):
    """What a hook's ``after_run`` receives from the run.

    Attributes:
        results: The results of the hook's own fetches, in their structure; ``None`` if it
            requested nothing.
        options: The options of the run, merged over the caller and all hooks.
        run_metadata: The run's :class:`RunMetadata`.

    Follows ``tf.train.SessionRunValues`` of TensorFlow 2.21.
    """

    results: Any
    options: RunOptions
    run_metadata: RunMetadata


class RunContext:
    """What a hook sees of one ``run()`` call.

    One context lives from the first ``before_run`` to the last ``after_run`` of one call.

    Args:
        original_args: :class:`RunArgs` of the caller's own request.
        session: The session below the hooks. Its ``run`` calls no hook and may be used here.

    Follows ``tf.train.SessionRunContext`` of TensorFlow 2.21.
    """

    # Slots are cheaper to set at each step. ``__dict__`` and ``__weakref__`` let hooks add to it.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_deferred",
        "_original_args",
        "_session",
        "_stop_requested",
    )

    def __init__(self, original_args: RunArgs | tuple[Any, Any, Any], session: Any) -> None:
        self._original_args = original_args
        self._session = session
        self._stop_requested = False
        self._deferred: tuple[Callable[[], None], ...] = ()

    @property
    def original_args(self) -> RunArgs:
        """The caller's ``(fetches, feed_dict, options)``, before the hooks' were added."""
        args = self._original_args
        if type(args) is tuple:  # made a named tuple (160 ns) only when it is read
            args = self._original_args = RunArgs(*args)
        return args  # type: ignore[return-value]  # not a plain tuple any more

    @property
    def session(self) -> Any:
        """The session that runs below the hooks."""
        return self._session

    @property
    def stop_requested(self) -> bool:
        """Whether any hook asked to stop during this call."""
        return getattr(self, "_stop_requested", False)  # a double may not call __init__

    def request_stop(self) -> None:
        """Ask the loop to stop: after this ``run()``, ``should_stop()`` is ``True``."""
        self._stop_requested = True

    def defer(self, fn: Callable[[], None]) -> None:
        """Call ``fn()`` after the last hook's ``after_run`` of this ``run()``.

        For work that must see all hooks' state after this step, such as a checkpoint. Not in
        TensorFlow.
        """
        self._deferred = (*getattr(self, "_deferred", ()), fn)
