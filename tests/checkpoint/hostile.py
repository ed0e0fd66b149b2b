"""Checkpoint files that were changed by somebody who recomputes the checksums.

    change = parts_of(content)               # (header, document, tensors' bytes)
    ... change header or document, JSON values ...
    content = joined(header, document, data)

`seal` makes the checksum of a header right again; `mutate_json` changes a JSON value at random.
"""

import json
import random
import struct
import zlib

from runloop.checkpoint.layout import CRC_KEY, DOCUMENT_KEY

PREFIX = f'{{"__metadata__":{{"{CRC_KEY}":"'.encode()
BLANK = b"00000000"

# What a field of the document or the header is replaced by.
VALUES = (
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 10**400, -(10**400),
    10**4299, 0.5, -0.0, 1e300, -1e300, 1e15, "", "a", "nan", "inf", "-inf", "1e999", "\x1b[31m",
    "../../evil", "/etc/passwd", "a\0b", "\ud800", "0" * 5000, [], {}, [[]], {"a": 1}, [0, 8],
    {"$tensor": "w"}, {"$pickle": "x"},
)  # fmt: skip
# Texts that Python's own encoder would not write.
TEXTS = (b"NaN", b"1e999", b"-1e999", b"9" * 5000, b"-" + b"9" * 4300, b"1E+400", b"-0", b"[" * 500)


def seal(text: bytes) -> bytes:
    """A header with its length in front and the checksum at its place; `text` begins as ours."""
    text = text.rstrip(b" ")
    text += b" " * (-len(text) % 8)
    raw = struct.pack("<Q", len(text)) + text
    at = 8 + len(PREFIX)
    blank = raw[:at] + BLANK + raw[at + 8 :]
    return raw[:at] + f"{zlib.crc32(blank):08x}".encode() + raw[at + 8 :]


def parts_of(content: bytes):
    """(header without its document, document, bytes of the tensors) of a file of ours."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    document = json.loads(header["__metadata__"].pop(DOCUMENT_KEY))
    return header, document, content[8 + length :]


def joined(header, document, data: bytes) -> bytes:
    """The file with this header and document; either may also be bytes, taken as they are."""
    text = document if isinstance(document, bytes) else dumps(document)
    quoted = json.dumps(text.decode("utf-8", "surrogatepass")).encode()
    metadata = f'"__metadata__":{{"{CRC_KEY}":"00000000","{DOCUMENT_KEY}":'.encode() + quoted + b"}"
    rest = b"".join(
        b"," + json.dumps(name).encode() + b":" + dumps(value)
        for name, value in header.items()
        if name != "__metadata__"
    )
    return seal(b"{" + metadata + rest + b"}") + data


class Text:
    """Stands in a JSON value for bytes that are written as they are."""

    def __init__(self, text):
        self.text = text


def dumps(value) -> bytes:
    """JSON, with `Text` and integers of any length."""
    if isinstance(value, Text):
        return value.text
    if isinstance(value, dict):
        return b"{" + b", ".join(
            json.dumps(key).encode() + b": " + dumps(item) for key, item in value.items()
        ) + b"}"  # fmt: skip
    if isinstance(value, list):
        return b"[" + b", ".join(map(dumps, value)) + b"]"
    return json.dumps(value).encode()


def mutate_json(rng: random.Random, value, *, keep=()):
    """A copy of a JSON value with one to three changes below it, none below the keys in `keep`."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = value
        while True:
            keys = list(at) if isinstance(at, dict) else range(len(at))
            if not keys:
                break
            key = rng.choice(list(keys))
            inner = at[key]
            if isinstance(inner, (dict, list)) and inner and rng.random() < 0.7 and key not in keep:
                at = inner
                continue
            kind = rng.randrange(6)
            if kind < 3:
                at[key] = json.loads(json.dumps(rng.choice(VALUES)))
            elif kind == 3:
                at[key] = Text(rng.choice(TEXTS))
                return value  # json could not copy it
            elif kind == 4:
                del at[key]
            elif isinstance(at, dict):
                at[rng.choice(("a", "w", "", "__metadata__", "\x1b[31m", "version"))] = inner
            else:
                at.append(inner)
            break
    return value


def mutate(rng: random.Random, content: bytes, *, keep=("attached", "hooks")) -> bytes:
    """A file of ours with another document or header, or other bytes of it, and right checksums.

    The nodes below the document's keys in `keep` stay as they are, unless bytes are changed.
    """
    header, document, data = parts_of(content)
    kind = rng.randrange(4)
    if kind == 0:
        document = mutate_json(rng, document, keep=keep)
    elif kind == 1:
        tensors = {name: value for name, value in header.items() if name != "__metadata__"}
        header = mutate_json(rng, tensors)
    elif kind == 2:
        text = bytearray(dumps(document))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text))
            text[at : at + rng.randrange(3)] = rng.choice(
                (
                    b"{",
                    b"}",
                    b"[",
                    b"]",
                    b'"',
                    b",",
                    b":",
                    b"0",
                    b"-",
                    b"e9",
                    b"\\",
                    b"\\u0000",
                    b"x",
                )
            )
        document = bytes(text)
    else:
        (length,) = struct.unpack("<Q", content[:8])
        text = bytearray(content[8 : 8 + length])
        at = rng.randrange(len(PREFIX) + 9, len(text))
        text[at : at + rng.randrange(3)] = rng.choice((b"{", b"]", b'"', b",", b"9", b"-", b"\xff"))
        return seal(bytes(text)) + data
    return joined(header, document, data)
