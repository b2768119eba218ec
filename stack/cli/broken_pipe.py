"""Output that nobody reads any more, as in `tcpstack doctor | head -1`. Only the standard library, as `doctor`."""

from __future__ import annotations

import os
import signal
import sys


def unread() -> int:
    """Nobody reads our output, which is no news to anybody: throw away what is left of it; returns the exit status."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return 128 + signal.SIGPIPE
