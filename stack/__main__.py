"""`python -m stack` is the command `tcpstack`."""

from __future__ import annotations

import sys

from stack.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
