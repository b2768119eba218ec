"""What a figure depends on beside the stack: the machine, its kernel, its Python, and who else is using it."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path
from typing import Any

BUSY = 0.5  #: Load average above which others are using the machine.


def cores() -> tuple[int, int]:
    """For the contender and for its peer; the same one twice where there is only one."""
    first, *others = sorted(os.sched_getaffinity(0))
    return first, others[0] if others else first


def allow_files(number: int) -> int:
    """Let this process and its children have so many files open, as far as that goes; returns how many they may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < number:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
        except (OSError, ValueError):
            number = most
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, max(number, most)))
    return number


def facts() -> dict[str, Any]:
    """For JSON and for the table's title."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": round(os.getloadavg()[0], 2),
    }


def notes() -> list[str]:
    """What makes the figures worth less here and now."""
    said = []
    load, mine = os.getloadavg()[0], cores()
    if mine[0] == mine[1]:
        said.append("there is one core: both sides share it, and no figure is worth much")
    if load > BUSY:
        said.append(f"the machine is busy with other things: its load average is {load:.1f}")
    return said


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
