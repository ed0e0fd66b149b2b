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

import logging
import os
import re
from collections.abc import Iterable

from runloop.errors import CheckpointFormatError, CheckpointReadError

__all__ = [
    "STATE_FILE",
    "CheckpointState",
    "format_state",
    "get_checkpoint_state",
    "parse_state",
    "read_state",
]

_logger = logging.getLogger(__name__)

STATE_FILE = "checkpoint"
_MAX_BYTES = 16 << 20
# Compiled at first use (re keeps them): compiling costs start-up time.
_FIELD = rb'\s*(\w+)\s*:\s*("(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|[^\s"\'#]+)\s*'
_NUMBER = rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
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

    return os.fsdecode(re.sub(_ESCAPE, replace, value[1:-1]))


def format_state(state: CheckpointState) -> bytes:
    """Return the content of a state file."""
    lines = [f"model_checkpoint_path: {_quote(state.model_checkpoint_path)}"]
    lines += [
        f"all_model_checkpoint_paths: {_quote(path)}" for path in state.all_model_checkpoint_paths
    ]
    lines += [
        f"all_model_checkpoint_timestamps: {stamp!r}"
        for stamp in state.all_model_checkpoint_timestamps
    ]
    if state.last_preserved_timestamp is not None:
        lines.append(f"last_preserved_timestamp: {state.last_preserved_timestamp!r}")
    return "".join(f"{line}\n" for line in lines).encode()


def parse_state(content: bytes, path: str) -> CheckpointState:
    """Parse the content of a state file; the names are given as they stand in it.

    Raises:
        CheckpointFormatError: If it is not one, names no newest checkpoint, or names a file
            outside its folder.
    """
    state = CheckpointState("")
    position = 0
    while position < len(content.rstrip()):
        match = re.compile(_FIELD).match(content, position)
        if match is None:
            line = content.count(b"\n", 0, position) + 1
            raise CheckpointFormatError(f"{path}: line {line} of the state file can't be read")
        position = match.end()
        key, value = match[1].decode(), match[2]
        try:
            _set(state, key, value)
        except ValueError as exc:
            raise CheckpointFormatError(f"{path}: {key} of the state file: {exc}") from exc
    if not state.model_checkpoint_path:
        raise CheckpointFormatError(f"{path}: the state file has no model_checkpoint_path")
    for name in (state.model_checkpoint_path, *state.all_model_checkpoint_paths):
        if os.path.isabs(name) or ".." in re.split(r"[\\/]", name) or not name or "\0" in name:
            raise CheckpointFormatError(
                f"{path}: the state file names {name!r}, which is not inside its folder; only "
                f"relative names without '..' are followed"
            )
    return state


def _set(state: CheckpointState, key: str, value: bytes) -> None:
    if key in ("model_checkpoint_path", "all_model_checkpoint_paths"):
        if value[:1] not in b"\"'":
            raise ValueError(f"expected a string in quotes, got {value[:40]!r}")
        text = _unquote(value)
        if key == "model_checkpoint_path":
            state.model_checkpoint_path = text
        else:
            state.all_model_checkpoint_paths.append(text)
    elif key in ("all_model_checkpoint_timestamps", "last_preserved_timestamp"):
        if not re.fullmatch(_NUMBER, value):
            raise ValueError(f"expected a number, got {value[:40]!r}")
        if key == "last_preserved_timestamp":
            state.last_preserved_timestamp = float(value)
        else:
            state.all_model_checkpoint_timestamps.append(float(value))
    else:
        raise ValueError("no such field")


def read_state(checkpoint_dir: str, latest_filename: str | None = None) -> CheckpointState | None:
    """Return the state file of a folder with the names as they stand in it, ``None`` if none.

    Raises:
        CheckpointFormatError: If it is there and not a state file.
        CheckpointReadError: If the system can't read it.
    """
    path = os.path.join(checkpoint_dir, latest_filename or STATE_FILE)
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise CheckpointReadError(
            exc.errno, f"the state file can't be read: {exc.strerror}", path
        ) from exc
    if len(content) > _MAX_BYTES:
        raise CheckpointFormatError(f"{path}: the state file is larger than {_MAX_BYTES} bytes")
    return parse_state(content, path)


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
        CheckpointFormatError: If it is there and not a state file, or names a file outside its
            folder.
        CheckpointReadError: If the system can't read it.

    Follows ``tf.train.get_checkpoint_state`` of TensorFlow 2.21, which however ignores a state
    file that can't be read, and follows absolute names.
    """
    folder = os.fspath(checkpoint_dir)
    state = read_state(folder, latest_filename)
    if state is not None:
        state.model_checkpoint_path = os.path.join(folder, state.model_checkpoint_path)
        state.all_model_checkpoint_paths = [
            os.path.join(folder, name) for name in state.all_model_checkpoint_paths
        ]
    return state
