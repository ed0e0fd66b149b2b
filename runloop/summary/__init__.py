"""Summary writers: the protocol, JSON Lines, TensorBoard, and a fan-out.

    with JsonLinesWriter("logs") as writer:
        writer.add_scalar("loss", 0.5, 100)     # appends a line to logs/metrics.jsonl

Hooks take any of them as ``summary_writer=``, or a writer of torch or tensorboardX. Which scalars
are written, and when, is decided by hooks in ``runloop.hooks``, not here.
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
