"""IP addresses as text and as bytes.

In the core an address is its 4 or 16 raw octets: they come out of a frame by one slice, make a dict key that
an attacker can't make collide (hashes of bytes are seeded), and their length says the family. Text exists
only at the edges. Text comes from the caller, so bad text raises `ValueError`.
"""

from __future__ import annotations

import ipaddress

_V4_MAPPED = bytes(10) + b"\xff\xff"


def parse_address(text: str) -> bytes:
    """The octets of an IPv4 or IPv6 address. A zone (`%tun0`) is dropped: a host has one link."""
    return ipaddress.ip_address(text).packed


def format_address(address: bytes) -> str:
    """The usual text of an address: dotted quad, or RFC 5952's form (v4-mapped ones with the dotted quad)."""
    if len(address) == 4:
        return ".".join(map(str, address))
    if is_v4_mapped(address):
        return "::ffff:" + format_address(address[12:])
    if len(address) != 16:
        raise ValueError(f"an address has 4 or 16 octets, not {len(address)}")
    return str(ipaddress.IPv6Address(address))


def parse_cidr(text: str) -> tuple[bytes, int]:
    """`10.9.0.2/24` as octets and prefix length in bits; the whole address where no prefix is given."""
    interface = ipaddress.ip_interface(text)
    return interface.packed, interface.network.prefixlen


def format_endpoint(address: bytes, port: int) -> str:
    """`10.9.0.2:80` or `[fd00::2]:80`."""
    text = format_address(address)
    return f"{text}:{port}" if len(address) == 4 else f"[{text}]:{port}"


def is_multicast(address: bytes) -> bool:
    """224.0.0.0/4 or ff00::/8."""
    return address[0] == 0xFF if len(address) == 16 else address[0] & 0xF0 == 0xE0


def is_unspecified(address: bytes) -> bool:
    """0.0.0.0 or ::."""
    return not any(address)


def is_loopback(address: bytes) -> bool:
    """127.0.0.0/8 or ::1."""
    return address[0] == 127 if len(address) == 4 else address == b"\x00" * 15 + b"\x01"


def is_v4_mapped(address: bytes) -> bool:
    """::ffff:0:0/96, an IPv4 address inside an IPv6 API, which belongs on no wire (RFC 4291 2.5.5.2)."""
    return len(address) == 16 and address.startswith(_V4_MAPPED)
