"""The progress bar in a terminal: lines above it, its layout by width, and everything put back."""

import fcntl
import functools
import io
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runloop as rl
from runloop import clock
from runloop.hooks._terminal import layout
from runloop.testing import FakeClock

from .programs import program

tqdm = pytest.importorskip("tqdm").tqdm


def screen(text, columns):
    """Return the lines that a terminal of so many columns shows after it got ``text``."""
    rows, row, column = [[]], 0, 0
    for piece in re.findall(r"\x1b\[A|.|\n", text, re.DOTALL):
        if piece == "\x1b[A":
            row = max(0, row - 1)
        elif piece == "\r":
            column = 0
        elif piece == "\n":  # the system puts a carriage return in front of it
            row, column = row + 1, 0
        else:
            if column == columns:
                row, column = row + 1, 0
            rows += [[] for _ in range(row + 1 - len(rows))]
            rows[row] += " " * (column + 1 - len(rows[row]))
            rows[row][column] = piece
            column += 1
        rows += [[] for _ in range(row + 1 - len(rows))]
    lines = ["".join(line).rstrip() for line in rows]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def set_size(descriptor, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))


class Terminal(io.StringIO):
    """Keeps what it gets. Its descriptor is that of a real terminal, which knows the width."""

    encoding = "utf-8"

    def __init__(self, columns):
        super().__init__()
        self.columns = columns
        self.descriptors = pty.openpty()
        set_size(self.fileno(), columns)

    def isatty(self):
        return True

    def fileno(self):
        return self.descriptors[1]

    def shown(self):
        return screen(self.getvalue(), self.columns)


def in_terminal(test):
    """Have the streams replaced during the test alone: pytest sets them between its phases."""

    @functools.wraps(test)
    def call(*, terminal, **fixtures):
        before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = terminal
        try:
            test(terminal=terminal, **fixtures)
        finally:
            sys.stdout, sys.stderr = before

    return call


@pytest.fixture
def time():
    with clock.use(FakeClock()) as fake:
        yield fake


@pytest.fixture(params=[60, 120])
def terminal(request, monkeypatch):
    """A terminal for standard output and standard error, with a log handler on it."""
    made = Terminal(request.param)
    logger = logging.getLogger("runloop.hooks.logging_tensor")
    handler = logging.StreamHandler(made)
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "level", logging.INFO)
    made.handler = handler
    yield made
    logger.removeHandler(handler)
    for descriptor in made.descriptors:
        os.close(descriptor)


def untouched(terminal):
    return sys.stdout is terminal and sys.stderr is terminal and terminal.handler.stream is terminal


def run(hooks, graph=None, steps=None, body=lambda step: None):
    graph = program([1.0, 0.5, 0.25, 0.125] * 9) if graph is None else graph
    step = 0
    with rl.MonitoredSession(hooks=hooks, graph=graph) as session:
        while not session.should_stop() and step != steps:
            session.run("train")
            step += 1
            body(step)


# -- lines above the bar ----------------------------------------------------------------------------


@in_terminal
def test_logged_and_printed_lines_stand_above_the_bar(terminal, time):
    hooks = [
        rl.ProgressBarHook(),
        rl.LoggingTensorHook(["loss"], every_n_iter=2),
        rl.StopAtStepHook(last_step=4),
    ]
    seen = []

    def body(step):
        print("printed after step", step)
        sys.stderr.write(f"written after step {step}\n")
        seen.append(terminal.shown())
        time.advance(1)

    run(hooks, body=body)
    lines = [
        "loss = 1.0",
        "printed after step 1",
        "written after step 1",
        "printed after step 2",
        "written after step 2",
        "loss = 0.25 (2.000 sec)",
        "printed after step 3",
        "written after step 3",
        "printed after step 4",
        "written after step 4",
    ]
    assert terminal.shown()[:-1] == lines
    assert re.match(r"100%\|█+\| 4/4 \[.*loss=0.125", terminal.shown()[-1])
    # At each moment the bar is the last line, and stands there once.
    for number, shown in enumerate(seen, 1):
        assert f"| {number}/4" in shown[-1]
        assert not [line for line in shown[:-1] if "|" in line]
    assert untouched(terminal)


@in_terminal
def test_a_line_that_is_written_in_parts_stays_whole(terminal, time):
    def body(step):
        print("a", end="")
        print("b", end="")
        print("c")
        time.advance(1)

    run([rl.ProgressBarHook(3, ())], steps=3, body=body)
    assert terminal.shown()[:-1] == ["abc"] * 3


@in_terminal
def test_a_prompt_is_shown_and_the_bar_waits_for_its_answer(terminal, time):
    seen = []

    def body(step):
        time.advance(1)
        if step == 1:
            print("continue? ", end="", flush=True)
            seen.append(terminal.shown())
        if step == 2:
            seen.append(terminal.shown())
            print("yes")
            seen.append(terminal.shown())

    run([rl.ProgressBarHook(3, ())], steps=3, body=body)
    assert seen[0] == seen[1] == ["continue?"]
    assert seen[2][0] == "continue? yes"
    assert "2/3" in seen[2][1]
    assert terminal.shown()[0] == "continue? yes"
    assert "3/3" in terminal.shown()[1]


@in_terminal
def test_what_is_unfinished_at_the_end_is_written_before_the_last_bar(terminal, time):
    run([rl.ProgressBarHook(1, ())], steps=1, body=lambda step: print("no line break", end=""))
    assert terminal.shown()[0] == "no line break"
    assert "1/1" in terminal.shown()[1]


class Fails(rl.SessionRunHook):
    def __init__(self, where):
        self.where = where

    def after_create_session(self, session, coord):
        if self.where == "after_create_session":
            raise KeyError

    def before_run(self, run_context):
        if self.where == "before_run":
            raise KeyError

    def end(self, session):
        if self.where == "end":
            raise KeyError


@pytest.mark.parametrize(
    "where", ["after_create_session", "before_run", "end", "body", "interrupt"]
)
@in_terminal
def test_the_streams_are_restored_whichever_way_the_session_is_left(terminal, time, where):
    def body(step):
        assert not untouched(terminal)
        if where == "body":
            raise KeyError
        if where == "interrupt":
            raise KeyboardInterrupt

    with pytest.raises((KeyError, KeyboardInterrupt)):
        run([rl.ProgressBarHook(3), Fails(where)], steps=3, body=body)
    assert untouched(terminal)


@in_terminal
def test_the_streams_are_restored_when_a_session_is_lost(terminal, time):
    lost = [rl.errors.AbortedError("lost")]
    where = []

    class Lose(rl.SessionRunHook):
        def before_run(self, run_context):
            where.append(untouched(terminal))
            if len(where) == 2:
                raise lost.pop()

    run([rl.ProgressBarHook(3), Lose()], steps=3)
    assert where == [False] * 4
    assert untouched(terminal)


@in_terminal
def test_a_handler_that_was_made_beside_the_bar_works_after_it(terminal, time):
    logger, made = logging.getLogger("made.beside"), []

    def body(step):
        made.append(logging.StreamHandler())
        logger.addHandler(made[0])
        logger.warning("beside")

    run([rl.ProgressBarHook(1, ())], steps=1, body=body)
    logger.warning("after")
    logger.removeHandler(made[0])
    assert terminal.shown()[0] == "beside"
    assert terminal.shown()[-1] == "after"


@in_terminal
def test_a_stream_that_somebody_else_put_there_meanwhile_is_left_alone(terminal, time):
    other = io.StringIO()
    run([rl.ProgressBarHook(1, ())], steps=1, body=lambda step: setattr(sys, "stdout", other))
    assert sys.stdout is other
    assert sys.stderr is terminal


@in_terminal
def test_output_that_goes_to_a_file_is_not_touched(terminal, time, monkeypatch):
    file, streams = io.StringIO(), []
    monkeypatch.setattr(sys, "stdout", file)
    run([rl.ProgressBarHook(1)], steps=1, body=lambda step: streams.append(sys.stdout))
    assert streams == [file]


@in_terminal
def test_a_bar_that_goes_to_a_file_touches_nothing(terminal, time, monkeypatch):
    file, streams = io.StringIO(), []
    monkeypatch.setattr(sys, "stderr", file)
    run([rl.ProgressBarHook(1)], steps=1, body=lambda step: streams.append(sys.stdout))
    assert streams == [terminal]


@in_terminal
def test_a_session_inside_of_another_ones_has_its_bar_too(terminal, time):
    def body(step):
        run([rl.ProgressBarHook(2, ())], steps=2, body=lambda inner: print("inner", inner))
        print("outer")

    run([rl.ProgressBarHook(2, ())], steps=2, body=body)
    lines = [line for line in terminal.shown() if "|" not in line]
    assert [line for line in lines if line] == 2 * ["inner 1", "inner 2", "outer"]
    assert untouched(terminal)


@in_terminal
def test_the_streams_keep_the_attributes_of_the_real_ones(terminal, time):
    def body(step):
        assert sys.stdout.isatty()
        assert sys.stdout.columns == terminal.columns
        sys.stdout.writelines(["one\n", "two\n"])

    run([rl.ProgressBarHook(1, ())], steps=1, body=body)
    assert terminal.shown()[:2] == ["one", "two"]


# -- layout -----------------------------------------------------------------------------------------


def drawn(columns, metrics, total, n=7):
    bar = tqdm(total=total, initial=n, unit=" step", file=io.StringIO(), ncols=columns)
    bar.bar_format = layout(bar, metrics)
    line = str(bar)
    bar.close()
    return line


NAMES = st.text("abcdefghijklmnop_{}", min_size=1, max_size=20)


@given(
    columns=st.integers(15, 200),
    metrics=st.lists(st.builds("{}={:.4g}".format, NAMES, st.floats(-9e9, 9e9)), max_size=6),
    total=st.one_of(st.none(), st.integers(10, 10**6)),
)
def test_a_line_fits_and_shows_only_whole_things(columns, metrics, total):
    line = drawn(columns, metrics, total)
    assert len(line) <= columns
    if total is not None and "|" in line:
        _, inside, after = line.split("|", 2)
        assert len(inside) >= 10
        assert f"7/{total}" in after
    if "[" not in line:
        return
    details = line[line.index("[") + 1 : -1]
    shown = details.split(", ") if details else []
    while shown and not re.match(r"[a-p_{}]+=", shown[0]):
        shown.pop(0)  # times and rate
    assert shown == metrics[: len(shown)]
    # Only what does not fit is left out.
    if len(shown) < len(metrics):
        assert len(f"{line}, {metrics[len(shown)]}") > columns - 200


def test_at_sixty_columns_the_bar_is_a_bar_and_the_metrics_are_whole():
    metrics = ["loss=0.01099", "accuracy=0.59", "learning_rate=0.1235"]
    line = drawn(60, metrics, 100)
    assert re.fullmatch(r"  7%\|[#\d ]{10,}\| 7/100 \[loss=0.01099, accuracy=0.59\]", line)
    wide = drawn(120, metrics, 100)
    assert all(metric in wide for metric in metrics)
    assert "step/s" in wide


def test_without_a_width_the_layout_is_tqdms():
    assert layout(SimpleNamespace(format_dict={"ncols": None}, total=3), ()) is None


# -- total and last value ---------------------------------------------------------------------------


@pytest.mark.parametrize("bar_first", [True, False])
@pytest.mark.parametrize("arguments", [{"num_steps": 3}, {"last_step": 8}])
@in_terminal
def test_the_total_comes_from_the_stop_hook(terminal, time, bar_first, arguments):
    graph = rl.Graph()
    graph.variable("global_step", 5, trainable=False)  # as after a restore
    graph.train_op(lambda: None, name="train")
    hooks = [rl.ProgressBarHook(metrics=()), rl.StopAtStepHook(**arguments)]
    run(hooks if bar_first else hooks[::-1], graph=graph)
    assert "| 8/8" in terminal.shown()[-1]


@in_terminal
def test_num_steps_after_a_restore_gives_the_total(terminal, time, tmp_path):
    for last in (2, 4):
        with rl.MonitoredTrainingSession(
            graph=program(),
            checkpoint_dir=tmp_path,
            hooks=[rl.ProgressBarHook(metrics=()), rl.StopAtStepHook(num_steps=2)],
        ) as session:
            while not session.should_stop():
                session.run("train")
        assert f"| {last}/{last}" in terminal.shown()[-1]


@in_terminal
def test_a_total_that_was_given_stays(terminal, time):
    run([rl.ProgressBarHook(10, ()), rl.StopAtStepHook(last_step=2)])
    assert "| 2/10" in terminal.shown()[-1]


@in_terminal
def test_the_earliest_of_several_last_steps_is_the_total(terminal, time):
    run([rl.ProgressBarHook(None, ()), rl.StopAtStepHook(4), rl.StopAtStepHook(last_step=2)])
    assert "| 2/2" in terminal.shown()[-1]


@pytest.mark.parametrize("increment", [1, 4])
@in_terminal
def test_the_value_at_100_percent_is_the_last_one(terminal, time, increment):
    graph = program([np.float32(step) for step in range(40)], increment=increment)
    run([rl.ProgressBarHook(metrics=["loss"]), rl.StopAtStepHook(last_step=20)], graph=graph)
    # StopAtStepHook may be a run late where the increment is larger.
    last = 20 if increment == 1 else 24
    assert "100%|" in terminal.shown()[-1]
    assert f"| {last}/{last}" in terminal.shown()[-1]
    assert f"loss={last - increment}" in terminal.shown()[-1]  # no time passed: fetched for the end


# -- for real ---------------------------------------------------------------------------------------

PROGRAM = """
import logging, sys
import runloop as rl
from tests.hooks.programs import program

logging.basicConfig(level=logging.INFO, format="%(message)s")
hooks = [
    rl.ProgressBarHook(metrics=["loss"]),
    rl.LoggingTensorHook(["loss"], every_n_iter=5),
    rl.StopAtStepHook(last_step=10),
]
with rl.MonitoredSession(hooks=hooks, graph=program([0.5] * 10)) as session:
    while not session.should_stop():
        session.run("train")
        print("a line")
"""


@pytest.mark.parametrize("columns", [60, 120])
def test_in_a_pseudo_terminal(columns):
    ours, theirs = pty.openpty()
    set_size(theirs, columns)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        received += piece
    os.close(ours)
    assert process.wait() == 0
    shown = screen(received.decode().replace("\r\n", "\n"), columns)
    others = [line for line in shown[:-1] if line != "a line"]
    assert shown.count("a line") == 10
    assert len(others) == 2
    assert others[0] == "loss = 0.5"
    assert re.fullmatch(r"loss = 0.5 \(\d.\d{3} sec\)", others[1])
    assert re.fullmatch(r"100%\|█{10,}\| 10/10 \[.*loss=0.5\]", shown[-1])
    assert len(shown[-1]) <= columns


NOTEBOOK = """
import sys, types
for name in ("IPython", "ipykernel", "ipykernel.zmqshell"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["IPython"].get_ipython = lambda: None
sys.modules["ipywidgets"] = None  # Python's own way to make an import fail
import runloop as rl
from tests.hooks.programs import drive, program
drive(program([0.5] * 3), [rl.ProgressBarHook(3)], runs=3)
"""


def test_a_notebook_without_ipywidgets_gets_a_text_bar_and_no_warning():
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", NOTEBOOK], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    assert "3/3" in result.stderr
