"""``tf.test``, with the test case that tests of hooks subclass."""

from __future__ import annotations

import re
import shutil
import tempfile
import unittest
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np

from runloop.compat._tf.errors import OpError
from runloop.compat._tf.session import Session, get_default_session
from runloop.compat._tf.writer import FileWriterCache
from runloop.contexts import contextmanager
from runloop.graph import Graph, get_default_graph

__all__ = ["TestCase", "get_temp_dir", "main"]


class TestCase(unittest.TestCase):
    """A ``unittest.TestCase`` with a new default graph for each test, and asserts for arrays.

    Follows ``tf.compat.v1.test.TestCase`` of TensorFlow 2.21, as far as tests of hooks use it.
    """

    def setUp(self) -> None:
        """Make a new graph the default graph."""
        super().setUp()
        self._temp_dir: str | None = None
        self._stack = ExitStack()
        self._stack.enter_context(Graph().as_default())
        self.addCleanup(self._stack.close)
        self.addCleanup(FileWriterCache.clear)

    # -- folders and sessions -------------------------------------------------------------------

    def get_temp_dir(self) -> str:
        """Return this test's temporary folder, the same at each call; deleted after the test."""
        if self._temp_dir is None:
            self._temp_dir = tempfile.mkdtemp()
            self.addCleanup(shutil.rmtree, self._temp_dir, ignore_errors=True)
        return self._temp_dir

    @contextmanager
    def session(self, graph: Graph | None = None, **ignored: Any) -> Iterator[Session]:
        """Give a session of a graph; closed after the block.

        Args:
            graph: The graph, the default graph if ``None``.
            **ignored: ``config``, ``use_gpu`` and ``force_gpu``, which have no effect.
        """
        with Session(graph=graph) as session:
            yield session

    cached_session = session

    def test_session(
        self,
        graph: Graph | None = None,
        **ignored: Any,
    ) -> AbstractContextManager[Session]:
        """Do the same as :meth:`session`. Runners that collect it as a test skip it."""
        if self._testMethodName == "test_session":
            self.skipTest("not a test")
        return self.session(graph, **ignored)

    test_session.__test__ = False  # type: ignore[attr-defined]  # for pytest

    def evaluate(self, tensors: Any) -> Any:
        """Run ``tensors`` in the default session, or in a new one if there is none."""
        session = get_default_session()
        if session is not None:
            return session.run(tensors)
        with Session(graph=get_default_graph()) as fresh:
            return fresh.run(tensors)

    # -- asserts --------------------------------------------------------------------------------

    def assertAllEqual(self, a: Any, b: Any, msg: str | None = None) -> None:  # noqa: N802
        """Assert equal shapes and equal values; NaN equals NaN."""
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=msg or "", strict=False)
        self.assertEqual(np.shape(a), np.shape(b), msg)

    def assertAllClose(  # noqa: N802
        self, a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-6, msg: str | None = None
    ) -> None:
        """Assert equal structures and shapes, and values equal within the tolerances."""
        if hasattr(a, "_asdict"):
            a = a._asdict()
        if hasattr(b, "_asdict"):
            b = b._asdict()
        if isinstance(a, dict) or isinstance(b, dict):
            self.assertIsInstance(a, dict, msg)
            self.assertEqual(set(a), set(b), msg)
            for key in a:
                self.assertAllClose(a[key], b[key], rtol, atol, f"{msg or ''} at {key!r}")
            return
        if isinstance(a, (list, tuple)) and any(np.shape(x) != np.shape(a[0]) for x in a):
            self.assertEqual(len(a), len(b), msg)
            for one, other in zip(a, b, strict=True):
                self.assertAllClose(one, other, rtol, atol, msg)
            return
        self.assertEqual(np.shape(a), np.shape(b), msg)
        np.testing.assert_allclose(
            np.asarray(a, float), np.asarray(b, float), rtol=rtol, atol=atol, err_msg=msg or ""
        )

    def assertNotAllClose(self, a: Any, b: Any, **tolerances: Any) -> None:  # noqa: N802
        """Assert that :meth:`assertAllClose` fails."""
        try:
            self.assertAllClose(a, b, **tolerances)
        except AssertionError:
            return
        raise self.failureException(f"the values are close: {a!r} and {b!r}")

    def assertNotAllEqual(self, a: Any, b: Any, msg: str | None = None) -> None:  # noqa: N802
        """Assert that :meth:`assertAllEqual` fails."""
        try:
            self.assertAllEqual(a, b)
        except AssertionError:
            return
        raise self.failureException(msg or f"the values are equal: {a!r} and {b!r}")

    def assertAllGreaterEqual(self, a: Any, comparison_target: Any) -> None:  # noqa: N802
        """Assert that every value is greater or equal."""
        self.assertGreaterEqual(np.min(a), comparison_target)

    def assertAllLessEqual(self, a: Any, comparison_target: Any) -> None:  # noqa: N802
        """Assert that every value is less or equal."""
        self.assertLessEqual(np.max(a), comparison_target)

    def assertAllInRange(self, target: Any, lower_bound: Any, upper_bound: Any) -> None:  # noqa: N802
        """Assert that every value lies between the bounds or on one."""
        self.assertAllGreaterEqual(target, lower_bound)
        self.assertAllLessEqual(target, upper_bound)

    def assertShapeEqual(self, input_a: Any, input_b: Any, msg: str | None = None) -> None:  # noqa: N802
        """Assert equal shapes of arrays or handles."""
        one, other = (x.shape if hasattr(x, "shape") else np.shape(x) for x in (input_a, input_b))
        self.assertEqual(list(one), list(other), msg)

    def assertBetween(self, value: Any, minv: Any, maxv: Any, msg: str | None = None) -> None:  # noqa: N802
        """Assert that a value lies between the bounds or on one."""
        self.assertGreaterEqual(value, minv, msg)
        self.assertLessEqual(value, maxv, msg)

    def assertContainsSubset(self, expected: Any, actual: Any, msg: str | None = None) -> None:  # noqa: N802
        """Assert that every member of ``expected`` is in ``actual``."""
        self.assertEqual(set(expected) - set(actual), set(), msg)

    def assertSameElements(self, expected: Any, actual: Any, msg: str | None = None) -> None:  # noqa: N802
        """Assert the same set of members; order and duplicates do not matter."""
        self.assertEqual(set(expected), set(actual), msg)

    def assertEndsWith(self, actual: str, expected_end: str, msg: str | None = None) -> None:  # noqa: N802
        """Assert that a string ends with ``expected_end``."""
        self.assertEqual(actual[-len(expected_end) :], expected_end, msg)

    @contextmanager
    def assertRaisesWithLiteralMatch(  # noqa: N802
        self, expected_exception: Any, expected_exception_message: str
    ) -> Iterator[None]:
        """Assert that the block raises this exception with exactly this text."""
        with self.assertRaises(expected_exception) as caught:
            yield
        self.assertEqual(str(caught.exception), expected_exception_message)

    def assertAllGreater(self, a: Any, comparison_target: Any) -> None:  # noqa: N802
        """Assert that every value is greater."""
        self.assertGreater(np.min(a), comparison_target)

    def assertAllLess(self, a: Any, comparison_target: Any) -> None:  # noqa: N802
        """Assert that every value is less."""
        self.assertLess(np.max(a), comparison_target)

    def assertNear(self, f1: float, f2: float, err: float, msg: str | None = None) -> None:  # noqa: N802
        """Assert that two numbers differ by at most ``err``."""
        self.assertLessEqual(abs(f1 - f2), err, msg)

    def assertEmpty(self, container: Any, msg: str | None = None) -> None:  # noqa: N802
        """Assert that a container is empty."""
        self.assertEqual(len(container), 0, msg)

    def assertNotEmpty(self, container: Any, msg: str | None = None) -> None:  # noqa: N802
        """Assert that a container is not empty."""
        self.assertNotEqual(len(container), 0, msg)

    def assertLen(self, container: Any, expected_len: int, msg: str | None = None) -> None:  # noqa: N802
        """Assert a container's length."""
        self.assertEqual(len(container), expected_len, msg)

    def assertStartsWith(self, actual: str, expected_start: str, msg: str | None = None) -> None:  # noqa: N802
        """Assert that a string starts with ``expected_start``."""
        self.assertEqual(actual[: len(expected_start)], expected_start, msg)

    def assertProtoEquals(self, expected: Any, message: Any, msg: str | None = None) -> None:  # noqa: N802
        """Assert that two messages are equal; a message in text format is not supported.

        Raises:
            TypeError: If ``expected`` is a string.
        """
        if isinstance(expected, str):
            raise TypeError(f"assertProtoEquals takes a message, got the string {expected!r:.80}")
        self.assertEqual(expected, message, msg)

    def assertItemsEqual(self, a: Any, b: Any, msg: str | None = None) -> None:  # noqa: N802
        """Assert the same members in any order."""
        self.assertCountEqual(a, b, msg)

    @contextmanager
    def assertRaisesWithPredicateMatch(  # noqa: N802
        self, exception_type: Any, expected_err_re_or_predicate: Any
    ) -> Iterator[None]:
        """Assert that the block raises this exception, matched by a pattern or a function."""
        with self.assertRaises(exception_type) as caught:
            yield
        expected, error = expected_err_re_or_predicate, caught.exception
        if callable(expected):
            self.assertTrue(expected(error), f"the predicate rejects {error!r}")
        else:
            self.assertTrue(
                re.search(expected, str(error)), f"{error!r} does not match {expected!r}"
            )

    def assertRaisesOpError(self, expected_err_re_or_predicate: Any) -> Any:  # noqa: N802
        """Assert that the block raises an ``OpError`` that matches."""
        return self.assertRaisesWithPredicateMatch(OpError, expected_err_re_or_predicate)


def get_temp_dir() -> str:
    """Return a new temporary folder, which is not deleted."""
    return tempfile.mkdtemp()


def main(argv: list[str] | None = None) -> None:
    """Run the tests of the main module."""
    unittest.main(argv=argv)
