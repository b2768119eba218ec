"""What a figure depends on beside the stack: the machine, its kernel, its Python, and who else is using it."""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

BUSY = 0.2  #: CPUs' worth of time above which others are using the machine,
LOOK = 0.5  #: and the seconds for which that is looked at.

STAT = Path("/proc/stat")
CPUS = Path("/sys/devices/system/cpu")


def cores() -> tuple[int, int]:
    """For the contender and for its peer; the same one twice where there is only one.

    Two threads of one core slow each other down, so they are taken only where there is nothing else.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    siblings = _siblings(first)
    apart = [core for core in others if core not in siblings]
    return first, (apart or others or [first])[0]


def _siblings(cpu: int) -> set[int]:
    """The threads of its core, as far as the kernel tells: it writes 0,4 or 0-1."""
    try:
        text = (CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return {cpu}
    spans = [part.partition("-") for part in text.strip().split(",") if part]
    return {number for low, _, high in spans for number in range(int(low), int(high or low) + 1)}


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
    (first, second), number, used = cores(), len(os.sched_getaffinity(0)), busy()
    if first == second:
        said.append("there is one core: both sides share it, and no figure is worth much")
    elif second in _siblings(first):
        said.append("both sides run on threads of one core, which slow each other down")
    if used > BUSY:
        said.append(f"the machine is busy with other things: they use {used:.1f} of {number} CPUs")
    return said


def busy(seconds: float = LOOK) -> float:
    """How many CPUs, of those that we may use, are used now, for so long as we do nothing ourselves.

    The load average would not do: for minutes it tells of samples that we took ourselves.
    """
    used_before, all_before = _ticks()
    time.sleep(seconds)
    used, all_ = _ticks()
    return len(os.sched_getaffinity(0)) * (used - used_before) / (all_ - all_before) if all_ > all_before else 0.0


def _ticks() -> tuple[int, int]:
    """That our CPUs have spent on something, and on anything or nothing. What a hypervisor took counts as used."""
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    try:
        lines = [line.split() for line in STAT.read_text(encoding="ascii").splitlines()]
    except OSError:
        return 0, 0
    counts = [[int(word) for word in words[1:9]] for words in lines if words and words[0] in mine]  # then come guests'
    return sum(sum(each) - each[3] - each[4] for each in counts), sum(map(sum, counts))  # idle, and waiting for a disk


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
