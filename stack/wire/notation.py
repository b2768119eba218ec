"""A segment on one line, as packetdrill writes it, and back.

    S 0:0(0) win 64240 <mss 1460,sackOK,TS val 7 ecr 0,wscale 10>
    S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val 3 ecr 7,wscale 7>
    P. 1:79(78) ack 1 win 63
    . 79:79(0) ack 1 win 513 <sack 1461:2921>

First the flags, a letter each as tcpdump has them: F, S, R, P, `.` for ACK, U, E for ECE, W for CWR, or `-`
for none. Then first sequence number, the one behind the payload, and the payload's length; SYN and FIN are
not counted there. `ack`, `win`, `urg` and the options follow where there are any. A Fast Open option is `FO` with its
cookie in hexadecimal digits, or alone where it asks for one; `FOEXP` in its experimental form.

Numbers are relative to two bases: `seq_base` is where the sender's numbers start, `ack_base` the receiver's,
which acknowledgments and SACK blocks count in. With both 0, which is what `parse_segment` has unless told
otherwise, the line shows the wire's numbers, and reading it gives back all that a header holds. Payload
octets are not in the line; reading makes them zeros.
"""

from __future__ import annotations

import re

from stack.wire import icmp, ip, tcp
from stack.wire.address import format_address, format_endpoint
from stack.wire.drop import WireError
from stack.wire.segment import ACK, FLAG_LETTERS, URG, Segment

MAX_PAYLOAD = 0xFFFF  #: The most that one IP packet carries; bounds what reading a line allocates.

_MASK = 0xFFFF_FFFF
_LINE = re.compile(
    r"(?P<flags>-|[FSRP.UEW]+)\s+(?P<start>\d+):(?P<end>\d+)\((?P<length>\d+)\)"
    r"(?:\s+ack\s+(?P<ack>\d+))?(?:\s+win\s+(?P<win>\d+))?(?:\s+urg\s+(?P<urg>\d+))?(?:\s+<(?P<options>[^<>]*)>)?",
    re.ASCII,
)
_TIMESTAMPS = re.compile(r"TS\s+val\s+(\d+)\s+ecr\s+(\d+)", re.ASCII)
_BLOCK = re.compile(r"(\d+):(\d+)", re.ASCII)
_COOKIE = re.compile(r"(?:[0-9a-f]{2}){0,38}", re.ASCII)

_ICMP_NAMES = {
    icmp.ECHO_REPLY: "echo reply",
    icmp.UNREACHABLE: "unreachable",
    icmp.SOURCE_QUENCH: "source quench",
    icmp.REDIRECT: "redirect",
    icmp.ECHO_REQUEST: "echo request",
    icmp.TIME_EXCEEDED: "time exceeded",
    icmp.PARAMETER_PROBLEM: "parameter problem",
}
_ICMPV6_NAMES = {
    icmp.V6_UNREACHABLE: "unreachable",
    icmp.V6_PACKET_TOO_BIG: "packet too big",
    icmp.V6_TIME_EXCEEDED: "time exceeded",
    icmp.V6_PARAMETER_PROBLEM: "parameter problem",
    icmp.V6_ECHO_REQUEST: "echo request",
    icmp.V6_ECHO_REPLY: "echo reply",
    icmp.V6_ROUTER_SOLICITATION: "router solicitation",
    icmp.V6_ROUTER_ADVERTISEMENT: "router advertisement",
    icmp.V6_NEIGHBOUR_SOLICITATION: "neighbour solicitation",
    icmp.V6_NEIGHBOUR_ADVERTISEMENT: "neighbour advertisement",
    icmp.V6_REDIRECT: "redirect",
}


def format_flags(flags: int) -> str:
    """A letter for each flag that is set, or `-`."""
    return "".join(letter for bit, letter in enumerate(FLAG_LETTERS) if flags >> bit & 1) or "-"


def format_segment(seg: Segment, seq_base: int = 0, ack_base: int = 0) -> str:
    """The line for a segment; its ports are not in it."""
    start = (seg.seq - seq_base) & _MASK
    words = [format_flags(seg.flags), f"{start}:{(start + seg.size) & _MASK}({seg.size})"]
    if seg.flags & ACK:
        words.append(f"ack {(seg.ack - ack_base) & _MASK}")
    elif seg.ack:
        words.append(f"ack {seg.ack}")  # a field that means nothing is relative to nothing
    words.append(f"win {seg.window}")
    if seg.urgent or seg.flags & URG:
        words.append(f"urg {seg.urgent}")
    options = _format_options(seg, ack_base)
    if options:
        words.append(f"<{options}>")
    return " ".join(words)


def parse_segment(text: str, seq_base: int = 0, ack_base: int = 0, *, src_port: int = 0, dst_port: int = 0) -> Segment:
    """The segment that a line describes; its payload is zeros. `ValueError` where the line can't be read."""
    match = _LINE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a segment: {text!r}")
    flags = 0
    for letter in match["flags"].replace("-", ""):
        flags |= 1 << FLAG_LETTERS.index(letter)
    length = _number(match["length"], MAX_PAYLOAD)
    start, end = _number(match["start"], _MASK), _number(match["end"], _MASK)
    if (start + length) & _MASK != end:
        raise ValueError(f"{start} plus {length} is not {end}: {text!r}")
    ack = _number(match["ack"] or "0", _MASK)
    segment = Segment(
        src_port,
        dst_port,
        (start + seq_base) & _MASK,
        (ack + ack_base) & _MASK if flags & ACK else ack,
        flags,
        _number(match["win"] or "0", 0xFFFF),
        (bytes(length),) if length else (),
        urgent=_number(match["urg"] or "0", 0xFFFF),
    )
    for option in (match["options"] or "").split(","):
        _parse_option(segment, option.strip(), ack_base)
    return segment


def format_packet(frame: bytes) -> str:
    """A line for a whole packet, whatever it is. Never raises; TCP checksums are not looked at."""
    try:
        header = ip.decode(frame)
        if header.fragment:
            return f"{_format_hosts(header)} fragment of protocol {header.protocol}, {_payload_size(header)} octets"
        if header.protocol == ip.PROTO_TCP:
            segment = tcp.decode(frame, header.start, header.end)
            src, dst = segment.src_port, segment.dst_port
            hosts = f"{format_endpoint(header.src, src)} > {format_endpoint(header.dst, dst)}"
            return f"{hosts} {format_segment(segment)}"
        if header.protocol == (ip.PROTO_ICMP if header.version == 4 else ip.PROTO_ICMPV6):
            message = icmp.decode(frame[header.start : header.end], header.src, header.dst)
            return f"{_format_hosts(header)} {_format_icmp(message, header.version)}"
        return f"{_format_hosts(header)} protocol {header.protocol}, {_payload_size(header)} octets"
    except WireError as error:
        return f"undecodable, {len(frame)} octets ({error}): {frame[:20].hex(' ', 4)}".rstrip(": ")


def _format_options(seg: Segment, ack_base: int) -> str:
    options = []
    if seg.mss:
        options.append(f"mss {seg.mss}")
    if seg.sack_ok:
        options.append("sackOK")
    if seg.tsval >= 0:
        options.append(f"TS val {seg.tsval} ecr {seg.tsecr}")
    if seg.wscale >= 0:
        options.append(f"wscale {seg.wscale}")
    if seg.fastopen is not None:
        cookie, experimental = seg.fastopen
        options.append(f"{'FOEXP' if experimental else 'FO'} {cookie.hex()}".rstrip())
    if seg.sacks:
        blocks = [f"{(left - ack_base) & _MASK}:{(right - ack_base) & _MASK}" for left, right in seg.sacks]
        options.append("sack " + " ".join(blocks))
    return ",".join(options)


def _parse_option(segment: Segment, text: str, ack_base: int) -> None:
    name, _, value = text.partition(" ")
    if name in ("", "nop", "eol") and not value:
        return  # padding is the encoder's business
    if name == "sackOK" and not value:
        segment.sack_ok = True
    elif name == "mss":
        segment.mss = _number(value, 0xFFFF)
    elif name == "wscale":
        segment.wscale = _number(value, 0xFF)
    elif name in ("FO", "FOEXP"):
        if not _COOKIE.fullmatch(value):
            raise ValueError(f"not a cookie: {value[:40]!r}")
        segment.fastopen = bytes.fromhex(value), name == "FOEXP"
    elif match := _TIMESTAMPS.fullmatch(text):
        segment.tsval, segment.tsecr = (_number(digits, _MASK) for digits in match.groups())
    elif name == "sack":
        blocks = []
        for word in value.split():
            edges = _BLOCK.fullmatch(word)
            if edges is None:
                raise ValueError(f"not a SACK block: {word!r}")
            left, right = ((_number(digits, _MASK) + ack_base) & _MASK for digits in edges.groups())
            blocks.append((left, right))
        segment.sacks = tuple(blocks)
    else:
        raise ValueError(f"not an option: {text!r}")


def _number(digits: str, largest: int) -> int:
    # The length check keeps a line of a million digits from costing what converting them costs.
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 10 or int(digits) > largest:
        raise ValueError(f"not a number up to {largest}: {digits[:20]!r}")
    return int(digits)


def _format_hosts(header: ip.IPHeader) -> str:
    return f"{format_address(header.src)} > {format_address(header.dst)}"


def _payload_size(header: ip.IPHeader) -> int:
    return header.end - header.start


def _format_icmp(message: icmp.Icmp, version: int) -> str:
    family, names = ("icmp", _ICMP_NAMES) if version == 4 else ("icmpv6", _ICMPV6_NAMES)
    name = names.get(message.type, f"type {message.type}")
    if name.startswith("echo"):
        ident, sequence = message.rest >> 16, message.rest & 0xFFFF
        return f"{family} {name} id {ident} seq {sequence}, {len(message.payload)} octets"
    if not icmp.is_error(message.type, version):
        return f"{family} {name}, {len(message.payload)} octets"
    detail = f" code {message.code}"
    if version == 4 and message.type == icmp.UNREACHABLE and message.code == icmp.FRAGMENTATION_NEEDED:
        detail += f" mtu {message.rest & 0xFFFF}"
    elif version == 6 and message.type == icmp.V6_PACKET_TOO_BIG:
        detail += f" mtu {message.rest}"
    try:
        quote = icmp.quoted(message.payload, version)
    except WireError:
        return f"{family} {name}{detail}"
    src, dst = format_endpoint(quote.src, quote.src_port), format_endpoint(quote.dst, quote.dst_port)
    about = f"{src} > {dst} seq {quote.seq}" if quote.protocol == ip.PROTO_TCP else f"protocol {quote.protocol}"
    return f"{family} {name}{detail} about {about}"
