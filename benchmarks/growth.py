"""How costs grow with size: ten times the size should cost at most ten times as much.

    python benchmarks/growth.py [--rounds 5] [--sizes 100,1000,10000] [--folder DIR]
    python benchmarks/growth.py --quick

Each row is one cost, each column one size. A cell is CPU time in milliseconds, the best of
interleaved rounds: each round measures every size of every row once. CPU time does not count waiting
for the disk, nor other programs. The last columns are the ratios between neighboring sizes: a flat
cost stays at 1, a linear one comes close to the ratio of the sizes, and a quadratic one exceeds it.

The rows:

* state file: parse one that lists n checkpoints; `latest_checkpoint`; the search for candidates
  that every restore begins with; a save into a folder that keeps n; `python -m runloop list`
  without the start of Python;
* tensors: a save, and a restore into existing arrays, of n tensors of 100 bytes;
* recorder: one `run()` of a session with n variables, with a `LifecycleRecorder`;
* plan: the first `run()` that needs n ops, each of which takes the result of the one before.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

import runloop as rl
from runloop.__main__ import main as command_line
from runloop.checkpoint import Saver, latest_checkpoint
from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.scan import Scan
from runloop.checkpoint.state_file import STATE_FILE, CheckpointState, format_state, parse_state
from runloop.graph import Graph, get_or_create_global_step
from runloop.session import Session
from runloop.testing import LifecycleRecorder

Measure = Callable[[], float]
"""Does the work once and returns its CPU seconds."""


def cpu_secs(function: Callable[..., object], *args: object) -> float:
    begin = time.process_time()
    function(*args)
    return time.process_time() - begin


def make_session(variables: int) -> Session:
    graph = Graph()
    with graph.as_default():
        get_or_create_global_step()
    for index in range(variables):
        graph.variable(f"layer{index}/w", np.full(25, index, np.float32))
    return Session(graph=graph)


def make_folder(folder: Path, count: int) -> bytes:
    """Make a folder of ``count`` checkpoints, all links to one file; return its state file."""
    session = make_session(3)
    saver = Saver()
    saver.save(session, folder / "m", 0)
    saver.close()
    first = folder / f"m-0{SUFFIX}"
    names = [first.name, *(f"m-{index}{SUFFIX}" for index in range(1, count))]
    for name in names[1:]:
        os.link(first, folder / name)
    times = [1.7e9 + index for index in range(count)]
    content = format_state(CheckpointState(names[-1], names, times))
    (folder / STATE_FILE).write_bytes(content)
    return content


def list_folder(folder: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        command_line(["list", str(folder)])


def folder_rows(root: Path, count: int) -> Iterator[tuple[str, Measure]]:
    folder = root / f"read-{count}"
    content = make_folder(folder, count)
    yield "state file: parse", lambda: cpu_secs(parse_state, content, "x")
    yield "state file: latest_checkpoint", lambda: cpu_secs(latest_checkpoint, folder)
    yield "state file: candidates", lambda: cpu_secs(lambda: Scan(str(folder)).candidates())
    yield "state file: list", lambda: cpu_secs(list_folder, folder)

    kept = root / f"kept-{count}"
    make_folder(kept, count)
    saver, session = Saver(max_to_keep=None), make_session(3)
    steps = iter(range(count, 10**9))
    saver.save(session, kept / "m", next(steps))  # reads what is there, once

    def save() -> float:
        return cpu_secs(saver.save, session, kept / "m", next(steps))

    yield "state file: save", save


def tensor_rows(root: Path, count: int) -> Iterator[tuple[str, Measure]]:
    session, saver = make_session(count), Saver(max_to_keep=1)
    prefix = root / f"tensors-{count}" / "m"
    path = saver.save(session, prefix, 0)  # plans the layout, once
    kept = Saver().save(session, root / f"restored-{count}" / "m", 0)
    assert path
    assert kept
    steps = iter(range(1, 10**9))
    yield "tensors: save", lambda: cpu_secs(saver.save, session, prefix, next(steps))
    yield "tensors: restore", lambda: cpu_secs(saver.restore, session, kept)


RUNS = 20  # of a recorded session in a row, because one takes microseconds


def recorder_row(count: int) -> Iterator[tuple[str, Measure]]:
    session = make_session(count)
    graph = session.graph

    @graph.train_op(updates="layer0/w", name="train")
    def train() -> object:
        return np.zeros(25, np.float32)

    def record() -> float:
        with LifecycleRecorder(), rl.MonitoredSession(graph=graph) as monitored:
            monitored.run("train")
            return cpu_secs(lambda: [monitored.run("train") for _ in range(RUNS)]) / RUNS

    yield "recorder: run", record


def plan_row(count: int) -> Iterator[tuple[str, Measure]]:
    graph = Graph()
    graph.variable("x0", 1.0)
    for index in range(count):
        # The name of its parameter says what an op takes.
        op = eval(f"lambda x{index}: x{index}")  # noqa: S307  # our own text
        graph.op(op, name=f"op{index}", outputs=f"x{index + 1}")
    yield "plan: first run", lambda: cpu_secs(Session(graph=graph).run, f"x{count}")


def all_rows(root: Path, count: int) -> Iterator[tuple[str, Measure]]:
    yield from folder_rows(root, count)
    yield from tensor_rows(root, count)
    yield from recorder_row(count)
    yield from plan_row(count)


def measure(root: Path, sizes: list[int], rounds: int) -> dict[str, list[float]]:
    """Return for each row the best CPU milliseconds at each size."""
    columns = [dict(all_rows(root, size)) for size in sizes]
    best = {name: [float("inf")] * len(sizes) for name in columns[0]}
    for _ in range(rounds):
        for index, column in enumerate(columns):
            for name, once in column.items():
                best[name][index] = min(best[name][index], once() * 1e3)
    return best


def print_rows(sizes: list[int], best: dict[str, list[float]]) -> None:
    ratios = [f"{large}/{small}" for small, large in pairwise(sizes)]
    print(f"{'CPU ms':32}", *(f"{f'n={size}':>9}" for size in sizes), *(f"{r:>11}" for r in ratios))
    for name, cells in best.items():
        grown = [large / max(small, 1e-6) for small, large in pairwise(cells)]
        print(f"{name:32}", *(f"{c:9.3f}" for c in cells), *(f"{g:11.1f}" for g in grown))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="How costs grow with size.")
    parser.add_argument("--sizes", default="100,1000,10000", help="the smallest first")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to make folders; the temporary folder by default")
    parser.add_argument("--quick", action="store_true", help="sizes 10 and 100, one round")
    args = parser.parse_args(arguments)
    sizes = [10, 100] if args.quick else [int(size) for size in args.sizes.split(",")]
    root = Path(tempfile.mkdtemp(prefix="growth-", dir=args.folder))
    try:
        print_rows(sizes, measure(root, sizes, 1 if args.quick else args.rounds))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
