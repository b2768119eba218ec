"""A kernel's TCP in another network namespace, behind a router, that looks at every frame on the wire to it.

    far_peer.py DEVICE whole|cut ADDRESS receive|send SIZE

Run as a program of its own with nothing but the standard library. `cut` takes the device's offloads away, so that what
it sends are frames of a real wire. It prints its port, then serves one connection: takes SIZE octets, or sends that
many (those of `random.Random(SIZE)`), and prints what it saw as JSON.
"""

from __future__ import annotations

import array
import fcntl
import hashlib
import json
import random
import socket
import struct
import sys
from pathlib import Path
from typing import Any

SIOCETHTOOL = 0x8946
STXCSUM, SSG, STSO, SGSO = 0x17, 0x19, 0x1F, 0x24
SO_RCVBUFFORCE = 33
ETH_P_ALL = 3
ETHER = 14


def take_offloads_away(device: str) -> None:
    """As `ethtool -K DEVICE tx off sg off tso off gso off`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in (SGSO, STSO, SSG, STXCSUM):
            value = array.array("I", [command, 0])
            fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sP16x", device.encode(), value.buffer_info()[0]))


def is_whole(packet: bytes) -> bool:
    """Whether the checksum of an IP packet without options, which holds TCP, is right."""
    if packet[0] >> 4 == 4:
        packet = packet[: int.from_bytes(packet[2:4], "big")]
        addresses, segment = packet[12:20], packet[20:]
    else:
        packet = packet[: 40 + int.from_bytes(packet[4:6], "big")]
        addresses, segment = packet[8:40], packet[40:]
    covered = addresses + struct.pack("!HH", 6, len(segment)) + segment + b"\0" * (len(segment) & 1)
    return bool(sum(struct.unpack(f"!{len(covered) // 2}H", covered)) % 65535 == 0)


def watch(wire: socket.socket) -> dict[str, Any]:
    """What came in over the wire until now."""
    seen: dict[str, Any] = {"frames": 0, "longest": 0, "wrong": 0}
    wire.setblocking(False)
    while True:
        try:
            frame, (_, protocol, kind, *_) = wire.recvfrom(70_000)
        except BlockingIOError:
            return seen
        packet = frame[ETHER:]
        if kind == socket.PACKET_OUTGOING or protocol not in (0x0800, 0x86DD):
            continue
        if (packet[9] if packet[0] >> 4 == 4 else packet[6]) != socket.IPPROTO_TCP:
            continue
        seen["frames"] += 1
        seen["longest"] = max(seen["longest"], len(packet))
        seen["wrong"] += not is_whole(packet)


def main(device: str, wires: str, address: str, what: str, size: int) -> None:
    """Serve one connection."""
    # A tail loss probe is sent after a few milliseconds without an ACK, which any busy machine can cause.
    Path("/proc/sys/net/ipv4/tcp_early_retrans").write_text("0", encoding="ascii")
    if wires == "cut":
        take_offloads_away(device)
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 28)  # all that comes is kept until it is looked at
    wire.bind((device, ETH_P_ALL))
    listener = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    print(listener.getsockname()[1], flush=True)
    sock = listener.accept()[0]
    digest = hashlib.sha256()
    if what == "send":
        data = random.Random(size).randbytes(size)
        digest.update(data)
        sock.sendall(data)
    got = 0
    while got < (size if what == "receive" else 1) and (part := sock.recv(1 << 20)):
        digest.update(part if what == "receive" else b"")
        got += len(part)
    print(json.dumps({"sha256": digest.hexdigest(), "got": got, **watch(wire)}), flush=True)


if __name__ == "__main__":
    _, of_the_device, of_wire, of_peer, to_do, octets = sys.argv
    main(of_the_device, of_wire, of_peer, to_do, int(octets))
