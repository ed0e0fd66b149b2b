"""The pytest plugin: fixtures, the trace of a failing test, the difference of events."""

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch):
    """Of the plugins that are installed, the inner runs load runloop's only."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester, source, *options):
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess("-p", "pytest_runloop", "-p", "no:cacheprovider", *options)


def test_the_fixtures(pytester):
    result = run(
        pytester,
        """
        import runloop as rl
        from runloop import clock as clocks
        from runloop.testing import FakeClock, MemorySummaryWriter, RecordingHook

        def test_fake_clock(fake_clock, hook_harness):
            assert clocks.current() is fake_clock
            harness = hook_harness(rl.StopAtStepHook(last_step=3))
            assert harness.clock is fake_clock
            assert harness.run_until_stop() == 3

        def test_the_clock_is_put_back():
            assert not isinstance(clocks.current(), FakeClock)

        def test_doubles(recording_hook, memory_writer, hook_harness):
            assert isinstance(memory_writer, MemorySummaryWriter)
            recording_hook.asks = "loss"
            hook_harness(recording_hook, outputs={"loss": [1.0]}).run()
            assert recording_hook.results == [1.0]

        class Cleans(rl.SessionRunHook):
            log = []

            def after_create_session(self, session, coord):
                coord.callback(self.log.append, "cleaned")

            def end(self, session):
                self.log.append("end")

        def test_a_harness_that_is_left_open(hook_harness):
            hook_harness(Cleans()).run()
            hook_harness(Cleans())

        def test_was_closed_without_end():
            assert Cleans.log == ["cleaned"]
        """,
    )
    result.assert_outcomes(passed=5)


FAILING = """
    import pytest
    import runloop as rl
    from runloop.testing import RecordingHook

    @pytest.fixture
    def session():
        graph = rl.Graph()
        graph.train_op(lambda: None, name="train")
        with rl.MonitoredSession(hooks=[RecordingHook()], graph=graph) as session:
            yield session

    def test_it(session):
        session.run("train")
        assert False

    def test_passes(session):
        pass

    def test_without_a_session():
        assert False
"""


def test_the_lifecycle_of_a_failing_test_is_printed_if_asked_for(pytester):
    result = run(pytester, FAILING, "--runloop-trace")
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_it*",
            "*runloop lifecycle (call)*",
            "step  who            what*",
            "      RecordingHook  begin*",
            "   0  loop           run*fetches='train'",
            "   1  RecordingHook    after_run*",
            "*test_without_a_session*",
            "*runloop lifecycle (call)*",
            "no monitored session was created",
        ]
    )
    assert result.stdout.str().count("runloop lifecycle") == 2


def test_of_a_long_story_the_end_is_printed(pytester):
    test = """
    from runloop.testing import HookHarness, RecordingHook

    def test_it():
        harness = HookHarness(RecordingHook())
        harness.run(100)
        harness.fail_next(KeyError("boom"))
        harness.run()
    """
    result = run(pytester, test, "--runloop-trace")
    result.stdout.fnmatch_lines(
        ["step  who *", "... 207 earlier events", "  *", "*session        close *KeyError*"]
    )
    table = result.stdout.str().partition("earlier events")[2].partition("=====")[0]
    assert len(table.splitlines()) == 201


def test_nothing_is_printed_otherwise(pytester):
    result = run(pytester, FAILING)
    result.assert_outcomes(failed=2, passed=1)
    assert "runloop lifecycle" not in result.stdout.str()


def test_the_difference_of_two_lists_of_events_can_be_read(pytester):
    result = run(
        pytester,
        """
        import runloop as rl
        from runloop.testing import HookHarness, RecordingHook

        def test_it():
            harness = HookHarness(RecordingHook())
            harness.run(2)
            harness.close()
            assert harness.events == [
                "RecordingHook.begin",
                "RecordingHook.after_create_session step=0",
                "RecordingHook.before_run step=0",
                "RecordingHook.after_run step=1 got=5",
                "RecordingHook.before_run step=1",
                "RecordingHook.after_run step=2",
            ]

        def test_other_lists_are_left_alone():
            assert [1, 2] == [1, 3]
        """,
    )
    result.stdout.fnmatch_lines(
        [
            "E  *two lists of events: - only on the left, + only on the right",
            "E  *from event 0 on the left, 0 on the right:",
            "E  *    RecordingHook.begin",
            "E  *    RecordingHook.before_run step=0",
            "E  *  - RecordingHook.after_run step=1",
            "E  *  + RecordingHook.after_run step=1 got=5",
            "E  *    RecordingHook.before_run step=1",
            "E  *    RecordingHook.after_run step=2",
            "E  *  - RecordingHook.end step=2",
        ],
        consecutive=False,
    )
    result.stdout.fnmatch_lines(["E  *At index 1 diff: 2 != 3"])


def test_it_costs_nothing_until_it_is_used():
    script = (
        "import sys, pytest_runloop; print([m for m in sys.modules if m in {'numpy', 'runloop'}])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
