"""The applications of a world, each against one that fits it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stack.sim.apps import KINDS, App, Bulk, Echo, OnOff, Request, Respond, Sink, SlowReader
from stack.sim.payload import BLOCK, Payload
from stack.sim.world import World
from stack.tcp.config import TcpOptions
from stack.tcp.connection import Connection
from stack.wire.units import MS, SECOND, Time


def run(client: App, server: Callable[[], App], options: TcpOptions | None = None, **path: Any) -> tuple[App, App]:
    """Both ends, when both are done."""
    world = World(1)
    left, right = world.host("left", options=options), world.host("right", options=options)
    world.pipe(left, right, **path)
    service = right.serve(80, server)
    left.connect(right, 80, client)
    world.run_until(lambda: client.is_done and service.apps and service.app.is_done, "600s")
    return client, service.app


def test_bulk_to_a_sink() -> None:
    bulk, sink = run(Bulk(300_000), Sink, delay="5ms")
    assert (bulk.sent, sink.received) == (300_000, 300_000)
    assert bulk.sent_digest == sink.received_digest
    assert (bulk.received, sink.sent) == (0, 0)
    assert 0 <= sink.started <= sink.ended <= sink.finished
    assert bulk.error is None
    assert sink.error is None


def test_nothing_at_all() -> None:
    bulk, sink = run(Bulk(0), Sink)
    assert (bulk.sent, sink.received, bulk.error, sink.error) == (0, 0, None, None)


def test_echo_gives_back_what_it_got() -> None:
    bulk, echo = run(Bulk(200_000), Echo, delay="5ms", loss="2%")
    assert bulk.received_digest == bulk.sent_digest == echo.received_digest == echo.sent_digest


def test_echo_waits_for_room() -> None:
    small = TcpOptions(send_buffer=3000, receive_buffer=5000, receive_window=5000)
    bulk, echo = run(Bulk(50_000), Echo, small, delay="5ms")
    assert bulk.received_digest == bulk.sent_digest
    assert echo.sent == 50_000


def test_requests_and_answers() -> None:
    request, respond = run(Request(100, 1000, count=10), lambda: Respond(100, 1000), delay="10ms")
    assert isinstance(request, Request)
    assert (request.sent, request.received) == (1000, 10_000)
    assert request.received_digest == respond.sent_digest
    assert request.times == [20 * MS] * 10
    report = request.report()
    assert (report["answers"], report["answer_median"], report["answer_worst"]) == (10, 0.02, 0.02)


def test_requests_with_pauses() -> None:
    request, _ = run(Request(100, 100, count=5, pause=SECOND), lambda: Respond(100, 100), delay="10ms")
    assert request.finished >= 4 * SECOND + 5 * 20 * MS
    assert isinstance(request, Request)
    assert request.times == [20 * MS] * 5


def test_requests_that_want_no_answer_and_a_server_that_leaves_early() -> None:
    request, _ = run(Request(100, 0, count=3), lambda: Respond(100, 0))
    assert request.sent == 300
    request, _ = run(Request(100, 10, count=3), Quitter)
    assert isinstance(request, Request)
    assert len(request.times) == 0
    assert request.report()["answers"] == 0


class Quitter(App):
    """Closes at once."""

    name = "quitter"

    def step(self, conn: Connection, now: Time) -> None:
        if self.read():
            self.close()


def test_big_questions_and_answers_through_small_buffers() -> None:
    small = TcpOptions(send_buffer=2000, receive_buffer=3000, receive_window=3000)
    request, respond = run(Request(10_000, 20_000, count=2), lambda: Respond(10_000, 20_000), small, delay="1ms")
    assert (request.received, respond.received) == (40_000, 20_000)


def test_a_slow_reader_sets_the_pace() -> None:
    options = TcpOptions(receive_buffer=20_000, receive_window=20_000)
    bulk, slow = run(Bulk(100_000), lambda: SlowReader(1000, 10 * MS), options)
    assert slow.received_digest == bulk.sent_digest
    assert slow.finished >= 99 * 10 * MS


def test_on_and_off() -> None:
    onoff, sink = run(OnOff(10_000, SECOND, count=4), Sink, delay="5ms")
    assert sink.received_digest == onoff.sent_digest
    assert sink.received == 40_000
    assert 3 * SECOND < sink.ended < 3 * SECOND + 200 * MS


def test_on_and_off_through_a_small_buffer() -> None:
    onoff, sink = run(OnOff(10_000, SECOND, count=3), Sink, TcpOptions(send_buffer=4000), delay="5ms")
    assert sink.received_digest == onoff.sent_digest
    assert sink.ended > 2 * SECOND


def test_a_reset_ends_both() -> None:
    class Breaker(App):
        def step(self, conn: Connection, now: Time) -> None:
            if self.read():
                self.abort()

    bulk, breaker = run(Bulk(100_000), Breaker, delay="5ms")
    assert isinstance(bulk.error, ConnectionResetError)
    assert isinstance(breaker.error, ConnectionAbortedError)
    assert "reset" in bulk.report()["error"]


def test_your_own_application_is_one_method() -> None:
    class Greeter(App):
        name = "greeter"

        def step(self, conn: Connection, now: Time) -> None:
            if conn.connected and not self.sent:
                self.write(b"hello")
            if self.read() or conn.at_eof:
                self.close()

    left, right = run(Greeter(), Greeter, delay="5ms")
    assert (left.received, right.received) == (5, 5)


def test_a_report_of_a_connection_that_never_was() -> None:
    world = World(1)
    left, right = world.host("left"), world.host("right")
    world.pipe(left, right)
    app = left.connect(right, 81, Bulk(10))
    world.run_until(lambda: app.is_done)
    report = app.report()
    assert (report["connected"], report["sent"]) == (None, 0)
    assert "refused" in report["error"]


def test_all_kinds_have_names() -> None:
    assert sorted(KINDS) == ["bulk", "echo", "on-off", "request", "respond", "sink", "slow-reader"]


# Payloads. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_a_payload_is_its_pieces_however_it_is_cut(size: int) -> None:
    def cut(most: int) -> bytes:
        payload, data = Payload(size, seed=3), b""
        while len(data) < size:
            piece = payload.piece(len(data), most)
            assert 0 < len(piece) <= most
            data += piece
        return data

    assert cut(1000) == cut(1 << 20)
    assert len(cut(70_000)) == size


def test_payloads_differ_by_seed_and_place() -> None:
    first, second = Payload(100_000, 1), Payload(100_000, 2)
    assert first.piece(0, 1000) != second.piece(0, 1000)
    assert first.piece(0, 1000) != first.piece(1000, 1000)
    assert Payload(10, 1).piece(0, 4).hex() == Payload(10, 1).piece(0, 4).hex()
