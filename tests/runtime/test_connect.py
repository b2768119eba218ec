"""Opening streams: what connect(2) would raise, names, several addresses, cancellation. And ping."""

from __future__ import annotations

import errno
import socket
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from stack.link.memory import memory_links
from stack.runtime.open import open_host
from stack.tcp.config import TcpOptions
from stack.tcp.state import State
from stack.wire import icmp, ip, tcp
from stack.wire.address import parse_address
from stack.wire.packet import Packet
from stack.wire.segment import RST
from tests.runtime.hosts import CLIENT, CLIENT6, SERVER, SERVER6, pair

NOBODY, NOBODY6 = "10.9.0.99", "fd00:9::99"


@pytest.mark.parametrize("address", [SERVER, SERVER6])
async def test_a_stream_is_connected_when_it_is_there(autojump_clock, address):
    async with pair() as hosts:
        await hosts.server.open_tcp_listeners(80)
        with assert_checkpoints():
            stream = await hosts.client.open_tcp_stream(address, 80)
        assert stream.state is State.ESTABLISHED
        assert stream.remote_address == (address, 80)


async def test_the_local_port_can_be_chosen(autojump_clock):
    async with pair() as hosts:
        await hosts.server.open_tcp_listeners(80)
        stream = await hosts.client.open_tcp_stream(SERVER, 80, local_port=1234)
        assert stream.local_address == (CLIENT, 1234)
        with pytest.raises(OSError, match="1234") as caught:
            await hosts.client.open_tcp_stream(SERVER, 80, local_port=1234)
        assert caught.value.errno == errno.EADDRINUSE


async def test_options_are_the_streams_own(autojump_clock):
    async with pair() as hosts:
        await hosts.server.open_tcp_listeners(80)
        stream = await hosts.client.open_tcp_stream(SERVER, 80, options=TcpOptions(timestamps=False))
        assert not stream.info().timestamps
        assert (await hosts.client.open_tcp_stream(SERVER, 80)).info().timestamps


# -- failures ------------------------------------------------------------------------------------------------


async def test_a_closed_port_refuses(autojump_clock):
    async with pair() as hosts:
        with pytest.raises(ConnectionRefusedError) as caught:
            await hosts.client.open_tcp_stream(SERVER, 9)
        assert caught.value.errno == errno.ECONNREFUSED
        assert hosts.client.connections() == []


async def test_silence_times_out_after_the_configured_time(autojump_clock):
    async with pair() as hosts:
        with pytest.raises(TimeoutError) as caught:
            await hosts.client.open_tcp_stream(NOBODY, 80, options=TcpOptions(connect_timeout=7.0))
        assert caught.value.errno == errno.ETIMEDOUT
        assert trio.current_time() == pytest.approx(7, abs=0.01)
        assert hosts.client.connections() == []


async def test_silence_times_out_by_itself(autojump_clock):
    async with pair() as hosts:
        with pytest.raises(TimeoutError):
            await hosts.client.open_tcp_stream(NOBODY, 80)
        assert 180 <= trio.current_time() <= 300  # RFC 9293 3.8.3, MUST-23: at least 3 minutes


@asynccontextmanager
async def host_and_far_end():
    """A host, and the bare other end of its link, on which a test plays the network."""
    ours, theirs = memory_links()
    async with open_host(ours, addresses=[CLIENT + "/24", CLIENT6 + "/64"]) as host:
        yield host, theirs


@pytest.mark.parametrize(
    ("code", "expected"),
    [(icmp.HOST_UNREACHABLE, errno.EHOSTUNREACH), (icmp.NET_UNREACHABLE, errno.ENETUNREACH)],
)
async def test_an_icmp_error_becomes_the_oserror_that_it_means(autojump_clock, code, expected):
    """Net and host unreachable are soft errors (RFC 1122 4.2.3.9): they are told when the attempt ends."""
    async with host_and_far_end() as (host, far), trio.open_nursery() as nursery:

        async def connect() -> None:
            with pytest.raises(OSError) as caught:  # noqa: PT011
                await host.open_tcp_stream(SERVER, 80, options=TcpOptions(syn_retries=1))
            assert caught.value.errno == expected

        nursery.start_soon(connect)
        await far.wait_readable()
        [syn] = far.read_batch(9)
        error = icmp.encode(icmp.Icmp(icmp.UNREACHABLE, code, 0, syn.frame()[:28]))
        src, dst = parse_address("10.9.0.3"), parse_address(CLIENT)
        far.write(Packet(ip.encode(src, dst, ip.PROTO_ICMP, len(error)) + error))


async def test_a_family_that_the_host_does_not_have(autojump_clock):
    ours, _ = memory_links()
    async with open_host(ours, addresses=[CLIENT + "/24"]) as host:
        with pytest.raises(OSError, match="fd00:9::2 has only IPv6") as caught:
            await host.open_tcp_stream(SERVER6, 80)
        assert caught.value.errno == errno.ENETUNREACH


@pytest.mark.parametrize("address", [CLIENT, "0.0.0.0", "224.0.0.1", "10.9.0.255"])
async def test_addresses_that_can_not_be_connected_to(autojump_clock, address):
    async with pair() as hosts:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            await hosts.client.open_tcp_stream(address, 80)
        assert caught.value.errno in (errno.EINVAL, errno.EADDRNOTAVAIL)


async def test_a_local_address_that_is_not_ours(autojump_clock):
    async with pair() as hosts:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            await hosts.client.open_tcp_stream(SERVER, 80, options=TcpOptions(local_address=SERVER))
        assert caught.value.errno == errno.EADDRNOTAVAIL


async def test_a_cancelled_connect_leaves_nothing_behind(autojump_clock):
    async with pair() as hosts:
        with trio.move_on_after(0.5) as scope:
            await hosts.client.open_tcp_stream(NOBODY, 80)
        assert scope.cancelled_caught
        assert hosts.client.connections() == []
        sent = len(hosts.client_wire.sent)
        await trio.sleep(100)
        assert len(hosts.client_wire.sent) == sent  # no SYN is repeated


async def test_cancelled_before_it_began_nothing_is_sent(autojump_clock):
    async with pair() as hosts:
        with trio.CancelScope() as scope:
            scope.cancel()
            await hosts.client.open_tcp_stream(SERVER, 80)
        assert hosts.client_wire.sent == []


# -- names ---------------------------------------------------------------------------------------------------


class Names(trio.abc.HostnameResolver):
    """A resolver that knows what a test tells it."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        await trio.lowlevel.checkpoint()
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, type, proto, "", (address, 0)) for address in self.addresses]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def test_a_name_is_resolved(autojump_clock):
    trio.socket.set_custom_hostname_resolver(Names(SERVER, SERVER))
    async with pair() as hosts:
        await hosts.server.open_tcp_listeners(80)
        stream = await hosts.client.open_tcp_stream("server.example", 80)
        assert stream.remote_address == (SERVER, 80)


async def test_a_name_that_nobody_knows(autojump_clock):
    trio.socket.set_custom_hostname_resolver(Names())
    async with pair() as hosts:
        with pytest.raises(socket.gaierror, match="not known"):
            await hosts.client.open_tcp_stream("nowhere.example", 80)


async def test_the_systems_resolver_is_asked_in_a_thread():
    """The one test with a real resolver; `localhost` is in every hosts file, and no address of ours."""
    ours, _ = memory_links()
    async with open_host(ours, addresses=[CLIENT + "/24", CLIENT6 + "/64"]) as host:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            await host.open_tcp_stream("localhost", 80)
        assert not isinstance(caught.value, socket.gaierror)
        assert caught.value.errno in (errno.EINVAL, errno.EADDRNOTAVAIL)


async def test_a_silent_address_does_not_hold_up_the_next_one(autojump_clock):
    trio.socket.set_custom_hostname_resolver(Names(NOBODY, SERVER))
    async with pair() as hosts:
        await hosts.server.open_tcp_listeners(80)
        stream = await hosts.client.open_tcp_stream("server.example", 80)
        assert stream.remote_address == (SERVER, 80)
        assert trio.current_time() == pytest.approx(0.25, abs=0.01)
        assert hosts.client.connections() == [stream._conn]


async def test_a_refusing_address_is_followed_at_once_by_the_next_one(autojump_clock):
    trio.socket.set_custom_hostname_resolver(Names(SERVER, SERVER6))
    async with pair() as hosts:
        await hosts.server.open_tcp_listeners(80, host=SERVER6)
        stream = await hosts.client.open_tcp_stream("server.example", 80)
        assert stream.remote_address == (SERVER6, 80)
        assert trio.current_time() == pytest.approx(0, abs=0.01)


async def test_families_alternate_at_first(autojump_clock):
    trio.socket.set_custom_hostname_resolver(Names(NOBODY, "10.9.0.98", SERVER6))
    async with pair() as hosts:
        await hosts.server.open_tcp_listeners(80)
        stream = await hosts.client.open_tcp_stream("server.example", 80)
        assert stream.remote_address == (SERVER6, 80)
        assert trio.current_time() == pytest.approx(0.25, abs=0.01)


async def test_addresses_of_a_family_without_a_way_are_left_out(autojump_clock):
    trio.socket.set_custom_hostname_resolver(Names(SERVER6, SERVER))
    async with pair() as hosts:
        hosts.client.remove_address(CLIENT6)
        await hosts.server.open_tcp_listeners(80)
        assert (await hosts.client.open_tcp_stream("server.example", 80)).remote_address == (SERVER, 80)
        assert trio.current_time() == 0


async def test_all_addresses_fail_alike(autojump_clock):
    trio.socket.set_custom_hostname_resolver(Names(SERVER, SERVER6))
    async with pair() as hosts:
        with pytest.raises(ConnectionRefusedError):
            await hosts.client.open_tcp_stream("server.example", 9)


async def test_all_addresses_fail_in_different_ways(autojump_clock):
    trio.socket.set_custom_hostname_resolver(Names(SERVER, NOBODY))
    async with pair() as hosts:
        with pytest.raises(OSError, match=r"all attempts to connect to server.example port 9") as caught:
            await hosts.client.open_tcp_stream("server.example", 9)
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        assert [type(error) for error in caught.value.__cause__.exceptions] == [ConnectionRefusedError, TimeoutError]


async def test_several_attempts_cancelled_leave_nothing_behind(autojump_clock):
    trio.socket.set_custom_hostname_resolver(Names(NOBODY, NOBODY6))
    async with pair() as hosts:
        with trio.move_on_after(1):
            await hosts.client.open_tcp_stream("server.example", 80)
        assert hosts.client.connections() == []


async def test_of_two_that_connect_in_the_same_moment_one_is_kept(autojump_clock):
    trio.socket.set_custom_hostname_resolver(Names(SERVER, SERVER6))
    async with pair() as hosts:
        await hosts.server.open_tcp_listeners(80)
        hosts.server_wire.cut = True  # the first SYN-ACKs are lost, so both attempts are under way
        async with trio.open_nursery() as nursery:

            async def connect() -> None:
                stream = await hosts.client.open_tcp_stream("server.example", 80)
                assert hosts.client.connections() == [stream._conn]

            nursery.start_soon(connect)
            await trio.sleep(0.5)
            held, hosts.server_wire.sent = hosts.server_wire.sent, []
            assert len(held) == 2
            hosts.server_wire.cut = False
            for syn_ack in held:
                hosts.server_wire.link.write(syn_ack)
        await wait_all_tasks_blocked()
        frames = [packet.frame() for packet in hosts.client_wire.sent]
        headers = [ip.decode(frame) for frame in frames]
        flags = [tcp.decode(f, h.start, h.end).flags for f, h in zip(frames, headers, strict=True)]
        assert sum(bool(flag & RST) for flag in flags) == 1


# -- ping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [SERVER, SERVER6])
async def test_ping(autojump_clock, address):
    async with pair() as hosts:
        with assert_checkpoints():
            ping = await hosts.client.ping(address, size=100)
        assert (ping.rtt, ping.size, ping.error) == (0, 100, None)


async def test_a_ping_that_nobody_answers(autojump_clock):
    async with pair() as hosts:
        with pytest.raises(TimeoutError, match="no answer from 10"):
            await hosts.client.ping(NOBODY, timeout=3.0)
        assert trio.current_time() == 3
        with trio.move_on_after(1):
            await hosts.client.ping(NOBODY)


async def test_a_ping_that_the_network_refuses(autojump_clock):
    async with host_and_far_end() as (host, far), trio.open_nursery() as nursery:

        async def ping() -> None:
            with pytest.raises(OSError) as caught:  # noqa: PT011
                await host.ping(SERVER)
            assert caught.value.errno == errno.EHOSTUNREACH

        nursery.start_soon(ping)
        await far.wait_readable()
        [request] = far.read_batch(9)
        error = icmp.encode(icmp.Icmp(icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, 0, request.frame()))
        src, dst = parse_address("10.9.0.3"), parse_address(CLIENT)
        far.write(Packet(ip.encode(src, dst, ip.PROTO_ICMP, len(error)) + error))


async def test_a_ping_that_does_not_fit(autojump_clock):
    async with pair() as hosts:
        with pytest.raises(OSError, match="larger than the link's MTU") as caught:
            await hosts.client.ping(SERVER, size=1473)
        assert caught.value.errno == errno.EMSGSIZE
        await hosts.client.ping(SERVER, size=1472)
