"""What holds for every test: helpers' asserts count, and ids are the same in each process."""

import re

import pytest

# Their asserts are checked under `python -O` too, like those of test modules.
pytest.register_assert_rewrite("tests.checks", "tests.conformance")


def pytest_collection_modifyitems(items):
    """Refuse ids that only this process has: xdist's workers must collect the same."""
    unstable = [item.nodeid for item in items if re.search(r" at 0x[0-9a-f]{6}", item.nodeid)]
    if unstable:
        raise pytest.UsageError(f"ids with addresses; use ids=id_of of tests.checks: {unstable}")
