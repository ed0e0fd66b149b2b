"""``runloop export FILE -o x.npz``: the tensors of a checkpoint for who has only NumPy."""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

from runloop.checkpoint import load_checkpoint
from runloop.checkpoint.files import Files
from runloop.checkpoint.layout import SUFFIX
from runloop.checkpoint.writer import replace_file
from runloop.cli.text import safe

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="write the tensors of a checkpoint to a .npz file",
        description="Write the tensors to a file that numpy.load opens. bfloat16 and the other "
        "small floats of ml_dtypes become float32, which holds them exactly.",
    )
    parser.add_argument("file", help="the data file, or a folder for its newest checkpoint")
    parser.add_argument("-o", "--output", help="the .npz file; beside the data file by default")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import zipfile

    with load_checkpoint(args.file) as reader:
        output = args.output or reader.path.removesuffix(SUFFIX) + ".npz"

        def write(fd: int) -> None:
            # One tensor at a time: numpy.savez would want all of them in memory.
            with os.fdopen(os.dup(fd), "wb") as file, zipfile.ZipFile(file, "w") as archive:
                for name in reader.names():
                    array = reader.get_tensor(name)
                    if array.dtype.kind not in "biufcmM":
                        array = array.astype(np.float32)
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)

        replace_file(Files(), output, write)
        print(f"{len(reader.names())} tensors -> {safe(output)}")
    return 0
