"""The command line, as a person and as a program see it."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from runloop import errors
from runloop.checkpoint import CheckpointReader, Saver, layout
from runloop.checkpoint.files import Files
from runloop.checkpoint.payload import LiveArrays
from runloop.checkpoint.writer import FormatCheck, write_checkpoint
from runloop.cli import COMMANDS, main
from runloop.cli.diff_command import largest_difference
from runloop.cli.show_command import statistics
from runloop.cli.text import number, print_table, size, when
from runloop.graph import Graph
from runloop.messages import printable
from runloop.session import Session
from runloop.testing import FakeClock


@pytest.fixture
def folder(tmp_path):
    graph = Graph()
    graph.variable("layer/w", np.arange(6.0).reshape(2, 3))
    graph.variable("n", np.array([1, 2, 3], np.int32))
    graph.attach("rng", np.random.default_rng(0))
    graph.attach("about", {"lr": 0.5})
    session = Session(graph=graph)
    with FakeClock(epoch=1_700_000_000.0).use():
        saver = Saver()
        for step in (10, 20):
            session.assign({"n": np.array([1, 2, step], np.int32)})
            saver.save(session, tmp_path / "m", step, metrics={"loss": 0.25})
    saver.close()
    return tmp_path


def run(capsys, *argv):
    status = main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return status, out, err


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_list(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    status, out, _ = run(capsys, "list", folder)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["STEP", "SAVED", "(UTC)", "SIZE", "TENSORS", "STATE", "FILE"]
    assert [line.split() for line in lines[1:]] == [
        ["10", "2023-11-14", "22:13:20", *lines[1].split()[3:5], "2", "ok", "m-10.safetensors"],
        ["20", "2023-11-14", "22:13:20", *lines[2].split()[3:5], "2", "ok,", "newest",
         "m-20.safetensors"],
    ]  # fmt: skip


def test_list_says_what_is_wrong(folder, capsys):
    (folder / "m-10.safetensors").unlink()
    (folder / "stray.safetensors").write_bytes(b"x")
    (folder / "model.safetensors").write_bytes(safetensors.numpy.save({"a": np.zeros(1)}))
    status, out, _ = run(capsys, "list", folder)
    assert status == 0
    assert "missing" in out
    assert "! the state file lists it, but it does not exist" in out
    assert "damaged, not listed" in out
    assert "model.safetensors" not in out  # another program's
    (folder / "checkpoint").write_text("???")
    _, out, _ = run(capsys, "list", folder)
    assert "line 1 of the state file can't be read" in out
    assert "newest" in out


def test_list_of_an_empty_folder_and_of_none(tmp_path, capsys):
    assert run(capsys, "list", tmp_path) == (0, f"no checkpoints in {tmp_path}\n", "")
    assert run(capsys, "list", tmp_path / "x") == (
        2,
        "",
        f"runloop: there is no folder {tmp_path}/x\n",
    )


def test_list_says_who_is_saving(folder, capsys):
    graph = Graph()
    saver = Saver()
    saver.save(Session(graph=graph), folder / "m", 30)
    _, out, _ = run(capsys, "list", folder)
    assert f"process {os.getpid()} on " in out
    saver.close()


def test_list_for_programs(folder, capsys):
    _, out, _ = run(capsys, "list", folder, "--json")
    found = json.loads(out)
    assert [row["step"] for row in found["checkpoints"]] == [10, 20]
    assert [row["newest"] for row in found["checkpoints"]] == [False, True]
    assert found["checkpoints"][0]["metrics"] == {"loss": 0.25}
    assert found["problems"] == []
    assert found["saving"] is None


def test_show(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    status, out, _ = run(capsys, "show", folder)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].endswith("m-20.safetensors: 1.2 KiB, 2 tensors") or "2 tensors" in lines[0]
    assert lines[1:3] == ["step 20, saved 2023-11-14 22:13:20 UTC", "loss = 0.25"]
    table = [line.split() for line in lines[4:7]]
    assert table == [
        ["TENSOR", "DTYPE", "SHAPE", "SIZE", "MIN", "MAX", "MEAN", "NAN"],
        ["layer/w", "float64", "2x3", "48", "B", "0", "5", "2.5", "0"],
        ["n", "int32", "3", "12", "B", "1", "20", "7.6667", "0"],
    ]
    assert '  about: {"lr": 0.5}' in lines
    assert all(len(line) <= 100 for line in lines[1:])


def test_show_reads_no_values_where_headers_are_enough(folder, capsys):
    damage(folder / "m-20.safetensors")
    status, out, _ = run(capsys, "show", "--header", folder / "m-20")
    assert status == 0
    assert "MIN" not in out
    status, _, err = run(capsys, "show", folder)
    assert status == 2
    assert "is damaged" in err


def test_show_for_programs_and_of_other_programs_files(tmp_path, folder, capsys):
    _, out, _ = run(capsys, "show", folder, "--json")
    found = json.loads(out)
    assert found["document"]["step"] == 20
    assert found["document"]["attached"]["about"] == {"lr": 0.5}
    assert found["tensors"][0]["maximum"] == 5
    theirs = tmp_path / "theirs.safetensors"
    safetensors.numpy.save_file({"x": np.array([np.nan, np.inf, 1.0])}, theirs)
    _, out, _ = run(capsys, "show", theirs)
    assert "written by another program: tensors only" in out
    _, out, _ = run(capsys, "show", theirs, "--json")
    assert json.loads(out)["tensors"][0]["maximum"] == "inf"
    assert json.loads(out)["document"] is None


def test_verify(folder, capsys):
    status, out, _ = run(capsys, "verify", folder)
    assert status == 0
    assert out.count("whole") == 2
    damage(folder / "m-10.safetensors")
    status, out, _ = run(capsys, "verify", folder)
    assert status == 1
    assert out.count("DAMAGED") == 1
    assert "m-10.safetensors: damaged: n" in out
    assert run(capsys, "verify", folder / "m-20")[0] == 0
    assert run(capsys, "verify", folder / "m-10")[0] == 1
    assert run(capsys, "verify", folder / "m-30")[0] == 2
    (folder / "m-20.safetensors").write_bytes(b"")
    status, out, _ = run(capsys, "verify", folder / "m-20.safetensors", "--json")
    assert status == 1
    assert json.loads(out)["whole"] is False
    assert "the file is empty" in json.loads(out)["files"][0]["problem"]
    (folder / "checkpoint").write_text("???")
    assert run(capsys, "verify", folder)[0] == 1


def test_verify_calls_nothing_whole_that_it_has_not_checked(tmp_path, capsys):
    assert run(capsys, "verify", tmp_path) == (0, f"no checkpoints in {tmp_path}\n", "")
    safetensors.numpy.save_file({"w": np.ones(2)}, tmp_path / "theirs.safetensors")
    status, out, _ = run(capsys, "verify", tmp_path / "theirs")
    assert status == 0
    assert "header only: no checksums" in out


def test_diff(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert run(capsys, "diff", folder, folder / "m-20")[:2] == (
        0,
        "the same: 2 tensors, bit for bit, and the rest of the state\n",
    )
    status, out, _ = run(capsys, "diff", folder / "m-10", folder / "m-20")
    assert status == 1
    assert ["n", "1", "of", "3", "differ", "10"] in [line.split() for line in out.splitlines()]
    assert ["step", "differs", "(JSON)", "-"] in [line.split() for line in out.splitlines()]
    assert "1 of 2 common tensors are the same" in out


def test_diff_of_different_programs(tmp_path, capsys):
    one, two = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(2), "s": np.zeros(2), "z": np.array([0.0])}, one)
    safetensors.numpy.save_file({"y": np.zeros(2), "s": np.zeros(3), "z": np.array([-0.0])}, two)
    status, out, _ = run(capsys, "diff", one, two, "--json")
    found = json.loads(out)
    assert status == 1
    assert (found["only_in_a"], found["only_in_b"]) == (["x"], ["y"])
    assert [row["name"] for row in found["changed"]] == ["s", "z"]
    assert found["changed"][0]["change"] == "float64 (2,) -> float64 (3,)"
    _, out, _ = run(capsys, "diff", one, two)
    assert "only in" in out
    assert run(capsys, "diff", one, one)[0] == 0


def test_export(folder, capsys):
    output = folder / "x.npz"
    assert run(capsys, "export", folder, "-o", output)[0] == 0
    with np.load(output) as found:
        assert sorted(found) == ["layer/w", "n"]
        assert found["n"].tolist() == [1, 2, 20]
        assert found["n"].dtype == np.int32
    assert run(capsys, "export", folder / "m-10")[0] == 0
    assert (folder / "m-10.npz").exists()
    assert run(capsys, "export", folder, "-o", folder / "no" / "x.npz")[0] == 2


def test_export_of_small_floats(tmp_path, capsys):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    graph = Graph()
    graph.variable("b", np.array([1.5, np.nan], ml_dtypes.bfloat16))
    path = Saver().save(Session(graph=graph), tmp_path / "m")
    run(capsys, "export", path, "-o", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as found:
        assert found["b"].dtype == np.float32
    assert run(capsys, "show", path)[0] == 0


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([]), (None, None, None, 0)),
        (np.array([1.0, np.nan, 3.0]), (1, 3, 2, 1)),
        (np.array([np.nan]), (None, None, None, 1)),
        (np.array([True, False]), (False, True, 0.5, 0)),
        (np.array([1 + 1j, 3 - 1j]), (None, None, 2 + 0j, 0)),
        (np.array(["2024-01-01", "NaT"], "M8[D]"), ("2024-01-01", "2024-01-01", None, 1)),
        (np.array([1, 2], np.longdouble), (1, 2, 1.5, 0)),
        (np.array(7), (7, 7, 7, 0)),
        (np.arange(1_000_000), (0, 999_999, 499_999.5, 0)),
    ],
)
def test_statistics(array, expected):
    found = statistics(array)
    assert (found["minimum"], found["maximum"], found["mean"], found["nan"]) == expected
    json.dumps(found["minimum"])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (np.array([1.0, 5.0]), np.array([1.5, 5.0]), 0.5),
        (np.array([0, 2**64 - 1], np.uint64), np.array([2, 2**64 - 1], np.uint64), 2),
        (np.array([-(2**63)]), np.array([2**63 - 1]), 2.0**64),
        (np.array([np.nan]), np.array([1.0]), None),
        (np.array([True]), np.array([False]), 1),
        (np.array([-128, 3], np.int8), np.array([127, 1], np.int8), 255),
        (np.array([], np.int8), np.array([], np.int8), 0),
        (np.array(["2024"], "M8[Y]"), np.array(["2025"], "M8[Y]"), None),
        (np.array([1j]), np.array([0j]), 1),
    ],
)
def test_the_largest_difference(a, b, expected):
    assert largest_difference(a, b) == expected


def test_tables_fit_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    print_table(("NAME", "X", "PATH"), [("n" * 50, 1, "p" * 60), ("short", 22, "q")], right=(1,))
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert "..." in lines[1]
    assert lines[2].startswith("short")


def test_what_is_printed_does_nothing_to_the_terminal():
    assert printable("a\x1b[31mb\n") == "a\\x1b[31mb\\n"
    assert printable("é\ud800") == "é\\ud800"


def test_words():
    assert [size(n) for n in (0, 1023, 1536, 3 << 20, 5 << 30)] == [
        "0 B", "1023 B", "1.5 KiB", "3.0 MiB", "5.0 GiB",
    ]  # fmt: skip
    assert when(0) == "1970-01-01 00:00:00"
    assert when(1e30) == "-"
    assert [number(v) for v in (None, 1, 0.1, 1 + 2j, True)] == ["-", "1", "0.1", "1+2j", "True"]


def test_wrong_arguments_and_help(capsys):
    for argv in ([], ["what"], ["list"], ["diff", "a"]):
        with pytest.raises(SystemExit) as caught:
            main(argv)
        assert caught.value.code == 2
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_it_is_a_program(folder):
    command = [sys.executable, "-m", "runloop"]
    done = subprocess.run(
        [*command, "verify", str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("whole") == 2
    done = subprocess.run(
        f"{sys.executable} -m runloop show {folder} --json | head -c 10",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


HOSTILE_NAMES = (
    "../../evil", "/etc/passwd", "a\\..\\b", "C:x", "", ".", "a//b", "a\x1b[31m", "a\0b", "\ud800"
)  # fmt: skip


def test_export_writes_no_entry_that_leaves_the_archive(tmp_path, capsys):
    arrays = {
        name: np.full(2, i) for i, name in enumerate((*HOSTILE_NAMES, "fine/w", "_", "_/_/evil"))
    }
    form = layout.Layout(arrays)
    document = {
        "step": 1, "serial": 1, "time": 0.0, "started": 0.0, "metrics": {}, "attached": {}, "hooks": {}
    }  # fmt: skip
    path = str(tmp_path / "m-1.safetensors")
    write_checkpoint(Files(), path, LiveArrays(form, arrays), document, FormatCheck())
    assert main(["export", path, "-o", str(tmp_path / "x.npz")]) == 0
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        names = archive.namelist()
        target = tmp_path / "out" / "deep"
        target.mkdir(parents=True)
        archive.extractall(target)
    assert len(set(names)) == len(arrays)
    assert {"fine/w.npy", "_.npy", "_/_/evil.npy"} <= set(names)
    for name in names:
        assert not {"", ".", ".."} & {*name.removesuffix(".npy").split("/")}
        assert not {"\\", ":", "\x1b", "\0"} & {*name}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m-1.safetensors", "out", "x.npz"]
    with np.load(tmp_path / "x.npz") as found:
        assert sorted(int(found[n][0]) for n in found.files) == list(range(len(arrays)))


def test_no_command_and_no_message_shows_escape_codes(tmp_path, capsys):
    graph = Graph()
    graph.attach("evil\x1b[31m", {"w\x1b[2J": np.ones(2)})
    path = Saver().save(Session(graph=graph), tmp_path / "m", 1, metrics={"loss\x1b[0m": 1.0})
    other = Saver().save(Session(graph=Graph()), tmp_path / "other" / "m", 1)
    for command in (["show", path], ["list", str(tmp_path)], ["verify", str(tmp_path)],
                    ["diff", path, other], ["show", str(tmp_path / "no\x1b[31m")]):  # fmt: skip
        main(command)
    printed = capsys.readouterr()
    with pytest.raises(errors.CheckpointMismatchError) as caught:
        Saver().restore(Session(graph=Graph()), path)
    with CheckpointReader(path) as reader:
        assert "\x1b" not in reader.debug_string()
    assert "\x1b" not in printed.out + printed.err + str(caught.value)
    assert "\\x1b[31m" in printed.out
    assert "\\x1b[2J" in str(caught.value)
