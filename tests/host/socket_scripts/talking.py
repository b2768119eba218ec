"""Data, urgent data, and the ways in which both ends stop."""

from __future__ import annotations

from stack.socket import (
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLPRI,
    POLLRDHUP,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SIOCATMARK,
    SIOCINQ,
    SIOCOUTQ,
    SIOCOUTQNSD,
    SO_LINGER,
    SO_OOBINLINE,
    SOL_SOCKET,
    TCP_INQ,
)
from tests.host.socket_machines import Machine
from tests.host.socket_scripts.registry import script

# Data.


@script
def data_goes_both_ways(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"hello")
    child.wait(POLLIN)
    child.ioctl(SIOCINQ)
    child.recv(2)
    child.recv(10)
    child.recv(10)
    child.send(b"world")
    client.wait(POLLIN)
    client.recv(10)
    client.recv(10, MSG_DONTWAIT)
    client.poll()


@script
def peeking_leaves_the_data(m: Machine) -> None:
    client, child, _ = m.connected()
    child.recv(10, MSG_PEEK)
    client.send(b"hello")
    client.send(b" world")
    child.wait_queue(SIOCINQ, 11)
    child.recv(3, MSG_PEEK)
    child.recv(100, MSG_PEEK)
    child.recv(4)
    child.recv(100, MSG_PEEK)
    child.ioctl(SIOCINQ)
    child.recv(100)
    child.recv(10, MSG_PEEK)


@script
def waitall_gives_what_is_there(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"hello")
    child.wait(POLLIN)
    child.recv(10, MSG_WAITALL)
    child.recv(10, MSG_WAITALL)


@script
def truncation_throws_away(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(bytes(10))
    child.wait(POLLIN)
    child.recv(4, MSG_TRUNC)
    child.recv(100, MSG_TRUNC | MSG_PEEK)
    child.recv(100, MSG_TRUNC)
    child.recv(100, MSG_TRUNC)


@script
def reading_nothing(m: Machine) -> None:
    client, child, _ = m.connected()
    child.recv(0)
    client.send(b"hello")
    child.wait(POLLIN)
    child.recv(0)
    child.recv(0, MSG_PEEK)
    child.recv(10)
    child.recv(0)


@script
def sending_nothing(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"")
    child.recv()
    client.shutdown(SHUT_WR)
    client.send(b"")
    child.wait(POLLRDHUP)
    child.recv(0)


@script
def error_queue_is_empty(m: Machine) -> None:
    client, child, _ = m.connected()
    client.recv(10, MSG_ERRQUEUE)
    child.send(b"x")
    client.wait(POLLIN)
    client.recv(10, MSG_ERRQUEUE)
    client.recvmsg(10, 100, MSG_ERRQUEUE)
    client.recvmsg(10, 100)


@script
def sendto_ignores_the_address(m: Machine) -> None:
    client, child, _ = m.connected()
    client.sendto(b"hello", 0, m.nobody())
    child.wait(POLLIN)
    child.recv()


@script
def queues_are_counted(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"hello")
    child.wait_queue(SIOCINQ, 5)
    client.wait_queue(SIOCOUTQ, 0)
    client.wait_queue(SIOCOUTQNSD, 0)
    client.shutdown(SHUT_WR)
    child.wait(POLLRDHUP)
    child.ioctl(SIOCINQ)
    child.recv(5)
    child.ioctl(SIOCINQ)
    client.wait_queue(SIOCOUTQ, 0)
    child.ioctl(SIOCATMARK)


@script
def unread_octets_are_told(m: Machine) -> None:
    client, child, _ = m.connected()
    child.get(IPPROTO_TCP, TCP_INQ)
    child.set(IPPROTO_TCP, TCP_INQ, 1)
    child.get(IPPROTO_TCP, TCP_INQ)
    client.send(b"hello")
    child.wait(POLLIN)
    child.recvmsg(2, 100)
    child.recvmsg(1, 100, MSG_PEEK)
    child.recvmsg(1, 0)
    client.shutdown(SHUT_WR)
    child.wait(POLLRDHUP)
    child.recvmsg(1, 100)
    child.recvmsg(10, 100)
    child.recvmsg(10, 100)


# Urgent data.


@script
def urgent_octet_is_taken_out(m: Machine) -> None:
    client, child, _ = m.connected()
    child.recv(1, MSG_OOB)
    client.send(b"abc", MSG_OOB)
    child.wait(POLLPRI)
    child.ioctl(SIOCATMARK)
    child.ioctl(SIOCINQ)
    child.recv(1, MSG_OOB | MSG_PEEK)
    child.recv(10)
    child.ioctl(SIOCATMARK)
    child.poll()
    child.recvmsg(10, 0, MSG_OOB)
    child.poll()
    child.recv(1, MSG_OOB)
    child.recv(10)
    client.send(b"def")
    child.wait(POLLIN)
    child.ioctl(SIOCATMARK)
    child.recv(10)


@script
def urgent_octet_in_the_middle(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"abc", MSG_OOB)
    client.send(b"def")
    child.wait(POLLPRI)
    child.wait_queue(SIOCINQ, 2)
    child.recv(10, MSG_PEEK)
    child.recv(1)
    child.ioctl(SIOCINQ)
    child.recv(10)
    child.recv(10, MSG_PEEK)
    child.ioctl(SIOCATMARK)
    child.recv(10)
    child.recv(1, MSG_OOB)
    child.poll()


@script
def urgent_octet_is_passed_over(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"c", MSG_OOB)
    child.wait(POLLPRI)
    child.ioctl(SIOCATMARK)
    child.ioctl(SIOCINQ)
    child.recv(10)
    child.recv(1, MSG_OOB)
    child.poll()
    client.send(b"d")
    child.wait(POLLIN)
    child.recv(10)


@script
def urgent_data_in_line(m: Machine) -> None:
    client, child, _ = m.connected()
    child.set(SOL_SOCKET, SO_OOBINLINE, 1)
    child.get(SOL_SOCKET, SO_OOBINLINE)
    client.send(b"abc", MSG_OOB)
    client.send(b"def")
    child.wait_queue(SIOCINQ, 6)
    child.poll()
    child.recv(1, MSG_OOB)
    child.recv(10)
    child.ioctl(SIOCATMARK)
    child.poll()
    child.recv(10)
    child.ioctl(SIOCATMARK)
    child.poll()


@script
def second_urgent_mark_replaces_the_first(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"ab", MSG_OOB)
    child.wait(POLLPRI)
    client.send(b"cd", MSG_OOB)
    child.wait_queue(SIOCINQ, 3)
    child.recv(1, MSG_OOB)
    child.recv(10)
    child.recv(10)


@script
def urgent_octet_before_the_end(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"abc", MSG_OOB)
    client.shutdown(SHUT_WR)
    child.wait(POLLRDHUP)
    child.recv(10)
    child.recv(10, MSG_OOB)
    child.recv(10)
    child.recv(10, MSG_OOB)


# Shutting down.


@script
def end_of_file(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"hello")
    client.shutdown(SHUT_WR)
    child.wait(POLLRDHUP)
    child.recv(3)
    child.poll()
    child.recv()
    child.recv()
    child.recv(10, MSG_PEEK)
    child.send(b"still here")
    client.wait(POLLIN)
    client.recv()
    client.send(b"x")
    client.shutdown(SHUT_WR)
    client.poll()
    child.close()
    client.wait(POLLHUP)
    client.recv()
    client.recv()
    client.shutdown(SHUT_WR)
    client.error()


@script
def shutdown_of_reading(m: Machine) -> None:
    client, child, _ = m.connected()
    child.shutdown(SHUT_RD)
    child.poll()
    child.recv()
    client.send(b"hello")
    child.wait_queue(SIOCINQ, 5)
    child.recv()
    child.recv()
    child.send(b"hello")
    client.wait(POLLIN)
    client.recv()
    child.shutdown(SHUT_RD)
    client.shutdown(SHUT_WR)
    child.recv()


@script
def shutdown_of_reading_keeps_what_is_there(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"hello")
    child.wait_queue(SIOCINQ, 5)
    child.shutdown(SHUT_RD)
    child.recv(3)
    child.recv(3)
    child.recv(3)


@script
def shutdown_of_both(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"hello")
    child.wait_queue(SIOCINQ, 5)
    child.shutdown(SHUT_RDWR)
    child.poll()
    child.send(b"x")
    child.recv()
    child.recv()
    client.wait(POLLRDHUP)
    client.recv()
    client.send(b"x")
    client.wait(POLLERR)
    client.error()
    child.recv()
    child.error()
    child.poll()


@script
def shutdown_while_connecting(m: Machine) -> None:
    client, child, listener = m.connected()
    client.shutdown(SHUT_RDWR)
    client.connect(m.server.at(listener))
    child.wait(POLLRDHUP)
    child.shutdown(SHUT_WR)
    client.wait(POLLHUP)
    client.connect(m.server.at(listener))
    client.shutdown(SHUT_RDWR)


@script
def both_close_one_after_the_other(m: Machine) -> None:
    client, child, _ = m.connected()
    client.shutdown(SHUT_WR)
    child.wait(POLLRDHUP)
    child.shutdown(SHUT_WR)
    child.wait(POLLHUP)
    child.recv()
    child.send(b"x")
    child.error()
    child.peername()
    child.sockname()
    client.wait(POLLHUP)
    client.recv()
    client.send(b"x")
    client.error()


# Resets.


@script
def reset_is_told_once(m: Machine) -> None:
    client, child, _ = m.connected()
    child.set(SOL_SOCKET, SO_LINGER, (1, 0))
    child.close()
    client.wait(POLLERR)
    client.recv()
    client.recv()
    client.send(b"x")
    client.peername()
    client.error()
    client.poll()
    client.shutdown(SHUT_RDWR)


@script
def reset_is_told_to_a_sender(m: Machine) -> None:
    client, child, _ = m.connected()
    child.set(SOL_SOCKET, SO_LINGER, (1, 0))
    child.close()
    client.wait(POLLERR)
    client.send(b"x")
    client.send(b"x")
    client.recv()


@script
def data_before_a_reset_is_read(m: Machine) -> None:
    client, child, _ = m.connected()
    child.send(b"hello")
    client.wait_queue(SIOCINQ, 5)
    child.set(SOL_SOCKET, SO_LINGER, (1, 0))
    child.close()
    client.wait(POLLERR)
    client.ioctl(SIOCINQ)
    client.recv(2)
    client.recv()
    client.recv()
    client.recv()


@script
def close_with_unread_data_resets(m: Machine) -> None:
    client, child, _ = m.connected()
    client.send(b"hello")
    child.wait_queue(SIOCINQ, 5)
    child.close()
    client.wait(POLLERR)
    client.recv()
    client.recv()


@script
def sending_to_the_closed_resets(m: Machine) -> None:
    client, child, _ = m.connected()
    child.close()
    client.wait(POLLRDHUP)
    client.recv()
    client.send(b"x")
    client.wait(POLLERR)
    client.recv()
    client.send(b"x")
    client.send(b"x")
    client.error()


@script
def reset_after_the_end_of_file_is_a_broken_pipe(m: Machine) -> None:
    client, child, _ = m.connected()
    child.close()
    client.wait(POLLRDHUP)
    client.send(b"x")
    client.wait(POLLERR)
    client.error()
    client.recv()


@script
def linger_with_a_time_closes_in_order(m: Machine) -> None:
    client, child, _ = m.connected()
    child.set(SOL_SOCKET, SO_LINGER, (1, 5))
    child.send(b"hello")
    client.wait(POLLIN)
    client.shutdown(SHUT_WR)
    child.wait(POLLRDHUP)
    child.close()
    client.wait(POLLHUP)
    client.recv()
    client.recv()
    client.error()
