"""The fuzzer of hooks: random programs, run with a hook, compared with what every hook owes.

The strategies that draw the programs live in ``runloop.testing.strategies``.
"""

from runloop.testing.contract.contract import assert_hook_contract

__all__ = ["assert_hook_contract"]
