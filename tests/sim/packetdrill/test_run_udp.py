"""UDP lines and UDP sockets in scripts."""

from __future__ import annotations

import pytest

from tests.sim.packetdrill.scripts import CLIENT, fails, passes

BOUND = "0 socket(..., SOCK_DGRAM, IPPROTO_UDP) = 3\n+0 bind(3, ..., ...) = 0\n"
CONNECTED = "0 socket(..., SOCK_DGRAM, 0) = 3\n+0 connect(3, ..., ...) = 0\n"


@pytest.mark.parametrize("ip_version", ["ipv4", "ipv6", "ipv4-mapped-ipv6"])
def test_datagrams_in_both_directions(ip_version: str) -> None:
    text = CONNECTED + "+0 write(3, ..., 100) = 100\n+0 > udp (100)\n+0 < udp (1000)\n+0 read(3, ..., 5000) = 1000\n"
    passes(text, ip_version=ip_version)


def test_what_differs_is_told() -> None:
    text = CONNECTED + "+0 write(3, ..., 100) = 100\n"
    fails(text + "+0 > udp (99)\n", "length: expected 99, came 100", "came:", "(100)", line=4)
    fails(text + "+0 > [ect0] udp (100)\n", "ecn: expected ect0, came noecn", line=4)
    fails(text + "+1 > udp (100)\n", "time:", line=4)
    fails(text + "+0 > udp 1 > 2 (100)\n", "nothing came", line=4)
    fails(text + "+0 > udp (100)\n+0 > udp (100)\n", "nothing came", line=5)


def test_ports_of_a_line() -> None:
    passes(BOUND + "+0 < udp 53 > 8080 (10)\n+0 read(3, ..., 100) = 10\n")
    fails(BOUND + "+0 < udp 53 > 8081 (10)\n+0 recv(3, ..., 100, MSG_DONTWAIT) = 10\n", "returned -1 EAGAIN", line=4)
    to = '{sa_family = AF_INET, sin_port = htons(53), sin_addr = inet_addr("192.0.2.9")}'
    passes(BOUND + f"+0 sendto(3, ..., 10, 0, {to}, ...) = 10\n+0 > udp 8080 > 53 (10)\n")
    passes(
        BOUND + f"+0 sendmsg(3, {{msg_name(...)={to}, msg_iov(1)=[{{..., 10}}], msg_flags=0}}, 0) = 10\n+0 > udp (10)\n"
    )


def test_read_that_blocks_until_a_datagram_comes() -> None:
    passes(BOUND + "+0...0.1 recv(3, ..., 100, MSG_WAITALL) = 10\n+.1 < udp (10)\n")
    passes(BOUND + "+0...0.1 poll([{fd=3, events=POLLIN, revents=POLLIN}], 1, 1000) = 1\n+.1 < udp (10)\n")


def test_recvmsg_tells_what_was_cut() -> None:
    call = "+0 recvmsg(3, {msg_name(...)=..., msg_iov(1)=[{..., 10}], msg_flags=MSG_TRUNC}, 0) = 10\n"
    passes(BOUND + "+0 < udp (20)\n" + call)
    fails(BOUND + "+0 < udp (10)\n" + call, "msg_flags")


def test_each_datagram_is_an_edge() -> None:
    wait = "+0 epoll_wait(4, {events=EPOLLIN, fd=3}, 1, 0) = "
    passes(
        BOUND
        + "+0 epoll_create(1) = 4\n+0 epoll_ctl(4, EPOLL_CTL_ADD, 3, {events=EPOLLIN|EPOLLET, fd=3}) = 0\n"
        + f"+0 < udp (1)\n{wait}1\n+0 epoll_wait(4, {{events=0, fd=0}}, 1, 0) = 0\n+0 < udp (1)\n{wait}1\n"
    )


def test_errors_quote_the_datagram() -> None:
    wrote = "+0 write(3, ..., 10) = 10\n+0 > udp (10)\n"
    refused = "+0 read(3, ..., 10) = -1 ECONNREFUSED (Connection refused)\n"
    passes(CONNECTED + wrote + "+0 < icmp unreachable port_unreachable [udp (10)]\n" + refused)
    passes(CONNECTED + wrote + "+0 < icmp unreachable port_unreachable\n" + refused)
    quoted = "+0 < icmp unreachable port_unreachable [udp (10)]\n"
    passes(CONNECTED + wrote + quoted + refused, ip_version="ipv6")


def test_streams_beside_datagrams() -> None:
    """A UDP socket that was made after it does not take the connection's lines."""
    passes(
        CLIENT
        + "+0 socket(..., SOCK_DGRAM, 0) = 4\n+0 connect(4, ..., ...) = 0\n+0 write(4, ..., 10) = 10\n+0 > udp (10)\n"
        + "+0 write(3, ..., 10) = 10\n+0 > P. 1:11(10) ack 1 <nop,nop,TS val 200 ecr 700>\n+0 close(4) = 0\n"
    )


def test_closed_socket_s_port_is_nobody_s() -> None:
    passes(BOUND + "+0 close(3) = 0\n+0 < udp (10)\n+0 > icmp unreachable port_unreachable\n")
