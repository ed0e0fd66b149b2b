"""Threads whose interleaving a test decides: one runs at a time, up to its next yield point.

    schedule = Schedule(choose)           # choose(n) says which of n threads goes on
    schedule.spawn(function)
    schedule.run()                        # until all are done; a deadlock is an AssertionError

`Schedule.threading` stands in for the module `threading` in the code under test: its locks and
threads are yield points, and so is every call of `pause`.
"""

import threading
from types import SimpleNamespace


class Stopped(BaseException):
    """Ends a thread whose schedule was given up."""


class Task:
    def __init__(self, function):
        self.function = function
        self.go = threading.Semaphore(0)
        self.until = None  # runnable when this returns true
        self.finished = False
        self.error = None
        self.thread = None


class Schedule:
    def __init__(self, choose):
        self._choose = choose
        self._control = threading.Semaphore(0)
        self._tasks = []
        self._current = threading.local()
        self._given_up = False
        self.threading = SimpleNamespace(
            Thread=lambda target, name="": Thread(self, target),
            Lock=lambda: Lock(self),
            RLock=lambda: Lock(self),
            get_ident=threading.get_ident,
        )

    def spawn(self, function):
        task = Task(function)

        def run():
            self._current.task = task
            task.go.acquire()
            try:
                if not self._given_up:
                    function()
            except Stopped:
                pass
            except BaseException as exc:
                task.error = exc
            task.finished = True
            self._control.release()

        task.thread = threading.Thread(target=run, daemon=True)
        task.thread.start()
        self._tasks.append(task)
        return task

    def pause(self, until=None):
        """A yield point; with `until`, the thread goes on only once that is true."""
        task = getattr(self._current, "task", None)
        if task is None:  # not a thread of the schedule: the test itself, before and after
            assert until is None or until()
            return
        if self._given_up:  # cleaning up
            raise Stopped
        task.until = until
        self._control.release()
        task.go.acquire()
        if self._given_up:
            raise Stopped

    @property
    def current(self):
        return getattr(self._current, "task", None)

    def run(self):
        """Run all tasks to their ends, and return their errors."""
        try:
            while waiting := [task for task in self._tasks if not task.finished]:
                ready = [task for task in waiting if task.until is None or task.until()]
                assert ready, f"deadlock: {len(waiting)} threads wait for each other"
                ready[self._choose(len(ready)) if len(ready) > 1 else 0].go.release()
                self._control.acquire()
        finally:
            self._given_up = True
            for task in self._tasks:
                task.go.release()
            for task in self._tasks:
                task.thread.join(30)
        return [task.error for task in self._tasks if task.error is not None]


class Thread:
    def __init__(self, schedule, target):
        self._schedule, self._target, self._task = schedule, target, None

    @property
    def ident(self):
        return None if self._task is None else 1

    def start(self):
        self._task = self._schedule.spawn(self._target)
        self._schedule.pause()

    def join(self, timeout=None):
        self._schedule.pause(lambda: self._task.finished)

    def is_alive(self):
        return self._task is not None and not self._task.finished


class Lock:
    """Both kinds: reentrant for its owner, as no code under test takes a plain lock twice."""

    def __init__(self, schedule):
        self._schedule, self._owner, self._count = schedule, None, 0

    def acquire(self, blocking=True):
        me = self._schedule.current or "the test"
        if self._owner is not None and self._owner is not me and not blocking:
            return False
        self._schedule.pause(lambda: self._owner is None or self._owner is me)
        self._owner, self._count = me, self._count + 1
        return True

    def release(self):
        self._count -= 1
        if not self._count:
            self._owner = None

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exc_info):
        self.release()
