"""That a burst of super-frames finds the memory of the last one: page faults tell, those of a fresh process."""

from __future__ import annotations

import subprocess
import sys

PAGES = 64 * 16  #: What one burst fills.

PROGRAM = """
import resource
from stack.link import warm
for _ in range(2):
    warm.keep_memory_warm()
def burst():
    frames = [bytearray(65_536) for _ in range(64)]
burst()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    burst()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_the_next_burst_finds_the_memory_of_the_last() -> None:
    """Ten bursts without that would take ten times `PAGES` faults, where pages are of 4 KiB."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) < PAGES
