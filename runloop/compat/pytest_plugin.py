"""Pytest's option ``--runloop-tf``: tests that import TensorFlow run on runloop."""

from collections.abc import Generator
from typing import Any

import pytest

__all__ = ["pytest_addoption", "pytest_load_initial_conftests"]


def pytest_addoption(parser: Any) -> None:
    """Add the option."""
    parser.getgroup("runloop").addoption(
        "--runloop-tf",
        action="store_true",
        help="let `import tensorflow` give runloop.compat.tf",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: Any) -> Generator[None, Any, Any]:
    """Install before the first conftest.py is imported, for as long as pytest runs."""
    if early_config.known_args_namespace.runloop_tf:
        from runloop.compat.tf import install

        early_config.add_cleanup(install().uninstall)
    return (yield)
