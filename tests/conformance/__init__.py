"""The conformance suite: one set of stories, told by TensorFlow once and by runloop at every test.

A *scenario* is a plain function that drives a loop through the neutral interface of
``interface.py`` and leaves a trace: a list of lines, one per thing that happened. TensorFlow's
traces are kept as JSON under ``golden/`` (``python -m tests.conformance.record`` renews them where
TensorFlow is installed); ``test_conformance.py`` tells the same stories with runloop and compares
the traces whole. What runloop does otherwise on purpose stands in ``differences.py``, with its
reason and with the trace that is expected instead.

    collect.py      the decorator that makes a function a scenario, and the search for them
    interface.py    what a back end provides, and what a program is made of
    trace.py        the lines of a trace and how values are written in them
    story.py        what a scenario is handed: it drives sessions and writes the trace
    recorders.py    hooks and listeners that follow a script and write down every call
    scenarios/      the hand-written scenarios, grouped by subject
    generator.py    random programs, as JSON-able descriptions, from a seed
    interpreter.py  the one function that carries out such a description
    *_backend.py    the two back ends
"""
