"""Sockets: the Berkeley verbs over the sans-IO host, with the errnos that Linux gives; `stack.socket` is the same.

A `Sockets` is what one process sees: a host, and a clock. A `Socket` never blocks: where a kernel's socket with
O_NONBLOCK would give EAGAIN, EINPROGRESS or EALREADY, it raises `BlockingIOError` with that errno, and every other
error is an `OSError`, too. Nothing moves by itself. Whoever drives the host carries packets in and out and tells it
the time, as always, and looks afterwards, with `poll`, at what has become possible:

    from stack import socket

    sockets = socket.Sockets(host, clock=lambda: now)
    sock = sockets.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.connect(("10.9.0.2", 80))
    except BlockingIOError:                       # EINPROGRESS
        ...                                       # carry packets: host.poll_transmit, host.receive
    if sock.poll() & socket.POLLOUT:
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    sock.send(b"GET / HTTP/1.0\\r\\n\\r\\n")

There are no signals: a broken pipe is EPIPE, with or without MSG_NOSIGNAL. Options without effect here are refused
with ENOPROTOOPT; docs/sockets.md lists those that there are.
"""

from stack.host.sockets.constants import *  # noqa: F403
from stack.host.sockets.datagrams import DatagramSocket
from stack.host.sockets.names import Address
from stack.host.sockets.options import Option
from stack.host.sockets.reading import Control, Received
from stack.host.sockets.socket import Socket
from stack.host.sockets.sockets import Sockets

__all__ = ["Address", "Control", "DatagramSocket", "Option", "Received", "Socket", "Sockets"]  # and the constants
