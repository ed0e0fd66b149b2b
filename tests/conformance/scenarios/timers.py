"""``SecondOrStepTimer`` and ``NeverTriggerTimer`` alone."""

from tests.conformance.collect import scenario

STEPS = [0, 0, 1, 2, 3, 4, 7, 6, 5, 10, 10, 11]


def _drive(s, timer, moves):
    """Ask at each (step, secs passed); mark where it fires."""
    for step, secs in moves:
        s.clock.advance(secs)
        fires = timer.should_trigger_for_step(step)
        marked = timer.update_last_triggered_step(step) if fires else None
        s.show(f"step {step} +{secs}", [fires, marked, timer.last_triggered_step()])


@scenario(every=[0, 1, 3, 100])
def by_steps(s, every):
    with s.building():
        timer = s.train.SecondOrStepTimer(every_steps=every)
        s.show("at first", timer.last_triggered_step())
        _drive(s, timer, [(step, 0.5) for step in STEPS])


@scenario(every=[0, 1, 2.5, 100])
def by_seconds(s, every):
    with s.building():
        timer = s.train.SecondOrStepTimer(every_secs=every)
        waits = [0, 1, 1, 1, 0.5, 0.5, 10, 0, 2.5, 2.5, 100, 0.25]
        _drive(s, timer, list(zip(range(12), waits, strict=True)))


@scenario()
def the_same_step_never_fires_twice(s):
    with s.building():
        timer = s.train.SecondOrStepTimer(every_secs=1)
        _drive(s, timer, [(4, 0), (4, 100), (4, 100), (5, 0)])


@scenario()
def reset_forgets(s):
    with s.building():
        timer = s.train.SecondOrStepTimer(every_steps=5)
        _drive(s, timer, [(0, 0), (3, 0)])
        timer.reset()
        s.show("after reset", timer.last_triggered_step())
        _drive(s, timer, [(3, 0), (4, 0), (8, 0)])


@scenario()
def updated_without_asking(s):
    with s.building():
        timer = s.train.SecondOrStepTimer(every_steps=5)
        s.show("first", timer.update_last_triggered_step(2))
        s.clock.advance(3.0)
        s.show("second", timer.update_last_triggered_step(4))
        _drive(s, timer, [(8, 0), (9, 0)])


@scenario()
def never(s):
    with s.building():
        timer = s.train.NeverTriggerTimer()
        s.show("fires", [timer.should_trigger_for_step(n) for n in (0, 1, 1000)])
        s.show("update", timer.update_last_triggered_step(7))
        s.show("last", timer.last_triggered_step())
        s.show("reset", timer.reset())
