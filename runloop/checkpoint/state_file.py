"""The state file ``checkpoint``: which checkpoints there are and which is newest.

It is TensorFlow's ``CheckpointState`` in protobuf's text form (2.21), read and written here
without protobuf::

    model_checkpoint_path: "model.ckpt-200.safetensors"
    all_model_checkpoint_paths: "model.ckpt-100.safetensors"
    all_model_checkpoint_paths: "model.ckpt-200.safetensors"
    all_model_checkpoint_timestamps: 1700000000.0
    all_model_checkpoint_timestamps: 1700000060.0
    last_preserved_timestamp: 1700000000.0

Names are relative to the folder, so that it can be moved, and may not lead out of it.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterable, Iterator

from runloop.checkpoint.files import open_regular
from runloop.errors import CheckpointFormatError, CheckpointReadError

__all__ = [
    "STATE_FILE",
    "CheckpointState",
    "format_state",
    "get_checkpoint_state",
    "newest_name",
    "parse_state",
    "read_content",
    "read_state",
    "state_line",
]

STATE_FILE = "checkpoint"
_MAX_BYTES = 16 << 20
# Compiled at first use (re keeps them): compiling costs start-up time. The quantifiers are
# possessive, so that parsing hostile text takes time in proportion to its length.
_FIELD = (
    rb"\s*+(\w++)\s*+:\s*+"
    rb'("(?:[^"\\\n]++|\\.)*+"|\'(?:[^\'\\\n]++|\\.)*+\'|[^\s"\'#]++)\s*+'
)
_NUMBER = rb"[-+]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?\d++)?"
_MAX_DIGITS = 64  # Python writes a float with at most 24 characters
_ESCAPE = rb"(?s)\\([0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|.)"
_SIMPLE = {
    b"n": b"\n", b"r": b"\r", b"t": b"\t", b'"': b'"', b"'": b"'", b"\\": b"\\",
    b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"?": b"?",
}  # fmt: skip


class CheckpointState:
    """What the state file says.

    Attributes:
        model_checkpoint_path: The newest checkpoint.
        all_model_checkpoint_paths: All that are kept, in the order in which they were saved.
        all_model_checkpoint_timestamps: For each, seconds since 1970 when it was saved.
        last_preserved_timestamp: Of the newest one that ``keep_checkpoint_every_n_hours`` keeps.

    Follows ``CheckpointState`` of TensorFlow 2.21.
    """

    def __init__(
        self,
        model_checkpoint_path: str,
        all_model_checkpoint_paths: Iterable[str] = (),
        all_model_checkpoint_timestamps: Iterable[float] = (),
        last_preserved_timestamp: float | None = None,
    ) -> None:
        self.model_checkpoint_path = model_checkpoint_path
        self.all_model_checkpoint_paths = list(all_model_checkpoint_paths)
        self.all_model_checkpoint_timestamps = list(all_model_checkpoint_timestamps)
        self.last_preserved_timestamp = last_preserved_timestamp

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CheckpointState) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # mutable, compared by value

    def __repr__(self) -> str:
        return f"CheckpointState({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


def _quote(text: str) -> str:
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    out = []
    for byte in os.fsencode(text):
        char = chr(byte)
        if char in '"\\':
            out.append(f"\\{char}")
        elif 0x20 <= byte < 0x7F:
            out.append(char)
        else:
            out.append(f"\\{byte:03o}")
    return f'"{"".join(out)}"'


def _unquote(value: bytes) -> str:
    def replace(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if code[:1] in b"xX" and len(code) > 1:
            return bytes([int(code[1:], 16)])
        if code.isdigit():
            return bytes([int(code, 8) & 0xFF])
        if code not in _SIMPLE:
            raise ValueError(f"unknown escape \\{code.decode('latin-1')}")
        return _SIMPLE[code]

    text = value[1:-1]
    return os.fsdecode(re.sub(_ESCAPE, replace, text) if b"\\" in text else text)


def state_line(field: str, value: str | float) -> bytes:
    """Return one line of a state file."""
    text = _quote(value) if isinstance(value, str) else repr(value)
    return f"{field}: {text}\n".encode()


def format_state(state: CheckpointState) -> bytes:
    """Return the content of a state file."""
    lines = [state_line("model_checkpoint_path", state.model_checkpoint_path)]
    lines += [state_line("all_model_checkpoint_paths", p) for p in state.all_model_checkpoint_paths]
    times = state.all_model_checkpoint_timestamps
    lines += [state_line("all_model_checkpoint_timestamps", time) for time in times]
    if state.last_preserved_timestamp is not None:
        lines.append(state_line("last_preserved_timestamp", state.last_preserved_timestamp))
    return b"".join(lines)


def parse_state(content: bytes, path: str) -> CheckpointState:
    """Parse the content of a state file; names stay relative, as written.

    Args:
        content: All of it.
        path: The file, for messages.

    Raises:
        CheckpointFormatError: If it is not a state file, names no newest checkpoint, names a file
            outside its folder, or has a number that is not finite.
    """
    state = CheckpointState("")
    paths, stamps = state.all_model_checkpoint_paths, state.all_model_checkpoint_timestamps
    for key, value in _fields(content, path):
        try:
            if key == "all_model_checkpoint_paths":
                paths.append(_name(value))
            elif key == "all_model_checkpoint_timestamps":
                stamps.append(_number(value))
            elif key == "model_checkpoint_path":
                if state.model_checkpoint_path:
                    raise ValueError("duplicate")
                state.model_checkpoint_path = _name(value)
            elif key == "last_preserved_timestamp":
                state.last_preserved_timestamp = _number(value)
            else:
                raise ValueError("no such field")
        except ValueError as exc:
            raise _malformed(path, key, exc) from exc
    if not state.model_checkpoint_path:
        raise CheckpointFormatError(f"{path}: the state file has no model_checkpoint_path")
    return state


def _malformed(path: str, key: str, reason: ValueError) -> CheckpointFormatError:
    return CheckpointFormatError(f"{path}: {key[:80]} of the state file: {reason}")


def _fields(content: bytes, path: str) -> Iterator[tuple[str, bytes]]:
    match_field = re.compile(_FIELD).match
    position, end = 0, len(content.rstrip())
    while position < end:
        match = match_field(content, position)
        if match is None:
            line = content.count(b"\n", 0, position) + 1
            raise CheckpointFormatError(f"{path}: line {line} of the state file can't be read")
        position = match.end()
        key, value = match.groups()
        yield key.decode(), value


def _name(value: bytes) -> str:
    if value[:1] not in b"\"'":
        raise ValueError(f"expected a string in quotes, got {value[:40]!r}")
    name = _unquote(value)
    if (
        not name
        or os.path.isabs(name)
        or "\0" in name
        or (".." in name and ".." in re.split(r"[\\/]", name))
    ):
        raise ValueError(
            f"the state file names {name!r:.200}, which is not inside its folder; only relative "
            f"names without '..' are followed"
        )
    return name


def _number(value: bytes) -> float:
    number = math.nan
    if len(value) <= _MAX_DIGITS and re.fullmatch(_NUMBER, value):
        number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"expected a number, got {value[:40]!r}")
    return number


def read_content(checkpoint_dir: str, latest_filename: str | None = None) -> bytes | None:
    """Return the bytes of a folder's state file, ``None`` if there is none.

    Raises:
        CheckpointFormatError: If it is too large or not a regular file.
        CheckpointReadError: If the system can't read it.
    """
    path = os.path.join(checkpoint_dir, latest_filename or STATE_FILE)
    try:
        with open_regular(path) as file, io.BufferedReader(file) as buffered:
            content = buffered.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise CheckpointReadError(
            exc.errno, f"the state file can't be read: {exc.strerror}", path
        ) from exc
    if len(content) > _MAX_BYTES:
        raise CheckpointFormatError(f"{path}: the state file is larger than {_MAX_BYTES} bytes")
    return content


def read_state(checkpoint_dir: str, latest_filename: str | None = None) -> CheckpointState | None:
    """Return the parsed state file of a folder with relative names, ``None`` if it has none.

    Raises:
        CheckpointFormatError: If it is not a state file.
        CheckpointReadError: If the system can't read it.
    """
    content = read_content(checkpoint_dir, latest_filename)
    if content is None:
        return None
    return parse_state(content, os.path.join(checkpoint_dir, latest_filename or STATE_FILE))


def newest_name(checkpoint_dir: str, latest_filename: str | None = None) -> str | None:
    """Return the relative name of the newest checkpoint, ``None`` without a state file.

    It is on the first line, and nothing else is parsed.

    Raises:
        CheckpointFormatError: If it is not a state file, as far as it is parsed.
        CheckpointReadError: If the system can't read it.
    """
    content = read_content(checkpoint_dir, latest_filename)
    if content is None:
        return None
    path = os.path.join(checkpoint_dir, latest_filename or STATE_FILE)
    for key, value in _fields(content, path):
        if key == "model_checkpoint_path":
            try:
                return _name(value)
            except ValueError as exc:
                raise _malformed(path, key, exc) from exc
        break
    return parse_state(content, path).model_checkpoint_path


def get_checkpoint_state(
    checkpoint_dir: str | os.PathLike[str], latest_filename: str | None = None
) -> CheckpointState | None:
    """Return what the state file of a folder says, ``None`` if there is none.

    Args:
        checkpoint_dir: The folder.
        latest_filename: The state file's name, ``"checkpoint"`` by default.

    Returns:
        The names in it are joined to ``checkpoint_dir``.

    Raises:
        CheckpointFormatError: If it is not a state file, or names a file outside its
            folder.
        CheckpointReadError: If the system can't read it.

    Follows ``tf.train.get_checkpoint_state`` of TensorFlow 2.21, which however ignores a state
    file that can't be read, and follows absolute names and links.
    """
    folder = os.fspath(checkpoint_dir)
    state = read_state(folder, latest_filename)
    if state is not None:
        state.model_checkpoint_path = os.path.join(folder, state.model_checkpoint_path)
        state.all_model_checkpoint_paths = [
            os.path.join(folder, name) for name in state.all_model_checkpoint_paths
        ]
    return state
