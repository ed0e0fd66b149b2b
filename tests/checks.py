"""What several test files share: errors compared by their whole text, ids of tests."""

import re
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


def id_of(value):
    """The value's repr without its address: workers that share a test run must agree on ids."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
