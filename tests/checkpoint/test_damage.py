"""Damage is found, in bounded time and memory, and named."""

import json
import os
import random
import struct
import tracemalloc

import pytest

from runloop import errors
from runloop.checkpoint import CheckpointReader, Saver, load_variable, restore_newest
from runloop.checkpoint import reader as reader_module
from runloop.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointFormatError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CheckpointReadError,
)
from tests.checkpoint.programs import make_session, set_step, step_of


@pytest.fixture
def path(tmp_path):
    return Saver().save(make_session(step=7), tmp_path / "m", 7)


def rewrite(path, content):
    with open(path, "wb") as file:
        file.write(content)


def read_all(path):
    with CheckpointReader(path) as reader:
        reader.verify()
        for name in reader.names():
            reader.get_tensor(name)


def test_every_flipped_bit_is_found(path):
    with open(path, "rb") as file:
        whole = file.read()
    missed = []
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        rewrite(path, changed)
        try:
            read_all(path)
        except CheckpointFormatError as exc:
            assert path in str(exc)
        else:
            missed.append(bit)
    assert missed == []


def test_a_file_of_ours_does_not_pass_for_one_of_another_program(path):
    with open(path, "rb") as file:
        whole = file.read()
    for changed in (
        whole.replace(b"runloop.crc32", b"runloop-crc32", 1),
        whole.replace(b"runloop", b"runlooq"),
        whole.replace(b"runloop", b"runlooq").replace(b"crc32", b"crc33").replace(b"rena", b"Rena"),
    ):
        assert len(changed) == len(whole)
        rewrite(path, changed)
        with pytest.raises(CheckpointCorruptError, match=r"the header is damaged"):
            read_all(path)


def test_every_truncation_is_found(path):
    with open(path, "rb") as file:
        whole = file.read()
    for length in range(len(whole)):
        rewrite(path, whole[:length])
        with pytest.raises(CheckpointCorruptError, match=r"cut off|is empty"):
            read_all(path)


@pytest.mark.parametrize("extra", [b"\0", b"x" * 5000])
def test_extra_bytes_at_the_end_are_found(path, extra):
    with open(path, "ab") as file:
        file.write(extra)
    with pytest.raises(
        CheckpointCorruptError, match=rf"has {len(extra)} bytes too many at its end"
    ):
        read_all(path)


def test_a_damaged_tensor_is_named(path):
    with CheckpointReader(path) as reader:
        offset = reader.data_start + reader.stored["params/b"].start
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff")
    with pytest.raises(
        CheckpointCorruptError,
        match=r"m-7.safetensors: tensor 'params/b' is damaged: its CRC-32 is \w{8}, expected \w{8}",
    ):
        read_all(path)
    load_variable(path, "w")  # the others can still be had
    session = make_session(step=1)
    with pytest.raises(CheckpointCorruptError, match="'params/b' is damaged"):
        Saver().restore(session, path)
    assert step_of(session) == 1  # nothing was touched


def header(tensors, *, data=0, metadata=None, raw=None):
    text = raw if raw is not None else json.dumps({**(metadata or {}), **tensors}).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * data


def tensor(dtype="F32", shape=(1,), offsets=(0, 4), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


HOSTILE = {
    "empty": (b"", "the file is empty"),
    "seven bytes": (b"1234567", "it has 7 bytes"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + b"x" * 100, "its header would be"),
    "a pickle": (b"\x80\x04\x95" + b"\0" * 5 + b"x" * 200, "cut off, or not a safetensors file"),
    "a header of terabytes": (struct.pack("<Q", 2**42) + b"{}", "at most 100000000 are allowed"),
    "a header larger than the file": (
        struct.pack("<Q", 10**7) + b"{}",
        "its header has 10000000 bytes, and the file has 2 more",
    ),
    "no object": (header({}, raw=b"[]"), "the header is not a JSON object"),
    "no JSON": (header({}, raw=b"{'a'}"), "the header is not valid JSON"),
    "no Unicode": (header({}, raw=b'{"\xff": 1}'), "the header is not valid JSON"),
    "deep": (header({}, raw=b'{"a":' + b"[" * 100_000), "nested too deep"),
    "wide": (header({}, raw=b'{"a":[' + b"[]," * 4_000_001 + b"]}"), "too many members"),
    "NaN": (header({}, raw=b'{"a": NaN}'), "NaN is not JSON"),
    "a huge number": (header({}, raw=b'{"a": ' + b"9" * 10_000 + b"}"), "not valid JSON"),
    "metadata no strings": (header({"__metadata__": {"a": 1}}), "must map strings to strings"),
    "metadata no mapping": (header({"__metadata__": []}), "must map strings to strings"),
    "our key elsewhere": (
        header({"__metadata__": {"runloop": "{}"}}),
        "its checksum is out of place",
    ),
    "a tensor that is a number": (header({"a": 3}), "'a' must have dtype, shape and data_offsets"),
    "one key too many": (header({"a": tensor(x=1)}, data=4), "and nothing else"),
    "unknown dtype": (header({"a": tensor("F1")}, data=4), "unknown dtype 'F1'"),
    "a dtype that is a list": (header({"a": tensor(["F32"])}, data=4), "unknown dtype"),
    "negative shape": (header({"a": tensor(shape=(-1,))}, data=4), "shape that is not a list"),
    "shape of floats": (header({"a": tensor(shape=(1.0,))}, data=4), "shape that is not a list"),
    "shape of bools": (header({"a": tensor(shape=(True,))}, data=4), "shape that is not a list"),
    "too many dimensions": (header({"a": tensor(shape=(1,) * 65)}, data=4), "65 dimensions"),
    "impossible": (
        header({"a": tensor(shape=(2**40, 2**40, 0), offsets=(0, 0))}),
        "impossible shape",
    ),
    "terabytes": (
        header({"a": tensor(shape=(2**40,), offsets=(0, 2**42))}),
        "cut off in tensor 'a'",
    ),
    "does not fill": (header({"a": tensor(shape=(2,))}, data=4), "does not fill its 4 bytes"),
    "one offset": (header({"a": tensor(offsets=(0,))}, data=4), "not two offsets"),
    "offsets backwards": (header({"a": tensor(offsets=(4, 0))}, data=4), "does not fill its -4"),
    "negative offsets": (header({"a": tensor(offsets=(-4, 0))}, data=4), "not two offsets"),
    "overlap": (
        header({"a": tensor(), "b": tensor(offsets=(2, 6))}, data=6),
        "'b' overlaps another: it begins at 2, expected 4",
    ),
    "the same bytes twice": (header({"a": tensor(), "b": tensor()}, data=4), "overlaps another"),
    "a gap": (header({"a": tensor(offsets=(4, 8))}, data=8), "'a' lies behind a gap"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_none_is_refused_at_no_cost(tmp_path, name):
    content, message = HOSTILE[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointFormatError) as caught:
            read_all(str(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert peak < 4 * len(content) + 1_000_000


def with_document(path, change):
    """Write our file anew with another document, its header checksum right."""
    from runloop.checkpoint import layout

    class Changed(layout.HeaderTemplate):
        def __init__(self, form, document):
            super().__init__(form, document)
            self.size = len(self.render([0] * len(form.entries)))

        def render(self, crcs):
            raw = super().render(crcs)
            start = raw.index(b'"runloop":') + 10
            text, end = json.JSONDecoder().raw_decode(raw[start:].decode())
            document = change(json.loads(text))
            inner = document if isinstance(document, str) else json.dumps(document)
            body = raw[8:start] + json.dumps(inner).encode() + raw[start + end :]
            body = body.rstrip(b" ")
            body += b" " * (-len(body) % 8)
            raw = struct.pack("<Q", len(body)) + body
            import zlib

            at = layout._CRC_AT
            blank = raw[:at] + b"00000000" + raw[at + 8 :]
            return raw[:at] + f"{zlib.crc32(blank):08x}".encode() + raw[at + 8 :]

    from runloop.checkpoint import writer

    old = writer.HeaderTemplate
    writer.HeaderTemplate = Changed
    try:
        Saver().save(make_session(step=7), os.path.join(os.path.dirname(path), "m"), 7)
    finally:
        writer.HeaderTemplate = old


def replaced(**values):
    return lambda document: {**document, **values}


def without(key):
    return lambda document: {k: v for k, v in document.items() if k != key}


def with_more(node):
    return replaced(attached={"params": {"b": {"$tensor": "params/b"}, "more": node}})


DOCUMENTS = {
    "no version": (without("version"), "the document has no version"),
    "a newer version": (
        replaced(version=99),
        "written by a newer runloop: its document has version 99",
    ),
    "no tensors": (without("tensors"), "the document is malformed"),
    "other tensors": (replaced(tensors={}), "its tensors are not those of the header"),
    "a tensor without CRC": (
        lambda d: {**d, "tensors": {k: {"dtype": "float32", "crc32": ""} for k in d["tensors"]}},
        "has no dtype or no CRC-32",
    ),
    "renamed to one name": (replaced(renamed={"w": "params/b"}), "two tensors have one name"),
    "a list for metrics": (replaced(metrics=[]), "the document is malformed"),
    "no object": (lambda d: "[]", "the header is not a JSON object"),
    "a dtype that does not fit": (
        lambda d: {**d, "tensors": {k: {**v, "dtype": "int8"} for k, v in d["tensors"].items()}},
        "int8 can't be stored in F64",
    ),
    "an unknown dtype": (
        lambda d: {**d, "tensors": {k: {**v, "dtype": "evil"} for k, v in d["tensors"].items()}},
        "unknown dtype 'evil'",
    ),
    "an unknown kind of value": (
        replaced(hooks={"H": {"$pickle": "x"}}),
        "unknown kind of value '$pickle'",
    ),
    "a malformed value": (replaced(hooks={"H": {"$complex": 3}}), "malformed value $complex"),
    "a tensor that is not there": (replaced(hooks={"H": {"$tensor": "x"}}), "has no tensor 'x'"),
    "an unhashable key": (replaced(hooks={"H": {"$dict": [[[], 1]]}}), "malformed value $dict"),
    "a value of an unknown dtype": (
        with_more({"$scalar": ["evil", "00"]}),
        "unknown dtype 'evil'",
    ),
    "a value of an unknown kind": (
        with_more({"$pickle": "x"}),
        "unknown kind of value '$pickle'",
    ),
    "deep state": (
        with_more(json.loads("[" * 400 + "]" * 400)),
        "its state is nested deeper than 320 levels",
    ),
    "a tensor with a name that is a list": (
        replaced(hooks={"H": {"$tensor": []}}),
        "malformed value $tensor in the document: got []",
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_is_none_is_refused(path, name):
    change, message = DOCUMENTS[name]
    with_document(path, change)
    session = make_session(step=1)
    with pytest.raises(CheckpointFormatError) as caught:
        Saver().restore(session, path)
    assert message in str(caught.value)
    assert path in str(caught.value)
    assert step_of(session) == 1


def test_a_file_that_is_not_there_or_no_file(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=r"there is no checkpoint .*nothing"):
        CheckpointReader(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        CheckpointReader(tmp_path / "nothing")
    with pytest.raises(CheckpointNotFoundError, match="can't be a file"):
        CheckpointReader("a\0b")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=r"a folder, not a data file|can't be opened"):
        CheckpointReader(tmp_path / "folder.safetensors")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(CheckpointFormatError, match="not a regular file"):
        CheckpointReader(tmp_path / "pipe.safetensors")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read(path):
    os.chmod(path, 0)
    with pytest.raises(CheckpointReadError, match="can't be opened"):
        CheckpointReader(path)


def test_an_error_of_the_disk_is_an_error_of_that_file(path, monkeypatch, tmp_path, caplog):
    def failing(fd, view, offset):
        raise OSError(5, "Input/output error")

    older = Saver().save(make_session(step=8), tmp_path / "m", 8)
    with CheckpointReader(older) as reader:
        monkeypatch.setattr(reader_module, "_pread", failing)
        with pytest.raises(
            CheckpointReadError, match="can't be read: Input/output error"
        ) as caught:
            reader.get_tensor("w")
    assert caught.value.errno == 5
    assert caught.value.filename == older


def test_a_file_that_shrinks_while_it_is_read(path):
    with CheckpointReader(path) as reader:
        os.truncate(path, reader.size - 4)
        with pytest.raises(CheckpointCorruptError, match="cut off while it was read"):
            reader.verify()


def damage(path):
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of the steps 1, 2 and 3."""
    saver = Saver()
    session = make_session()
    for step in (1, 2, 3):
        set_step(session, step)
        saver.save(session, tmp_path / "m", step)
    saver.close()
    return tmp_path


@pytest.mark.parametrize(
    ("hurt", "left"),
    [([], 3), ([3], 2), ([3, 2], 1), ([1], 3), ([2], 3)],
    ids=str,
)
def test_a_folder_gives_its_newest_whole_checkpoint(folder, hurt, left, caplog):
    for step in hurt:
        damage(folder / f"m-{step}.safetensors")
    session = make_session(step=-1)
    found = restore_newest(Saver(), session, folder)
    assert found == str(folder / f"m-{left}.safetensors")
    assert step_of(session) == left
    passed = [r.getMessage() for r in caplog.records if "Passing over" in r.getMessage()]
    assert len(passed) == sum(step > left for step in hurt)
    assert all("is damaged" in text for text in passed)


def test_a_folder_with_nothing_whole_is_an_error(folder):
    for step in (1, 2, 3):
        damage(folder / f"m-{step}.safetensors")
    session = make_session(step=-1)
    with pytest.raises(CheckpointCorruptError, match="is whole; move the folder away") as caught:
        restore_newest(Saver(), session, folder)
    assert str(caught.value).count("is damaged") == 3
    assert step_of(session) == -1


def test_a_folder_without_checkpoints_gives_none(tmp_path):
    assert restore_newest(Saver(), make_session(), tmp_path) is None
    assert restore_newest(Saver(), make_session(), tmp_path / "not there") is None
    (tmp_path / "notes.txt").write_text("")
    assert restore_newest(Saver(), make_session(), tmp_path) is None


def test_a_lost_state_file_loses_nothing(folder):
    (folder / "checkpoint").unlink()
    session = make_session()
    assert restore_newest(Saver(), session, folder) == str(folder / "m-3.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no model_checkpoint_path"),
        ("\0" * 50, "line 1 of the state file can't be read"),
        ('model_checkpoint_path: "/etc/passwd"', "is not inside its folder"),
        ('model_checkpoint_path: "../m-3"', "is not inside its folder"),
        ('model_checkpoint_path: "m-3"\nall_model_checkpoint_paths: "a/../../b"', "not inside its"),
    ],
)
def test_a_damaged_state_file_is_passed_over(folder, content, message, caplog):
    (folder / "checkpoint").write_text(content)
    session = make_session()
    assert restore_newest(Saver(), session, folder) == str(folder / "m-3.safetensors")
    assert message in caplog.text
    # With nothing beside it, it is a reason not to start from scratch.
    for step in (1, 2, 3):
        (folder / f"m-{step}.safetensors").unlink()
    with pytest.raises(CheckpointCorruptError, match=message):
        restore_newest(Saver(), session, folder)


def test_a_state_file_that_points_into_nothing(folder):
    for step in (2, 3):
        (folder / f"m-{step}.safetensors").unlink()
    session = make_session()
    assert restore_newest(Saver(), session, folder) == str(folder / "m-1.safetensors")
    (folder / "m-1.safetensors").unlink()
    with pytest.raises(CheckpointCorruptError, match=r"there is no checkpoint .*m-3"):
        restore_newest(Saver(), session, folder)


def test_a_checkpoint_of_another_program_is_no_damage(folder):
    session = make_session(size=9)
    with pytest.raises(
        CheckpointMismatchError, match=r"expected float64 \(9,\), found float64 \(8,\)"
    ):
        restore_newest(Saver(), session, folder)


def fuzz(path, rounds, seed):
    """Change a file in random ways; each must be found, or leave every tensor as it was."""
    with open(path, "rb") as file:
        whole = file.read()
    with CheckpointReader(path) as reader:
        expected = {name: reader.get_tensor(name).tobytes() for name in reader.names()}
        document = reader.document
    rng = random.Random(seed)
    found = 0
    for _ in range(rounds):
        changed = mutate(rng, whole)
        if changed == whole:
            continue
        rewrite(path, changed)
        try:
            with CheckpointReader(path) as reader:
                reader.verify()
                assert reader.document == document
                for name, content in expected.items():
                    assert reader.get_tensor(name).tobytes() == content
        except CheckpointFormatError:
            found += 1
        else:
            raise AssertionError(f"not found: {changed!r}")
    rewrite(path, whole)
    return found


def mutate(rng, whole):
    size = len(whole)
    data = bytearray(whole)
    kind = rng.randrange(8)
    at, to = sorted((rng.randrange(size), rng.randrange(size)))
    if kind == 0:  # some bits
        for _ in range(rng.randrange(1, 9)):
            bit = rng.randrange(size * 8)
            data[bit // 8] ^= 1 << bit % 8
    elif kind == 1:  # a byte of the structure
        data[rng.randrange(min(size, 400))] = rng.choice(b'{}[]",:0129 \0\xff')
    elif kind == 2:  # a block of zeros
        data[at:to] = bytes(to - at)
    elif kind == 3:  # cut off
        del data[at:]
    elif kind == 4:  # a piece cut out
        del data[at : min(to, at + 64)]
    elif kind == 5:  # a piece put in
        data[at:at] = rng.randbytes(rng.randrange(1, 64))
    elif kind == 6:  # a piece copied from elsewhere
        length = rng.randrange(1, 64)
        data[to : to + length] = data[at : at + length]
    else:  # another length of the header
        data[:8] = struct.pack("<Q", rng.choice([0, 1, size, 2**63, rng.randrange(size)]))
    return bytes(data)


def test_random_damage_is_found(path):
    assert fuzz(path, 3_000, seed=1) > 2_900


@pytest.mark.long
def test_random_damage_is_found_in_a_hundred_thousand_tries(path):
    found = fuzz(path, 105_000, seed=2)
    print(f"{found} mutations, all found")
    assert found > 100_000


def test_the_errors_are_what_a_caller_would_expect():
    assert issubclass(errors.CheckpointFormatError, ValueError)
    assert issubclass(errors.CheckpointWriteError, OSError)
    assert issubclass(errors.CheckpointReadError, OSError)
    assert issubclass(errors.CheckpointNotFoundError, FileNotFoundError)
    assert issubclass(errors.CheckpointLockedError, RuntimeError)
    assert issubclass(errors.CheckpointTimeoutError, TimeoutError)
    assert issubclass(errors.CheckpointMismatchError, ValueError)
