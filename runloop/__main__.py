"""``python -m runloop``: see ``runloop.cli``."""

from __future__ import annotations

import sys

from runloop.cli import main

if __name__ == "__main__":
    sys.exit(main())
