"""The variables of a connection: its transmission control block (RFC 9293 3.3.1).

What belongs to one half alone is in `Sender` and `Receiver`, and deadlines are in `Timers`. `Connection` adds what can
be done with them; the functions of a step of the RFC change them directly.
"""

from __future__ import annotations

from stack.tcp.config import TcpOptions
from stack.tcp.congestion import algorithm
from stack.tcp.fast_open import FastOpen
from stack.tcp.negotiate import Offer
from stack.tcp.pushing import Pushing
from stack.tcp.receiver import Receiver
from stack.tcp.rtt import RttEstimator
from stack.tcp.sender import Sender
from stack.tcp.state import CLOSED
from stack.tcp.time_wait import TimeWait
from stack.tcp.timers import Timers
from stack.tcp.timestamps import Timestamps
from stack.wire.drop import Drop
from stack.wire.segment import Segment
from stack.wire.units import NEVER, Duration, Time

Endpoint = tuple[bytes, int]
"""An address as raw bytes, and a port."""


class Tcb:
    """The variables; all of them small, or None until they are needed."""

    __slots__ = (
        "abandoned",
        "advice",
        "challenged_at",
        "changed",
        "close_queued",
        "connected",
        "data_segs_in",
        "data_segs_out",
        "deadline",
        "drops",
        "ece_owed",
        "ecn",
        "error",
        "fast_open",
        "handshake_retries",
        "heard_at",
        "irs",
        "iss",
        "keepalive_owed",
        "keepalives_unanswered",
        "key",
        "last_data_in",
        "last_data_out",
        "last_echo",
        "local",
        "max_payload",
        "mss_limit",
        "offer",
        "old_acks_at",
        "options",
        "own_state",
        "owner",
        "path_version",
        "peer_mss",
        "persist_interval",
        "probe_owed",
        "probed_at",
        "progress_at",
        "promise",
        "queued",
        "rcv",
        "reading_closed",
        "remote",
        "reply",
        "reports",
        "resets_owed",
        "retries",
        "rtt",
        "segs_in",
        "segs_out",
        "send_limit",
        "sent_bytes",
        "shut_since",
        "snd",
        "snd_shift",
        "soft_error",
        "suspected_mtu",
        "tail_probe_owed",
        "time_wait",
        "timers",
        "ts",
        "ts_offset",
        "wants_low_water",
    )

    def __init__(
        self,
        local: Endpoint,
        remote: Endpoint,
        *,
        iss: int,
        offer: Offer,
        mss_limit: int,
        ts_offset: int,
        options: TcpOptions,
        drops: dict[Drop, int],
        key: bytes = b"",
        max_payload: int = 0,
    ) -> None:
        self.local = local
        self.remote = remote
        self.key = key
        self.iss = iss
        self.irs = 0
        self.offer = offer
        self.mss_limit = mss_limit  # what the IP layer can send in one packet, less the fixed headers (MUST-16)
        self.peer_mss = 0xFFFF  # what the peer can receive in a segment, or the application lets it have
        self.suspected_mtu: tuple[int, int] | None = None  # the path's, and about which number: see `stack.tcp.network`
        self.path_version = 0  # the host's: what it knew of paths when `mss_limit` was set
        self.advice = 0  # what IP should hear from this connection: see `stack.tcp.network`
        self.max_payload = max_payload  # octets that the link takes in a super-frame; 0: it cuts none
        self.ts_offset = ts_offset
        self.options = options
        self.drops = drops
        self.own_state = CLOSED
        self.error: OSError | None = None
        self.soft_error: OSError | None = None
        self.reports = 0  # how often the application was told of a soft error, or that the path is doubtful
        self.owner: object | None = None
        self.changed = False
        self.connected = False
        self.close_queued = False  # a CLOSE in SYN-RECEIVED that waits for ESTABLISHED (3.10.4)
        self.reading_closed = False
        self.abandoned = False  # CLOSE was called: nobody is there any more, and `linger` counts
        self.wants_low_water = False  # a writer is to be told when less than half of `notsent_lowat` is unsent
        self.time_wait: TimeWait | None = None
        self.fast_open: FastOpen | None = None  # it was opened with data in a SYN, or tried to be (RFC 7413)

        self.rtt = RttEstimator(options)
        controller = algorithm(options.congestion)(mss_limit)
        self.snd = Sender(
            self.rtt,
            controller,
            mss_limit,
            nodelay=options.nodelay,
            paced=options.pacing,
            habits=options.habits,
        )
        self.rcv = Receiver(options, offer.mss)
        if options.cork:
            self.snd.pushing = Pushing()
        self.send_limit = min(options.send_space, options.send_buffer)  # octets that the send buffer holds at present
        self.snd_shift = 0
        self.ecn = False  # both ends understand congestion marks (RFC 3168)
        self.ece_owed = False  # we have seen a mark, and say so until the peer answers with CWR
        self.ts: Timestamps | None = None
        self.timers = Timers()
        self.deadline: Time = NEVER  # the host's: when it last promised to come back
        self.promise = 0  # the host's: the number of that promise
        self.queued = False  # the host's: waits for its turn to send

        self.reply: Segment | None = None  # a reset for a segment that acknowledges what was never sent
        self.resets_owed = 0
        self.probe_owed = False
        self.tail_probe_owed = False
        self.keepalive_owed = False
        self.persist_interval: Duration = 0
        self.shut_since: Time = 0  # since when the peer's window has let nothing through; while `persist_interval`
        self.probed_at: Time = -1  # when the first probe left that was not answered
        self.keepalives_unanswered = 0
        self.retries = 0  # expiries of the retransmission timer since the last progress
        self.handshake_retries = 0
        self.progress_at: Time = 0  # since when what is outstanding waits for an answer (R2)
        self.heard_at: Time = 0
        self.challenged_at: Time = -1
        self.old_acks_at: Time = -1
        self.segs_in = 0
        self.segs_out = 0
        self.data_segs_in = 0
        self.data_segs_out = 0
        self.sent_bytes = 0
        self.last_data_in: Time = -1
        self.last_echo = -1  # TSecr of the latest text: the next one tells of another round trip
        self.last_data_out: Time = -1
