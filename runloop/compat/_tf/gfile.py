"""``tf.gfile`` and ``tf.io.gfile`` for local files, with the old names and the new ones."""

from __future__ import annotations

import glob as _glob
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

from runloop.compat._tf.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    NotFoundError,
    PermissionDeniedError,
    UnknownError,
)

__all__ = [
    "Copy",
    "DeleteRecursively",
    "Exists",
    "FileStatistics",
    "GFile",
    "Glob",
    "IsDirectory",
    "ListDirectory",
    "MakeDirs",
    "MkDir",
    "Remove",
    "Rename",
    "Stat",
    "Walk",
    "atomic_write_string_to_file",
    "copy",
    "exists",
    "glob",
    "isdir",
    "join",
    "listdir",
    "makedirs",
    "mkdir",
    "read_file_to_string",
    "remove",
    "rename",
    "rmtree",
    "stat",
    "walk",
    "write_string_to_file",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _errors(fn: Callable[_P, _T]) -> Callable[_P, _T]:
    """Turn the system's errors into those of ``tf.errors``, most of which are ``OSError`` as well."""

    @wraps(fn)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return fn(*args, **kwargs)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise NotFoundError(None, None, _text(exc)) from exc
        except FileExistsError as exc:
            raise AlreadyExistsError(None, None, _text(exc)) from exc
        except PermissionError as exc:
            raise PermissionDeniedError(None, None, _text(exc)) from exc
        except IsADirectoryError as exc:
            raise FailedPreconditionError(None, None, _text(exc)) from exc
        except OSError as exc:
            raise UnknownError(None, None, _text(exc)) from exc

    return call


def _text(exc: OSError) -> str:
    return f"{exc.filename}; {exc.strerror}"


class FileStatistics(NamedTuple):
    """The result of :func:`stat`: bytes, nanoseconds since 1970, whether it is a folder."""

    length: int
    mtime_nsec: int
    is_directory: bool


class GFile:
    """A file that is opened when it is first read or written.

    Args:
        name: The path.
        mode: ``r``, ``w``, ``a`` or ``r+``, ``w+``, ``a+``, with ``b`` for bytes.

    Raises:
        NotFoundError: From the first read or write, if the file or its folder does not exist.

    Follows ``tf.io.gfile.GFile`` of TensorFlow 2.21; ``Open`` and ``FastGFile`` are the same class.
    """

    def __init__(self, name: str | os.PathLike[str], mode: str = "r") -> None:
        self._name = os.fspath(name)
        self._mode = mode
        self._file: Any = None

    @property
    def name(self) -> str:
        """The path."""
        return self._name

    @property
    def mode(self) -> str:
        """The mode."""
        return self._mode

    @_errors
    def _opened(self) -> Any:
        if self._file is None:
            text = {} if "b" in self._mode else {"encoding": "utf-8"}
            self._file = open(self._name, self._mode, **text)  # type: ignore[call-overload] # noqa: SIM115
        return self._file

    def size(self) -> int:
        """Return the size in bytes."""
        self.flush()
        return stat(self._name).length

    def write(self, file_content: str | bytes) -> None:
        """Write text or bytes, converted to what the mode needs."""
        if "b" in self._mode:
            content: Any = file_content.encode() if isinstance(file_content, str) else file_content
        else:
            content = file_content.decode() if isinstance(file_content, bytes) else file_content
        self._opened().write(content)

    def read(self, n: int = -1) -> Any:
        """Return ``n`` characters or bytes, the rest of the file by default."""
        return self._opened().read(n)

    def readline(self) -> Any:
        """Return the next line with its end, empty at the end of the file."""
        return self._opened().readline()

    def readlines(self) -> list[Any]:
        """Return the remaining lines."""
        return list(self._opened())

    def seek(self, offset: int | None = None, whence: int = 0, position: int | None = None) -> None:
        """Go to a position; ``position`` is the older name of ``offset``.

        Raises:
            TypeError: If neither is given.
        """
        if offset is None:
            offset = position
        if offset is None:
            raise TypeError("seek() needs an offset")
        self._opened().seek(offset, whence)

    def tell(self) -> int:
        """Return the position in the file."""
        return int(self._opened().tell())

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def flush(self) -> None:
        """Pass what was written to the operating system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file; a mode that writes creates it even if nothing was written."""
        if self._file is None and self._mode[:1] in {"w", "a"}:
            self._opened()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Return the next line with its end; ``StopIteration`` at the end of the file."""
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    next = __next__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # GFile(path).read() is common and never calls close().
        if vars(self).get("_file") is not None:
            self.close()


def exists(path: str | os.PathLike[str]) -> bool:
    """Return whether a file or folder exists."""
    return os.path.exists(path)


def isdir(path: str | os.PathLike[str]) -> bool:
    """Return whether the path is a folder."""
    return os.path.isdir(path)


@_errors
def makedirs(path: str | os.PathLike[str]) -> None:
    """Make a folder and its parents; it may exist already."""
    os.makedirs(path, exist_ok=True)


@_errors
def mkdir(path: str | os.PathLike[str]) -> None:
    """Make one folder; its parent must exist.

    Raises:
        NotFoundError: If the parent does not exist.
        AlreadyExistsError: If the folder exists already.
    """
    Path(path).mkdir()


@_errors
def glob(pattern: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the paths that match a pattern, or any of several, sorted for each."""
    single = isinstance(pattern, (str, os.PathLike))
    patterns: list[Any] = [pattern] if single else list(pattern)  # type: ignore[arg-type]
    return [path for p in patterns for path in sorted(_glob.glob(os.fspath(p)))]


@_errors
def listdir(path: str | os.PathLike[str]) -> list[str]:
    """Return the names in a folder.

    Raises:
        NotFoundError: If the folder does not exist.
    """
    return sorted(os.listdir(path))


@_errors
def copy(src: str | os.PathLike[str], dst: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Copy a file.

    Raises:
        NotFoundError: If ``src`` does not exist.
        AlreadyExistsError: If ``dst`` exists and ``overwrite`` is false.
    """
    _check_free(dst, overwrite=overwrite)
    shutil.copyfile(src, dst)


@_errors
def rename(
    src: str | os.PathLike[str], dst: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """Rename or move a file or folder.

    Raises:
        NotFoundError: If ``src`` does not exist.
        AlreadyExistsError: If ``dst`` exists and ``overwrite`` is false.
    """
    _check_free(dst, overwrite=overwrite)
    Path(src).replace(dst)


def _check_free(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    if not overwrite and os.path.exists(path):
        raise AlreadyExistsError(None, None, f"{os.fspath(path)}; the file exists already")


@_errors
def remove(path: str | os.PathLike[str]) -> None:
    """Delete a file.

    Raises:
        NotFoundError: If it does not exist.
    """
    Path(path).unlink()


@_errors
def rmtree(path: str | os.PathLike[str]) -> None:
    """Delete a folder and everything in it.

    Raises:
        NotFoundError: If it does not exist.
    """
    shutil.rmtree(path)


@_errors
def stat(path: str | os.PathLike[str]) -> FileStatistics:
    """Return size, modification time and kind.

    Raises:
        NotFoundError: If it does not exist.
    """
    found = Path(path).stat()
    return FileStatistics(found.st_size, found.st_mtime_ns, os.path.isdir(path))


def walk(
    top: str | os.PathLike[str],
    topdown: bool = True,
    onerror: Callable[[OSError], Any] | None = None,
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield ``(folder, names of folders, names of files)`` for ``top`` and all below it.

    Args:
        top: The folder to begin with.
        topdown: Whether a folder comes before its contents.
        onerror: Called with the ``OSError`` of a folder that can't be read.
    """
    yield from os.walk(os.fspath(top), topdown, onerror)


def join(path: str | os.PathLike[str], *paths: str) -> str:
    """Join parts of a path."""
    return os.path.join(os.fspath(path), *paths)


def read_file_to_string(filename: str | os.PathLike[str], binary_mode: bool = False) -> Any:
    """Return a file's contents: text, or bytes with ``binary_mode``.

    Raises:
        NotFoundError: If the file does not exist.
    """
    with GFile(filename, "rb" if binary_mode else "r") as file:
        return file.read()


def write_string_to_file(filename: str | os.PathLike[str], file_content: str | bytes) -> None:
    """Replace a file's contents.

    Raises:
        NotFoundError: If the folder does not exist.
    """
    with GFile(filename, "wb") as file:
        file.write(file_content)


def atomic_write_string_to_file(
    filename: str | os.PathLike[str], contents: str | bytes, overwrite: bool = True
) -> None:
    """Write a file under a temporary name and rename it: readers never see a part of it.

    Raises:
        AlreadyExistsError: If the file exists and ``overwrite`` is false.

    Follows ``atomic_write_string_to_file`` of TensorFlow 2.21's ``file_io``.
    """
    temporary = f"{os.fspath(filename)}.tmp{uuid.uuid4().hex}"
    write_string_to_file(temporary, contents)
    try:
        rename(temporary, filename, overwrite)
    except BaseException:
        remove(temporary)
        raise


def _older(fn: Callable[..., Any], **names: str) -> Callable[..., Any]:
    """Return ``fn`` with TensorFlow 1.x's parameter names; ``names`` maps older to newer."""

    @wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **{names.get(name, name): value for name, value in kwargs.items()})

    return call


Copy = _older(copy, oldpath="src", newpath="dst")
DeleteRecursively = _older(rmtree, dirname="path")
Exists = _older(exists, filename="path")
Glob = _older(glob, filename="pattern")
IsDirectory = _older(isdir, dirname="path")
ListDirectory = _older(listdir, dirname="path")
MakeDirs = _older(makedirs, dirname="path")
MkDir = _older(mkdir, dirname="path")
Remove = _older(remove, filename="path")
Rename = _older(rename, oldname="src", newname="dst")
Stat = _older(stat, filename="path")
Walk = _older(walk, in_order="topdown")
