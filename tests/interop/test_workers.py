"""Four workers, 64 connections of the kernel's, and one worker that is killed: only its own connections die.

Which worker has which connection is read from their captures. 16 connections are silent for longer than the kernel
remembers which queue a flow was last answered on (TUN_FLOW_EXPIRE, 3 s); the others talk meanwhile.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from stack.wire import ip, pcapng
from tests.cli.programs import Server, Wire, finish, wire
from tests.interop import expert

__all__ = ["wire"]

WORKERS, EACH, IDLE_EACH = 4, 16, 4
SILENCE = 5  #: Seconds.
VICTIM = 2
ECHO = 7

Endpoint = tuple[bytes, int]


class Flow:
    """A connection of the kernel's to the echo service, and how often it was used."""

    def __init__(self, address: str, opened: ExitStack) -> None:
        self.sock = opened.enter_context(socket.create_connection((address, ECHO)))
        name = self.sock.getsockname()
        self.endpoint: Endpoint = (socket.inet_pton(self.sock.family, name[0]), name[1])
        self.said = 0

    def talk(self) -> None:
        """Something there and the same back."""
        self.said += 1
        message = f"{self.endpoint[1]} says {self.said:10}".encode()
        self.sock.sendall(message)
        heard = b""
        while len(heard) < len(message):
            part = self.sock.recv(len(message) - len(heard))
            assert part, "the end of the connection"
            heard += part
        assert heard == message

    def finish(self) -> None:
        """Close it in order."""
        self.sock.shutdown(socket.SHUT_WR)
        assert self.sock.recv(1) == b""
        self.sock.close()


class Captures:
    """What the workers note of the packets on their queues."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def option(self) -> tuple[str, str]:
        return "--pcap", str(self.folder / "echo.pcapng")

    def homes(self) -> dict[Endpoint, set[str]]:
        """By the peer's endpoint, the processes that had anything of it: "w1", or "w2-2" for a replacement."""
        found: dict[Endpoint, set[str]] = {}
        for path in self.folder.glob("echo.*.pcapng"):
            for endpoint in _peers(path):
                found.setdefault(endpoint, set()).add(path.suffixes[0][1:])
        return found

    def only_home(self, flow: Flow) -> str:
        [home] = self.homes()[flow.endpoint]
        return home


def _peers(path: Path) -> set[Endpoint]:
    found = set()
    with suppress(ValueError):  # it is being written: the last block may be cut
        for block in pcapng.read(path.read_bytes()):
            if isinstance(block, pcapng.CapturedPacket):
                header = ip.decode(block.data)
                if header.protocol == ip.PROTO_TCP:
                    port = int.from_bytes(block.data[header.start + 2 * bool(block.outbound) :][:2], "big")
                    found.add((header.dst if block.outbound else header.src, port))
    return found


def connect_evenly(wire: Wire, captures: Captures, opened: ExitStack) -> dict[int, list[Flow]]:
    """By worker, `EACH` connections, of both families by turns; what is too much is closed again."""
    flows: dict[int, list[Flow]] = {number: [] for number in range(1, WORKERS + 1)}
    addresses = itertools.cycle((wire.ours, wire.ours6))
    while any(len(own) < EACH for own in flows.values()):
        fresh = [Flow(next(addresses), opened) for _ in range(EACH)]
        for flow in fresh:
            flow.talk()
        homes = captures.homes()
        for flow in fresh:
            [home] = homes[flow.endpoint]
            own = flows[int(home[1:])]
            if len(own) < EACH:
                own.append(flow)
            else:
                flow.finish()
    return flows


def kill(server: Server, number: int) -> None:
    """And wait until another process serves in its place."""
    os.kill(server.listening["pids"][number - 1], signal.SIGKILL)
    while server.event("worker")["state"] != "serving":
        pass


def test_a_worker_that_dies_takes_only_its_own_connections_with_it(wire: Wire, tmp_path: Path) -> None:
    captures = Captures(tmp_path)
    with ExitStack() as opened, wire.serving("echo", "--workers", str(WORKERS), *captures.option()) as server:
        flows = connect_evenly(wire, captures, opened)
        idle = [flow for own in flows.values() for flow in own[:IDLE_EACH]]
        active = [flow for own in flows.values() for flow in own[IDLE_EACH:]]
        assert {flow.sock.family for flow in idle} == {socket.AF_INET, socket.AF_INET6}
        for _ in range(SILENCE):
            assert select.select([flow.sock for flow in idle], [], [], 1.0)[0] == []
            for flow in active:
                flow.talk()

        kill(server, VICTIM)
        for number, own in flows.items():
            for flow in own:
                if number == VICTIM:
                    with pytest.raises(ConnectionResetError):
                        flow.talk()
                else:
                    flow.talk()

        newcomers = connect_until_all_served(wire, captures, opened)
        for flow in [*newcomers, *(flow for number, own in flows.items() if number != VICTIM for flow in own)]:
            flow.talk()
            flow.finish()
            server.event("closed")  # or the pipe fills, and who writes into it stands still
        server.process.send_signal(signal.SIGINT)
        status, _, errors = finish(server.process)
        assert (status, errors) == (130, "")

    for path in tmp_path.glob("echo.*.pcapng"):
        if path.suffixes[0] != f".w{VICTIM}":  # whose capture may end within a block
            assert not expert.ill_formed(path, ours=False)
    homes = captures.homes()
    for number, own in flows.items():
        expected = {f"w{number}", f"w{number}-2"} if number == VICTIM else {f"w{number}"}
        for flow in own:
            assert homes[flow.endpoint] == expected


def connect_until_all_served(wire: Wire, captures: Captures, opened: ExitStack) -> list[Flow]:
    """New connections, until each process that is alive has one."""
    flows = []
    missing = {f"w{number}" for number in range(1, WORKERS + 1) if number != VICTIM} | {f"w{VICTIM}-2"}
    while missing:
        flows.append(Flow(wire.ours, opened))
        flows[-1].talk()
        missing.discard(captures.only_home(flows[-1]))
    return flows
