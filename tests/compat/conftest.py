"""What the shim's tests share."""

import importlib.util

import pytest


@pytest.fixture
def without_tensorflow():
    """Skips where the real TensorFlow is installed: it may be imported already, by TensorBoard."""
    if importlib.util.find_spec("tensorflow") is not None:
        pytest.skip("TensorFlow is installed here")
