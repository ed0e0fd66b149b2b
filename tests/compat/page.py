"""Writes the list of deliberate differences into docs/from-tensorflow.md.

python -m tests.compat.page
"""

import re
import textwrap
from pathlib import Path

from tests.conformance.differences import DIFFERENCES

PATH = Path(__file__).parents[2] / "docs" / "from-tensorflow.md"
# The list, between the introduction of its section and the next mark.
LIST = re.compile(r"(<!-- differences -->.*?\n\n.*?\n\n)(- .*?)(\n\n<!-- files -->)", re.DOTALL)


def wanted():
    """The list as it must be."""
    items = (f"- **{d.name[0].upper()}{d.name[1:]}.** {d.reason}" for d in DIFFERENCES)
    wrap = textwrap.TextWrapper(118, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(map(wrap.fill, items))


def main():
    text = PATH.read_text("utf-8")
    PATH.write_text(LIST.sub(lambda match: match[1] + wanted() + match[3], text), "utf-8")


if __name__ == "__main__":
    main()
