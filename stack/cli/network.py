"""From the options of a command to a running host: device, addresses, capture.

async with open_network(network_options(arguments)) as net:
    stream = await net.host.open_tcp_stream(...)
"""

from __future__ import annotations

import argparse
import errno
import ipaddress
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stack.cli.options import ends, impaired_paths
from stack.cli.terminal import CommandError, console
from stack.link.impair import ImpairLink
from stack.link.tun import TunLink
from stack.path.config import PathConfig
from stack.runtime.open import OpenHost, open_host
from stack.tcp.config import TcpOptions
from stack.tcp.profiles import profile


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """Where a command's host lives."""

    tun: str = "tun%d"
    kernel: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    mtu: int = 1500
    offload: bool = True  #: super-frames and checksums left to the kernel, where it knows them
    pcap: Path | None = None
    impair: tuple[PathConfig, PathConfig] | None = None  #: what happens to packets for us, and to those from us
    tcp: TcpOptions = field(default_factory=TcpOptions)


@dataclass(frozen=True, slots=True)
class Network:
    """A host on a TUN device."""

    host: OpenHost
    link: TunLink
    options: NetworkOptions


def network_options(arguments: argparse.Namespace, **tcp: object) -> NetworkOptions:
    """What `add_network_options` has read, with the rest filled in; `tcp` are choices for connections."""
    chosen = TcpOptions() if arguments.profile is None else profile(arguments.profile)
    kernel, addresses = ends(arguments.kernel, arguments.address, ipv6=kernel_has_ipv6() and arguments.mtu >= 1280)
    return NetworkOptions(
        tun=arguments.tun,
        kernel=kernel,
        addresses=addresses,
        mtu=arguments.mtu,
        offload=arguments.offload,
        pcap=arguments.pcap,
        impair=impaired_paths(arguments.impair),
        tcp=chosen.replace(**tcp),
    )


def kernel_has_ipv6() -> bool:
    """Whether IPv6 is there and not switched off."""
    try:
        off = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").read_text(encoding="ascii").strip()
    except OSError:
        return False
    return off == "0"


@asynccontextmanager
async def open_network(options: NetworkOptions) -> AsyncIterator[Network]:
    """Make the device and a host on it; both are gone afterwards. Raises `LinkError`, `CommandError`."""
    link = TunLink(options.tun, kernel=options.kernel, mtu=options.mtu, offload=options.offload)
    try:
        capture = _capture_file(options.pcap)
        wire = link if options.impair is None else _impaired(link, *options.impair)
        async with open_host(wire, addresses=options.addresses, options=options.tcp, capture=capture) as host:
            yield Network(host, link, options)
    finally:
        link.close()


def _impaired(link: TunLink, inbound: PathConfig, outbound: PathConfig) -> ImpairLink:
    impaired = ImpairLink(link, inbound, outbound)
    if inbound.seed is None or outbound.seed is None:
        console(stderr=True).print(f"--impair: to have the same chances again, add seed={impaired.seed}")
    return impaired


def _capture_file(path: Path | None) -> Path | None:
    """The same path, once it is certain that it can be written."""
    if path is None:
        return None
    try:
        with open(path, "ab"):
            return path
    except OSError as error:
        raise CommandError(f"can't write the capture {path}: {error.strerror}") from error


def check_target(host: str, options: NetworkOptions) -> None:
    """Refuse an address that can't be reached from this stack, before waiting in vain for its answer."""
    kernel = _kernels(options)
    address = _address(host)
    if address is None and host != "localhost" and not host.endswith(".localhost"):
        return
    if address is None or address.is_loopback or address.is_unspecified:
        raise CommandError(
            f"{host} is each host's own loopback, so it does not lead from this stack to the kernel",
            f"the kernel's end of the wire is {kernel}; what listens on all addresses is there",
        )
    if address in [ipaddress.ip_interface(text).ip for text in options.addresses]:
        raise CommandError(f"{host} is this stack's own address", f"the kernel's end of the wire is {kernel}")


def explain_connect(error: OSError, host: str, port: int, options: NetworkOptions) -> CommandError:
    """Why no connection came about, and what may help."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(error, ConnectionRefusedError):
        return CommandError(f"connection refused by {where}", "is something listening there, on that address?")
    if isinstance(error, TimeoutError):
        return CommandError(f"no answer from {where}", _why_silent(host, options))
    if error.errno == errno.ENETUNREACH:
        return CommandError(
            f"no route to {where}: this stack has no address of that family",
            "give it one: --kernel and --address, once for IPv4 and once for IPv6",
        )
    text = error.strerror or os.strerror(error.errno) if error.errno else str(error)
    return CommandError(f"can't connect to {where}: {text}")


def _why_silent(host: str, options: NetworkOptions) -> str:
    kernel = _kernels(options)
    address = _address(host)
    interfaces = [ipaddress.ip_interface(text) for text in options.kernel]
    if address in [interface.ip for interface in interfaces]:
        return "is a firewall dropping it?"
    if any(address in interface.network for interface in interfaces if address is not None):
        return f"nobody has that address: the other end of the wire is the kernel's, {kernel}"
    return (
        f"{host} is beyond the kernel's end of the wire ({kernel}), and the kernel forwards to it only with\n"
        "sysctl net.ipv4.ip_forward=1 (net.ipv6.conf.all.forwarding=1) and a way back, such as NAT"
    )


def _kernels(options: NetworkOptions) -> str:
    return ", ".join(text.partition("/")[0] for text in options.kernel)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None  # a name
