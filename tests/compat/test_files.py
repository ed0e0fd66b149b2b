"""Event files, metrics.jsonl, gfile and logging of the shim."""

import json
import logging
import os
import shutil
import struct

import pytest

import runloop.compat.tf as tf
from runloop.compat._tf.modules import modules
from runloop.compat._tf.records import RecordIterator, frame, masked_crc32c

loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def scalar(tag, value):
    return tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)])


def event_files(folder):
    return sorted(str(path) for path in folder.glob("events.out.tfevents.*"))


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_checksum_is_the_one_that_is_published():
    # RFC 3720, B.4: 32 bytes of zeros have the CRC-32C 0x8a9136aa; masked as in record files.
    crc = 0x8A9136AA
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked_crc32c(bytes(32)) == masked


def test_what_is_written_is_what_tensorboard_shows_and_what_metrics_jsonl_has(tmp_path):
    with tf.summary.FileWriter(tmp_path) as writer:
        writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), 3)
        writer.add_summary(scalar("loss", 0.5), 3)
        writer.add_summary(scalar("loss", 0.25).SerializeToString(), global_step=4)
        writer.add_summary({"accuracy": 1.0})
        writer.add_scalar("lr", 0.125, 5)

    shown = accumulator.EventAccumulator(str(tmp_path))
    shown.Reload()
    assert [(e.step, e.value) for e in shown.Scalars("loss")] == [(3, 0.5), (4, 0.25)]
    assert [(e.step, e.value) for e in shown.Scalars("lr")] == [(5, 0.125)]
    assert [(line["tag"], line["value"], line["step"]) for line in lines(tmp_path)] == [
        ("loss", 0.5, 3), ("loss", 0.25, 4), ("accuracy", 1.0, 0), ("lr", 0.125, 5),
    ]  # fmt: skip


def test_tensorboards_own_reader_finds_every_event_whole(tmp_path):
    writer = tf.summary.FileWriter(tmp_path)
    writer.add_session_log(tf.SessionLog(status=tf.SessionLog.CHECKPOINT, checkpoint_path="p"), 7)
    image = tf.Summary.Image(height=1, width=1, colorspace=1, encoded_image_string=b"png")
    writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag="i", image=image)]), 8)
    writer.add_run_metadata(tf.RunMetadata(), "step_9", 9)
    writer.add_event(tf.Event(step=10, log_message=tf.LogMessage(message="hi")))
    writer.add_graph(tf.Graph())
    writer.add_meta_graph(None)

    (path,) = event_files(tmp_path)
    events = list(loader.RawEventFileLoader(path).Load())
    ours = list(tf.train.summary_iterator(path))
    assert [bytes(event) for event in events] == [e.SerializeToString() for e in ours]
    assert [e.WhichOneof("what") for e in ours] == [
        "file_version", "session_log", "summary", "tagged_run_metadata", "log_message",
    ]  # fmt: skip
    assert not (tmp_path / "metrics.jsonl").exists()  # there was no scalar


def test_scalars_written_as_tensors_are_in_metrics_jsonl_too(tmp_path):
    writer = tf.summary.FileWriter(tmp_path)
    for tag, value in (("t", 0.5), ("v", [1.0, 2.0]), ("s", "text")):
        member = tf.Summary.Value(tag=tag, tensor=tf.make_tensor_proto(value))
        writer.add_summary(tf.Summary(value=[member]), 1)
    assert [(line["tag"], line["value"]) for line in lines(tmp_path)] == [("t", 0.5)]


def test_events_can_be_read_while_they_are_written(tmp_path):
    writer = tf.summary.FileWriter(tmp_path)
    (path,) = event_files(tmp_path)
    events = tf.io.tf_record_iterator(path)
    assert len(list(events)) == 1
    writer.add_summary(scalar("a", 1), 1)  # no flush
    assert [e.step for e in map(tf.Event.FromString, events)] == [1]
    assert list(events) == []


def test_a_closed_writer_warns_and_drops_and_can_be_reopened(tmp_path):
    writer = tf.summary.FileWriter(tmp_path, filename_suffix=".x")
    writer.add_summary(scalar("a", 1), 1)
    writer.close()
    with pytest.warns(
        UserWarning, match=r"FileWriter\(.*\) is closed: events are dropped until reopen"
    ):
        writer.add_summary(scalar("a", 2), 2)
    writer.reopen()
    writer.add_summary(scalar("a", 3), 3)
    writer.flush()
    first, second = event_files(tmp_path)
    assert first.endswith(".x")
    steps = [e.step for path in (first, second) for e in tf.train.summary_iterator(path)]
    assert steps == [0, 1, 0, 3]
    assert [line["value"] for line in lines(tmp_path)] == [1.0, 3.0]
    assert writer.get_logdir() == str(tmp_path)


def test_a_folder_has_one_writer_under_every_spelling(tmp_path):
    writer = tf.summary.FileWriterCache.get(str(tmp_path))
    io = tf.python.training.summary_io
    assert io.SummaryWriterCache.get(str(tmp_path)) is writer
    assert tf.python.summary.writer.writer_cache.FileWriterCache.get(tmp_path) is writer
    tf.summary.FileWriterCache.clear()
    assert tf.summary.FileWriterCache.get(tmp_path) is not writer
    tf.summary.FileWriterCache.clear()


def test_a_writer_begins_anew_where_its_folder_was_deleted(tmp_path):
    folder = tmp_path / "run"
    for value in (1.0, 2.0):
        writer = tf.summary.FileWriterCache.get(str(folder))
        writer.add_summary(scalar("a", value), 1)
        assert [line["value"] for line in lines(folder)] == [value]
        assert len(event_files(folder)) == 1
        shutil.rmtree(folder)
    tf.summary.FileWriterCache.clear()


def test_what_is_no_summary_is_refused(tmp_path):
    writer = tf.summary.FileWriter(tmp_path)
    with pytest.raises(TypeError, match=r"add_summary takes a tf.Summary, its bytes or .* got 3"):
        writer.add_summary(3)
    writer.add_run_metadata(tf.RunMetadata(), "once")
    with pytest.raises(ValueError, match="already used for this event type: 'once'"):
        writer.add_run_metadata(tf.RunMetadata(), "once")


def test_damage_is_found_and_a_cut_record_ends_the_file(tmp_path):
    path = tmp_path / "records"
    whole = frame(b"one") + frame(b"two")
    path.write_bytes(whole[:-2])
    assert list(RecordIterator(path)) == [b"one"]
    for at, problem in ((2, "damaged length at 0"), (13, "damaged record at 0")):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(tf.errors.DataLossError, match=problem):
            list(RecordIterator(path))
    head = struct.pack("<Q", 1 << 50)
    path.write_bytes(head + struct.pack("<I", masked_crc32c(head)) + b"few bytes")
    assert list(RecordIterator(path)) == []  # and nothing of that size was allocated
    with pytest.raises(tf.errors.NotFoundError, match="No such file"):
        RecordIterator(tmp_path / "none")
    with pytest.raises(
        ValueError, match="compressed record files are not supported, got options 'GZIP'"
    ):
        RecordIterator(path, "GZIP")


# -- gfile -----------------------------------------------------------------------------------------


def test_gfile_reads_and_writes_text_and_bytes(tmp_path):
    path = str(tmp_path / "a.txt")
    with tf.gfile.GFile(path, "w") as file:
        file.write("one\nzwei ä\n")
        file.write(b"three\n")
        assert file.size() == 18
    assert tf.gfile.Open is tf.gfile.FastGFile is tf.io.gfile.GFile
    file = tf.gfile.GFile(path)
    assert (file.name, file.mode, file.seekable()) == (path, "r", True)
    assert file.readline() == "one\n"
    assert file.readlines() == ["zwei ä\n", "three\n"]
    file.seek(position=0)
    assert next(file) == "one\n"
    file.close()
    with tf.gfile.GFile(path, "rb") as binary:
        assert binary.read(3) == b"one"
        assert binary.tell() == 3
        binary.seek(0)
        assert next(binary) == b"one\n"
    with tf.gfile.GFile(path, "ab") as more:
        more.write("end")
    assert tf.gfile.GFile(path).read().endswith("end")
    with pytest.raises(TypeError, match=r"seek\(\) needs an offset"):
        tf.gfile.GFile(path).seek()


def test_a_file_opened_to_write_is_there_even_if_nothing_was_written(tmp_path):
    with tf.gfile.GFile(str(tmp_path / "empty"), "w"):
        pass
    assert (tmp_path / "empty").read_bytes() == b""


def test_gfile_knows_folders_by_both_generations_of_names(tmp_path):
    deep = str(tmp_path / "a" / "b")
    tf.gfile.MakeDirs(deep)
    tf.io.gfile.makedirs(deep)  # again is fine
    for name in ("2", "1"):
        with tf.gfile.GFile(os.path.join(deep, name), "w") as file:
            file.write(name)
    assert tf.gfile.Glob(deep + "/*") == [f"{deep}/1", f"{deep}/2"]
    assert tf.gfile.Glob([deep + "/2", deep + "/1"]) == [f"{deep}/2", f"{deep}/1"]
    assert tf.gfile.ListDirectory(deep) == tf.io.gfile.listdir(deep) == ["1", "2"]
    assert tf.gfile.IsDirectory(deep)
    assert tf.gfile.Exists(deep)
    assert not tf.io.gfile.isdir(f"{deep}/1")
    tf.gfile.Copy(f"{deep}/1", f"{deep}/3")
    with pytest.raises(tf.errors.AlreadyExistsError, match="the file exists already"):
        tf.gfile.Copy(f"{deep}/2", f"{deep}/3")
    tf.gfile.Copy(f"{deep}/2", f"{deep}/3", overwrite=True)
    tf.gfile.Rename(f"{deep}/3", f"{deep}/4")
    assert tf.gfile.GFile(f"{deep}/4").read() == "2"
    assert tf.gfile.Stat(f"{deep}/4").length == 1
    assert [names for _, _, names in tf.gfile.Walk(str(tmp_path))][-1]
    tf.gfile.Remove(filename=f"{deep}/4")
    tf.gfile.Copy(oldpath=f"{deep}/1", newpath=f"{deep}/5")
    (visited,) = tf.gfile.Walk(deep, in_order=False)
    assert sorted(visited[2]) == ["1", "2", "5"]
    assert tf.gfile.Exists(filename=f"{deep}/5")
    tf.gfile.MkDir(f"{deep}/new")
    tf.gfile.DeleteRecursively(str(tmp_path / "a"))
    assert not tf.gfile.Exists(deep)
    assert tf.io.gfile.join("a", "b") == os.path.join("a", "b")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda d: tf.gfile.GFile(f"{d}/none").read(), "NotFoundError"),
        (lambda d: tf.gfile.Remove(f"{d}/none"), "NotFoundError"),
        (lambda d: tf.gfile.ListDirectory(f"{d}/none"), "NotFoundError"),
        (lambda d: tf.gfile.DeleteRecursively(f"{d}/none"), "NotFoundError"),
        (lambda d: tf.gfile.Copy(f"{d}/none", f"{d}/to"), "NotFoundError"),
        (lambda d: tf.gfile.Stat(f"{d}/none"), "NotFoundError"),
        (lambda d: tf.gfile.MkDir(f"{d}/a/b"), "NotFoundError"),
        (tf.gfile.MkDir, "AlreadyExistsError"),
        (lambda d: tf.gfile.GFile(d).read(), "FailedPreconditionError"),
        (lambda d: tf.gfile.Rename(d, f"{d}/inside"), "UnknownError"),
    ],
)
def test_gfile_raises_the_errors_of_tensorflow(tmp_path, call, error):
    with pytest.raises(getattr(tf.errors, error), match=str(tmp_path)) as caught:
        call(str(tmp_path))
    assert isinstance(caught.value, tf.errors.OpError)


def test_what_is_not_allowed_is_a_permission_error(monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)  # nothing is forbidden to root
    with pytest.raises(tf.errors.PermissionDeniedError, match="/shut; Permission denied"):
        tf.gfile.ListDirectory("/shut")


# -- logging ---------------------------------------------------------------------------------------


def test_log_lines_go_to_the_logger_tensorflow_and_name_their_caller(caplog):
    with caplog.at_level(logging.DEBUG, "tensorflow"):
        tf.logging.debug("d %d", 1)
        tf.logging.info("i")
        tf.logging.warn("w")
        tf.logging.warning("w2")
        tf.logging.error("e")
        tf.logging.fatal("f")
        tf.logging.log(tf.logging.INFO, "l")
        tf.logging.vlog(logging.INFO, "v")
        tf.logging.log_if(tf.logging.INFO, "yes", True)
        tf.logging.log_if(tf.logging.INFO, "no", False)
        try:
            raise KeyError("k")
        except KeyError:
            tf.logging.exception("x")
    assert [r.getMessage() for r in caplog.records] == [
        "d 1", "i", "w", "w2", "e", "f", "l", "v", "yes", "x",
    ]  # fmt: skip
    assert {r.name for r in caplog.records} == {"tensorflow"}
    assert {r.filename for r in caplog.records} == {"test_files.py"}
    assert caplog.records[-1].exc_info


def test_lines_can_be_logged_now_and_then(caplog):
    with caplog.at_level(logging.INFO, "tensorflow"):
        for i in range(5):
            tf.logging.log_every_n(tf.logging.INFO, "every %d", 2, i)
            tf.logging.log_first_n(tf.logging.INFO, "first %d", 2, i)
    assert caplog.messages == ["every 0", "first 0", "first 1", "every 2", "every 4"]


def test_verbosity_is_the_loggers_level():
    before = tf.logging.get_logger().level
    try:
        tf.logging.set_verbosity(tf.logging.ERROR)
        assert tf.logging.get_verbosity() == logging.ERROR
        tf.logging.set_verbosity("INFO")
        assert tf.logging.get_verbosity() == tf.logging.INFO
        tf.logging.flush()
    finally:
        tf.logging.set_verbosity(before)


def test_file_io_has_the_names_of_both_generations(tmp_path):
    file_io = tf.python.lib.io.file_io
    path = str(tmp_path / "a")
    file_io.write_string_to_file(path, "text")
    assert file_io.read_file_to_string(path) == "text"
    assert file_io.read_file_to_string(path, binary_mode=True) == b"text"
    file_io.copy(oldpath=path, newpath=f"{path}2")
    file_io.copy_v2(src=path, dst=f"{path}3")
    assert file_io.get_matching_files(filename=f"{path}*") == [path, f"{path}2", f"{path}3"]


def test_an_atomic_write_leaves_nothing_behind(tmp_path):
    file_io = tf.python.lib.io.file_io
    path = str(tmp_path / "a")
    file_io.atomic_write_string_to_file(path, "one")
    file_io.atomic_write_string_to_file(path, b"two")
    with pytest.raises(tf.errors.AlreadyExistsError, match="the file exists already"):
        file_io.atomic_write_string_to_file(path, "three", overwrite=False)
    assert os.listdir(tmp_path) == ["a"]
    assert file_io.read_file_to_string(path) == "two"


def test_the_metrics_of_evaluations_are_read_from_event_files(tmp_path, caplog):
    early_stopping = modules()["tensorflow_estimator.python.estimator.early_stopping"]
    folder = str(tmp_path / "eval")
    assert early_stopping.read_eval_metrics(folder) == {}
    for _ in range(2):  # two evaluations, a file each
        with tf.summary.FileWriter(folder) as writer:
            for step in (20, 10):
                values = [tf.Summary.Value(tag="loss", simple_value=step / 4)]
                writer.add_summary(tf.Summary(value=values), step)
            writer.add_session_log(tf.SessionLog(status=tf.SessionLog.STOP), 30)
            writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag="auc", simple_value=1)]), 20)
    assert list(early_stopping.read_eval_metrics(folder).items()) == [
        (10, {"loss": 2.5}),
        (20, {"loss": 5.0, "auc": 1.0}),
    ]

    for path in tf.gfile.Glob(folder + "/events*"):
        with open(path, "r+b") as file:
            file.seek(-6, os.SEEK_END)
            file.write(b"!")
    assert early_stopping.read_eval_metrics(folder)[20] == {"loss": 5.0}
    assert "Events after the damage are not read" in caplog.text
