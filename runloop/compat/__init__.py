"""runloop under other libraries' names, for programs written for them.

Here live the names and modules of TensorFlow 1.x, as far as hooks need them (:mod:`runloop.compat.tf`).
The behaviour itself lives in :mod:`runloop.hooks`, :mod:`runloop.monitored` and their neighbours;
nothing there knows this package.
"""
