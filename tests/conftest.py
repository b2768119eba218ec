"""Settings that all tests share.

Hypothesis runs the same examples on every machine, so that a run that was green stays green until the code
changes. To look for new failures, ask for more and random ones: `TCPSTACK_EXAMPLES=5000 tools/test
tests/wire`. A failure prints the line that replays it.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: tests that press it would never end.
signal.signal(signal.SIGINT, signal.default_int_handler)

_examples = os.environ.get("TCPSTACK_EXAMPLES")

settings.register_profile(
    "tcpstack",
    max_examples=int(_examples) if _examples else 100,
    derandomize=not _examples,
    database=None,
    deadline=None,  # no test is bounded by the wall clock
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tcpstack")
