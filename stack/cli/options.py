"""Options that several commands have, and what they mean together.

The wire between us and the kernel is a TUN device. The kernel has an address at its end, this stack another
one of the same network at ours; who names only one of the two gets the other one beside it.
"""

from __future__ import annotations

import argparse
import ipaddress
from pathlib import Path

from stack.cli.terminal import USAGE, CommandError
from stack.path.config import PathConfig, from_mapping, parse_fields
from stack.tcp.profiles import PROFILES

KERNEL = ("10.9.0.1/24", "fd09::1/64")
ADDRESSES = ("10.9.0.2/24", "fd09::2/64")

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


IMPAIR_HELP = """\
make the wire worse, each way: loss=2%%,delay=20ms,jitter=5ms,rate=50mbit,reorder=1%%,duplicate=1%%,corrupt=0.1%%,
seed=7 (and more: docs/sim.md). May be repeated; in:... and out:... are for packets to this stack and from it alone.
Long-run rate and mean delay are right within 2 %%. Single packets are up to a millisecond off: timers tick in
milliseconds, and what is due within a tick is released as one burst.
"""


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """--tun, --kernel, --address, --mtu, --no-offload, --profile, --impair, --pcap."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--tun",
        metavar="NAME",
        default="tun%d",
        help="name of the TUN device, made unless it is there (default: the first free tun0, ...)",
    )
    group.add_argument(
        "--kernel",
        metavar="CIDR",
        action="append",
        type=cidr,
        help=f"the kernel's address on it, IPv4 or IPv6; may be repeated (default: {' and '.join(KERNEL)})",
    )
    group.add_argument(
        "--address",
        metavar="CIDR",
        action="append",
        type=cidr,
        help=f"an address of this stack; may be repeated (default: {' and '.join(ADDRESSES)})",
    )
    group.add_argument("--mtu", metavar="BYTES", type=mtu, default=1500, help="of the device (default: %(default)s)")
    group.add_argument(
        "--no-offload",
        dest="offload",
        action="store_false",
        help="cut packets to the MTU and make checksums here (default: leave that to the kernel, in both directions)",
    )
    group.add_argument(
        "--profile",
        choices=sorted(PROFILES),
        help="whose habits our TCP has: docs/profiles.md (default: its own)",
    )
    group.add_argument("--impair", metavar="PATH", action="append", type=impairment, help=IMPAIR_HELP)
    add_pcap_option(group)


def add_pcap_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """--pcap."""
    parser.add_argument(
        "--pcap", metavar="FILE", type=Path, help="write all packets to this file, for Wireshark (pcapng)"
    )


def add_output_options(parser: argparse.ArgumentParser, *, json: str) -> None:
    """--json, --verbose."""
    parser.add_argument("--json", action="store_true", help=json)
    parser.add_argument("-v", "--verbose", action="store_true", help="say more of what happens")


def cidr(text: str) -> str:
    """An address with its prefix length, for argparse."""
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as 10.9.0.1/24 or fd09::1/64") from None
    if "/" not in text:
        usual = 24 if interface.version == 4 else 64
        raise argparse.ArgumentTypeError(f"{text} needs the length of its network's prefix, as in {text}/{usual}")
    return text


def impairment(text: str) -> tuple[str, dict[str, object]]:
    """Properties of a path and the direction that has them (`in`, `out`, or "" for both), for argparse."""
    direction, colon, line = text.partition(":")
    if not colon:
        direction, line = "", text
    elif direction not in ("in", "out"):
        raise argparse.ArgumentTypeError(f"{direction!r} is no direction: write in:{line} or out:{line}")
    try:
        return direction, parse_fields(line)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def impaired_paths(given: list[tuple[str, dict[str, object]]] | None) -> tuple[PathConfig, PathConfig] | None:
    """What happens to packets for this stack and to those from it; None where nothing was asked for."""
    if not given:
        return None
    merged: dict[str, dict[str, object]] = {"in": {}, "out": {}}
    for direction, fields in given:
        for name in (direction,) if direction else ("in", "out"):
            merged[name].update(fields)
    try:
        return from_mapping(merged["in"]), from_mapping(merged["out"])
    except ValueError as error:
        raise CommandError(f"--impair: {error}", status=USAGE) from None


def port(text: str) -> int:
    """A port number, for argparse."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 1 to 65535")
    return int(text)


def duration(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def mtu(text: str) -> int:
    """An MTU in bytes, for argparse."""
    if not text.isdecimal() or not 576 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not an MTU: 576 to 65535 bytes, from 1280 for IPv6")
    return int(text)


def ends(kernel: list[str] | None, addresses: list[str] | None, *, ipv6: bool = True) -> tuple[list[str], list[str]]:
    """The kernel's addresses and ours, where either or both may have been left out.

    `ipv6` says whether the defaults may have IPv6: the kernel must know it, and the MTU be at least 1280
    bytes.
    """
    if kernel is None and addresses is None:
        families = 2 if ipv6 else 1
        return list(KERNEL[:families]), list(ADDRESSES[:families])
    if addresses is None:
        return list(kernel or ()), [_beside(text) for text in kernel or ()]
    if kernel is None:
        return [_beside(text) for text in addresses], list(addresses)
    return list(kernel), list(addresses)


def _beside(text: str) -> str:
    """Another address of the same network: the next one, or the one before where that is the last."""
    interface = ipaddress.ip_interface(text)
    network = interface.network
    for number in (1, -1):
        other = ipaddress.ip_address(int(interface.ip) + number) if int(interface.ip) + number >= 0 else None
        if other is None or other not in network:
            continue
        if network.num_addresses > 2 and other in (network.network_address, network.broadcast_address):
            continue
        return f"{other}/{network.prefixlen}"
    raise CommandError(f"there is no second address in {network}", "give both --kernel and --address", status=USAGE)
