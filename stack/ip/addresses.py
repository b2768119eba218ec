"""The host's addresses, and which of them a packet may come from or go to (RFC 1122 3.2.1.3, RFC 4291, RFC 6724).

A host here has one point-to-point link and a default route through it, for both families: what is not ours is
reached by sending it. So there is no route table; the prefix of an address serves to choose a source address, and to
know the broadcast address of an IPv4 network.

Where several addresses could be the source, RFC 6724 5 chooses, with those of its rules that one link and addresses
which are all alike leave over:

    rule 2   a scope that reaches the destination, and of those the smallest
    rule 6   the destination's label in the policy table: native, 6to4, Teredo and local networks keep to themselves
             one whose network the destination is on: it is the source's neighbour
    rule 8   the longest prefix in common, as far as the network of the source goes
    then     the address that was added first
"""

from __future__ import annotations

import errno
from typing import Final

from stack.wire.address import (
    format_address,
    is_loopback,
    is_multicast,
    is_unspecified,
    is_v4_mapped,
    parse_address,
    parse_cidr,
)

LIMITED_BROADCAST = b"\xff\xff\xff\xff"

# Scopes, in the numbers of multicast (RFC 4291 2.7).
LINK_LOCAL: Final = 2
SITE_LOCAL: Final = 5
GLOBAL: Final = 14

POLICY: tuple[tuple[bytes, int, int], ...] = (
    (parse_address("2001::"), 32, 5),  # Teredo
    (parse_address("2002::"), 16, 2),  # 6to4
    (parse_address("3ffe::"), 16, 12),  # what the 6bone had
    (parse_address("fec0::"), 10, 11),  # site-local, of old
    (parse_address("fc00::"), 7, 13),  # unique local
)
"""Prefixes of IPv6 addresses, their length in bits, and their label (RFC 6724 2.1); all others have label 1."""


class AddressTable:
    """Local addresses with the length of their prefix in bits, in the order in which they were added."""

    __slots__ = ("_broadcasts", "_prefixes")

    def __init__(self) -> None:
        self._prefixes: dict[bytes, int] = {}
        self._broadcasts: set[bytes] = {LIMITED_BROADCAST}

    # RFC1122-03
    def add(self, cidr: str) -> bytes:
        """Add `10.9.0.2/24` or `fd00::2/64`; returns the address. `ValueError` if no host can have it."""
        address, prefix = parse_cidr(cidr)
        if is_multicast(address) or is_unspecified(address) or is_loopback(address) or is_v4_mapped(address):
            raise ValueError(f"{cidr} can't be the address of a host on a link")
        if address in _broadcasts_of(address, prefix):
            raise ValueError(f"{cidr} is the broadcast address of its network")
        self._prefixes[address] = prefix
        self._collect_broadcasts()
        return address

    def remove(self, text: str) -> bytes:
        """Remove an address, given with or without its prefix; `ValueError` if it is not here."""
        address = parse_cidr(text)[0] if "/" in text else parse_address(text)
        if self._prefixes.pop(address, None) is None:
            raise ValueError(f"{text} is not an address of this host")
        self._collect_broadcasts()
        return address

    def cidrs(self) -> list[str]:
        """The addresses as they would be added again."""
        return [f"{format_address(address)}/{prefix}" for address, prefix in self._prefixes.items()]

    def is_local(self, address: bytes) -> bool:
        return address in self._prefixes

    def is_broadcast(self, address: bytes) -> bool:
        """Whether it is the limited broadcast address, or that of one of our networks."""
        return address in self._broadcasts

    # RFC 9293 MUST-44
    def source_for(self, remote: bytes) -> bytes:
        """The address to talk to `remote` from (MUST-44), by RFC 6724 5.

        `OSError(ENETUNREACH)` if the host has none of that family.
        """
        scope, label = _scope(remote), _label(remote)
        best = b""
        best_score = (False, 0, False, False, 0)
        for address, prefix in self._prefixes.items():
            if len(address) != len(remote):
                continue
            own = _scope(address)
            common = min(_common_bits(address, remote), prefix)
            score = (own >= scope, -own if own >= scope else own, _label(address) == label, common == prefix, common)
            if not best or score > best_score:
                best, best_score = address, score
        if not best:
            family = "IPv4" if len(remote) == 4 else "IPv6"
            raise OSError(errno.ENETUNREACH, f"network unreachable: this host has no {family} address")
        return best

    def _collect_broadcasts(self) -> None:
        self._broadcasts = {LIMITED_BROADCAST}
        for address, prefix in self._prefixes.items():
            self._broadcasts |= _broadcasts_of(address, prefix)


# RFC 9293 MUST-63, RFC1122-03
def is_valid_source(address: bytes) -> bool:
    """Whether a packet can come from there over a link; others are martians (RFC 1122 3.2.1.3, RFC 9293 3.9.2.3)."""
    if is_unspecified(address) or is_loopback(address) or is_multicast(address) or is_v4_mapped(address):
        return False
    return len(address) == 16 or (address[0] != 0 and address[0] < 240)


# RFC 9293 MUST-46
def is_valid_remote(address: bytes) -> bool:
    """Whether a connection can be opened to that address (RFC 9293 3.9.1.1, MUST-46)."""
    return is_valid_source(address)


def _scope(address: bytes) -> int:
    """How far an address reaches (RFC 6724 3.1, 3.2). Private IPv4 networks count as global there, and fc00::/7 too."""
    if len(address) == 4:
        return LINK_LOCAL if address[:2] == b"\xa9\xfe" else GLOBAL
    if address[0] == 0xFE and address[1] >= 0x80:
        return LINK_LOCAL if address[1] < 0xC0 else SITE_LOCAL
    return GLOBAL


def _label(address: bytes) -> int:
    """The label of an address in the policy table; all of IPv4 has one."""
    if len(address) == 4:
        return 4
    for prefix, bits, label in POLICY:
        if _common_bits(address, prefix) >= bits:
            return label
    return 1


def _common_bits(a: bytes, b: bytes) -> int:
    """How many bits two addresses begin with alike."""
    return 8 * len(a) - (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_length()


def _broadcasts_of(address: bytes, prefix: int) -> set[bytes]:
    """The all-ones and the all-zeros address of an IPv4 network; none on links of two (RFC 3021), none in IPv6."""
    if len(address) != 4 or prefix >= 31:
        return set()
    number = int.from_bytes(address, "big")
    mask = (1 << (32 - prefix)) - 1
    return {(number | mask).to_bytes(4, "big"), (number & ~mask).to_bytes(4, "big")}
