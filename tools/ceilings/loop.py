"""The least possible loop: a TCP that knows one connection, does nothing that it need not, and drives a TUN device.

    loop.py sink|source|echo super|plain FD

It answers a SYN and then acknowledges what comes (`sink`), sends zeros as fast as the peer's window allows (`source`),
or sends back each single octet (`echo`). No stack in Python on Trio can be faster on the same device: that is its only
purpose. `super`: the device has a virtio-net header and all offloads, frames are up to 64 KiB, checksums are the
kernel's. `plain`: frames of 1500 octets; checksums are verified and made here, and each payload is copied once. One ACK
answers a batch.

No congestion control, no options but MSS and window scale, no reordering; what is lost is sent again from where the
peer stands when nothing has moved for a while. IPv4; the addresses are those of the first SYN.
"""

from __future__ import annotations

import os
import struct
import sys

import trio

BATCH = 64  #: Frames read before an ACK.
MSS = 1460
HEADERS = 40  #: IPv4 and TCP without options; the peer sends none either, because we offer none that go with data.
SUPER = 44 * MSS  #: Octets in a super-frame: all that fits into an IP packet, in whole segments.
OUR_SCALE = 10  #: Our window is 65535 << 10: not the limit.
STILL = 0.2  #: Seconds without progress after which data is sent again.

FIN, SYN, PSH, ACK = 1, 2, 8, 16
VNET = struct.Struct("=BBHHHH")  #: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
NEEDS_CSUM, GSO_TCPV4 = 1, 1
WORD = struct.Struct("!I")


def ones_sum(data: bytes | bytearray | memoryview) -> int:
    """The Internet's sum of 16-bit words, folded, not complemented."""
    return int.from_bytes(data if len(data) % 2 == 0 else bytes(data) + b"\0", "big") % 65535


class Flow:
    """The one connection, and headers for it where only numbers have to be filled in."""

    def __init__(self, fd: int, is_super: bool) -> None:
        self.fd = fd
        self.is_super = is_super
        self.start = VNET.size if is_super else 0  # of the IP header in a frame
        self.snd_una = self.snd_nxt = 1
        self.window = self.scale = self.rcv_nxt = 0
        self.readable = trio.lowlevel.wait_readable

    async def accept(self) -> None:
        """Wait for a SYN and answer it; what else comes before is nobody's."""
        start = self.start
        while True:
            await self.readable(self.fd)
            frame = os.read(self.fd, 65_536)
            if frame[start] == 0x45 and frame[start + 9] == 6 and frame[start + 33] & SYN:
                break
        ip, tcp = frame[start : start + 20], frame[start + 20 :]
        self.source, self.target = ip[16:20], ip[12:16]
        self.ports = tcp[2:4] + tcp[0:2]
        self.scale = option(tcp[20 : (tcp[12] >> 4) * 4], 3)
        self.rcv_nxt = WORD.unpack_from(tcp, 4)[0] + 1 & 0xFFFFFFFF
        self.pseudo = ones_sum(self.source + self.target) + 6
        options = bytes((2, 4)) + MSS.to_bytes(2, "big") + bytes((1, 3, 3, OUR_SCALE))
        header = self.header(SYN | ACK, 0, options)
        os.write(self.fd, self.finished(header, 0))
        self.ack = self.header(ACK, 0)

    def header(self, flags: int, size: int, options: bytes = b"", gso_size: int = 0) -> bytearray:
        """Everything but sequence numbers and, in `plain`, the TCP checksum."""
        length = 20 + len(options) + size
        ip = bytearray(
            b"\x45\0" + (20 + length).to_bytes(2, "big") + b"\0\0\x40\0\x40\x06\0\0" + self.source + self.target
        )
        ip[10:12] = (ones_sum(ip) ^ 0xFFFF).to_bytes(2, "big")
        tcp = self.ports + bytes(8) + bytes((80 + 4 * len(options), flags)) + b"\xff\xff"
        tcp += ((self.pseudo + length) % 65535).to_bytes(2, "big") + b"\0\0" + options
        kind = GSO_TCPV4 if gso_size else 0
        vnet = VNET.pack(NEEDS_CSUM, kind, 20 + 20 + len(options), gso_size, 20, 16) if self.is_super else b""
        return bytearray(vnet + ip + tcp)

    def finished(self, header: bytearray, seq: int, payload_sum: int = 0) -> bytearray:
        """The header with its numbers."""
        start = self.start
        WORD.pack_into(header, start + 24, seq & 0xFFFFFFFF)
        WORD.pack_into(header, start + 28, self.rcv_nxt)
        if self.is_super:
            return header
        whole = header[:]  # whose field has the pseudo-header's sum already
        whole[36:38] = ((ones_sum(whole[20:]) + payload_sum) % 65535 ^ 0xFFFF).to_bytes(2, "big")
        return whole

    def learn(self, frame: bytes | bytearray) -> None:
        """What an ACK says."""
        at = self.start + 28
        self.snd_una += WORD.unpack_from(frame, at)[0] - self.snd_una & 0xFFFFFFFF
        self.window = int.from_bytes(frame[at + 6 : at + 8], "big") << self.scale


def option(options: bytes, wanted: int) -> int:
    """The value of a TCP option of one octet, or 0."""
    while options and options[0]:
        size = 1 if options[0] == 1 else options[1]
        if options[0] == wanted:
            return options[2]
        options = options[size:]
    return 0


async def sink_super(flow: Flow) -> None:
    """Acknowledge; payloads stay in one warm buffer."""
    fd, readable, ack = flow.fd, flow.readable, flow.ack
    header, payload = bytearray(VNET.size + HEADERS), bytearray(65_536)
    buffers = (header, payload)
    seq_at = VNET.size + 24
    while True:
        await readable(fd)
        try:
            for _ in range(BATCH):
                size = os.readv(fd, buffers) - len(header)
                if size > 0 and WORD.unpack_from(header, seq_at)[0] == flow.rcv_nxt:
                    flow.rcv_nxt = flow.rcv_nxt + size & 0xFFFFFFFF
        except BlockingIOError:
            pass
        os.write(fd, flow.finished(ack, 1))


async def sink_plain(flow: Flow) -> None:
    """Verify, copy, acknowledge."""
    fd, readable, ack = flow.fd, flow.readable, flow.ack
    copies: list[bytes] = []
    while True:
        await readable(fd)
        copies.clear()
        try:
            for _ in range(BATCH):
                frame = os.read(fd, 65_536)
                if (ones_sum(frame[20:]) + flow.pseudo + len(frame) - 20) % 65535:
                    continue
                if len(frame) > HEADERS and WORD.unpack_from(frame, 24)[0] == flow.rcv_nxt:
                    copies.append(frame[HEADERS:])
                    flow.rcv_nxt = flow.rcv_nxt + len(frame) - HEADERS & 0xFFFFFFFF
        except BlockingIOError:
            pass
        os.write(fd, flow.finished(ack, 1))


async def source(flow: Flow) -> None:
    """Send as the window allows, and read what the peer says about it."""
    fd, readable = flow.fd, flow.readable
    size = SUPER if flow.is_super else MSS
    header = flow.header(ACK | PSH, size, gso_size=MSS if flow.is_super else 0)
    data = bytes(1 << 16)
    payload = data[:size]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, flow)
        while True:
            await readable(fd)
            try:
                for _ in range(BATCH):
                    flow.learn(os.read(fd, 65_536))
            except BlockingIOError:
                pass
            limit = flow.snd_una + flow.window
            while flow.snd_nxt + size <= limit:
                if flow.is_super:
                    os.writev(fd, (flow.finished(header, flow.snd_nxt), payload))
                else:
                    payload = bytes(memoryview(data)[flow.snd_nxt % size :][:size])  # the copy
                    os.writev(fd, (flow.finished(header, flow.snd_nxt, ones_sum(payload)), payload))
                flow.snd_nxt += size


async def watch(flow: Flow) -> None:
    """Go back to where the peer stands when it has stood there for a while."""
    while True:
        seen = flow.snd_una
        await trio.sleep(STILL)
        if flow.snd_una == seen:
            flow.snd_nxt = seen


async def echo(flow: Flow) -> None:
    """An octet for an octet."""
    fd, readable, start = flow.fd, flow.readable, flow.start
    header = flow.header(ACK | PSH, 1)
    while True:
        await readable(fd)
        frame = os.read(fd, 65_536)
        payload = frame[start + HEADERS :]
        if len(payload) == 1:
            flow.rcv_nxt = flow.rcv_nxt + 1 & 0xFFFFFFFF
            os.write(fd, flow.finished(header, flow.snd_nxt, payload[0] << 8) + payload)
            flow.snd_nxt += 1


async def main(what: str, frames: str, fd: int) -> None:
    os.set_blocking(fd, False)
    flow = Flow(fd, frames == "super")
    await flow.accept()
    loops = {"sink": sink_super if flow.is_super else sink_plain, "source": source, "echo": echo}
    await loops[what](flow)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
