"""Every state of a connection, reached from CLOSED or LISTEN by segments and calls, in one call each.

Where not told otherwise the host opens actively, the peer offers an MSS of 1000 and no other option, its window is
65535, and the round trip of the handshake takes no time. Numbers: the host has sent 1 (and its FIN, where it has
closed), the peer 1 (and its FIN).
"""

from __future__ import annotations

from collections.abc import Callable

from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire.units import Duration
from tests.support.peer import Peer
from tests.support.user import User

Reach = Callable[..., tuple[Peer, User]]
"""One of the functions below that give a peer and a user."""


def _syn_options(mss: int, wscale: int, sack: bool, timestamps: bool) -> str:
    options = [f"mss {mss}"] if mss else []
    if sack:
        options.append("sackOK")
    if timestamps:
        options.append("TS val 0 ecr 0")
    if wscale >= 0:
        options.append(f"wscale {wscale}")
    return f"<{','.join(options)}>" if options else ""


def syn_sent(*, v6: bool = False, options: TcpOptions | None = None) -> tuple[Peer, User]:
    """The host has sent a SYN."""
    peer = Peer(v6=v6)
    user = peer.connect(options=options)
    peer.sees("S 0:0(0) <...>")
    assert user.state is State.SYN_SENT
    return peer, user


def syn_received(*, options: TcpOptions | None = None) -> tuple[Peer, User]:
    """An active open met the peer's SYN: simultaneous open, SYN-ACK sent."""
    peer, user = syn_sent(options=options)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    assert user.state is State.SYN_RECEIVED
    return peer, user


def half_open(*, v6: bool = False, options: TcpOptions | None = None) -> Peer:
    """A passive open has answered a SYN: SYN-RECEIVED, with a listener behind it."""
    peer = Peer(v6=v6)
    peer.listens(options=options)
    peer.sends("S 0:0(0) <mss 1000>")
    peer.sees("S. 0:0(0) ack 1 <...>")
    assert peer.state is State.SYN_RECEIVED
    return peer


def established(
    *,
    passive: bool = False,
    v6: bool = False,
    options: TcpOptions | None = None,
    mtu: int = 1500,
    max_payload: int = 0,
    mss: int = 1000,
    window: int = 65535,
    wscale: int = -1,
    sack: bool = False,
    timestamps: bool = False,
    rtt: Duration = 0,
) -> tuple[Peer, User]:
    """A connection. `window` is the field of all the peer's segments; `mss` 0 leaves the option out."""
    peer = Peer(v6=v6, window=window, timestamps=timestamps, mtu=mtu, max_payload=max_payload)
    offered = _syn_options(mss, wscale, sack, timestamps)
    if passive:
        peer.listens(options=options)
        peer.sends(f"S 0:0(0) win {window} {offered}")
        peer.sees("S. 0:0(0) ack 1 <...>")
        peer.passes(rtt)
        peer.sends(". 1:1(0) ack 1")
        user = peer.accepts()
        for seen in peer.takes():  # a window that the SYN-ACK could not say
            assert seen.line.startswith(". 1:1(0) ack 1 win"), seen.line
    else:
        user = peer.connect(options=options)
        peer.sees("S 0:0(0) <...>")
        peer.passes(rtt)
        peer.sends(f"S. 0:0(0) ack 1 win {window} {offered}")
        peer.sees(". 1:1(0) ack 1")
    peer.sees_nothing()
    assert user.state is State.ESTABLISHED
    return peer, user


def fin_wait_1(*, options: TcpOptions | None = None, timestamps: bool = False) -> tuple[Peer, User]:
    """The host's user has closed its direction; the FIN is not acknowledged."""
    peer, user = established(options=options, timestamps=timestamps)
    user.close_write()
    peer.sees("F. 1:1(0) ack 1")
    assert user.state is State.FIN_WAIT_1
    return peer, user


def fin_wait_2(*, options: TcpOptions | None = None, timestamps: bool = False) -> tuple[Peer, User]:
    """The host's FIN is acknowledged."""
    peer, user = fin_wait_1(options=options, timestamps=timestamps)
    peer.sends(". 1:1(0) ack 2")
    peer.sees_nothing()
    assert user.state is State.FIN_WAIT_2
    return peer, user


def time_wait(*, options: TcpOptions | None = None, timestamps: bool = False) -> tuple[Peer, User]:
    """The host closed first, and has acknowledged the peer's FIN."""
    peer, user = fin_wait_2(options=options, timestamps=timestamps)
    peer.sends("F. 1:1(0) ack 2")
    peer.sees(". 2:2(0) ack 2")
    assert user.state is State.TIME_WAIT
    return peer, user


def closing(*, options: TcpOptions | None = None) -> tuple[Peer, User]:
    """The FINs have crossed; the peer's is acknowledged, the host's is not."""
    peer, user = fin_wait_1(options=options)
    peer.sends("F. 1:1(0) ack 1")
    peer.sees(". 2:2(0) ack 2")
    assert user.state is State.CLOSING
    return peer, user


def close_wait(*, options: TcpOptions | None = None, passive: bool = False) -> tuple[Peer, User]:
    """The peer has closed its direction."""
    peer, user = established(options=options, passive=passive)
    peer.sends("F. 1:1(0) ack 1")
    peer.sees(". 1:1(0) ack 2")
    assert user.state is State.CLOSE_WAIT
    return peer, user


def last_ack(*, options: TcpOptions | None = None, passive: bool = False) -> tuple[Peer, User]:
    """Then the host's user has closed, too; its FIN is not acknowledged."""
    peer, user = close_wait(options=options, passive=passive)
    user.close_write()
    peer.sees("F. 1:1(0) ack 2")
    assert user.state is State.LAST_ACK
    return peer, user
