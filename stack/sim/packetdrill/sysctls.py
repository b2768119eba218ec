"""What the sysctls of Linux and FreeBSD mean for this stack: its options, as far as they have a word for it.

Three kinds: those that set a field of `TcpOptions`; those for which there is no choice here, so that only the value is
taken that the stack lives up to; and those about things that no script can see, such as how large super-frames are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from stack.tcp.config import TcpOptions

Setter = Callable[[TcpOptions, str], TcpOptions | None]
"""Options with a sysctl's value in force; None where the stack can't live up to it. `ValueError`: no such value."""

FASTOPEN_CLIENT: Final = 0x1
FASTOPEN_SERVER: Final = 0x2
FASTOPEN_CLIENT_WITHOUT_COOKIE: Final = 0x4
FASTOPEN_SERVER_WITHOUT_COOKIE: Final = 0x200
FASTOPEN_ALL_LISTENERS: Final = 0x400

LARGEST_FIRST_WINDOW: Final = 0xFFFF  #: A SYN can't say more.


def whole(text: str) -> int:
    """A number in any of C's notations."""
    return int(text, 0)


def _flag(field: str) -> Setter:
    return lambda options, text: options.replace(**{field: bool(whole(text))})


def _count(field: str) -> Setter:
    return lambda options, text: options.replace(**{field: whole(text)})


def _seconds(field: str, unit: float = 1.0) -> Setter:
    return lambda options, text: options.replace(**{field: whole(text) * unit})


def _one_of(*values: int) -> Setter:
    """The stack behaves as with one of these, and not otherwise."""
    return lambda options, text: options if whole(text) in values else None


def _missing_timestamps(options: TcpOptions, text: str) -> TcpOptions:
    return options.replace(habits=replace(options.habits, takes_missing_timestamps=bool(whole(text))))


def _even_syns(options: TcpOptions, text: str) -> TcpOptions:
    return options.replace(habits=replace(options.habits, even_syns=whole(text)))


def _anything(options: TcpOptions, text: str) -> TcpOptions:
    return options


def _three(text: str) -> tuple[int, int, int]:
    low, middle, high = (int(word) for word in text.split())
    return low, middle, high


def _receive_memory(options: TcpOptions, text: str) -> TcpOptions:
    """Linux counts the memory that segments take, and offers half of it as window; at first what a SYN can say."""
    _, usual, most = _three(text)
    largest = most if options.habits.whole_first_window else LARGEST_FIRST_WINDOW
    return options.replace(receive_window=min(max(usual // 2, 1), most, largest), receive_buffer=most)


def _send_memory(options: TcpOptions, text: str) -> TcpOptions:
    _, usual, most = _three(text)
    return options.replace(send_space=min(usual, most), send_buffer=most)


def _congestion(options: TcpOptions, text: str) -> TcpOptions | None:
    name = {"reno": "newreno"}.get(text, text)
    return options.replace(congestion=name) if name in ("cubic", "newreno") else None


def _ecn(options: TcpOptions, text: str) -> TcpOptions | None:
    """0: off, 1: asked for and accepted, 2: accepted; the same in both kernels."""
    names = {0: "off", 1: "request", 2: "accept"}
    return options.replace(ecn=names[whole(text)]) if whole(text) in names else None


def _notsent_lowat(options: TcpOptions, text: str) -> TcpOptions:
    value = whole(text)
    return options.replace(notsent_lowat=value if 0 < value <= 1 << 30 else None)


def _fastopen(options: TcpOptions, text: str) -> TcpOptions:
    """Listeners have it by themselves if all have it; who connects asks for it each time."""
    bits = whole(text)
    without = bits & (FASTOPEN_CLIENT_WITHOUT_COOKIE | FASTOPEN_SERVER_WITHOUT_COOKIE)
    all_listeners = bits & FASTOPEN_SERVER and bits & FASTOPEN_ALL_LISTENERS
    return options.replace(fastopen=bool(all_listeners), fastopen_cookies=not without)


LINUX: Final[dict[str, Setter]] = {
    "tcp_timestamps": lambda options, text: options.replace(timestamps=whole(text) != 0),
    "tcp_sack": _flag("sack"),
    "tcp_window_scaling": _flag("window_scaling"),
    "tcp_ecn": _ecn,
    "tcp_rmem": _receive_memory,
    "tcp_wmem": _send_memory,
    "tcp_congestion_control": _congestion,
    "tcp_syn_retries": _count("syn_retries"),
    "tcp_syn_linear_timeouts": _even_syns,
    "tcp_keepalive_time": _seconds("keepalive_idle"),
    "tcp_keepalive_intvl": _seconds("keepalive_interval"),
    "tcp_keepalive_probes": _count("keepalive_probes"),
    "tcp_fin_timeout": _seconds("fin_wait_2_timeout"),
    "tcp_retries1": _count("r1"),
    "tcp_notsent_lowat": _notsent_lowat,
    "tcp_fastopen": _fastopen,
    "tcp_fastopen_blackhole_timeout_sec": _seconds("fastopen_pause"),
    # No choice here.
    "tcp_abort_on_overflow": _one_of(0),
    "tcp_dsack": _one_of(1),
    "tcp_early_retrans": _one_of(3, 4),
    "tcp_fack": _one_of(0),
    "tcp_frto": _one_of(1, 2),
    "tcp_mtu_probing": _one_of(0),
    "tcp_recovery": _one_of(1),
    "tcp_reordering": _one_of(3),
    "tcp_rfc1337": _one_of(1),
    # Nothing that a script sees: super-frames, memory, counters, and how often what nobody answers is repeated.
    "tcp_autocorking": _anything,
    "tcp_challenge_ack_limit": _anything,
    "tcp_ecn_option": _anything,
    "tcp_invalid_ratelimit": _anything,
    "tcp_limit_output_bytes": _anything,
    "tcp_mem": _anything,
    "tcp_min_tso_segs": _anything,
    "tcp_no_metrics_save": _anything,
    "tcp_pacing_ca_ratio": _anything,
    "tcp_pacing_ss_ratio": _anything,
    "tcp_slow_start_after_idle": _anything,
    "tcp_synack_retries": _anything,
    "tcp_syncookies": _anything,
    "tcp_tso_rtt_log": _anything,
    "tcp_tso_win_divisor": _anything,
}
"""By their names without `net.ipv4.`."""

LINUX_HAS_NOT: Final = frozenset(("tcp_fastopen_cookies",))
"""Sysctls of kernels that were never published. Scripts that try them say what to do where they fail."""

LINUX_DEFAULTS: Final = {
    "tcp_rmem": "4096 540000 15728640",
    "tcp_wmem": "4096 262144 4194304",
    "tcp_timestamps": "1",
    "tcp_syn_retries": "5",
    "tcp_sack": "1",
    "tcp_congestion_control": "cubic",
    "tcp_ecn": "0",
    "tcp_fastopen": "0x70403",
    "tcp_fastopen_key": "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4",
}
"""What `defaults.sh` sets, without what has one value here anyway."""


def _rfc1323(options: TcpOptions, text: str) -> TcpOptions:
    on = bool(whole(text))
    return options.replace(timestamps=on, window_scaling=on)


def _receive_space(options: TcpOptions, text: str) -> TcpOptions:
    return options.replace(receive_window=min(whole(text), options.receive_buffer))


def _send_space(options: TcpOptions, text: str) -> TcpOptions:
    return options.replace(send_space=whole(text))


def _largest_buffer(options: TcpOptions, text: str) -> TcpOptions:
    """A socket's buffer; FreeBSD offers a window scale that can say all of it."""
    size = min(whole(text), 1 << 30)
    return options.replace(receive_buffer=size, receive_window=min(options.receive_window, size))


FREEBSD: Final[dict[str, Setter]] = {
    "net.inet.tcp.rfc1323": _rfc1323,
    "net.inet.tcp.sack.enable": _flag("sack"),
    "net.inet.tcp.ecn.enable": _ecn,
    "net.inet.tcp.recvspace": _receive_space,
    "net.inet.tcp.sendspace": _send_space,
    "kern.ipc.maxsockbuf": _largest_buffer,
    "net.inet.tcp.delacktime": _seconds("delayed_ack", 0.001),
    "net.inet.tcp.rexmit_initial": _seconds("initial_rto", 0.001),
    "net.inet.tcp.rexmit_slop": _seconds("min_rto", 0.001),
    "net.inet.tcp.keepinit": _seconds("connect_timeout", 0.001),
    "net.inet.tcp.keepidle": _seconds("keepalive_idle", 0.001),
    "net.inet.tcp.keepintvl": _seconds("keepalive_interval", 0.001),
    "net.inet.tcp.keepcnt": _count("keepalive_probes"),
    "net.inet.tcp.tolerate_missing_ts": _missing_timestamps,
    "net.inet.tcp.fastopen.client_enable": _anything,
    # No choice here.
    "net.inet.tcp.blackhole": _one_of(0),
    "net.inet.tcp.drop_synfin": _one_of(1),
    "net.inet.tcp.icmp_may_rst": _one_of(1),
    "net.inet.tcp.insecure_rst": _one_of(0),
    "net.inet.tcp.insecure_syn": _one_of(0),
    "net.inet.tcp.path_mtu_discovery": _one_of(1),
    "net.inet.tcp.pmtud_blackhole_detection": _one_of(0),
    "net.inet.tcp.rexmit_drop_options": _one_of(0),
    "net.inet.tcp.syncookies_only": _one_of(0),
    # Nothing that a script sees.
    "net.inet.tcp.hostcache.purgenow": _anything,
    "net.inet.tcp.syncookies": _anything,
}
"""By their whole names."""
