"""Named configurations: what other stacks do by default, in the words of this one.

    linux      Linux 6.18, as its sysctls are after a boot
    freebsd    FreeBSD 14, with its default TCP functions
    rfc        the RFCs to the letter, also where they say SHOULD

They are options like any others, and `replace` changes what is not wanted. docs/profiles.md has a table of the numbers
with where each comes from, and tells in what a host with such options is still not the other stack.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from stack.tcp.config import TcpOptions
from stack.tcp.habits import FREEBSD, LINUX, RFC

PROFILES: Final[dict[str, TcpOptions]] = {
    "linux": TcpOptions(
        habits=LINUX,
        congestion="cubic",
        ecn="accept",
        send_buffer=4 << 20,  # tcp_wmem's largest
        send_space=87_040,  # ten segments of Ethernet, twice, with what Linux adds for its own use
        receive_buffer=32 << 20,  # tcp_rmem's largest: a window scale of 10
        receive_window=64 << 10,  # half of tcp_rmem's default; the other half is for what segments cost
        syn_retries=6,  # beside those at even distances: 131 s in all
        r2=924.6,  # tcp_retries2 = 15, from an RTO of 200 ms
        initial_rto=1.0,
        min_rto=0.2,
        max_rto=120.0,
        delayed_ack=0.04,
        keepalive_probes=9,
        fin_wait_2_timeout=60.0,
        offer_path_mss=True,
        soft_errors_end_opening=True,
        fastopen_pause=0.0,
    ),
    "freebsd": TcpOptions(
        habits=FREEBSD,
        congestion="cubic",
        ecn="accept",
        send_buffer=2 << 20,  # sendbuf_max
        send_space=32 << 10,  # sendspace
        receive_buffer=2 << 20,  # recvbuf_max and kern.ipc.maxsockbuf: a window scale of 6
        receive_window=64 << 10,  # recvspace
        connect_timeout=75.0,  # keepinit
        syn_retries=12,  # never reached in that time
        r2=511.0,  # TCP_MAXRXTSHIFT = 12 time-outs, the first after a second
        initial_rto=1.0,  # rexmit_initial
        min_rto=0.23,  # rexmit_min and rexmit_slop
        max_rto=64.0,
        delayed_ack=0.04,  # delacktime
        keepalive_probes=8,  # keepcnt
        fin_wait_2_timeout=60.0,  # finwait2_timeout
        fastopen_pause=900.0,  # fastopen.path_disable_time
    ),
    "rfc": TcpOptions(
        habits=replace(RFC, rounds_rto_up=True, least_probe_wait=0),
        congestion="cubic",  # RFC 9438 updates RFC 5681, which RFC 9293 3.8.2 names
        initial_rto=1.0,  # RFC 6298 2.1
        min_rto=1.0,  # RFC 6298 2.4
        max_rto=60.0,  # RFC 6298 2.5
    ),
}


def profile(name: str) -> TcpOptions:
    """The options of that name; `ValueError` when there are none."""
    options = PROFILES.get(name)
    if options is None:
        raise ValueError(f"there is no profile {name!r}; there is {', '.join(PROFILES)}")
    return options
