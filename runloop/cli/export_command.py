"""``runloop export FILE -o x.npz``: the tensors of a checkpoint for programs that have only NumPy."""

from __future__ import annotations

import argparse
import os
import re
from typing import Any

import numpy as np

from runloop.checkpoint import load_checkpoint
from runloop.checkpoint.files import Files
from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.writer import replace_file
from runloop.messages import printable

__all__ = ["add", "entry_name"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="write the tensors of a checkpoint to a .npz file",
        description="Write the tensors to a file that numpy.load opens. bfloat16 and the other "
        "small floats of ml_dtypes become float32, which holds them exactly. A name that is unsafe in "
        "an archive (absolute, with .. or control characters) is changed, and the change printed.",
    )
    parser.add_argument("file", help="the data file, or a folder for its newest checkpoint")
    parser.add_argument("-o", "--output", help="the .npz file; by default next to the data file")
    parser.set_defaults(run=_run)


def entry_name(name: str, taken: set[str]) -> str:
    """Return the name of a tensor in the archive, without ``.npy``; adds it to ``taken``.

    An archive is unpacked by programs that may follow absolute names, ``..``, backslashes and
    drive letters out of the folder. Such parts of a name are replaced by ``_``.
    """
    entry = name
    parts = re.split(r"[/\\]", name)
    if "\\" in name or ":" in name or printable(name) != name or {"", ".", ".."} & {*parts}:
        parts = ["_" if part in {"", ".", ".."} else printable(part) for part in parts]
        entry = "/".join(re.sub(r"[\\:]", "_", part) for part in parts)
    while entry in taken:
        entry += "_"
    taken.add(entry)
    return entry


def _run(args: argparse.Namespace) -> int:
    import zipfile

    with load_checkpoint(args.file) as reader:
        entries: dict[str, str] = {}
        taken: set[str] = set()
        # Safe names first, so that they stay as they are; a changed one avoids them.
        for name in sorted(reader.names(), key=lambda name: entry_name(name, set()) != name):
            entries[name] = entry_name(name, taken)
        output = args.output or reader.path.removesuffix(SUFFIX) + ".npz"

        def write(fd: int) -> None:
            # One tensor at a time: numpy.savez needs all of them in memory.
            with os.fdopen(os.dup(fd), "wb") as file, zipfile.ZipFile(file, "w") as archive:
                for name, entry in entries.items():
                    array = reader.get_tensor(name)
                    if array.dtype.kind not in "biufcmM":
                        array = array.astype(np.float32)
                    with archive.open(f"{entry}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)

        replace_file(Files(), output, write)
        for name, entry in entries.items():
            if entry != name:
                print(f"{printable(name)} is called {entry} in the archive")
        print(f"{len(entries)} tensors -> {printable(output)}")
    return 0
