"""A flow's key: the raw octets of both addresses and ports, as they stand in an arriving packet.

    remote address (4 or 16) | local address (as long) | remote port (2) | local port (2)

Such a key is cheap to cut out of a frame, and hashed with a seed, so that nobody can make keys that collide. Small
records keep nothing else to know their endpoints by: a pair of (address, port) would cost four times as much.
"""

from __future__ import annotations

from functools import lru_cache


def flow_key(remote: bytes, local: bytes, remote_port: int, local_port: int) -> bytes:
    """The key of the flow between two endpoints."""
    return remote + local + (remote_port << 16 | local_port).to_bytes(4, "big")


def local_end(key: bytes) -> tuple[bytes, int]:
    """Our address and port; one value for all connections to it."""
    ports = len(key) - 4
    return _shared(key[ports // 2 : ports], int.from_bytes(key[ports + 2 :], "big"))


def remote_end(key: bytes) -> tuple[bytes, int]:
    """The peer's address and port."""
    ports = len(key) - 4
    return key[: ports // 2], int.from_bytes(key[ports : ports + 2], "big")


@lru_cache(1024)
def _shared(address: bytes, port: int) -> tuple[bytes, int]:
    return address, port


def is_v6(key: bytes) -> bool:
    return len(key) == 36
