"""A link around a link that writes what passes into a pcapng file, for Wireshark.

Each packet gets the time of the wall clock in nanoseconds, its direction, and as its comment the state of the
connection that it belongs to, in the words of `ss`; the runtime hands in the function that knows it. Checksums that the
device would complete, or that the kernel left to us, are completed on the capture's own copy, so that Wireshark finds
nothing to complain about. Super-frames stand in the file as the host saw them: in one piece, longer than the MTU, as
`tcpdump` shows them on a machine whose network card cuts them. Which packets the wire will see in their place isn't
known here.

The file is flushed whenever the link has nothing more to read, so that a reader at the other end of a pipe
sees packets as they come, and a process that is killed leaves all but the last few. A file that can't be
written any more (a full disk, a reader gone) ends the capture, with a line in the log; it does not end the
link.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable
from typing import BinaryIO

from stack.link.around import LinkAround
from stack.link.protocol import Link, LinkError
from stack.wire import offload, pcapng
from stack.wire.packet import Packet

Describe = Callable[[Packet, bool], str | None]
"""The comment for a packet; the flag says that it is an outgoing one."""

_log = logging.getLogger("stack")


class CaptureLink(LinkAround):
    """Passes everything on to `link`, and notes it in `file`: a path, or a binary file that stays the
    caller's.

    `clock_ns` gives nanoseconds since 1970. `describe` gives the comments; `open_host` sets it where it is
    None. Raises `OSError` when the file can't be opened, and then leaves the link alone.
    """

    def __init__(
        self,
        link: Link,
        file: str | os.PathLike[str] | BinaryIO,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        describe: Describe | None = None,
    ) -> None:
        super().__init__(link)
        self.describe = describe
        self._clock_ns = clock_ns
        self._owns_file = isinstance(file, (str, os.PathLike))
        self._file: BinaryIO | None = open(file, "wb") if isinstance(file, (str, os.PathLike)) else file  # noqa: SIM115
        self._started = clock_ns()
        self._received = 0
        self._write(
            pcapng.section_header(application="tcpstack", os=f"{platform.system()} {platform.release()}")
            + pcapng.interface_description(link.name)
        )

    def __repr__(self) -> str:
        return f"CaptureLink({self.link!r}{'' if self._file else ', ended'})"

    def read_batch(self, limit: int) -> list[Packet]:
        """What the link has, noted as inbound with the state before it."""
        batch = self.link.read_batch(limit)
        self._received += len(batch)
        if self._file is not None:
            now = self._clock_ns()
            for packet in batch:
                self._note(packet, False, now)
        return batch

    def write(self, packet: Packet) -> bool:
        """Hand a packet on, and note it as outbound, once the link has taken it."""
        taken = self.link.write(packet)
        if taken and self._file is not None:
            self._note(packet, True, self._clock_ns())
        return taken

    async def wait_readable(self) -> None:
        self._flush()
        await self.link.wait_readable()

    def close(self) -> None:
        """Write the counts, flush or close the file, close the link. Safe to call twice."""
        try:
            if self._file is not None:
                self._end()
        finally:
            self.link.close()

    def _note(self, packet: Packet, outbound: bool, now: int) -> None:
        comment = self.describe(packet, outbound) if self.describe is not None else None
        frame = offload.complete(packet).frame()
        self._write(pcapng.enhanced_packet(0, now, frame, comment=comment, outbound=outbound))

    def _end(self) -> None:
        try:
            dropped: int | None = self.drops()
        except LinkError:  # the device went first
            dropped = None
        self._write(
            pcapng.interface_statistics(
                0, self._clock_ns(), start_ns=self._started, received=self._received, dropped=dropped
            )
        )
        self._flush()
        self._let_go()

    def _write(self, block: bytes) -> None:
        if self._file is not None:
            try:
                self._file.write(block)
            except OSError as error:
                self._give_up(error)

    def _flush(self) -> None:
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        _log.error("the capture on %s ends here: %s", self.name, error)
        self._let_go()

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None and self._owns_file:
            try:
                file.close()
            except OSError as error:
                _log.error("the capture on %s is incomplete: %s", self.name, error)
