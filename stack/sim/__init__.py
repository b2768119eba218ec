"""Worlds in virtual time: hosts, paths and applications of which nothing sleeps and everything can be repeated.

The ten lines at the head of `stack.sim.world` show how; `docs/sim.md` tells the rest.
"""

from __future__ import annotations

from stack.path.config import PathConfig, path_config
from stack.sim.apps import App, Bulk, Echo, OnOff, Request, Respond, Service, Sink, SlowReader
from stack.sim.errors import NotDone, SimulationError
from stack.sim.ladder import Ladders
from stack.sim.nodes import Conduit, Router, SimHost
from stack.sim.trace import Observer, Tape
from stack.sim.world import World

__all__ = [
    "App",
    "Bulk",
    "Conduit",
    "Echo",
    "Ladders",
    "NotDone",
    "Observer",
    "OnOff",
    "PathConfig",
    "Request",
    "Respond",
    "Router",
    "Service",
    "SimHost",
    "SimulationError",
    "Sink",
    "SlowReader",
    "Tape",
    "World",
    "path_config",
]
