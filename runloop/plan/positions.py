"""Where a session is in an input that has no state: how many items it used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runloop.errors import OutOfRangeError
from runloop.graph.elements import Input
from runloop.state import is_array, is_stateful

__all__ = ["Position", "keeps_position"]


def keeps_position(source: Input) -> bool:
    """Return whether checkpoints hold the position in an input, by whatever means."""
    return source.replay or _is_sequence(source.iterable) or is_stateful(source.iterable)


def _is_sequence(iterable: Any) -> bool:
    if isinstance(iterable, (str, bytes, bytearray)):
        return True
    return isinstance(iterable, Sequence) or (is_array(iterable) and bool(tuple(iterable.shape)))


class Position:
    """One session's position in one input.

    Its state is the number of items used. A plain sequence goes on at that index. With ``replay``
    that many items are pulled and dropped, at once, so that the state restored afterwards puts back
    what they drew from generators.
    """

    def __init__(self, source: Input) -> None:
        self._source = source
        self._used = 0
        self._iterator: Iterator[Any] | None = None

    @property
    def in_checkpoints(self) -> bool:
        """Whether checkpoints hold it; an iterable with state holds its own."""
        return keeps_position(self._source) and not is_stateful(self._source.iterable)

    def next(self) -> Any:
        """Return the next item.

        Raises:
            OutOfRangeError: If the input is exhausted.
        """
        source = self._source
        if self._iterator is None:
            self._iterator = iter(source.iterable)
        try:
            item = next(self._iterator)
        except StopIteration:
            raise OutOfRangeError(f"input {source.names[0]!r} is exhausted") from None
        self._used += 1
        source.pulled += 1
        return item

    def forget_iterator(self) -> None:
        """Call ``iter()`` again at the next pull: what has state was restored, the rest starts over."""
        if not self.in_checkpoints:
            self._iterator = None

    def state_dict(self) -> dict[str, int]:
        """Return the number of items used."""
        return {"used": self._used}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the position of a state.

        Raises:
            ValueError: If the input has fewer items, or is an iterator that is further already.
        """
        used = state.get("used") if isinstance(state, Mapping) else None
        if type(used) is not int or used < 0:
            raise ValueError(f"input {self._source.names[0]!r}: {state!r:.80} is not a position")
        with self._source.lock:
            if _is_sequence(self._source.iterable):
                self._iterator = self._from_index(used)
            else:
                self._replay(used)
            self._used = used

    def _from_index(self, used: int) -> Iterator[Any]:
        items: Any = self._source.iterable
        if used > len(items):
            raise ValueError(
                f"input {self._source.names[0]!r}: the checkpoint was made after item {used}, and the "
                f"sequence has {len(items)}; give the same data"
            )
        return _items_from(items, used)

    def _replay(self, used: int) -> None:
        source = self._source
        iterator = iter(source.iterable)
        skip = used
        if iterator is source.iterable:  # an iterator: it can't start over
            skip = used - source.pulled
            if skip < 0:
                raise ValueError(
                    f"input {source.names[0]!r}: the checkpoint was made after item {used}, and the "
                    f"iterator has given {source.pulled} already; give an iterable that iter() "
                    f"starts over"
                )
        for count in range(skip):
            try:
                next(iterator)
            except StopIteration:
                raise ValueError(
                    f"input {source.names[0]!r}: the checkpoint was made after item {used}, and the "
                    f"iterable gave {used - skip + count}; give the same data"
                ) from None
            source.pulled += 1
        self._iterator = iterator


def _items_from(items: Any, index: int) -> Iterator[Any]:
    while index < len(items):  # looked at each time, as a list's own iterator does
        yield items[index]
        index += 1
