"""The benchmark of growing costs runs, and measures every cost that it names."""

import importlib.util
import re
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "growth.py"
pytestmark = pytest.mark.skipif(not PATH.exists(), reason="an installed package has no benchmarks")


def test_every_cost_is_measured_at_every_size(capsys):
    spec = importlib.util.spec_from_file_location("growth", PATH)
    growth = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(growth)
    growth.main(["--quick"])
    head, *rows = capsys.readouterr().out.splitlines()
    assert re.split(r"\s{2,}", head) == ["CPU ms", "n=10", "n=100", "100/10"]
    cells = {name: [float(cell) for cell in rest] for name, *rest in map(split, rows)}
    assert all(len(numbers) == 3 and numbers[1] > 0 for numbers in cells.values()), cells
    assert [*cells] == [
        "state file: parse",
        "state file: latest_checkpoint",
        "state file: candidates",
        "state file: list",
        "state file: save",
        "tensors: save",
        "tensors: restore",
        "recorder: run",
        "plan: first run",
    ]
    for name in cells:  # the docstring says what each is
        assert name.partition(": ")[0] in growth.__doc__


def split(row):
    return re.split(r"\s{2,}", row)
