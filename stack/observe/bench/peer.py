"""Kernel sockets at the other end of the wire, and the clock by which everybody is measured.

    unshare --net -- python peer.py CONTROL

obeys what it is asked over the socket CONTROL, a JSON object a message, and ends when that ends. It answers
{"error": TEXT} to what went wrong. As a client it makes the connections and measures (`do_bulk`, `do_ping_pong`,
`do_busy`, `do_connections`, `do_open`, `do_rounds`); as the contender `forward` it is the server at the far end
(`do_serve`).

Bytes to the contender count when they are acknowledged, bytes from it when they are read. `pid` names the process whose
CPU time is wanted; its clock is the kernel's, in nanoseconds. Measuring begins after `warm` seconds and goes on until
there is something to tell, however long the machine does something else. Nothing here may cost much: it runs on one
core, and what it costs is missing from the figure.

Only the standard library, and no module of ours: it is started for each sample.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

PORT = 5001
BLOCK = 256 << 10  #: Octets for a system call.
LITTLE = 64 << 10  #: The same where many things take turns,
MANY = 128 << 10  #: and where it is bulk that does, as with `iperf3 -P`.
REQUEST = RESPONSE = 100  #: Octets in `do_connections`; as in tools/ceilings/connections.c.
MESSAGE = 100  #: Octets in `do_rounds`.
A_LITTLE = 0.01  #: Seconds more, when nothing has happened in those asked for.
PATIENCE = 20.0  #: Seconds that a socket may stand still.
_BYTES_ACKED = 120  # where tcp_info has it, a u64 (<linux/tcp.h>)


class Meter:
    """Bytes, packets and somebody's CPU time, between two moments."""

    def __init__(self, pid: int) -> None:
        self._clock = (~pid << 3) | 2  # CPUCLOCK_SCHED, as clock_getcpuclockid(3) makes it
        self.begin()

    def begin(self) -> None:
        self._cpu = time.clock_gettime_ns(self._clock)
        self._time = time.monotonic_ns()
        self._packets = packets()

    def read(self) -> dict[str, Any]:
        seconds = (time.monotonic_ns() - self._time) / 1e9
        cpu = (time.clock_gettime_ns(self._clock) - self._cpu) / 1e9
        return {"seconds": seconds, "cpu": cpu, "packets": packets() - self._packets}


def packets() -> int:
    """Through all devices of this namespace, both ways."""
    lines = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()[2:]
    fields = [line.split(":")[1].split() for line in lines]
    return sum(int(counts[1]) + int(counts[9]) for counts in fields)


class Peer:
    """What is asked for over the control socket."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.open: list[socket.socket] = []

    def obey(self) -> None:
        """Until nobody asks any more."""
        while message := self.control.recv(1 << 16):
            asked = json.loads(message)
            try:
                answer = getattr(self, "do_" + asked.pop("do"))(**asked)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                answer = {"error": f"the kernel's sockets: {error}"}
            self.control.send(json.dumps(answer).encode())

    # The client. ------------------------------------------------------------------------------------------------

    def do_bulk(
        self, address: str, way: str, warm: float, seconds: float, pid: int, at_once: int = 1
    ) -> dict[str, Any]:
        """As much as goes: `out` from here, `in` to here, or `both`; or the first two over several connections."""
        flow = Flow(connect(address)) if at_once == 1 else Flows(open_bulk(address, way, at_once, MANY))
        flow.move(way, warm)
        before, meter = flow.count(), Meter(pid)
        flow.move(way, seconds)
        while flow.count() == before:
            flow.move(way, A_LITTLE)
        return {"bytes": flow.count() - before, **meter.read()}

    def do_ping_pong(self, address: str, warm: float, seconds: float, pid: int) -> dict[str, Any]:
        """An octet there and back, again and again; `p50` and `p99` in seconds."""
        with connect(address) as sock:
            ping_pong(sock, warm)
            meter = Meter(pid)
            took = sorted(ping_pong(sock, seconds))
        return {"count": len(took), **percentiles(took), **meter.read()}

    def do_busy(self, address: str, way: str, beside: int, warm: float, seconds: float, pid: int) -> dict[str, Any]:
        """The same while `beside` bulk flows go `out` from here or `in` to here. One loop, so that it is not the
        scheduler of this machine who says when the octet's turn has come."""
        bulk = open_bulk(address, way, beside)
        sock = connect(address)
        busy_ping_pong(sock, bulk, way, warm)
        before, meter = sum(flow.count() for flow in bulk), Meter(pid)
        took = sorted(busy_ping_pong(sock, bulk, way, seconds))
        answer = {**percentiles(took), "count": len(took), "bytes": sum(flow.count() for flow in bulk) - before}
        return {**answer, **meter.read()}

    def do_connections(
        self, address: str, at_once: int, warm: float, seconds: float, pid: int, helper: str
    ) -> dict[str, Any]:
        """Connect, request, response, close; `at_once` of them at any time. `helper` is connections.c, compiled."""
        if helper:
            command = [helper, "client", address, str(PORT), str(at_once), str(warm), str(seconds)]
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=PATIENCE + warm + seconds, check=False
            )
            if ran.returncode:
                raise RuntimeError(ran.stderr.strip() or f"status {ran.returncode}")
            said = ran.stdout.split()
            return {"count": int(said[0]), "seconds": float(said[1])}
        many_connections(address, at_once, warm)
        meter = Meter(pid)
        count = many_connections(address, at_once, seconds)
        return {"count": count, **meter.read()}

    def do_open(self, address: str, number: int, size: int) -> dict[str, Any]:
        """Have so many connections open; over each new one `size` octets go there and back."""
        while len(self.open) < number:
            sock = connect(address)
            self.open.append(sock)
            sock.sendall(bytes(size))
            receive_all(sock, size)
        return {}

    def do_rounds(self, under_way: int, warm: float, seconds: float, pid: int) -> dict[str, Any]:
        """Messages there and back over the open connections in turn, `under_way` of them at any time."""
        socks = round_robin(self.open)
        waiting: deque[socket.socket] = deque()
        for _ in range(min(under_way, len(self.open))):
            sock = next(socks)
            sock.sendall(bytes(MESSAGE))
            waiting.append(sock)
        self._rounds(waiting, socks, warm)
        meter = Meter(pid)
        count = self._rounds(waiting, socks, seconds)
        answer = {"count": count, **meter.read()}
        while waiting:
            receive_all(waiting.popleft(), MESSAGE)
        return answer

    def _rounds(self, waiting: deque[socket.socket], socks: Iterator[socket.socket], seconds: float) -> int:
        message, end, count = bytes(MESSAGE), time.monotonic() + seconds, 0
        while time.monotonic() < end or not count:
            sock = waiting.popleft()
            receive_all(sock, MESSAGE)
            # Now, and not with the next message, which is late where there are many flows: so a round has three packets
            # at any number of them.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            sock = next(socks)
            sock.send(message)
            waiting.append(sock)
            count += 1
        return count

    def do_idle(self, seconds: float, pid: int) -> dict[str, Any]:
        """Nothing."""
        meter = Meter(pid)
        time.sleep(seconds)
        return meter.read()

    # The server. ------------------------------------------------------------------------------------------------

    def do_serve(self, what: str, helper: str) -> dict[str, Any]:
        """Listen, then be a `sink`, a `source`, `both`, an `echo`, or `respond` to many, or `mixed` for several;
        answers when it listens.

        Does not come back.
        """
        if what == "respond" and helper:
            os.dup2(self.control.fileno(), 1)  # its first line is the answer, and all that it says
            os.execv(helper, [helper, "server", "0.0.0.0", str(PORT)])
        listener = socket.create_server(("0.0.0.0", PORT), backlog=4096)
        self.control.send(b"{}")
        if what in ("respond", "mixed"):
            {"respond": respond, "mixed": mixed}[what](listener)
        sock, _ = listener.accept()
        tune(sock)
        if what == "echo":
            while data := sock.recv(BLOCK):
                sock.sendall(data)
        flow = Flow(sock)
        while True:
            flow.move({"sink": "in", "source": "out", "both": "both"}[what], 3600.0)


class Flow:
    """Bulk over one connection."""

    def __init__(self, sock: socket.socket, little: int = LITTLE) -> None:
        self.sock = sock
        self.received = 0
        self._block = bytes(BLOCK)
        self._little = self._block[:little]
        self._room = bytearray(BLOCK)

    def count(self) -> int:
        """Octets read, and those acknowledged."""
        info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        acknowledged: int = struct.unpack_from("=Q", info, _BYTES_ACKED)[0]
        return self.received + acknowledged

    def move(self, way: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        {"out": self._send, "in": self._receive, "both": self._both}[way](end)

    def move_a_little(self, way: str) -> int:
        """What one call takes, of a socket that does not block."""
        if way == "out":
            return self.sock.send(self._little)
        size = self.sock.recv_into(self._room, len(self._little))
        self.received += size
        return size

    def _send(self, end: float) -> None:
        send, block, clock = self.sock.send, self._block, time.monotonic
        while clock() < end:
            send(block)

    def _receive(self, end: float) -> None:
        receive, room, clock = self.sock.recv_into, self._room, time.monotonic
        while clock() < end:
            size = receive(room)
            if not size:
                raise ConnectionResetError("the connection has ended early")
            self.received += size

    def _both(self, end: float) -> None:
        poller = select.poll()
        poller.register(self.sock, select.POLLIN | select.POLLOUT)
        self.sock.setblocking(False)
        while time.monotonic() < end:
            [(_, events)] = poller.poll(1000 * PATIENCE) or [(0, 0)]
            if not events:
                raise TimeoutError("timed out")
            with suppress(BlockingIOError):
                if events & select.POLLIN:
                    self.received += self.sock.recv_into(self._room)
                if events & select.POLLOUT:
                    self.sock.send(self._block)
        self.sock.settimeout(PATIENCE)


class Flows:
    """Bulk over several connections, in one loop, as `iperf3 -P` has it."""

    def __init__(self, flows: list[Flow]) -> None:
        self._flows = {flow.sock.fileno(): flow for flow in flows}

    def count(self) -> int:
        """Octets read, and those acknowledged."""
        return sum(flow.count() for flow in self._flows.values())

    def move(self, way: str, seconds: float) -> None:
        """All that are ready, in turn."""
        end = time.monotonic() + seconds
        poller = select.poll()
        for fd in self._flows:
            poller.register(fd, select.POLLOUT if way == "out" else select.POLLIN)
        while time.monotonic() < end:
            for fd, _ in poller.poll(1000 * PATIENCE) or [(-1, 0)]:
                if fd < 0:
                    raise TimeoutError("timed out")
                with suppress(BlockingIOError):
                    self._flows[fd].move_a_little(way)


def open_bulk(address: str, way: str, number: int, little: int = LITTLE) -> list[Flow]:
    """So many connections to the service `mixed`, which are told that they are for bulk; none of them blocks."""
    bulk = [Flow(connect(address), little) for _ in range(number)]
    for flow in bulk:
        flow.sock.sendall(b"out" if way == "out" else b"in")
        flow.sock.setblocking(False)
    return bulk


def connect(address: str) -> socket.socket:
    sock = socket.create_connection((address, PORT), timeout=PATIENCE)
    tune(sock)
    return sock


def tune(sock: socket.socket) -> None:
    """No waiting for more; and a time limit that, unlike `settimeout`, costs no `poll` before each call."""
    sock.setblocking(True)
    limit = struct.pack("@ll", int(PATIENCE), 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def ping_pong(sock: socket.socket, seconds: float) -> list[int]:
    """How long each took, in nanoseconds."""
    took: list[int] = []
    clock, send, receive, note = time.monotonic_ns, sock.send, sock.recv, took.append
    time_now = clock()
    end = time_now + int(seconds * 1e9)
    while time_now < end or not took:
        send(b"x")
        if not receive(1):
            raise ConnectionResetError("the connection has ended early")
        before, time_now = time_now, clock()
        note(time_now - before)
    return took


def busy_ping_pong(sock: socket.socket, bulk: list[Flow], way: str, seconds: float) -> list[int]:
    """The same, and in between `bulk` is served a little, as it can be. At the end no octet is under way."""
    took: list[int] = []
    flows = {flow.sock.fileno(): flow for flow in bulk}
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    for flow in bulk:
        poller.register(flow.sock, select.POLLOUT if way == "out" else select.POLLIN)
    end = time.monotonic_ns() + int(seconds * 1e9)
    sent = time.monotonic_ns()
    sock.send(b"x")
    while True:
        for fd, _ in poller.poll(1000 * PATIENCE) or [(-1, 0)]:
            if fd in flows:
                with suppress(BlockingIOError):
                    flows[fd].move_a_little(way)
            elif fd < 0 or not sock.recv(1):
                raise ConnectionResetError("the connection has ended early")
            else:
                before, sent = sent, time.monotonic_ns()
                took.append(sent - before)
                if sent >= end:
                    return took
                sock.send(b"x")


def percentiles(took: list[int]) -> dict[str, float]:
    """Of sorted nanoseconds, in seconds."""
    return {name: took[len(took) * part // 100] / 1e9 for name, part in (("p50", 50), ("p99", 99))}


def many_connections(address: str, at_once: int, seconds: float) -> int:
    """What connections.c does."""
    poller, end, count = select.epoll(), time.monotonic() + seconds, 0
    socks: dict[int, socket.socket] = {}

    def begin() -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex((address, PORT))
        socks[sock.fileno()] = sock
        poller.register(sock, select.EPOLLOUT)

    for _ in range(at_once):
        begin()
    while time.monotonic() < end or not count:
        ready = poller.poll(PATIENCE)
        if not ready:
            raise TimeoutError("timed out")
        for fd, events in ready:
            if events & select.EPOLLOUT:
                socks[fd].send(bytes(REQUEST))
                poller.modify(fd, select.EPOLLIN)
            elif len(socks[fd].recv(RESPONSE)) == RESPONSE:
                socks.pop(fd).close()
                count += 1
                begin()
            else:
                raise ConnectionResetError("the connection has ended early")
    for sock in socks.values():
        sock.close()
    return count


def respond(listener: socket.socket) -> None:
    """The server of `many_connections`."""
    poller = select.epoll()
    socks: dict[int, socket.socket] = {}
    listener.setblocking(False)
    poller.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in poller.poll():
            if fd == listener.fileno():
                with suppress(BlockingIOError):
                    sock, _ = listener.accept()
                    socks[sock.fileno()] = sock
                    poller.register(sock, select.EPOLLIN)
            elif not answered(socks[fd]):
                socks.pop(fd).close()


def answered(sock: socket.socket) -> bool:
    """Whether there was a request to answer, and not the connection's end; at the end of a sample that is a reset."""
    try:
        return bool(sock.recv(REQUEST) and sock.send(bytes(RESPONSE)))
    except OSError:
        return False


def mixed(listener: socket.socket) -> None:
    """The server of `busy_ping_pong`: a connection's first message says what it is for."""
    poller = select.poll()
    flows: dict[int, Flow] = {}
    sources: set[int] = set()
    listener.setblocking(False)
    poller.register(listener, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            with suppress(BlockingIOError):
                if fd == listener.fileno():
                    sock, _ = listener.accept()
                    tune(sock)
                    sock.setblocking(False)
                    flows[sock.fileno()] = Flow(sock)
                    poller.register(sock, select.POLLIN)
                elif fd in sources:
                    flows[fd].move_a_little("out")
                elif (size := flows[fd].move_a_little("in")) == len(b"x"):
                    flows[fd].sock.send(b"x")
                elif size == len(b"in"):
                    sources.add(fd)
                    poller.modify(fd, select.POLLOUT)
                elif not size:
                    poller.unregister(fd)
                    flows.pop(fd).sock.close()


def receive_all(sock: socket.socket, size: int) -> None:
    while size:
        got = len(sock.recv(size))
        if not got:
            raise ConnectionResetError("the connection has ended early")
        size -= got


def round_robin(socks: list[socket.socket]) -> Iterator[socket.socket]:
    while True:
        yield from socks


def prepare_namespace() -> None:
    """Enough ports for a run, free again soon; and what one connection has learnt is not for the next one."""
    for name, value in (("ip_local_port_range", "1024 65535"), ("tcp_tw_reuse", "1"), ("tcp_no_metrics_save", "1")):
        Path("/proc/sys/net/ipv4", name).write_text(value, encoding="ascii")


def main(control: str) -> None:
    with socket.socket(fileno=int(control)) as asker, suppress(BrokenPipeError, ConnectionResetError):
        prepare_namespace()
        asker.send(b"{}")
        Peer(asker).obey()


if __name__ == "__main__":
    main(*sys.argv[1:])
