"""The host's addresses, and which of them a packet may come from or go to (RFC 1122 3.2.1.3, RFC 4291).

A host here has one point-to-point link and a default route through it, for both families: what is not ours is
reached by sending it. So there is no route table; the prefix of an address serves to choose a source address, and to
know the broadcast address of an IPv4 network.
"""

from __future__ import annotations

import errno

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


class AddressTable:
    """Local addresses with the length of their prefix in bits, in the order in which they were added."""

    __slots__ = ("_broadcasts", "_prefixes")

    def __init__(self) -> None:
        self._prefixes: dict[bytes, int] = {}
        self._broadcasts: set[bytes] = {LIMITED_BROADCAST}

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

    def source_for(self, remote: bytes) -> bytes:
        """The address to talk to `remote` from (MUST-44): one on its network if there is, else the first that
        reaches as far. `OSError(ENETUNREACH)` if the host has none of that family."""
        best = b""
        best_score = -1
        for address, prefix in self._prefixes.items():
            if len(address) != len(remote):
                continue
            score = 0
            if _prefix(address, prefix) == _prefix(remote, prefix):
                score = 2 + prefix
            elif _is_link_local(address) == _is_link_local(remote):
                score = 1
            if score > best_score:
                best, best_score = address, score
        if not best:
            family = "IPv4" if len(remote) == 4 else "IPv6"
            raise OSError(errno.ENETUNREACH, f"network unreachable: this host has no {family} address")
        return best

    def _collect_broadcasts(self) -> None:
        self._broadcasts = {LIMITED_BROADCAST}
        for address, prefix in self._prefixes.items():
            self._broadcasts |= _broadcasts_of(address, prefix)


def is_valid_source(address: bytes) -> bool:
    """Whether a packet can come from there over a link; others are martians (RFC 1122 3.2.1.3, RFC 9293 3.9.2.3)."""
    if is_unspecified(address) or is_loopback(address) or is_multicast(address) or is_v4_mapped(address):
        return False
    return len(address) == 16 or (address[0] != 0 and address[0] < 240)


def is_valid_remote(address: bytes) -> bool:
    """Whether a connection can be opened to that address (RFC 9293 3.9.1.1, MUST-46)."""
    return is_valid_source(address)


def _is_link_local(address: bytes) -> bool:
    return len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80


def _prefix(address: bytes, bits: int) -> int:
    return int.from_bytes(address, "big") >> (8 * len(address) - bits)


def _broadcasts_of(address: bytes, prefix: int) -> set[bytes]:
    """The all-ones and the all-zeros address of an IPv4 network; none on links of two (RFC 3021), none in IPv6."""
    if len(address) != 4 or prefix >= 31:
        return set()
    number = int.from_bytes(address, "big")
    mask = (1 << (32 - prefix)) - 1
    return {(number | mask).to_bytes(4, "big"), (number & ~mask).to_bytes(4, "big")}
