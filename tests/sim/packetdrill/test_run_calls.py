"""The system calls of scripts: what they return, when those return that block, and what is not supported."""

from __future__ import annotations

import pytest

from tests.sim.packetdrill.scripts import CLIENT, SERVER, fails, passes, unsupported

NOT_BLOCKING = "+0 fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n"

# Calls that block.


def test_accept_blocks_until_a_peer_has_called() -> None:
    text = """\
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0...{} accept(3, ..., ...) = 4
  +.1 < S 0:0(0) win 32792 <mss 1000>
   +0 > S. 0:0(0) ack 1 <mss 1460>
  +.1 < . 1:1(0) ack 1 win 32792
   +0 write(4, ..., 10) = 10
   +0 > P. 1:11(10) ack 1
"""
    passes(text.format("0.200"))
    fails(text.format("0.100"), "the return of accept() happened at 0.200000 s", "due at 0.100000 s", line=4)
    fails(text.format("0.300"), "the return of accept() happened at 0.200000 s", "due at 0.300000 s", line=4)


def test_connect_blocks_for_a_round_trip() -> None:
    text = """\
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
  +.1...0.200 connect(3, ..., ...) = {}
   +0 > S 0:0(0) <...>
  +.1 < {}
"""
    passes(text.format("0", "S. 0:0(0) ack 1 win 5792 <mss 1460>") + "+0 > . 1:1(0) ack 1\n")
    passes(text.format("-1 ECONNREFUSED (Connection refused)", "R. 0:0(0) ack 1 win 0"))
    fails(text.format("0", "R. 0:0(0) ack 1 win 0"), "expected: 0", "came:     -1 ECONNREFUSED", line=2)


def test_read_blocks_until_something_comes_and_what_follows_waits_for_it() -> None:
    passes(
        SERVER
        + """\
   +0...0.100 read(4, ..., 2000) = 10
  +.1 < P. 1:11(10) ack 1 win 257
   +0 > . 1:1(0) ack 11
  +.1...0.200 read(4, ..., 2000) = 0
  +.1 < F. 11:11(0) ack 1 win 257
   +0 > . 1:1(0) ack 12
"""
    )
    fails(SERVER + "+0...0.1 read(4, ..., 10) = 10\n+0 write(4, ..., 1) = 1\n", "read() did not return", line=8)
    fails(SERVER + "+0 read(4, ..., 10) = 10\n", "read() did not return", line=8)
    fails(SERVER + "+0...0.1 read(4, ..., 10) = 10\n", "read() did not return", line=8)


def test_a_read_that_waits_for_all_gets_all() -> None:
    passes(
        SERVER
        + """\
   +0...0.200 recv(4, ..., 20, MSG_WAITALL) = 20
  +.1 < P. 1:11(10) ack 1 win 257
   +0 > . 1:1(0) ack 11
  +.1 < P. 11:21(10) ack 1 win 257
   +0 > . 1:1(0) ack 21
"""
    )


def test_write_blocks_until_everything_is_taken() -> None:
    text = """\
   +0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [5000], 4) = 0
   +0...{} write(4, ..., 30000) = 30000
   +0 > P. 1:10001(10000) ack 1
  +.1 < . 1:1(0) ack 10001 win 2000
   +0 > P. 10001:20001(10000) ack 1
  +.1 < . 1:1(0) ack 20001 win 2000
"""
    passes(SERVER + text.format("0.200"))
    fails(SERVER + text.format("0.100"), "the return of write() happened at 0.300000 s", "due at 0.200000 s", line=9)


def test_poll_waits_for_an_event_or_its_time() -> None:
    poll = "+0...{} poll([{{fd=4, events=POLLIN|POLLOUT, revents={}}}], 1, {}) = {}\n"
    passes(SERVER + poll.format("0.000", "POLLOUT", 1000, 1))
    wait = "+0...{} poll([{{fd=4, events=POLLIN, revents={}}}], 1, {}) = {}\n"
    passes(SERVER + wait.format("0.050", 0, 50, 0))
    passes(SERVER + wait.format("0.020", "POLLIN", 50, 1) + "+.02 < P. 1:11(10) ack 1 win 257\n")
    fails(SERVER + wait.format("0.020", "POLLIN", 10, 1), "poll() returned 0", line=8)
    fails(SERVER + poll.format("0.000", "POLLIN", 1000, 1), "revents of entry 0: expected POLLIN, came POLLOUT", line=8)
    passes(SERVER + "+0 poll([{fd=9, events=POLLIN, revents=POLLNVAL}], 1, 0) = 1\n")


def test_close_lingers_as_long_as_it_was_told() -> None:
    text = (
        SERVER + "+0 setsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=1, linger=2}, 8) = 0\n"
        "+0 write(4, ..., 100) = 100\n+0 > P. 1:101(100) ack 1\n"
        "+0...0.100 close(4) = 0\n+0 > F. 101:101(0) ack 1\n+.1 < . 1:1(0) ack 102 win 257\n"
    )
    passes(text)
    passes(SERVER + "+0 getsockopt(4, SOL_SOCKET, SO_LINGER, {onoff=0, linger=0}, [8]) = 0\n")


# Calls that don't.


def test_errors_are_named_and_compared() -> None:
    passes(SERVER + NOT_BLOCKING + "+0 read(4, ..., 10) = -1 EAGAIN (Resource temporarily unavailable)\n")
    passes(SERVER + "+0 recv(4, ..., 10, MSG_DONTWAIT) = -1 EWOULDBLOCK (the same)\n")
    passes(SERVER + NOT_BLOCKING + "+0 read(4, ..., 10) = -1\n")
    fails(SERVER + NOT_BLOCKING + "+0 read(4, ..., 10) = -1 EPIPE (x)\n", "came:     -1 EAGAIN", line=9)
    unsupported(SERVER + NOT_BLOCKING + "+0 read(4, ..., 10) = -1 ENOSUCH (x)\n", "the error ENOSUCH", line=9)


def test_bad_arguments_give_errors_as_a_kernel_does() -> None:
    passes(SERVER + "+0 write(4, NULL, 10) = -1 EFAULT (Bad address)\n")
    passes(SERVER + "+0 send(4, NULL, 10, 0) = -1 EFAULT (Bad address)\n")
    passes(SERVER + "+0 write(9, ..., 10) = -1 EBADF (Bad file descriptor)\n")
    passes(SERVER + "+0 epoll_create(1) = 5\n+0 write(5, ..., 10) = -1 ENOTSOCK (Not a socket)\n")
    passes(SERVER + "+0 < P. 1:11(10) ack 1 win 257\n+0 read(4, NULL, 10) = -1 EFAULT (x)\n+0 read(4, ..., 99) = 10\n")
    passes(SERVER + "+0 close(4) = 0\n+0 close(4) = -1 EBADF (Bad file descriptor)\n")


def test_vectors_and_messages() -> None:
    passes(
        SERVER
        + """\
   +0 writev(4, [{..., 10}, {..., 20}], 2) = 30
   +0 > P. 1:31(30) ack 1
   +0 sendmsg(4, {msg_name(...)=..., msg_iov(3)=[{..., 0}, {..., 5}, {..., 0}], msg_flags=0}, 0) = 5
  +.1 < P. 1:41(40) ack 31 win 257
   +0 > P. 31:36(5) ack 41
   +0 readv(4, [{..., 10}, {..., 20}], 2) = 30
   +0 setsockopt(4, SOL_TCP, TCP_INQ, [1], 4) = 0
   +0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 4}], msg_flags=0,
                  msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=6}]}, 0) = 4
"""
    )


def test_what_a_message_brings_is_compared() -> None:
    text = (
        SERVER + "+0 setsockopt(4, SOL_TCP, TCP_INQ, [1], 4) = 0\n+0 < P. 1:41(40) ack 1 win 257\n"
        "+0 recvmsg(4, {{msg_name(...)=..., msg_iov(1)=[{{..., 4}}], msg_flags={},\n"
        "msg_control=[{{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data={}}}]}}, 0) = 4\n"
    )
    passes(text.format(0, 36))
    fails(text.format(0, 35), "msg_control (level, type, data): expected [(6, 36, 35)], came [(6, 36, 36)]", line=10)
    fails(text.format("MSG_TRUNC", 36), "msg_flags: expected 0x20, came 0x0", line=10)


def test_fcntl_and_ioctl() -> None:
    passes(SERVER + "+0 fcntl(4, F_GETFL) = 0x2 (flags O_RDWR)\n" + NOT_BLOCKING + "+0 fcntl(4, F_GETFL) = 0x802\n")
    passes(SERVER + "+0 ioctl(4, FIONBIO, [1]) = 0\n+0 fcntl(4, F_GETFL) = 0x802\n")
    text = SERVER + "+0 < P. 1:11(10) ack 1 win 257\n+0 ioctl(4, {}, [{}]) = 0\n"
    passes(text.format("SIOCINQ", 10))
    passes(text.format("FIONREAD", 10))
    fails(text.format("SIOCINQ", 9), "ioctl(): expected [9], came [10]", line=9)


def test_options_of_sockets() -> None:
    passes(
        SERVER
        + "+0 setsockopt(4, SOL_TCP, TCP_NODELAY, [1], 4) = 0\n+0 getsockopt(4, SOL_TCP, TCP_NODELAY, [1], [4]) = 0\n"
    )
    passes(SERVER + '+0 getsockopt(4, SOL_TCP, TCP_CONGESTION, "cubic", [16]) = 0\n')
    name = '+0 setsockopt(4, SOL_TCP, TCP_CONGESTION, "reno", 4) = 0\n'
    passes(SERVER + name + '+0 getsockopt(4, SOL_TCP, TCP_CONGESTION, "re"..., [16]) = 0\n')
    fails(SERVER + '+0 getsockopt(4, SOL_TCP, TCP_CONGESTION, "reno", [16]) = 0\n', "came b'cubic'", line=8)
    fails(SERVER + "+0 getsockopt(4, SOL_TCP, TCP_NODELAY, [1], [4]) = 0\n", "expected [1], came [0]", line=8)
    fails(SERVER + "+0 getsockopt(4, SOL_TCP, TCP_NODELAY, [0], [8]) = 0\n", "the size: expected 8, came 4", line=8)
    passes(SERVER + "+0 setsockopt(4, SOL_TCP, TCP_NODELAY, [1], 3) = -1 EINVAL (Invalid argument)\n")
    passes(SERVER + "+0 setsockopt(4, SOL_TCP, TCP_NODELAY, 0, 4) = -1 EFAULT (Bad address)\n")
    unsupported(SERVER + "+0 setsockopt(4, SOL_SOCKET, SO_ZEROCOPY, [1], 4) = 0\n", "the socket option SO_ZEROCOPY")
    passes(SERVER + "+0 setsockopt(4, SOL_SOCKET, SO_ZEROCOPY, [1], 4) = -1 ENOPROTOOPT (x)\n")


def test_epoll_by_level_edge_and_once() -> None:
    script = SERVER + "+0 epoll_create(1) = 5\n+0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {{events={}, fd=4}}) = 0\n{}"
    data = "+0 < P. {}:{}(10) ack 1 win 257\n"
    first, second = data.format(1, 11), data.format(11, 21)
    ready = "+0 epoll_wait(5, {events=EPOLLIN, fd=4}, 1, 0) = 1\n"
    none = "+0 epoll_wait(5, {events=0, ptr=0}, 1, 0) = 0\n"
    passes(script.format("EPOLLIN", none + first + ready + ready))
    passes(script.format("EPOLLIN|EPOLLET", first + ready + none + "+0 read(4, ..., 5) = 5\n" + none + second + ready))
    once = "+0 epoll_ctl(5, EPOLL_CTL_MOD, 4, {events=EPOLLIN|EPOLLONESHOT, fd=4}) = 0\n"
    passes(script.format("EPOLLIN|EPOLLONESHOT", first + ready + none + second + none + once + ready + none))
    passes(script.format("EPOLLOUT|EPOLLET", "+0 epoll_wait(5, {events=EPOLLOUT, fd=4}, 1, 0) = 1\n" + none))
    delete = "+0 epoll_ctl(5, EPOLL_CTL_DEL, 4, {events=0, fd=4}) = "
    passes(script.format("EPOLLIN", first + delete + "0\n" + none + delete + "-1 ENOENT (x)\n"))
    fails(script.format("EPOLLIN", first + ready.replace("fd=4", "fd=7")), "fd: expected 7, came 4", line=11)
    fails(script.format("EPOLLIN|EPOLLOUT", first + ready), "events: expected EPOLLIN, came EPOLLIN|EPOLLOUT", line=11)
    waiting = "+0...0.020 epoll_wait(5, {events=EPOLLIN, fd=4}, 1, 100) = 1\n+.02 < P. 1:11(10) ack 1 win 257\n"
    passes(script.format("EPOLLIN", waiting))


def test_addresses_may_be_written_out() -> None:
    passes(
        """\
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, {sa_family = AF_INET, sin_port = htons(5000), sin_addr = inet_addr("192.168.0.1")}, ...) = 0
   +0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0
   +0 connect(3, {sa_family = AF_INET, sin_port = htons(81), sin_addr = inet_addr("192.0.2.9")}, ...)
        = -1 EINPROGRESS (Operation now in progress)
   +0 > S 0:0(0) <...>
   +0 connect(3, AF_UNSPEC, ...) = 0
"""
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("splice(3, 0, 4, 0, 10, 0) = 10", "the call splice()"),
        ("socket(..., SOCK_RAW, IPPROTO_UDP) = 5", "sockets that are not TCP's or UDP's"),
        ("socket(..., SOCK_DGRAM, IPPROTO_SCTP) = 5", "sockets that are not TCP's or UDP's"),
        ("send(4, ..., 10, MSG_ZEROCOPY) = 10", "MSG_ZEROCOPY"),
        ("recv(4, ..., 10, MSG_ERRQUEUE) = 10", "the error queue"),
        ("fcntl(4, F_DUPFD, 0) = 5", "fcntl() other than of flags"),
        ("send(4, ..., 10, MSG_BATCH) = 10", "the constant MSG_BATCH"),
        ("write(4, ..., 2000000000) = 10", "a buffer of 2000000000 octets"),
    ],
)
def test_what_is_not_supported_says_so(call: str, words: str) -> None:
    unsupported(SERVER + f"+0 {call}\n", words, line=8)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("close() = 0", "close(): takes 1 arguments, not 0"),
        ("fcntl(4) = 0", "fcntl(): takes 2 or 3 arguments, not 1"),
        ("read(..., ..., 10) = 10", "a number belongs here"),
        ("read(4, 7, 10) = 10", "a buffer is ... or NULL"),
        ("poll(4, 1, 0) = 0", "a list of {fd=..., events=...} belongs here"),
        ("poll([4], 1, 0) = 0", "{fd=..., events=...} belongs here"),
        ("poll([{fd=4, events=POLLIN}], 2, 0) = 0", "there are 1 entries"),
        ("writev(4, ..., 1) = 0", "a list of buffers belongs here"),
        ("writev(4, [4], 1) = 0", "a buffer, {..., size}, belongs here"),
        ("recvmsg(4, 4, 0) = 0", "a message header belongs here"),
        ("getsockopt(4, SOL_TCP, TCP_NODELAY, 4, [4]) = 0", "[n] belongs here"),
        ("socket(..., SOCK_STREAM, IPPROTO_TCP) = 4", "the number 4 stands for an open file already"),
    ],
)
def test_calls_that_mean_nothing_fail(call: str, words: str) -> None:
    fails(SERVER + f"+0 {call}\n", words, line=8)


def test_accept_may_give_a_number_again_that_is_in_use() -> None:
    once = """\
+0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 32792 <mss 1000>
+0 > S. 0:0(0) ack 1 <mss 1460>
+0 < P. 1:6(5) ack 1 win 257
+0 accept(3, ..., ...) = 4
+0 read(4, ..., 100) = 5
+0 close(3) = 0
"""
    passes(once + once + "+0 close(4) = 0\n+0 write(4, ..., 10) = 10\n+0 close(4) = 0\n")
    fails(once + once + "+0 close(4) = 0\n" * 3, "-1 EBADF", line=23)


def test_a_client_that_wants_nothing_else_is_answered() -> None:
    passes(
        CLIENT
        + "+0 write(3, ..., 10) = 10\n+0 > P. 1:11(10) ack 1 <...>\n+0 close(3) = 0\n+0 > F. 11:11(0) ack 1 <...>\n"
    )
