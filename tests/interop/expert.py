"""tshark's expert information about a capture, and what of it is allowed.

The lists are data: a message of Wireshark's is allowed always, or where the scenario says so, or never. Whatever is a
warning or an error and on no list is not allowed. What is on the list of the forbidden is so at every severity, for
Wireshark takes retransmissions for a note only. Checksums are validated.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.interop.programs import program

#: Warnings of a receiver that is slower than its peer: flow control at work.
ALLOWED = frozenset(
    {
        "TCP window specified by the receiver is now completely full",
        "TCP Zero Window segment",
    }
)

#: In addition, where the scenario resets a connection.
RESET = frozenset({"Connection reset (RST)"})

#: What the kernel does in frames of its own, and we do not. A TCP checksum that comes out as 0 it writes as 0xffff
#: (`skb_checksum_help`), which is the same number in the arithmetic of RFC 1071, and which Wireshark calls unusual.
KERNELS = frozenset({"TCP Checksum 0xffff instead of 0x0000 (see RFC 1624)"})

#: What makes a frame wrong by itself, whatever came before it.
ILL_FORMED = re.compile(r"checksum|malformed|bogus|invalid|unknown", re.IGNORECASE)

#: Allowed by no scenario, whatever the severity.
NEVER = (
    ILL_FORMED.pattern,
    r"acked segment that wasn't captured",
    r"previous segment",
    r"out-of-order",
    r"retransmission",
)
NEVER_ALLOWED = re.compile("|".join(NEVER), re.IGNORECASE)

#: An ICMP error of the kernel's quotes a super-frame of ours as it came from the device, with half a checksum.
QUOTED = re.compile(r":icmp:ip:tcp|:icmpv6:ipv6:tcp")

NOTE, WARNING = 0x400000, 0x600000  #: Wireshark's severities (epan/proto.h)


@dataclass(frozen=True)
class Finding:
    """One expert item of one frame."""

    frame: int
    outbound: bool
    severity: int
    message: str
    quoted: bool = False  #: in the packet that an ICMP error quotes, perhaps

    def __str__(self) -> str:
        return f"frame {self.frame} ({'ours' if self.outbound else 'the peer'}): {self.message}"


def ill_formed(pcap: Path, *, ours: bool = True) -> list[str]:
    """What is wrong with frames by themselves, whatever came before them: with ours only, or with all."""
    wrong = [one for one in findings(pcap) if ILL_FORMED.search(one.message)]
    return [str(one) for one in wrong if one.outbound or (not ours and one.message not in KERNELS)]


def findings(pcap: Path) -> list[Finding]:
    """Every note, warning and error about a capture."""
    command = [program("tshark"), "-n", "-r", str(pcap), "-Y", f"_ws.expert.severity >= {NOTE}"]
    command += ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    # The payload is opaque: an HTTP body of random octets looks like a malformed anything.
    command += ["-o", "tcp.desegment_tcp_streams:FALSE", "-d", "tcp.port==1-65535,data"]
    command += ["-T", "fields", "-E", "separator=/t", "-E", "aggregator=|"]
    fields = "frame.number", "frame.packet_flags_direction", "frame.protocols", "_ws.expert.severity"
    for field in (*fields, "_ws.expert.message"):
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = []
    for line in done.stdout.splitlines():
        number, direction, protocols, severities, messages = line.split("\t")
        quoted = QUOTED.search(protocols) is not None
        for severity, message in zip(severities.split("|"), messages.split("|"), strict=True):
            found.append(Finding(int(number), int(direction, 16) == 2, int(severity, 0), message, quoted))
    return [finding for finding in found if finding.severity >= NOTE]


def objections(found: list[Finding], allowed: frozenset[str] = frozenset()) -> list[Finding]:
    """What no scenario, or not this one, allows."""
    return [
        finding
        for finding in found
        if not (finding.message in KERNELS and not finding.outbound)
        and not (finding.quoted and not finding.outbound and ILL_FORMED.search(finding.message))
        and (NEVER_ALLOWED.search(finding.message) or finding.severity >= WARNING)
        and finding.message not in ALLOWED | allowed
    ]
