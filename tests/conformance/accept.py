"""Keep runloop's traces of the scenarios that ``differences.py`` names.

``python -m tests.conformance.accept`` prints each of them as a diff against TensorFlow's trace, to
be read before it is committed, and refuses what no named difference explains.
"""

import itertools
import sys

from . import golden, suite
from .runloop_backend import RunloopBackend
from .story import tell


def main() -> int:
    """Renew ``golden/differences.json``."""
    backend = RunloopBackend()
    traces, refused = {}, 0
    for case in itertools.chain(suite.written(), suite.random()):
        if not case.differences:
            continue
        trace = tell(backend, case.tell)
        print(suite.diff(case.name, case.golden, trace, ("TensorFlow", "runloop")))
        lines = suite.unexplained(case, trace)
        if lines:
            refused += 1
            print("NOT EXPLAINED:", *lines, sep="\n")
        traces[case.name] = trace
    if refused:
        print(f"{refused} traces have lines that no difference explains: nothing is written")
        return 1
    golden.write_differences(traces)
    return 0


if __name__ == "__main__":
    sys.exit(main())
