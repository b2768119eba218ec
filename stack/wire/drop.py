"""Why a frame was refused.

What the network sends never raises past the host: it is counted under one of these reasons and dropped
(design, section 5). A codec says its reason by raising `WireError`; the host counts it.
"""

from __future__ import annotations

import enum


class Drop(enum.Enum):
    """A reason to refuse a frame; the value is the name of its counter."""

    # The network layer.
    TRUNCATED = "truncated"  # fewer bytes than the header, or the header's length field, asks for
    BAD_VERSION = "bad-version"  # neither IPv4 nor IPv6
    BAD_HEADER = "bad-header"  # a header length or field that can't be
    BAD_CHECKSUM = "bad-checksum"  # IP, TCP or ICMP checksum
    BAD_OPTION = "bad-option"  # malformed or forbidden IP option or extension header
    FRAGMENT = "fragment"  # a fragment, which this host does not reassemble
    MARTIAN = "martian"  # a source address that no packet can come from
    NOT_FOR_US = "not-for-us"  # a destination address that is not ours
    BROADCAST = "broadcast"  # TCP to a broadcast or multicast address (RFC 9293 3.9.2.3)
    UNKNOWN_PROTOCOL = "unknown-protocol"
    BAD_OFFLOAD = "bad-offload"  # what the device says about checksum or segmentation contradicts the packet
    # ICMP.
    ICMP_IGNORED = "icmp-ignored"  # a type that asks nothing of us
    ICMP_UNMATCHED = "icmp-unmatched"  # an error that quotes no connection of ours, or no sequence in flight
    ICMP_RATE_LIMITED = "icmp-rate-limited"  # an answer withheld by the rate limit
    PORT_UNREACHABLE = "port-unreachable"  # a UDP datagram: its sender was told that nobody takes it
    DATAGRAM_QUEUE_FULL = "datagram-queue-full"  # one that its port has no room for
    # TCP, before a connection was found.
    BAD_DATA_OFFSET = "bad-data-offset"
    NO_CONNECTION = "no-connection"  # answered with a reset where RFC 9293 3.5.2 asks for one
    BAD_FLAGS = "bad-flags"  # combinations that no TCP sends, such as SYN with FIN to a listener
    SYN_QUEUE_FULL = "syn-queue-full"
    SYN_QUEUE_EVICTED = "syn-queue-evicted"  # a half-open connection that made way for a new SYN
    ACCEPT_QUEUE_FULL = "accept-queue-full"
    BAD_COOKIE = "bad-cookie"  # the data of a SYN whose Fast Open cookie is not ours
    FAST_OPEN_QUEUE_FULL = "fast-open-queue-full"  # the data of a SYN for which there is no place before the handshake
    TOO_LONG = "too-long"  # an answer that would not fit the link
    QUEUE_FULL = "queue-full"  # an answer, or a datagram, that found the host's own queue full
    # TCP, in a connection.
    OUT_OF_WINDOW = "out-of-window"  # RFC 9293 3.10.7.4, first
    OLD_TIMESTAMP = "old-timestamp"  # PAWS, RFC 7323 5.3
    BAD_RESET = "bad-reset"  # RFC 5961 3.2: in the window but not exact, or outside
    UNEXPECTED_SYN = "unexpected-syn"  # RFC 5961 4.2
    NO_ACK = "no-ack"  # a segment without ACK in a synchronised state
    BAD_ACK = "bad-ack"  # acknowledges what was never sent, or is far too old (RFC 5961 5.2)
    BAD_FIN = "bad-fin"  # a second end of the stream, or one before data that is here already
    AFTER_CLOSE = "after-close"  # text for an application that has closed
    OUT_OF_ORDER_LIMIT = "out-of-order-limit"  # the reassembly queue's bound
    TIME_WAIT = "time-wait"  # what TIME-WAIT drops without an answer (RFC 1337)
    INTERNAL_ERROR = "internal-error"  # a fault of ours: that connection was reset


class WireError(ValueError):
    """Raised by a codec for bytes that can't be decoded; `reason` names the counter."""

    def __init__(self, reason: Drop, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
