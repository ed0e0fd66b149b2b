"""Processes that contend for one lock: `python contender.py FOLDER ROUNDS SEED DEATHS [slow]`.

Each round is a process made by fork. It tries to take the lock, does its work, and ends in one of
the ways that DEATHS names: `release`, `exit` (without release), `kill` (SIGKILL), `orphan` (SIGKILL,
and a child by fork lives on for a while). While it works it holds a record lock of its own, which
the system drops with the process: if somebody else has that one, two are in there at once.

Prints a JSON object: how many rounds ended in which way, and for each holder between which times it
knows that its lock was current.
"""

import collections
import fcntl
import json
import logging
import os
import random
import signal
import sys
import threading
import time

from runloop.checkpoint.lock import FolderLock
from runloop.errors import CheckpointLockedError, CheckpointWriteError

DONE, REFUSED, NOT_OURS, LOST, TWO_INSIDE = range(5)
OUTCOMES = ["held", "refused", "not ours", "lost", "two inside"]


class Slow(logging.Handler):
    """Every log line takes a while, as on a network disk."""

    def emit(self, record):
        threading.Event().wait(0.002)


def is_alone(inside):
    """Whether nobody else is in there; what drops this lock drops it before the other one."""
    try:
        fcntl.lockf(inside, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_often(lock, rng, log):
    """Note between which times the lock was known to be current; return whether it still is."""
    known = []
    for _ in range(rng.randrange(1, 12)):
        before = time.monotonic_ns()
        if not lock.is_current:
            break
        known += [before, time.monotonic_ns()]
        os.sched_yield()
    if known:
        os.write(log, f"{known[1]} {known[-2]}\n".encode())
    return lock.is_current


def live(folder, rng, death, log):
    """One process; returns its outcome, or never."""
    # Opened before the lock, because a process that dies closes its files in that order.
    inside = os.open(f"{folder}.inside", os.O_RDWR | os.O_CREAT)
    lock = FolderLock(folder)
    try:
        lock.acquire()
    except CheckpointLockedError:
        return REFUSED
    except CheckpointWriteError:
        return NOT_OURS
    outcome = DONE
    if not os.path.exists(f"{folder}.vandal") and not is_alone(inside):
        outcome = TWO_INSIDE
    elif not check_often(lock, rng, log):
        outcome = LOST
    if outcome == DONE and death != "release":
        if death == "exit":
            os._exit(DONE)
        if death == "orphan" and os.fork() == 0:
            threading.Event().wait(rng.random() * 0.02)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(inside)
    lock.release()
    return outcome


def main(folder, rounds, seed, deaths, *options):
    rng = random.Random(int(seed))
    if "slow" in options:
        logging.basicConfig(level=logging.INFO, handlers=[Slow()])
    outcomes = collections.Counter()
    log_name = f"{folder}.log-{seed}"
    log = os.open(log_name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(int(rounds)):
        death = rng.choice(deaths.split(","))
        child_seed = rng.random()
        pid = os.fork()
        if pid == 0:
            try:
                os._exit(live(folder, random.Random(child_seed), death, log))
            finally:
                os._exit(99)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        outcomes["killed" if code == -signal.SIGKILL else OUTCOMES[code]] += 1
    with open(log_name) as file:
        known = [[int(word) for word in line.split()] for line in file]
    print(json.dumps({"outcomes": outcomes, "known": known}))


if __name__ == "__main__":
    main(*sys.argv[1:])
