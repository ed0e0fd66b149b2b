"""``Loop``: the lifecycle of a monitored session around an ordinary ``for`` loop.

``loop`` is what a program sees; ``run`` what happens between entering and leaving, with ``iteration``
and ``passes``; ``positions``, ``sources`` and ``coming_back`` how a restart goes on; ``state``,
``session``, ``plan`` and ``creator`` what hooks and checkpoints see.
"""

from runloop.monitored.loop.loop import Loop

__all__ = ["Loop"]
