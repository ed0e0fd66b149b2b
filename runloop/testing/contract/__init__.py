"""The contract fuzzer: runs a hook in random programs and checks what every hook must do.

Strategies for other tests live in ``runloop.testing.strategies``; doubles for single cases, in
``runloop.testing``.
"""

from runloop.testing.contract.contract import assert_hook_contract

__all__ = ["assert_hook_contract"]
