"""Where scalars go: the protocol of writers, and the writers that come with runloop.

    with JsonLinesWriter("logs") as writer:
        writer.add_scalar("loss", 0.5, 100)     # one line more in logs/metrics.jsonl

Hooks that write take any of them, or one of torch's or tensorboardX's, as ``summary_writer=``.
"""

from runloop.summary.fan_out import FanOutWriter
from runloop.summary.json_lines import JsonLinesWriter, default_writer
from runloop.summary.tensorboard import TensorBoardWriter
from runloop.summary.writer import SummaryWriter

__all__ = [
    "FanOutWriter",
    "JsonLinesWriter",
    "SummaryWriter",
    "TensorBoardWriter",
    "default_writer",
]
