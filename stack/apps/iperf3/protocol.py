"""What an iperf3 client and server say to each other besides the data that they measure.

A test has one control connection and as many data connections as were asked for, all to the same port of the
server. Each begins with the test's cookie, by which the server knows what belongs together. On the control
connection the server leads, with a byte for each state that it enters; JSON, behind four bytes with its length,
says what is to be measured and what came of it.

    client                                    server
      cookie  ------------------------------>
              <------------------------------  PARAM_EXCHANGE
      parameters (JSON)  ------------------->
              <------------------------------  CREATE_STREAMS
      data connections, each with the cookie >
              <------------------------------  TEST_START, then TEST_RUNNING when all are there
              data, one way or both ways
      TEST_END  ---------------------------->
              <------------------------------  EXCHANGE_RESULTS
      results (JSON)  ---------------------->
              <------------------------------  results (JSON), DISPLAY_RESULTS
      IPERF_DONE  -------------------------->

It ends before its time with ACCESS_DENIED (another test is running), SERVER_ERROR (two numbers follow), or a
TERMINATE of the side that was interrupted. States are signed bytes and numbers are in network order.

Everything that the peer sends is checked here. What can't be right raises an `Iperf3Error`, and nothing else.
"""

from __future__ import annotations

import enum
import json
import math
import secrets
import string
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

PORT = 5201
COOKIE_SIZE = 37  #: 36 characters and a zero byte.
BLOCK = 128 << 10  #: Bytes in a block of data unless told.
FIRST_FLOWS = (1, 3)  #: Data connections are numbered 1, 3, 4, 5 and so on; the results name them by that.

LINUX_NAMES = {"newreno": "reno"}  #: What Linux calls a congestion control of ours.
MOST_FLOWS = 128  #: The limits of the real program, which refuses more.
MOST_SECONDS = 86_400
MOST_OMITTED = 600
MOST_BLOCK = 1 << 20

PARAMETERS_SIZE = 64 << 10  #: Bytes of JSON that we read: several times what 128 flows and all options need.
RESULTS_SIZE = 1 << 20

_ALPHABET = string.ascii_lowercase + "234567"


class State(enum.IntEnum):
    """A byte on the control connection."""

    TEST_START = 1
    TEST_RUNNING = 2
    TEST_END = 4
    PARAM_EXCHANGE = 9
    CREATE_STREAMS = 10
    SERVER_TERMINATE = 11
    CLIENT_TERMINATE = 12
    EXCHANGE_RESULTS = 13
    DISPLAY_RESULTS = 14
    IPERF_DONE = 16
    ACCESS_DENIED = -1
    SERVER_ERROR = -2


class Code(enum.IntEnum):
    """What a SERVER_ERROR is about: those of the real program's error numbers that we send, or can explain."""

    DURATION = 5
    NUMBER_OF_STREAMS = 6
    BLOCK_SIZE = 7
    OMIT = 12
    NOT_IMPLEMENTED = 13
    TOTAL_RATE = 27
    STATE = 110
    PARAMETERS = 114
    RESULTS = 117
    CONGESTION = 134
    AUTHORIZATION = 142
    STREAM = 200


_IN_WORDS = {
    Code.DURATION: "the duration is too long for it",
    Code.NUMBER_OF_STREAMS: "these are too many streams for it",
    Code.BLOCK_SIZE: "it can't use blocks of that length",
    Code.OMIT: "it can't omit so many seconds",
    Code.NOT_IMPLEMENTED: "it can't do what was asked for",
    Code.TOTAL_RATE: "it has a limit for the total rate",
    Code.STATE: "it did not expect our message",
    Code.PARAMETERS: "it could not read the test's parameters",
    Code.RESULTS: "it could not read our results",
    Code.CONGESTION: "it does not have that congestion control",
    Code.AUTHORIZATION: "it wants a user name and a password, which this client can't send",
    Code.STREAM: "a data connection failed",
}


class Iperf3Error(Exception):
    """The test can't begin, or ends before its time."""


class BusyError(Iperf3Error):
    """The server is running another test."""


class GoneError(Iperf3Error):
    """A connection has ended, or nothing comes any more."""


class TerminatedError(Iperf3Error):
    """The peer was told to end."""


class ServerError(Iperf3Error):
    """The server can't go on, and has said why."""

    def __init__(self, code: int, errno: int) -> None:
        reason = _IN_WORDS.get(code, "")  # type: ignore[call-overload]
        super().__init__(f"the server reports error {code}" + (f": {reason}" if reason else ""))
        self.code = code
        self.errno = errno


class ProtocolError(Iperf3Error):
    """The peer has said what makes no sense; `code` is what to answer if we are the server."""

    def __init__(self, message: str, code: Code = Code.STATE) -> None:
        super().__init__(message)
        self.code = code


def make_cookie() -> bytes:
    """What tells a test from all others."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(COOKIE_SIZE - 1)).encode() + b"\0"


def flow_number(index: int) -> int:
    """The number of the data connection that was opened as `index`-th, counted from 0."""
    return index + 2 if index else FIRST_FLOWS[0]


@asynccontextmanager
async def patience(seconds: float, what: str) -> AsyncIterator[None]:
    """A limit for one step. `GoneError` says what did not happen, with the limit in place of `{}`."""
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise GoneError(what.format(f"within {seconds:g} s")) from None


# --- The control connection -------------------------------------------------------------------------------------------


class Control:
    """States and JSON over a stream. `peer` is what errors call the other end: "server" or "client"."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, peer: str) -> None:
        self.stream = stream
        self.peer = peer
        change = getattr(stream, "set", None)
        if change is not None:  # a stream of ours; Trio's own are like that anyway
            change(nodelay=True)

    async def send(self, data: bytes) -> None:
        """Send bytes; `GoneError` if nobody is there."""
        await send(self.stream, data, self.peer)

    async def receive(self, size: int) -> bytes:
        """Exactly so many bytes."""
        data = b""
        try:
            while len(data) < size:
                piece = await self.stream.receive_some(size - len(data))
                if not piece:
                    raise _gone(self.peer)
                data += piece
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _gone(self.peer) from error
        return data

    async def send_state(self, state: State) -> None:
        """Enter a state, or ask for it."""
        await self.send(struct.pack("!b", state))

    async def expect(self, wanted: State) -> None:
        """Wait for a state. Raises what another one stands for."""
        [number] = struct.unpack("!b", await self.receive(1))
        if number == wanted:
            return
        if number == State.ACCESS_DENIED and self.peer == "server":
            raise BusyError("the server is running another test")
        if number == State.SERVER_ERROR and self.peer == "server":
            raise ServerError(*struct.unpack("!ii", await self.receive(8)))
        if number in (State.CLIENT_TERMINATE, State.SERVER_TERMINATE):
            raise TerminatedError(f"the {self.peer} has ended the test")
        name = State(number).name if number in State._value2member_map_ else f"state {number}"
        raise ProtocolError(f"the {self.peer} has sent {name}, where {wanted.name} was to come")

    async def refuse(self, code: int) -> None:
        """As a server, say that this can't be done."""
        await self.send(struct.pack("!bii", State.SERVER_ERROR, code, 0))

    async def send_json(self, fields: dict[str, Any]) -> None:
        """Send an object with its length."""
        text = json.dumps(fields, separators=(",", ":")).encode()
        await self.send(struct.pack("!I", len(text)) + text)

    async def receive_json(self, most: int, code: Code) -> dict[str, Any]:
        """Receive an object of at most `most` bytes. `ProtocolError` with that code if there is none."""
        [size] = struct.unpack("!I", await self.receive(4))
        if size > most:
            raise ProtocolError(f"the {self.peer} announces {size:,} bytes of JSON: more than {most:,}", code)
        text = await self.receive(size)
        try:
            fields = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"the {self.peer} has sent what is no JSON", code) from error
        if not isinstance(fields, dict):
            raise ProtocolError(f"the {self.peer} has sent JSON that is no object", code)
        return fields


async def send(stream: trio.abc.SendStream, data: bytes, peer: str) -> None:
    """Send bytes to the server or the client; `GoneError` if nobody is there."""
    try:
        await stream.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise _gone(peer) from error


def _gone(peer: str) -> GoneError:
    return GoneError(f"the {peer} has closed the connection")


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")  # Python's reader would take NaN and Infinity


# --- What is to be measured -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """A test, as the client wants it. One of `time`, `size` and `blocks` ends it; the others are 0. With none of them
    it goes on until the client has had enough."""

    time: float = 10.0  #: seconds; whole ones towards the server
    size: int = 0  #: bytes to transfer
    blocks: int = 0  #: blocks to transfer
    omit: int = 0  #: seconds at the beginning that don't count
    parallel: int = 1  #: data connections, each way
    length: int = BLOCK  #: bytes in a block
    reverse: bool = False  #: the server sends
    bidirectional: bool = False  #: both send, each on data connections of its own
    rate: int = 0  #: bits a second that each sender keeps to; 0: as fast as it can
    nodelay: bool = False
    mss: int = 0  #: 0: as it comes
    window: int = 0  #: bytes in the socket's buffers; 0: as it comes
    tos: int = 0
    congestion: str = ""  #: what the client has asked for; "": as it comes
    version: str = ""  #: of the client

    @property
    def limit(self) -> int:
        """Bytes to transfer in all; 0 when time ends it."""
        return self.size or self.blocks * self.length

    @property
    def flows(self) -> int:
        """Data connections in all."""
        return self.parallel * (2 if self.bidirectional else 1)

    def as_json(self) -> dict[str, Any]:
        """What the client sends. The options that are off are left out, as the real client does."""
        fields: dict[str, Any] = {
            "tcp": True,
            "omit": self.omit,
            "time": math.ceil(self.time),
            "num": self.size,
            "blockcount": self.blocks,
            "parallel": self.parallel,
            "len": self.length,
            "pacing_timer": 1000,
        }
        options = {
            "MSS": self.mss,
            "nodelay": self.nodelay,
            "reverse": self.reverse,
            "bidirectional": self.bidirectional,
            "window": self.window,
            "bandwidth": self.rate,
            "TOS": self.tos,
            "congestion": LINUX_NAMES.get(self.congestion, self.congestion),
        }
        fields.update({name: value for name, value in options.items() if value})
        return fields | {"client_version": self.version}


def parse_parameters(fields: dict[str, Any]) -> Parameters:
    """What a client has sent. `ProtocolError` if it is impossible, or more than we do."""
    if fields.get("udp") or fields.get("sctp") or not fields.get("tcp", True):
        raise ProtocolError("the client wants to measure something other than TCP", Code.NOT_IMPLEMENTED)
    time = _number(fields, "time", MOST_SECONDS, Code.DURATION)
    size = _whole(fields, "num", 1 << 62, Code.PARAMETERS)
    blocks = _whole(fields, "blockcount", 1 << 40, Code.PARAMETERS)
    parallel = _whole(fields, "parallel", MOST_FLOWS, Code.NUMBER_OF_STREAMS, default=1)
    length = _whole(fields, "len", MOST_BLOCK, Code.BLOCK_SIZE, default=BLOCK)
    if not parallel:
        raise ProtocolError("the client asks for no data connection", Code.NUMBER_OF_STREAMS)
    if not length:
        raise ProtocolError("the client asks for blocks without a length", Code.BLOCK_SIZE)
    if fields.get("reverse") and fields.get("bidirectional"):
        raise ProtocolError("the client asks for one direction and for both", Code.PARAMETERS)
    return Parameters(
        time=0.0 if size or blocks else time,
        size=size,
        blocks=0 if size else blocks,
        omit=_whole(fields, "omit", MOST_OMITTED, Code.OMIT),
        parallel=parallel,
        length=length,
        reverse=bool(fields.get("reverse")),
        bidirectional=bool(fields.get("bidirectional")),
        rate=_whole(fields, "bandwidth", 1 << 62, Code.PARAMETERS),
        nodelay=bool(fields.get("nodelay")),
        mss=_whole(fields, "MSS", 65_535, Code.PARAMETERS),
        window=_whole(fields, "window", 1 << 31, Code.PARAMETERS),
        tos=_whole(fields, "TOS", 255, Code.PARAMETERS),
        congestion=_text(fields, "congestion"),
        version=_text(fields, "client_version"),
    )


# --- What came of it --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlowResult:
    """One data connection, as one side has seen it."""

    number: int
    size: int  #: bytes sent or received
    retransmits: int | None  #: None: not known, or nothing was sent
    seconds: float


@dataclass(frozen=True, slots=True)
class Results:
    """A test, as one side has seen it. Processor times are in per cent of the test's duration."""

    cpu: tuple[float, float, float] = (0.0, 0.0, 0.0)  #: in all, in the program, in the kernel
    congestion: str = ""
    flows: dict[int, FlowResult] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What is exchanged."""
        total, user, system = self.cpu
        flows = self.flows.values()
        return {
            "cpu_util_total": total,
            "cpu_util_user": user,
            "cpu_util_system": system,
            "sender_has_retransmits": 1 if any(flow.retransmits is not None for flow in flows) else -1,
            "congestion_used": self.congestion,
            "streams": [
                {
                    "id": flow.number,
                    "bytes": flow.size,
                    "retransmits": -1 if flow.retransmits is None else flow.retransmits,
                    "jitter": 0,  # this and the next two are for UDP; the real program wants them all the same
                    "errors": 0,
                    "packets": 0,
                    "start_time": 0,
                    "end_time": flow.seconds,
                }
                for flow in flows
            ],
        }


def parse_results(fields: dict[str, Any], duration: float) -> Results:
    """What the peer has sent; flows whose times it leaves out took `duration`. Raises `ProtocolError`."""
    streams = fields.get("streams")
    if not isinstance(streams, list) or len(streams) > 2 * MOST_FLOWS:
        raise ProtocolError("the results have no list of streams", Code.RESULTS)
    flows = {}
    for stream in streams:
        if not isinstance(stream, dict):
            raise ProtocolError("a stream among the results is no object", Code.RESULTS)
        number = _whole(stream, "id", 1 << 31, Code.RESULTS)
        begun = _number(stream, "start_time", 1e9, Code.RESULTS)
        ended = _number(stream, "end_time", 1e9, Code.RESULTS, default=begun + duration)
        flows[number] = FlowResult(
            number,
            _whole(stream, "bytes", 1 << 63, Code.RESULTS),
            _retransmits(stream.get("retransmits")),
            max(ended - begun, 0.0),
        )
    names = ("cpu_util_total", "cpu_util_user", "cpu_util_system")
    total, user, system = (_number(fields, name, 1e6, Code.RESULTS) for name in names)
    return Results((total, user, system), _text(fields, "congestion_used"), flows)


def _retransmits(value: object) -> int | None:
    """The real program has -1 for "not known", and writes it as an unsigned number of 64 bits."""
    return value if isinstance(value, int) and 0 <= value < 1 << 62 else None


def _number(fields: dict[str, Any], name: str, most: float, code: Code, default: float = 0.0) -> float:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise ProtocolError(f"{name} is {_shown(value)}, which is no number from 0 to {most:g}", code)
    return float(value)


def _whole(fields: dict[str, Any], name: str, most: int, code: Code, default: int = 0) -> int:
    value = fields.get(name, default)
    if isinstance(value, float) and value.is_integer():  # large ones may have an exponent
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ProtocolError(f"{name} is {_shown(value)}, which is no whole number from 0 to {most}", code)
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name, "")
    return "".join(filter(str.isprintable, value[:100])) if isinstance(value, str) else ""


def _shown(value: object) -> str:
    return json.dumps(value)[:40]
