"""What hooks use of TensorFlow Estimator's ``early_stopping``: the metrics of evaluations."""

from __future__ import annotations

import os

from runloop.compat._tf import logging
from runloop.compat._tf.errors import DataLossError
from runloop.compat._tf.gfile import glob
from runloop.compat._tf.records import summary_iterator

__all__ = ["read_eval_metrics"]


def read_eval_metrics(eval_dir: str | os.PathLike[str]) -> dict[int, dict[str, float]]:
    """Return ``{step: {tag: value}}`` of the scalars in a folder's event files, sorted by step.

    Args:
        eval_dir: The folder; one that does not exist gives an empty dictionary.

    A damaged file is read up to the damage, with a warning.

    Follows ``read_eval_metrics`` of TensorFlow Estimator 2.15's ``early_stopping``.
    """
    found: dict[int, dict[str, float]] = {}
    for path in glob(os.path.join(os.fspath(eval_dir), "events.out.tfevents.*")):
        try:
            for event in summary_iterator(path):
                values = event.summary.value if event.HasField("summary") else ()
                scalars = {v.tag: v.simple_value for v in values if v.HasField("simple_value")}
                if scalars:
                    found.setdefault(event.step, {}).update(scalars)
        except DataLossError as exc:
            logging.warning("Events after the damage are not read: %s", exc)
    return dict(sorted(found.items()))
