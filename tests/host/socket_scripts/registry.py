"""The scripts of calls, by name."""

from __future__ import annotations

from tests.host.socket_machines import Script

SCRIPTS: dict[str, Script] = {}


def script(function: Script) -> Script:
    """Add one."""
    SCRIPTS[function.__name__] = function
    return function
