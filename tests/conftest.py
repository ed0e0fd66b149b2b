"""Ids of tests: workers of one test run collect the suite each for itself, and must agree."""

import re

import pytest


def pytest_collection_modifyitems(items):
    unstable = [item.nodeid for item in items if re.search(r" at 0x[0-9a-f]{6}", item.nodeid)]
    if unstable:
        raise pytest.UsageError(f"ids with addresses; use ids=id_of of tests.checks: {unstable}")
