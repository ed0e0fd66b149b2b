"""What several test files share: errors compared by their whole text."""

from contextlib import contextmanager

import pytest


@contextmanager
def fails(kind, text):
    """The block raises exactly `kind`, and its message is `text` from the first word to the last.

    Gives pytest's info object; its `value` is the exception.
    """
    with pytest.raises(kind) as info:
        yield info
    assert type(info.value) is kind
    assert str(info.value) == text
