"""How one run is worked out: from names to an ordered list of calls, made once and kept.

Here live the planner, the plan and the values that a session owns. What names stand for is
declared in ``runloop.graph``; ``runloop.session`` keeps the plans and executes them.
"""

from runloop.plan.plan import Plan
from runloop.plan.planner import make_plan
from runloop.plan.values import SessionValues

__all__ = ["Plan", "SessionValues", "make_plan"]
