"""What checkpoints cost, compared with writing the same bytes and with other libraries.

    python benchmarks/checkpoint.py [--sizes 1,16,256,1024] [--rounds 5] [--folder DIR]

Everything is measured in one run, interleaved; the tables show medians. Choose a folder on the disk
that your checkpoints go to; the default is the system's temporary folder. Peak memory is measured in
separate processes (Linux only).

What is compared:

* save: `Saver.save` against a `write` loop over the same bytes and one `fsync`;
* stall: how long `save` with `background=True` blocks the training, against `np.copyto` of the same
  arrays into warm buffers;
* restore: `Saver.restore` into existing arrays, with all checksums verified, against `readinto` into
  a warm buffer and `zlib.crc32` over it;
* per tensor: the cost of each of 10,000 tensors on top of writing, copying and reading its bytes;
* pause: the longest time that a busy Python thread is not scheduled while the worker writes;
  other: the same while another process writes as many bytes, which is the machine's share;
* memory: how far the process's peak is above its memory before the save.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import safetensors.numpy

from runloop.checkpoint import Saver
from runloop.graph import Graph
from runloop.session import Session

MANY = 10_000


def make_arrays(mebibytes, count):
    each = (mebibytes << 20) // count // 4
    rng = np.random.default_rng(0)
    return {f"layer{i}/w": rng.random(each, dtype=np.float32) for i in range(count)}


def make_session(arrays):
    graph = Graph()
    for name, array in arrays.items():
        graph.variable(name, array)
    return Session(graph=graph)


def timed(function, *args):
    begin = time.perf_counter()
    function(*args)
    return (time.perf_counter() - begin) * 1e3


def raw_write(path, arrays):
    """The same bytes, in as few calls as there are arrays; small ones together."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    views = [memoryview(array).cast("B") for array in arrays.values()]
    if len(views) > 1:
        views = [memoryview(b"".join(views[i : i + 256])) for i in range(0, len(views), 256)]
    for view in views:
        while view:
            view = view[os.write(fd, view) :]  # noqa: PLW2901
    os.fsync(fd)
    os.close(fd)


def raw_read(path, buffer):
    with Path(path).open("rb", buffering=0) as file:
        view = memoryview(buffer)
        while view:
            count = file.readinto(view)
            if not count:
                break
            view = view[count:]
    zlib.crc32(buffer)


def others():
    """Savers of other libraries: {name: function of path and arrays}."""
    found = {
        "safetensors": lambda path, arrays: safetensors.numpy.save_file(arrays, path),
        "np.savez": lambda path, arrays: np.savez(path + ".npz", **arrays),
    }
    try:
        import torch
    except ImportError:
        pass
    else:
        found["torch.save"] = lambda path, arrays: torch.save(
            {name: torch.from_numpy(array) for name, array in arrays.items()}, path
        )
    try:
        import orbax.checkpoint as ocp
    except ImportError:
        pass
    else:
        found["orbax"] = lambda path, arrays: ocp.PyTreeCheckpointer().save(path, arrays)
    return found


class Folder:
    """A fresh path at each call; what was there before is removed outside of the timing."""

    def __init__(self, base):
        self.base = Path(base)
        self.base.mkdir(exist_ok=True)
        self.count = 0

    def fresh(self):
        for old in self.base.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()
        os.sync()
        self.count += 1
        return str(self.base / f"x{self.count}")


def measure(mebibytes, count, rounds, base):
    """Return medians in ms by name."""
    arrays = make_arrays(mebibytes, count)
    session = make_session(arrays)
    folder = Folder(Path(base) / "one")
    times = {}

    def note(name, value):
        times.setdefault(name, []).append(value)

    warm = {name: np.ones_like(array) for name, array in arrays.items()}
    live = session.state().variables
    total = sum(array.nbytes for array in arrays.values())
    buffer = np.ones(total, np.uint8)
    plain, background = Saver(max_to_keep=None), Saver(max_to_keep=1, background=True)
    series = str(Path(base) / "series" / "x")  # as training does it: one after the other
    background.save(session, series, 0)
    background.wait()
    rivals = others()
    for _ in range(rounds):
        note("raw", timed(raw_write, folder.fresh(), arrays))
        note("save", timed(plain.save, session, folder.fresh()))
        plain.release()
        for name, function in rivals.items():
            note(name, timed(function, folder.fresh(), arrays))
        note("copy", timed(lambda: [np.copyto(warm[name], live[name]) for name in live]))
        folder.fresh()
        note("stall", timed(background.save, session, series, folder.count))
        note("pause", longest_pause(lambda: background.busy))
        background.wait()
        with other_process(total, folder.fresh()) as child:
            note("other", longest_pause(lambda: child.poll() is None))
        path = plain.save(session, folder.fresh())
        plain.release()
        note("read", timed(raw_read, path, buffer))
        note("restore", timed(plain.restore, session, path))
    folder.fresh()
    background.close()
    shutil.rmtree(Path(base) / "series")
    return {name: statistics.median(values) for name, values in times.items()}


def other_process(size, path):
    """Start a process that writes and sums `size` bytes at once; its memory is warm already."""
    command = [sys.executable, __file__, "--write", str(size), path]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    child.stdin.write(b"\n")
    child.stdin.flush()
    return child


def write_child(size, path):
    array = {"all": np.ones(size, np.uint8)}
    print(flush=True)
    sys.stdin.readline()
    raw_write(path, array)
    zlib.crc32(array["all"])


def longest_pause(goes_on):
    """Run Python as long as something goes on; return the longest time between two rounds."""
    longest = 0.0
    last = time.perf_counter()
    while goes_on():
        now = time.perf_counter()
        longest = max(longest, now - last)
        last = now
    return longest * 1e3


# -- memory ---------------------------------------------------------------------------------------


def status(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


def memory_child(what, mebibytes, base):
    """Print the peak above what the process had, in MiB."""
    arrays = make_arrays(mebibytes, 1)
    session = make_session(arrays)
    del arrays
    saver = Saver(background=what == "background")
    path = Saver().save(make_session({"small": np.ones(10)}), f"{base}/warm")
    if what == "restore":
        path = saver.save(session, f"{base}/m")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = status("VmRSS")
    if what == "restore":
        saver.restore(session, path)
    else:
        saver.save(session, f"{base}/m")
        saver.wait()
    print(json.dumps(status("VmHWM") - before))


def memory(what, mebibytes, base):
    command = [sys.executable, __file__, "--memory", what, str(mebibytes), str(base)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


# -- the tables -----------------------------------------------------------------------------------


def table(head, rows):
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(str(cell).rjust(w) for cell, w in zip(row, widths, strict=True)))
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1,16,256,1024", help="MiB, with commas between them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to write")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        write_child(int(args.write[0]), args.write[1])
        return
    if args.memory:
        what, mebibytes, base = args.memory
        memory_child(what, int(mebibytes), base)
        return
    sizes = [int(size) for size in args.sizes.split(",")]
    results = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as base:
        for mebibytes in sizes:
            for count in (1, MANY):
                rounds = args.rounds if mebibytes > 64 else 3 * args.rounds
                results[mebibytes, count] = measure(mebibytes, count, rounds, base)
        peaks = {}
        if sys.platform == "linux":
            for mebibytes in [size for size in sizes if size >= 256]:
                for what in ("save", "background", "restore"):
                    with tempfile.TemporaryDirectory(dir=base) as inner:
                        peaks[mebibytes, what] = memory(what, mebibytes, inner)
    names = list(next(iter(results.values())))
    rivals = [name for name in names if name in others()]
    print("milliseconds (medians)")
    shown = ["raw", "save", *rivals, "copy", "stall", "read", "restore", "pause", "other"]
    table(
        ["MiB", "tensors", *shown],
        [[m, n, *(f"{found[name]:.1f}" for name in shown)] for (m, n), found in results.items()],
    )
    print("ratios")
    table(
        ["MiB", "tensors", "save/raw", *(f"{r}/raw" for r in rivals), "stall/copy", "restore/read"],
        [
            [
                m,
                n,
                f"{found['save'] / found['raw']:.2f}",
                *(f"{found[r] / found['raw']:.2f}" for r in rivals),
                f"{found['stall'] / found['copy']:.2f}",
                f"{found['restore'] / found['read']:.2f}",
            ]
            for (m, n), found in results.items()
        ],
    )
    print(f"microseconds for each of {MANY} tensors: save - raw, stall - copy, restore - read")
    pairs = (("save", "raw"), ("stall", "copy"), ("restore", "read"))
    many = {mebibytes: results[mebibytes, MANY] for mebibytes in sizes}
    table(
        ["MiB", "save", "stall", "restore"],
        [
            [m, *(f"{(found[ours] - found[bare]) * 1e3 / MANY:.1f}" for ours, bare in pairs)]
            for m, found in many.items()
        ],
    )
    if peaks:
        print("peak memory above the state, MiB")
        table(
            ["state", "save", "background", "restore"],
            [
                [m, *(f"{peaks[m, what]:.0f}" for what in ("save", "background", "restore"))]
                for m in sizes
                if (m, "save") in peaks
            ],
        )


if __name__ == "__main__":
    main()
