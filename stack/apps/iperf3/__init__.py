"""Measuring throughput with the protocol of iperf3, as a client and as a server, over any Trio stream."""

from __future__ import annotations

from stack.apps.iperf3.client import Client
from stack.apps.iperf3.flow import Interval
from stack.apps.iperf3.measurement import Limits, Measurement, Observer
from stack.apps.iperf3.protocol import (
    PORT,
    BusyError,
    GoneError,
    Iperf3Error,
    Parameters,
    ProtocolError,
    ServerError,
    TerminatedError,
)
from stack.apps.iperf3.server import Server

__all__ = [
    "PORT",
    "BusyError",
    "Client",
    "GoneError",
    "Interval",
    "Iperf3Error",
    "Limits",
    "Measurement",
    "Observer",
    "Parameters",
    "ProtocolError",
    "Server",
    "ServerError",
    "TerminatedError",
]
