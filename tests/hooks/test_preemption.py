"""Real signals to real processes, kept in step through pipes: nothing sleeps."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

import runloop as rl

from .programs import drive, program

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

# The step says where it is and waits for a line, so that a signal can arrive in the middle of it.
PREAMBLE = """
import os, signal, sys
import runloop as rl

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
signal.signal(signal.SIGTERM, signal.SIG_DFL)
graph = rl.Graph()

def say(*words):
    print(*words, flush=True)

@graph.train_op
def train(global_step):
    say("in step", global_step)
    sys.stdin.readline()
    say("step", global_step, "done")

class Tell(rl.SessionRunHook):
    def after_create_session(self, session, coord):
        self.coord = coord
    def end(self, session):
        say("end at", session.run("global_step"))

tell = Tell()

def loop(hooks, session_type=rl.MonitoredSession, **kwargs):
    with session_type(hooks=hooks, graph=graph, **kwargs) as session:
        while not session.should_stop():
            session.run("train")
"""


STOPPING = "SIGTERM received: requesting a stop\n"


class Child:
    """A process that runs ``PREAMBLE`` and the given code; to be told and listened to by line."""

    def __init__(self, code):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
        )
        # What is broken may wait for ever; then the test fails on what it hears.
        self.watchdog = threading.Timer(60, self.process.kill)
        self.watchdog.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.watchdog.cancel()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()

    def hears(self, line):
        heard = self.process.stdout.readline().rstrip("\n")
        assert heard == line, heard or self.process.stderr.read()

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def send(self, number):
        # A signal is pending before what is written afterwards can be read.
        os.kill(self.process.pid, number)

    def ends(self):
        """Return the rest of what it said, its complaints, and its exit status."""
        self.process.stdin.close()
        out, err = self.process.stdout.read(), self.process.stderr.read()
        return out.splitlines(), err, self.process.wait()


def test_sigterm_lets_the_step_finish_and_ends_well_and_then_kills():
    with Child("loop([rl.PreemptionHook(), tell])") as child:
        child.hears("in step 0")
        child.go_on()
        child.hears("step 0 done")
        child.hears("in step 1")
        child.send(signal.SIGTERM)
        child.go_on()
        child.hears("step 1 done")
        assert child.ends() == (["end at 2"], STOPPING, -signal.SIGTERM)


def test_sigint_ends_well_and_raises_keyboard_interrupt_where_the_session_is_left():
    code = """
    try:
        loop([rl.PreemptionHook(), tell])
    except KeyboardInterrupt as error:
        say("interrupted", error.__context__)
    say("handler back:", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    """
    with Child(code) as child:
        child.hears("in step 0")
        child.send(signal.SIGINT)
        child.go_on()
        lines = ["step 0 done", "end at 1", "interrupted None", "handler back: True"]
        assert child.ends() == (lines, STOPPING.replace("TERM", "INT"), 0)


def test_what_was_printed_is_not_lost_with_the_process():
    code = """
    class Mumble(rl.SessionRunHook):
        def end(self, session):
            print("not flushed")
    loop([rl.PreemptionHook(), Mumble()])
    """
    with Child(code) as child:
        child.hears("in step 0")
        child.send(signal.SIGTERM)
        child.go_on()
        assert child.ends() == (["step 0 done", "not flushed"], STOPPING, -signal.SIGTERM)


def test_uncaught_it_exits_as_an_interrupted_program_does():
    with Child("loop([rl.PreemptionHook(), tell])") as child:
        child.hears("in step 0")
        child.send(signal.SIGINT)
        child.go_on()
        out, err, status = child.ends()
        assert out == ["step 0 done", "end at 1"]
        assert err.rstrip().endswith("KeyboardInterrupt")
        assert status == -signal.SIGINT


# Two signals of one kind that are pending at once are one: before it sends the second, the parent
# waits until the first was handled, which the child's coordinator knows.
WATCH = """
import threading

class Watch(rl.SessionRunHook):
    def after_create_session(self, session, coord):
        threading.Thread(target=self.watch, args=(coord,), daemon=True).start()
    def watch(self, coord):
        coord.wait_for_stop()
        say("asked to stop")
"""


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_sigterm_kills_at_once(first):
    with Child(WATCH + "loop([rl.PreemptionHook(), tell, Watch()])") as child:
        child.hears("in step 0")
        child.send(first)
        child.hears("asked to stop")
        child.send(signal.SIGTERM)
        assert child.ends() == ([], "", -signal.SIGTERM)


def test_a_second_sigint_interrupts_the_step():
    code = WATCH + textwrap.dedent(
        """
        try:
            loop([rl.PreemptionHook(), tell, Watch()])
        except KeyboardInterrupt:
            say("interrupted")
        """
    )
    with Child(code) as child:
        child.hears("in step 0")
        child.send(signal.SIGINT)
        child.hears("asked to stop")
        child.send(signal.SIGINT)
        out, err, status = child.ends()
        assert (out, status) == (["interrupted"], 0)
        assert "SIGINT received, but not raised again because of KeyboardInterrupt()" in err


def test_a_signal_between_two_runs_stops_before_the_next():
    code = """
    hook = rl.PreemptionHook()
    with rl.MonitoredSession(hooks=[hook, tell], graph=graph) as session:
        session.run("train")
        say("between")
        sys.stdin.readline()
        tell.coord.wait_for_stop()
        say("received", hook.received.name, session.should_stop())
    """
    with Child(code) as child:
        child.hears("in step 0")
        child.go_on()
        child.hears("step 0 done")
        child.hears("between")
        child.send(signal.SIGTERM)
        child.go_on()
        assert child.ends() == (["received SIGTERM True", "end at 1"], "", -signal.SIGTERM)


def test_a_handler_that_was_there_before_is_called_last_and_the_program_goes_on():
    code = """
    signal.signal(signal.SIGTERM, lambda number, frame: say("handler got", number))
    hook = rl.PreemptionHook([signal.SIGTERM])
    loop([hook, tell])
    say("after the loop,", hook.received)
    """
    with Child(code) as child:
        child.hears("in step 0")
        child.send(signal.SIGTERM)
        child.go_on()
        lines = ["step 0 done", "end at 1", "handler got 15", f"after the loop, {signal.SIGTERM!s}"]
        assert child.ends() == (lines, STOPPING, 0)


def test_a_session_around_another_ends_well_too():
    code = """
    outer = rl.Graph()
    outer.train_op(lambda: loop([rl.PreemptionHook(), tell]), name="inner")
    with rl.MonitoredSession(hooks=[rl.PreemptionHook(), Tell()], graph=outer) as session:
        while not session.should_stop():
            session.run("inner")
    """
    with Child(code) as child:
        child.hears("in step 0")
        child.send(signal.SIGTERM)
        child.go_on()
        lines = ["step 0 done", "end at 1", "end at 1"]
        assert child.ends() == (lines, 2 * STOPPING, -signal.SIGTERM)


def test_a_failing_end_is_not_hidden_by_the_signal():
    code = """
    class Fails(rl.SessionRunHook):
        def end(self, session):
            raise OSError("disk full")
    loop([rl.PreemptionHook(), Fails(), tell])
    """
    with Child(code) as child:
        child.hears("in step 0")
        child.send(signal.SIGTERM)
        child.go_on()
        out, err, status = child.ends()
        assert out == ["step 0 done", "end at 1"]
        assert "SIGTERM received, but not raised again because of OSError('disk full')" in err
        assert err.rstrip().endswith("OSError: disk full")
        assert status == 1


def test_a_session_that_is_lost_after_the_signal_still_ends_well():
    code = """
    class Lose(rl.SessionRunHook):
        lost = False
        def after_run(self, context, values):
            if not self.lost:
                self.lost = True
                raise rl.errors.AbortedError("lost")
    loop([Lose(), rl.PreemptionHook(), tell])
    """
    with Child(code) as child:
        child.hears("in step 0")
        child.send(signal.SIGTERM)
        child.go_on()
        child.hears("step 0 done")
        child.hears("in step 0")
        child.go_on()
        out, _, status = child.ends()
        assert (out, status) == (["step 0 done", "end at 1"], -signal.SIGTERM)


def test_an_ignored_signal_stays_ignored():
    code = """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop([rl.PreemptionHook(), tell, rl.StopAtStepHook(2)])
    say("still ignored:", signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
    """
    with Child(code) as child:
        child.hears("in step 0")
        child.send(signal.SIGINT)
        child.go_on()
        child.hears("step 0 done")
        child.hears("in step 1")
        child.go_on()
        assert child.ends() == (["step 1 done", "end at 2", "still ignored: True"], "", 0)


def test_the_last_checkpoint_is_written_and_the_next_process_goes_on(tmp_path):
    code = f"""
    def train(hooks):
        loop(
            [rl.PreemptionHook(), tell, *hooks],
            rl.MonitoredTrainingSession,
            checkpoint_dir={str(tmp_path)!r},
            save_checkpoint_steps=1000,
        )
    train([rl.StopAtStepHook(last_step=3)])
    """
    with Child(code) as child:
        child.hears("in step 0")
        child.go_on()
        child.hears("step 0 done")
        child.hears("in step 1")
        child.send(signal.SIGTERM)
        child.go_on()
        out, _, status = child.ends()
        assert (out, status) == (["step 1 done", "end at 2"], -signal.SIGTERM)
    assert rl.latest_checkpoint(tmp_path).endswith("model.ckpt-2.safetensors")
    with Child(code) as child:
        child.hears("in step 2")
        child.go_on()
        assert child.ends() == (["step 2 done", "end at 3"], "", 0)
    assert rl.latest_checkpoint(tmp_path).endswith("model.ckpt-3.safetensors")


# -- in this process ----------------------------------------------------------------------------


def handlers():
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["terminal", "background"])
def sigint(request):
    """SIGINT as in a terminal, then as in a background job of a script, where it is ignored."""
    previous = signal.signal(signal.SIGINT, request.param)
    yield request.param
    signal.signal(signal.SIGINT, previous)


def test_without_a_signal_the_handlers_are_put_back(sigint):
    before, during = handlers(), []
    hook = rl.PreemptionHook()
    drive(program(), [hook], runs=1, each=lambda _: during.append(handlers()))
    ignored = sigint is signal.SIG_IGN  # stays ignored
    assert during == [[hook._handle, signal.SIG_IGN if ignored else hook._handle]]
    assert handlers() == before
    assert hook.received is None


@pytest.mark.parametrize("where", ["body", "later hook's after_create_session"])
def test_the_handlers_are_put_back_whichever_way_the_session_is_left(where):
    class Fails(rl.SessionRunHook):
        def after_create_session(self, session, coord):
            if where != "body":
                raise KeyError

    before = handlers()
    with (
        pytest.raises(KeyError),
        rl.MonitoredSession(hooks=[rl.PreemptionHook(), Fails()], graph=program()),
    ):
        raise KeyError
    assert handlers() == before


def test_a_hook_can_be_used_again():
    got = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        hook = rl.PreemptionHook()

        def between(session):
            signal.raise_signal(signal.SIGTERM)
            hook._coord.wait_for_stop()

        assert [drive(program(), [hook], runs=3, each=each) for each in (between, None)] == [1, 3]
        assert got == [signal.SIGTERM]
        assert hook.received is None
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_outside_of_the_main_thread_it_says_so():
    errors = []

    def make():
        try:
            rl.MonitoredSession(hooks=[rl.PreemptionHook()], graph=program())
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=make, name="trainer")
    thread.start()
    thread.join()
    assert errors == [
        (
            "PreemptionHook works only in the main thread, because Python installs signal handlers "
            "only there; this is 'trainer'. Create the session in the main thread, or leave the "
            "hook out"
        )
    ]


def test_a_handler_that_python_cannot_put_back_is_refused(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    with pytest.raises(
        RuntimeError,
        match=r"^PreemptionHook: SIGTERM has a handler that was not installed from Python and could "
        r"not be restored; leave it out of signals=$",
    ):
        rl.PreemptionHook().begin()


def test_signals_are_checked():
    with pytest.raises(
        TypeError,
        match=r"^PreemptionHook: signals must be several signals, got .*SIGTERM.*; "
        r"write signals=\(.*SIGTERM.*,\)$",
    ):
        rl.PreemptionHook(signal.SIGTERM)
    with pytest.raises(
        TypeError, match=r"^PreemptionHook: signals must be several .*'SIGTERM',\)$"
    ):
        rl.PreemptionHook("SIGTERM")
    with pytest.raises(
        TypeError,
        match=r"^PreemptionHook: give a signal as signal\.SIGTERM or as its number, got 'INT'$",
    ):
        rl.PreemptionHook(["INT"])
    with pytest.raises(
        ValueError, match=r"^PreemptionHook: this system does not have a signal 4711$"
    ):
        rl.PreemptionHook([4711])
    with pytest.raises(
        ValueError, match=r"^PreemptionHook: SIGKILL can't be caught; leave it out of signals=$"
    ):
        rl.PreemptionHook([signal.SIGTERM, signal.SIGKILL])
    assert rl.PreemptionHook([15])._signals == (signal.SIGTERM,)
