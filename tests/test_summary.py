import io
import json
import math
import subprocess
import sys
import threading

import numpy as np
import pytest

from runloop import clock
from runloop.summary import (
    FanOutWriter,
    JsonLinesWriter,
    SummaryWriter,
    TensorBoardWriter,
    default_writer,
    json_lines,
)
from runloop.testing import FakeClock, MemorySummaryWriter


def read(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = path.read_text(encoding="utf-8")
    assert not text or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


# -- JSON Lines ---------------------------------------------------------------------------------


def test_a_scalar_is_one_line_and_can_be_read_at_once(tmp_path):
    with clock.use(FakeClock(5.0)), JsonLinesWriter(tmp_path / "logs" / "deep") as writer:
        writer.add_scalar("loss", 0.5, 100)
        assert writer.path == tmp_path / "logs" / "deep" / "metrics.jsonl"
        assert (
            writer.path.read_text()
            == '{"step": 100, "tag": "loss", "value": 0.5, "time": 1000005.0}\n'
        )


def test_numbers_of_every_kind_are_values_and_steps(tmp_path):
    values = [1, True, 10**20, 2.5, np.float32(0.5), np.int8(3), np.array(4.0), np.array([[5]])]
    values += [np.bool_(True), np.longdouble(1.5)]
    with JsonLinesWriter(tmp_path) as writer:
        for value in values:
            writer.add_scalar("v", value, np.int64(7))
        written = [line["value"] for line in read(writer.path)]
    assert written == [1, 1, 10**20, 2.5, 0.5, 3, 4.0, 5, 1, 1.5]
    assert {line["step"] for line in read(writer.path)} == {7}


def test_what_is_not_finite_is_a_string_that_float_reads(tmp_path):
    with JsonLinesWriter(tmp_path) as writer:
        for value in (math.nan, math.inf, -math.inf):
            writer.add_scalar("v", np.float32(value), 0)
    assert [line["value"] for line in read(writer.path)] == ["NaN", "Infinity", "-Infinity"]
    assert math.isnan(float("NaN"))
    assert float("-Infinity") == -math.inf


def test_tags_may_be_any_string(tmp_path):
    tags = ["größe/✓", 'quo"te\\n', "\n", "lone \ud800"]
    with JsonLinesWriter(tmp_path) as writer:
        for tag in tags:
            writer.add_scalar(tag, 1, 0)
    assert [line["tag"] for line in read(writer.path)] == tags


def test_a_second_run_appends(tmp_path):
    for step in (1, 2):
        with JsonLinesWriter(tmp_path) as writer:
            writer.add_scalar("v", step, step)
    assert [line["step"] for line in read(writer.path)] == [1, 2]


def test_a_closed_writer_opens_again(tmp_path):
    writer = JsonLinesWriter(tmp_path)
    for step in (1, 2):
        writer.add_scalar("v", 0, step)
        writer.flush()
        writer.close()
        writer.close()
    assert [line["step"] for line in read(writer.path)] == [1, 2]


def test_a_line_that_a_crash_cut_off_is_taken_away(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    for cut in (b'{"step": 2, "ta', b"x" * 200_000, b"\0" * 10):
        path.write_bytes(b'{"step": 1}\n' + cut)
        with JsonLinesWriter(tmp_path) as writer:
            writer.add_scalar("v", 0, 3)
        assert [line["step"] for line in read(path)] == [1, 3]
    assert caplog.messages[0] == f"{path}: removed an incomplete last line of 15 bytes"


def test_a_file_of_nothing_but_a_cut_off_line_is_emptied(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"st')
    with JsonLinesWriter(tmp_path) as writer:
        writer.add_scalar("v", 0, 3)
    assert [line["step"] for line in read(writer.path)] == [3]


def test_a_last_line_that_only_lacks_its_end_is_kept(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 2}')
    with JsonLinesWriter(tmp_path) as writer:
        writer.add_scalar("v", 0, 3)
    assert [line["step"] for line in read(writer.path)] == [1, 2, 3]


def test_writers_and_threads_share_one_file_line_by_line(tmp_path):
    writers = [JsonLinesWriter(tmp_path) for _ in range(2)]

    def write(number):
        for step in range(200):
            writers[number % 2].add_scalar(f"{number}" * 50, number, step)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for writer in writers:
        writer.close()
    for number in range(4):
        steps = [line["step"] for line in read(writers[0].path) if line["value"] == number]
        assert steps == list(range(200))


def test_a_short_write_is_completed(tmp_path, monkeypatch):
    class Reluctant(io.FileIO):
        def write(self, data):
            return super().write(data[:7])

    monkeypatch.setattr(json_lines, "FileIO", Reluctant)
    with JsonLinesWriter(tmp_path) as writer:
        writer.add_scalar("v", 0, 1)
        writer.add_scalar("v", 0, 2)
    assert [line["step"] for line in read(writer.path)] == [1, 2]


def test_what_cannot_be_written_is_refused_by_name(tmp_path):
    with JsonLinesWriter(tmp_path) as writer:
        for value, shown in [
            ("high", "'high'"),
            (None, "None"),
            (np.zeros((2, 3)), r"an array of shape \(2, 3\)"),
            (np.zeros(0), r"an array of shape \(0,\)"),
            (1j, "1j"),
        ]:
            with pytest.raises(
                TypeError, match=rf"^the value of 'acc' must be a scalar, got {shown}$"
            ):
                writer.add_scalar("acc", value, 0)
        with pytest.raises(TypeError, match=r"^the step of 'acc' must be an integer, got 1.5$"):
            writer.add_scalar("acc", 1, 1.5)
    assert not writer.path.exists()


def test_a_folder_that_cannot_be_made_is_an_error_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"can.t create a folder for metrics here: .*file"):
        JsonLinesWriter(tmp_path / "file" / "logs")


def test_a_file_that_cannot_be_opened_is_an_error_that_names_it(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(IsADirectoryError, match=r"metrics.jsonl"):
        JsonLinesWriter(tmp_path).add_scalar("v", 0, 0)


def test_a_file_that_cannot_be_mended_is_let_go_of(tmp_path, monkeypatch):
    opened = []

    class Broken(io.FileIO):
        def seek(self, *args):
            opened.append(self)
            raise OSError("seek")

    monkeypatch.setattr(json_lines, "FileIO", Broken)
    with pytest.raises(OSError, match=r"^seek$"):
        JsonLinesWriter(tmp_path).add_scalar("v", 0, 0)
    assert opened[0].closed


def test_writers_show_where_they_write(tmp_path):
    assert repr(JsonLinesWriter(tmp_path)) == f"JsonLinesWriter('{tmp_path}/metrics.jsonl')"
    pytest.importorskip("tensorboardX")
    assert repr(TensorBoardWriter(tmp_path)) == f"TensorBoardWriter('{tmp_path}')"


def test_the_default_writer_writes_json_lines(tmp_path):
    assert isinstance(default_writer(tmp_path), JsonLinesWriter)


# -- fan-out ------------------------------------------------------------------------------------


class Failing(MemorySummaryWriter):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def add_scalar(self, tag, value, step):
        raise self.error

    flush = close = lambda self: self.add_scalar(None, None, None)


def test_fan_out_hands_everything_on():
    one, two = MemorySummaryWriter(), MemorySummaryWriter()
    with FanOutWriter(one, two) as both:
        both.add_scalar("a", 1.0, 2)
        both.flush()
    assert both.writers == (one, two)
    for writer in (one, two):
        assert writer.scalars == [("a", 1.0, 2)]
        assert writer.calls == ["flush", "close"]


def test_a_writer_that_fails_does_not_rob_the_later_ones():
    last = MemorySummaryWriter()
    writer = FanOutWriter(Failing(OSError("full")), Failing(ValueError("odd")), last)
    for method, args in [("add_scalar", ("a", 1, 2)), ("flush", ()), ("close", ())]:
        with pytest.raises(OSError, match=r"^full") as caught:
            getattr(writer, method)(*args)
        assert len(caught.value.__notes__) >= 1
        assert "failed too: ValueError: odd" in caught.value.__notes__[-1]
    assert last.scalars == [("a", 1, 2)]
    assert last.calls == ["flush", "close"]


def test_fan_out_refuses_what_is_no_writer():
    with pytest.raises(
        TypeError,
        match=r"^FanOutWriter: a writer needs add_scalar\(tag, value, step\), flush\(\) and "
        r"close\(\); got 'logs'$",
    ):
        FanOutWriter("logs")


# -- TensorBoard --------------------------------------------------------------------------------


def shown(logdir):
    """Return what TensorBoard shows: {tag: [(step, value)]}."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(logdir))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboardX")
    with TensorBoardWriter(tmp_path / "logs") as writer:
        writer.add_scalar("train/loss", np.float64(0.5), np.int64(1))
        writer.add_scalar("train/loss", 0.25, 2)
        writer.add_scalar("steps", 3, 2)
        writer.flush()
        assert shown(tmp_path / "logs")["train/loss"] == [(1, 0.5), (2, 0.25)]
    assert shown(tmp_path / "logs") == {"train/loss": [(1, 0.5), (2, 0.25)], "steps": [(2, 3.0)]}


def test_tensorboard_shows_one_curve_for_a_run_that_was_started_again(tmp_path):
    pytest.importorskip("tensorboardX")
    with TensorBoardWriter(tmp_path) as writer:
        for step in range(1, 6):
            writer.add_scalar("v", step, step)
    with TensorBoardWriter(tmp_path) as writer:
        for step in range(4, 7):
            writer.add_scalar("v", step * 10, step)
    steps = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 50.0), (6, 60.0)]
    assert shown(tmp_path) == {"v": steps}


def test_tensorboard_refuses_what_is_no_scalar_and_opens_no_file(tmp_path):
    pytest.importorskip("tensorboardX")
    with (
        TensorBoardWriter(tmp_path / "logs") as writer,
        pytest.raises(TypeError, match=r"^the value of 'v' must be a scalar, got 'x'$"),
    ):
        writer.add_scalar("v", "x", 0)
    writer.flush()
    assert not list((tmp_path / "logs").iterdir())


def test_without_tensorboardx_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    with pytest.raises(
        ImportError,
        match=r"^TensorBoardWriter needs tensorboardX, which is not installed: "
        r"install runloop-hooks\[tensorboard\]$",
    ):
        TensorBoardWriter("logs")


def test_importing_runloop_imports_no_optional_writer():
    code = "import sys, runloop; print([m for m in ('tensorboardX', 'tqdm', 'json') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "tensorboardX" not in done.stdout
    assert "tqdm" not in done.stdout


# -- the protocol -------------------------------------------------------------------------------


def test_the_writers_of_others_fit_the_protocol(tmp_path):
    tensorboardx = pytest.importorskip("tensorboardX")
    with tensorboardx.SummaryWriter(str(tmp_path)) as writer:
        assert isinstance(writer, SummaryWriter)
        FanOutWriter(writer).add_scalar("v", 1.0, 3)
    assert shown(tmp_path) == {"v": [(3, 1.0)]}
    assert not isinstance(object(), SummaryWriter)
