"""`tcpstack serve --workers`: the processes, who ends whom, and what is said about it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.cli.workers import DELAYS, SETTLED, Backoff, capture_path
from stack.wire import icmp, ip, pcapng
from tests.cli.programs import Server, Wire, finish, start, tcpstack


def devices() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


@contextlib.contextmanager
def watched(pids: list[int]) -> Iterator[list[int]]:
    """Descriptors of processes, each readable when its process has ended."""
    handles = [os.pidfd_open(pid) for pid in pids]
    yield handles
    for handle in handles:
        os.close(handle)


def wait_for(handles: list[int]) -> None:
    for handle in handles:
        select.select([handle], [], [])


def echo(wire: Wire, count: int = 1) -> None:
    """One connection after another."""
    for _ in range(count):
        with socket.create_connection((wire.ours, 7)) as connection:
            connection.sendall(b"hello")
            connection.shutdown(socket.SHUT_WR)
            assert connection.makefile("rb").read() == b"hello"


def echo_to_all(wire: Wire, server: Server) -> None:
    """Connections until each worker has had one."""
    missing = set(range(1, len(server.listening["pids"]) + 1))
    while missing:
        echo(wire)
        missing.discard(server.event("closed")["worker"])


@pytest.mark.parametrize(
    ("number", "starts", "expected"),
    [(1, 1, "serve.w1.pcapng"), (12, 1, "serve.w12.pcapng"), (2, 3, "serve.w2-3.pcapng")],
)
def test_each_process_has_a_capture_of_its_own(number: int, starts: int, expected: str) -> None:
    assert capture_path(Path("/tmp/serve.pcapng"), number, starts) == Path("/tmp") / expected


def test_who_ends_soon_waits_longer_each_time() -> None:
    backoff = Backoff()
    assert DELAYS[0] == 0
    assert list(DELAYS) == sorted(set(DELAYS))
    assert [backoff.after(SETTLED - 1) for _ in DELAYS] == list(DELAYS)
    assert backoff.after(0) == DELAYS[-1]
    assert [backoff.after(SETTLED), backoff.after(0)] == [0, DELAYS[1]]


@pytest.mark.parametrize("number", ["0", "65", "-1", "two"])
def test_so_many_workers(number: str) -> None:
    done = tcpstack("serve", "echo", "--workers", number)
    assert done.returncode == 2
    assert "is not a number of workers from 1 to 64" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("iperf3",), "the control and the data connections of a test must reach the same process"),
        (("echo", "--impair", "loss=1%"), "each of several workers would have a path of its own"),
    ],
)
def test_what_workers_can_not_do_is_refused(arguments: tuple[str, ...], reason: str) -> None:
    done = tcpstack("serve", *arguments, "--workers", "2")
    assert done.returncode == 2
    assert reason in done.stderr
    assert "leave out --workers" in done.stderr


def test_one_worker_is_the_plain_server(wire: Wire) -> None:
    with wire.serving("echo", "--workers", "1") as server:
        assert "pids" not in server.listening
        echo(wire)
        assert "worker" not in server.event("closed")


def test_all_workers_serve_and_say_who_did(wire: Wire) -> None:
    with wire.serving("echo", "--workers", "3") as server:
        assert len(set(server.listening["pids"])) == 3
        assert server.process.pid not in server.listening["pids"]
        echo_to_all(wire, server)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_of_them_quietly(wire: Wire, number: signal.Signals) -> None:
    with wire.serving("echo", "--workers", "2") as server:
        device, pids = server.listening["device"], server.listening["pids"]
        assert device in devices()
        with watched(pids) as handles, socket.create_connection((wire.ours, 7)) as connection:
            server.process.send_signal(number)
            status, _, errors = finish(server.process)
            wait_for(handles)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    assert (status, errors) == (128 + number, "")
    assert device not in devices()


def test_a_second_signal_waits_for_nobody(wire: Wire) -> None:
    with wire.serving("echo", "--workers", "2") as server, watched(server.listening["pids"]) as handles:
        os.kill(server.listening["pids"][0], signal.SIGSTOP)
        server.process.send_signal(signal.SIGINT)
        wait_for(handles[1:])
        assert select.select(handles[:1], [], [], 0)[0] == []
        server.process.send_signal(signal.SIGTERM)
        status, _, errors = finish(server.process)
        wait_for(handles)
        assert (status, errors) == (128 + signal.SIGINT, "")


def test_the_workers_end_with_the_supervisor(wire: Wire) -> None:
    """Even with one that had no time to tell them."""
    with wire.serving("echo", "--workers", "2") as server:
        with watched(server.listening["pids"]) as handles:
            server.process.kill()
            wait_for(handles)
        assert finish(server.process) == (-signal.SIGKILL, "", "")
        assert server.listening["device"] not in devices()


def test_a_worker_that_ends_is_replaced_and_later_each_time(wire: Wire) -> None:
    with wire.serving("echo", "--workers", "2") as server:
        pid = server.listening["pids"][1]
        os.kill(pid, signal.SIGKILL)
        ended, serving = server.event("worker"), server.event("worker")
        assert (ended["worker"], ended["pid"], ended["state"]) == (2, pid, "ended")
        assert (ended["how"], ended["again"]) == ("killed by SIGKILL", 0)
        assert (serving["worker"], serving["state"]) == (2, "serving")
        assert serving["pid"] not in server.listening["pids"]
        echo_to_all(wire, server)
        os.kill(serving["pid"], signal.SIGTERM)
        ended, serving = server.event("worker"), server.event("worker")
        assert (ended["how"], ended["again"]) == (f"exit status {128 + signal.SIGTERM}", 0.5)
        assert serving["state"] == "serving"
        echo_to_all(wire, server)


def test_who_comes_while_a_worker_is_replaced_waits_for_the_replacement(wire: Wire) -> None:
    with wire.serving("echo", "--workers", "2") as server, contextlib.ExitStack() as opened:
        pid = server.listening["pids"][1]
        for again in DELAYS[:2]:
            os.kill(pid, signal.SIGKILL)
            assert server.event("worker")["again"] == again
            sockets = [opened.enter_context(socket.socket()) for _ in range(16)]  # some for either of them
            for sock in sockets:
                sock.setblocking(False)
                assert sock.connect_ex((wire.ours, 7)) == errno.EINPROGRESS
            pid = server.event("worker")["pid"]
            for sock in sockets:
                sock.setblocking(True)
                sock.sendall(b"hello")  # waits for the connection
                assert sock.recv(5) == b"hello"


def test_for_a_person(wire: Wire, tmp_path: Path) -> None:
    process = start("serve", "http", str(tmp_path), "--workers", "2", *wire.options)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    assert " with 2 workers, the kernel's end is " in lines[0]
    assert lines[-1] == "Ctrl-C ends it\n"
    subprocess.run(
        ["curl", "-q", "-s", "--noproxy", "*", f"http://{wire.ours}/"], check=True, stdout=subprocess.DEVNULL
    )
    line = process.stdout.readline()
    assert ": GET /  200" in line
    assert "worker 1" in line or "worker 2" in line
    [pid, _] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(pid), signal.SIGKILL)
    said = "worker 1 ended (killed by SIGKILL) and its connections with it; another one starts now\n"
    assert process.stdout.readline().endswith(said)
    assert process.stdout.readline().endswith("worker 1 serves again\n")
    process.send_signal(signal.SIGINT)
    assert finish(process) == (130, "", "")


def test_what_no_worker_can_do_is_said_once(wire: Wire, tmp_path: Path) -> None:
    done = wire.tcpstack("serve", "echo", "--workers", "3", "--pcap", str(tmp_path / "missing" / "a.pcapng"))
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert "No such file or directory" in done.stderr
    assert "a.w1.pcapng" in done.stderr


def test_the_kernels_own_address_is_refused(wire: Wire) -> None:
    done = wire.tcpstack("serve", "echo", "--workers", "2", "--address", f"{wire.kernel}/24")
    assert done.returncode == 1
    assert f"{wire.kernel} is the kernel's own address" in done.stderr


def test_a_device_that_is_removed_ends_everything(wire: Wire) -> None:
    with wire.serving("echo", "--workers", "2") as server:
        subprocess.run(["ip", "link", "delete", server.listening["device"]], check=True)
        status, _, errors = finish(server.process)
    assert status == 1
    assert f"the device {server.listening['device']} was removed" in errors


def test_an_icmp_error_reaches_all_workers(wire: Wire, tmp_path: Path) -> None:
    """It comes out of one queue; whose connection it is about is another matter."""
    with wire.serving("echo", "--workers", "3", "--pcap", str(tmp_path / "all.pcapng")) as server:
        quote = ip.encode(socket.inet_aton(wire.ours), socket.inet_aton(wire.kernel), ip.PROTO_TCP, 20) + bytes(20)
        error = icmp.encode(icmp.Icmp(icmp.TIME_EXCEEDED, 0, 0, quote))
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            raw.sendto(error, (wire.ours, 0))
        echo_to_all(wire, server)  # whoever has answered has handed on what came before,
        echo_to_all(wire, server)  # and has read what was handed to it
        server.process.send_signal(signal.SIGINT)
        assert finish(server.process)[0] == 130
    for number in (1, 2, 3):
        blocks = list(pcapng.read((tmp_path / f"all.w{number}.pcapng").read_bytes()))
        packets = [block for block in blocks if isinstance(block, pcapng.CapturedPacket)]
        assert len([packet for packet in packets if packet.data[20:] == error and packet.outbound is False]) == 1


def test_when_nobody_reads_its_output_it_ends(wire: Wire) -> None:
    process = start("serve", "echo", "--workers", "2", "--json", *wire.options)
    server = Server(process)
    assert process.stdout is not None
    process.stdout.close()
    os.kill(server.listening["pids"][0], signal.SIGKILL)  # of which it would tell
    assert process.wait() == 128 + signal.SIGPIPE
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert server.listening["device"] not in devices()
