"""From names to an ordered list of calls: what one run does, planned once and kept.

This package holds the planner, the plan and the values of one session. The graph that names refer
to is in ``runloop.graph``; ``runloop.session`` keeps the plans and executes them.
"""

from runloop.plan.plan import Plan
from runloop.plan.planner import make_plan
from runloop.plan.values import SessionValues

__all__ = ["Plan", "SessionValues", "make_plan"]
