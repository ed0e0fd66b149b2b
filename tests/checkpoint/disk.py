"""A file layer that logs what a save does, and a disk that crashes.

The model is what POSIX promises and no more. Until a file was fsynced, what was written to it since
may be there, be lost, be cut anywhere, or read as zeros. Until a folder was fsynced, each change of
its names since may be there or not, independently of the others; a rename is one change. An fsync
of a file says nothing about its name.
"""

import itertools
import os
from typing import NamedTuple

from runloop.checkpoint.files import Files


class Op(NamedTuple):
    """One operation; `file` is the number of the file, for names do not stay."""

    kind: str
    path: str = ""
    target: str = ""
    file: int = -1
    offset: int = 0
    data: bytes = b""


class RecordingFiles(Files):
    """Does everything, and logs it."""

    def __init__(self):
        self.log = []
        self._files = {}
        self._count = itertools.count()

    def make_dir(self, path):
        super().make_dir(path)

    def create(self, path):
        fd = super().create(path)
        self._files[fd] = next(self._count)
        self.log.append(Op("create", path, file=self._files[fd]))
        return fd

    def write(self, fd, data, offset):
        count = super().write(fd, data, offset)
        written = bytes(memoryview(data).cast("B")[:count])
        self.log.append(Op("write", file=self._files[fd], offset=offset, data=written))
        return count

    def sync(self, fd):
        super().sync(fd)
        self.log.append(Op("sync", file=self._files[fd]))

    def close(self, fd):
        super().close(fd)
        self._files.pop(fd)

    def rename(self, source, target):
        super().rename(source, target)
        self.log.append(Op("rename", source, target))

    def sync_dir(self, path):
        super().sync_dir(path)
        self.log.append(Op("sync_dir", path))

    def unlink(self, path):
        super().unlink(path)
        self.log.append(Op("unlink", path))

    def mark(self, text):
        """Note in the log that something was promised to the caller."""
        self.log.append(Op("mark", text))


class Disk:
    """What is durable and what is not, after some operations."""

    def __init__(self):
        self.names = {}  # durable: name -> file
        self.pending = []  # changes of names since the folder's last fsync
        self.durable = {}  # file -> content at its last fsync
        self.content = {}  # file -> content as a running program sees it
        self.current = {}  # name -> file as a running program sees it

    def apply(self, op):
        if op.kind == "create":
            self.durable[op.file] = b""
            self.content[op.file] = b""
            self.current[op.path] = op.file
            self.pending.append(("add", op.path, op.file))
        elif op.kind == "write":
            old = self.content[op.file].ljust(op.offset, b"\0")
            self.content[op.file] = old[: op.offset] + op.data + old[op.offset + len(op.data) :]
        elif op.kind == "sync":
            self.durable[op.file] = self.content[op.file]
        elif op.kind == "rename":
            file = self.current.pop(op.path)
            self.current[op.target] = file
            self.pending.append(("rename", op.path, op.target, file))
        elif op.kind == "unlink":
            del self.current[op.path]
            self.pending.append(("remove", op.path))
        elif op.kind == "sync_dir":
            self.names = after(self.names, self.pending)
            self.pending = []

    def crashes(self):
        """Yield every {name: content} that may be on the disk after a crash now."""
        for chosen in itertools.product((False, True), repeat=len(self.pending)):
            names = after(self.names, itertools.compress(self.pending, chosen))
            loose = {f for f in names.values() if self.durable[f] != self.content[f]}
            variants = [[(f, text) for text in self.torn(f)] for f in sorted(loose)]
            for choice in itertools.product(*variants):
                contents = {**self.durable, **dict(choice)}
                yield {name: contents[file] for name, file in names.items()}

    def torn(self, file):
        """What an unsynced file may hold."""
        old, new = self.durable[file], self.content[file]
        size = len(new)
        half = size // 2
        return {
            old,
            new,
            new[:half],
            new[: size - 1],
            b"\0" * size,
            new[:half] + b"\0" * (size - half),
            b"\0" * half + new[half:],
            old[:half] + new[half:] if len(old) == size else old,
        }


def after(names, changes):
    """The names after some of the changes."""
    names = dict(names)
    for kind, path, *rest in changes:
        if kind == "add":
            names[path] = rest[0]
        elif kind == "remove":
            names.pop(path, None)
        else:
            target, file = rest
            # The source is gone with it, whether its creation had got to the disk or not.
            names.pop(path, None)
            names[target] = file
    return names


def every_crash(log):
    """Yield (operations done, marks so far, disk) for every crash of a program with this log."""
    disk = Disk()
    marks = []
    seen = set()
    for count, op in enumerate([Op("start"), *log]):
        if op.kind == "mark":
            marks.append(op.path)
        else:
            disk.apply(op)
        for contents in disk.crashes():
            key = (len(marks), hash(frozenset(contents.items())))
            if key not in seen:
                seen.add(key)
                yield count, list(marks), contents


def lay_out(contents, folder, base):
    """Write a crashed disk's files, named below `base`, into an empty folder."""
    for path, content in contents.items():
        target = folder / os.path.relpath(path, base)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
