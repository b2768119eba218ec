"""What can be seen of a world: tapes, captures, ladders."""

from __future__ import annotations

from typing import Any

from stack.sim.apps import Bulk, Sink
from stack.sim.ladder import Ladders
from stack.sim.trace import Tape
from stack.sim.world import World
from stack.wire import ip, pcapng, tcp
from stack.wire.ipheader import IPHeader
from stack.wire.segment import SYN
from stack.wire.units import MS


def small(**path: Any) -> World:
    world = World(1)
    client, server = world.host("client"), world.host("server")
    world.pipe(client, server, delay="10ms", **path)
    server.serve(80, Sink)
    client.connect(server, 80, Bulk(3000), local_port=40_000)
    return world


def test_a_tape_has_every_segment_twice_and_every_fate_once() -> None:
    world = small(drop=2, back={"drop": ()})
    tape = Tape()
    world.observe(tape)
    world.run_until("1s")
    assert tape.lines[0].startswith("0 client > S ")
    assert tape.lines[1].startswith(f"{10 * MS} server < S ")
    assert tape.lines[1].endswith("SYN-RECEIVED")
    assert sum(" lost " in line for line in tape.lines) == 1
    lost = next(line for line in tape.lines if " lost " in line)
    assert lost.startswith(f"{20 * MS} client>server lost 10.0.0.1:40000 > 10.0.0.2:80 ")


def test_observers_may_come_before_what_they_observe() -> None:
    world = World(1)
    tape = Tape()
    world.observe(tape)
    other = Tape()
    world.observe(other)
    client, server = world.host("client"), world.host("server")
    world.pipe(client, server, duplicate="100%")
    server.serve(80, Sink)
    client.connect(server, 80, Bulk(100))
    world.run_until("1s")
    assert tape.digest() == other.digest()
    assert any(" duplicated " in line for line in tape.lines)


def test_a_capture_is_a_file_of_nanoseconds_states_and_whole_packets() -> None:
    world = small()
    blocks: list[bytes] = []
    world.capture(blocks.append)
    world.run_until("1s")
    section, first, second, *packets = pcapng.read(b"".join(blocks))
    assert isinstance(section, pcapng.Section)
    assert isinstance(first, pcapng.Interface)
    assert isinstance(second, pcapng.Interface)
    assert (first.name, second.name) == ("client", "server")
    seen = [packet for packet in packets if isinstance(packet, pcapng.CapturedPacket)]
    assert len(seen) == len(packets)
    assert [(packet.interface, packet.time, packet.outbound) for packet in seen[:3]] == [
        (0, 0, True),
        (1, 10 * MS, False),
        (1, 10 * MS, True),
    ]
    assert seen[0].comment == "SYN-SENT"
    for packet in seen:
        header: IPHeader = ip.decode(packet.data)
        assert tcp.checksum_ok(packet.data, header)
    assert tcp.decode(seen[0].data, 20, len(seen[0].data)).flags == SYN


def test_a_ladder_knows_both_ends_and_what_was_lost() -> None:
    world = small(drop=3, back={"drop": 2})
    ladders = Ladders(world.hosts[0])
    world.observe(ladders)
    world.run_until("3s")
    lines = ladders.lines(width=100)
    text = "\n".join(lines)
    assert "client 10.0.0.1:40000" in lines[0]
    assert "server 10.0.0.2:80" in lines[0]
    assert sum("lost on client>server" in line for line in lines) == 1
    assert sum("lost on server>client" in line for line in lines) == 1
    assert "sent again" in text
    assert "SYN-SENT" in lines[1]
    assert lines[-1].startswith(tuple(" 0123456789"))
    assert "TIME-WAIT" in lines[-1]
    assert "LAST-ACK" in lines[-1]


def test_a_ladder_can_be_folded_and_plain() -> None:
    world = small()
    ladders = Ladders(world.hosts[0])
    world.observe(ladders)
    world.run_until("3s")
    assert all(line.isascii() for line in ladders.lines(ascii=True))


def test_each_connection_has_its_ladder() -> None:
    world = small()
    client, server = world.hosts
    client.connect(server, 80, Bulk(10))
    client.connect(server, 81, Bulk(10))
    ladders = Ladders(client)
    world.observe(ladders)
    world.run_until("1s")
    assert len(ladders.stories) == 3
    assert ladders.lines().count("") == 2


def test_the_ladder_of_the_other_end() -> None:
    world = small(loss=0.0)
    ladders = Ladders(world.hosts[1])
    world.observe(ladders)
    world.run_until("1s")
    assert "SYN-RECEIVED" in ladders.lines()[1]


def test_what_a_pipe_says_about_other_protocols_is_no_segment() -> None:
    world = World(1)
    client, server = world.host("client"), world.host("server")
    world.pipe(client, server, corrupt="100%")
    ladders = Ladders(client)
    world.observe(ladders)
    client.core.ping(server.address(), 0)
    world.at(0, lambda: None)
    server.serve(80, Sink)
    client.connect(server, 80, Bulk(10))
    world.run_until("2s")
    assert any("corrupted on client>server" in line for line in ladders.lines())
