"""The kernel's side of a TUN device: its addresses, MTU, queue and counters, by netlink through pyroute2.

A device is a wire between this process and the kernel. Its kernel end needs an address with a network around
it, so that the kernel routes that network into the device; the address of our host is another one of the same
network and is never the kernel's own, for the kernel would answer for it by itself. That mistake is easy to
make and silent when made, so it is looked for here, and every refusal of the kernel is reported as a
`LinkError` that says what to do.

The functions are synchronous and take about a millisecond. pyroute2 is imported by the first one that is
called: it takes 0.1 s to load, and a process that got its device ready-made doesn't need it.
"""

from __future__ import annotations

import errno
import ipaddress
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stack.link.protocol import LinkError

QUEUE_PACKETS = 10_000
"""What the kernel may queue for us, in packets. 500, the default, overflows when our process stands still for
5 ms at full speed; this holds 15 MB of plain frames, more than any window that we offer."""

CAPABILITY = (
    "needs CAP_NET_ADMIN: run as root, or in a network namespace of your own (unshare -Urn), "
    "or use a device that root prepared for you (ip tuntap add NAME mode tun user YOU)"
)

_ADDRESS_DENIED = (
    "that needs CAP_NET_ADMIN: run as root, or have root do it (ip addr add {} dev {}), "
    "or name with kernel= (--kernel) only addresses that the device has already"
)

_RTN_LOCAL = 2  # what a route to an address of the kernel's own is called
_PATIENCE = 1000  # milliseconds; it takes one or two
_NODAD = 0x02  # IFA_F_NODAD: the address can be used at once; nobody else is on this wire to object
_UP = 0x01  # IFF_UP


def configure(name: str, kernel: Iterable[str], mtu: int) -> None:
    """Give the device its MTU, its queue and the kernel's addresses ("10.9.0.1/24", "fd00::1/64"), and raise
    it.

    What is already as asked is not touched, so that a device which root made ready can be used without
    privileges. Raises `LinkError`.
    """
    wanted = [_interface(text) for text in kernel]
    with _netlink(name) as (ipr, index):
        device = ipr.get_links(index)[0]
        if device.get_attr("IFLA_MTU") != mtu:
            with _explained(f"{name} can't have an MTU of {mtu}", name):
                ipr.link("set", index=index, mtu=mtu)
        if device.get_attr("IFLA_TXQLEN") < QUEUE_PACKETS:
            with suppress(_netlink_error()):  # only a matter of speed
                ipr.link("set", index=index, txqlen=QUEUE_PACKETS)
        _quieten(name)
        for interface in wanted:
            _add(ipr, index, name, interface)
        if not device["flags"] & _UP:
            with _explained(f"{name} can't be brought up", name):
                ipr.link("set", index=index, state="up")
        for interface in wanted:
            _wait_until_usable(ipr, interface)


def check_free(address: str) -> None:
    """Raise `LinkError` if the kernel owns this address, on any device: it would never reach our host."""
    ours = ipaddress.ip_interface(address)
    if ours.ip.is_loopback:
        raise LinkError(errno.EADDRNOTAVAIL, f"{ours.ip} is the kernel's own (loopback); choose another one")
    with _netlink() as (ipr, _):
        for theirs, device in _addresses(ipr):
            if theirs.ip == ours.ip:
                raise LinkError(
                    errno.EADDRINUSE,
                    f"{ours.ip} is the kernel's own address on {device}, so its packets would never reach "
                    f"this host; give the host another address{_suggestion(theirs)}",
                )


def drops(name: str) -> int:
    """Packets for us that the kernel dropped because the queue was full, since the device was made."""
    with _netlink(name) as (ipr, index):
        stats = ipr.get_links(index)[0].get_attr("IFLA_STATS64")
        total = int(stats["tx_dropped"])
        for discipline in ipr.get_qdiscs(index):
            counts = discipline.get_attr("TCA_STATS")
            total += int(counts["drop"]) if counts else 0
        return total


# ------------------------------------------------------------------------------------------------------------


def _netlink_error() -> type[Exception]:
    from pyroute2.netlink.exceptions import NetlinkError

    error: type[Exception] = NetlinkError
    return error


@contextmanager
def _netlink(name: str = "") -> Iterator[tuple[Any, int]]:
    """A netlink socket, and the index of the device with this name (0 without a name)."""
    from pyroute2 import IPRoute

    with IPRoute() as ipr:
        index = 0
        if name:
            found = ipr.link_lookup(ifname=name)
            if not found:
                raise LinkError(errno.ENODEV, f"there is no device {name} in this network namespace")
            index = found[0]
        yield ipr, index


@contextmanager
def _explained(what: str, name: str, *, denied: str = "") -> Iterator[None]:
    """Turn the kernel's refusal into a sentence."""
    try:
        yield
    except _netlink_error() as error:
        code = int(getattr(error, "code", 0)) or errno.EIO
        reason = {
            errno.EPERM: denied or CAPABILITY,
            errno.EACCES: f"IPv6 is off here; allow it with: sysctl -w net.ipv6.conf.{name}.disable_ipv6=0",
            errno.EINVAL: "the kernel finds the value impossible (IPv6 needs an MTU of at least 1280)",
        }.get(code, str(error.args[-1]))
        raise LinkError(code, f"{what}: {reason}") from error


def _interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError as error:
        raise LinkError(errno.EINVAL, f"{text!r} is not an address: write it like 10.9.0.1/24 or fd00::1/64") from error
    if "/" not in text:
        raise LinkError(errno.EINVAL, f"the kernel's address {text} needs a prefix length, such as {text}/24")
    return interface


def _addresses(ipr: Any) -> Iterator[tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, str]]:
    """Every address that the kernel has in this namespace, and the name of its device."""
    names = {link["index"]: str(link.get_attr("IFLA_IFNAME")) for link in ipr.get_links()}
    for entry in ipr.get_addr():
        text = entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")
        yield (
            ipaddress.ip_interface(f"{text}/{entry['prefixlen']}"),
            names.get(entry["index"], "another device"),
        )


def _add(ipr: Any, index: int, name: str, wanted: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> None:
    """Add one address unless the device has it; refuse one with which packets for our host would go
    elsewhere."""
    for present, device in list(_addresses(ipr)):
        if device == name:
            if present == wanted:
                return
        elif present.ip == wanted.ip:
            raise LinkError(
                errno.EADDRINUSE,
                f"{wanted.ip} is already the kernel's address on {device}; choose another one",
            )
        elif present.version == wanted.version and present.network.subnet_of(wanted.network):  # type: ignore[arg-type]
            raise LinkError(
                errno.EADDRINUSE,
                f"the network {wanted.network} overlaps {present.network} on {device}, and packets would go "
                "there; choose another network",
            )
    if wanted.version == 6:
        _setting(name, "ipv6", "disable_ipv6", "0")
    with _explained(f"{wanted} can't be given to {name}", name, denied=_ADDRESS_DENIED.format(wanted, name)):
        ipr.addr(
            "add",
            index=index,
            address=str(wanted.ip),
            prefixlen=wanted.network.prefixlen,
            **({"flags": _NODAD} if wanted.version == 6 else {}),
        )


def _wait_until_usable(ipr: Any, wanted: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> None:
    """Wait until the kernel accepts packets for the address.

    A new IPv6 address gets its local route from a work queue (addrconf_dad_work), with IFA_F_NODAD too; a SYN
    that comes before that is dropped without a word, and costs a second.
    """
    for _ in range(_PATIENCE):
        with suppress(_netlink_error()):
            if any(route["type"] == _RTN_LOCAL for route in ipr.route("get", dst=str(wanted.ip))):
                return
        time.sleep(0.001)


def _suggestion(interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> str:
    """ ", such as 10.9.0.2", or nothing where the network has no second address."""
    for address in (interface.ip + 1, interface.ip - 1):
        if address in interface.network and address not in (
            interface.network.network_address,
            interface.network.broadcast_address,
        ):
            return f", such as {address}"
    return ""


def _quieten(name: str) -> None:
    """No router solicitations: there is no router on this wire. Only noise, so a refusal is no matter."""
    _setting(name, "ipv6", "accept_ra", "0")


def _setting(name: str, family: str, key: str, value: str) -> None:
    with suppress(OSError):
        Path(f"/proc/sys/net/{family}/conf/{name}/{key}").write_text(value, encoding="ascii")
