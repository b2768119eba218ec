"""`struct tcp_info` as Linux tells it, from this stack's own `Info`: names, units and numbers of states."""

from __future__ import annotations

from typing import Final

from stack.tcp.congestion.base import INFINITE_SSTHRESH as _INFINITE
from stack.tcp.info import Info
from stack.tcp.rack import DUPLICATE_THRESHOLD

STATES: Final = {
    "ESTAB": 1,
    "SYN-SENT": 2,
    "SYN-RECV": 3,
    "FIN-WAIT-1": 4,
    "FIN-WAIT-2": 5,
    "TIME-WAIT": 6,
    "UNCONN": 7,
    "CLOSE-WAIT": 8,
    "LAST-ACK": 9,
    "LISTEN": 10,
    "CLOSING": 11,
}
"""By the names that `ss` prints."""

CA_STATES: Final = {"open": 0, "disorder": 1, "cwr": 2, "recovery": 3, "loss": 4}

OPT_TIMESTAMPS, OPT_SACK, OPT_WSCALE, OPT_ECN, OPT_ECN_SEEN, OPT_SYN_DATA = 1, 2, 4, 8, 16, 32
OPT_USEC_TS, OPT_TFO_CHILD = 64, 128

CONSTANTS: Final = {
    "TCP_ESTABLISHED": 1,
    "TCP_SYN_SENT": 2,
    "TCP_SYN_RECV": 3,
    "TCP_FIN_WAIT1": 4,
    "TCP_FIN_WAIT2": 5,
    "TCP_TIME_WAIT": 6,
    "TCP_CLOSE": 7,
    "TCP_CLOSE_WAIT": 8,
    "TCP_LAST_ACK": 9,
    "TCP_LISTEN": 10,
    "TCP_CLOSING": 11,
    "TCP_CA_Open": 0,
    "TCP_CA_Disorder": 1,
    "TCP_CA_CWR": 2,
    "TCP_CA_Recovery": 3,
    "TCP_CA_Loss": 4,
    "TCPI_OPT_TIMESTAMPS": OPT_TIMESTAMPS,
    "TCPI_OPT_SACK": OPT_SACK,
    "TCPI_OPT_WSCALE": OPT_WSCALE,
    "TCPI_OPT_ECN": OPT_ECN,
    "TCPI_OPT_ECN_SEEN": OPT_ECN_SEEN,
    "TCPI_OPT_SYN_DATA": OPT_SYN_DATA,
    "TCPI_OPT_USEC_TS": OPT_USEC_TS,
    "TCPI_OPT_TFO_CHILD": OPT_TFO_CHILD,
}
"""Names that a script's code has for numbers."""

_ALL: Final = """
    accecn_fail_mode accecn_opt_seen advmss ato backoff busy_time bytes_acked bytes_received bytes_retrans bytes_sent
    ca_state data_segs_in data_segs_out delivered delivered_ce delivered_ce_bytes delivered_e0_bytes
    delivered_e1_bytes delivery_rate delivery_rate_app_limited dsack_dups ecn_mode fackets last_ack_recv last_ack_sent
    last_data_recv last_data_sent lost max_pacing_rate min_rtt notsent_bytes options options2 pacing_rate pmtu probes
    rcv_mss rcv_ooopack rcv_rtt rcv_space rcv_ssthresh rcv_wnd rcv_wscale received_ce received_ce_bytes
    received_e0_bytes received_e1_bytes rehash reord_seen reordering retrans retransmits rto rtt rttvar
    rwnd_limited sacked segs_in segs_out snd_cwnd snd_mss snd_ssthresh snd_wnd snd_wscale sndbuf_limited
    state total_retrans total_rto total_rto_recoveries total_rto_time unacked
    """

FIELDS: Final = frozenset(f"tcpi_{name}" for name in _ALL.split())
"""All that Linux has; what is not in `tcp_info` is not told by this stack."""

INFINITE_SSTHRESH: Final = 0x7FFF_FFFF  #: What Linux has before the first loss, in segments.

_SAME: Final = """
    rto rtt rttvar min_rtt snd_mss rcv_mss advmss pmtu snd_cwnd snd_wnd rcv_wnd rcv_space snd_wscale rcv_wscale unacked
    sacked retrans delivery_rate pacing_rate retransmits total_retrans segs_out segs_in data_segs_out data_segs_in
    bytes_sent bytes_retrans bytes_acked bytes_received notsent_bytes last_data_sent last_data_recv last_ack_recv
    """


def tcp_info(info: Info) -> dict[str, int]:
    """The variables `tcpi_...` of a script's code."""
    values = {f"tcpi_{name}": int(getattr(info, name)) for name in _SAME.split()}
    values["tcpi_state"] = STATES[info.state]
    values["tcpi_options"] = options(info)
    values["tcpi_ca_state"] = CA_STATES[info.ca_state]
    # Linux counts a segment as lost until it is acknowledged, also while it is on its way again.
    values["tcpi_lost"] = info.lost + (info.retrans if info.ca_state in ("recovery", "loss") else 0)
    values["tcpi_reordering"] = max(info.reordering_extent, DUPLICATE_THRESHOLD)  # Linux begins with that
    values["tcpi_delivered"] = info.delivered_segments
    if info.last_data_recv < 0:
        values["tcpi_last_data_recv"] = info.last_ack_recv  # Linux counts from the handshake
    values["tcpi_backoff"] = info.retransmits
    values["tcpi_delivery_rate_app_limited"] = int(info.delivery_rate_app_limited)
    if info.snd_ssthresh >= _INFINITE // info.snd_mss:
        values["tcpi_snd_ssthresh"] = INFINITE_SSTHRESH
    else:
        values["tcpi_snd_ssthresh"] = info.snd_ssthresh
    return values


def options(info: Info) -> int:
    """`tcpi_options`."""
    return (
        (OPT_TIMESTAMPS if info.timestamps else 0)
        | (OPT_SACK if info.sack else 0)
        | (OPT_WSCALE if info.snd_wscale or info.rcv_wscale else 0)
        | (OPT_ECN if info.ecn else 0)
        | (OPT_SYN_DATA if info.syn_data else 0)
    )
