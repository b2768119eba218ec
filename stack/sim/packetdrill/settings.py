"""What the options at a script's head say (`--local_ip=...`), and the defaults that the original tool has for them.

Addresses and ports are the ones on the wire here: scripts rarely mention any, and when they do they mean these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from stack.sim.packetdrill.syntax import Option, Script, ScriptError, Unsupported
from stack.wire.address import format_address, parse_address
from stack.wire.units import US, Duration

IP_VERSIONS: Final = ("ipv4", "ipv6", "ipv4-mapped-ipv6")

_LOCAL: Final = {4: "192.168.0.1", 6: "fd3d:a0b:17d6::1"}
_REMOTE: Final = {4: "192.0.2.1", 6: "fd3d:fa7b:d17d::1"}
_PREFIX: Final = {4: 16, 6: 48}

_WITHOUT_EFFECT: Final = frozenset(
    (
        "code_command",
        "code_format",
        "code_sockopt",
        "debug",
        "define",
        "gateway_ip",
        "init_scripts",
        "netmask_ip",
        "send_omit_free",
        "speed",
        "verbose",
    )
)
"""Options that say how the original tool sees to its device, memory and Python; nothing here depends on them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a script is run. Times are in nanoseconds."""

    ip_version: str = "ipv4"
    local: bytes = b""
    remote: bytes = b""
    bind_port: int = 8080  #: Of the stack's socket that listens.
    connect_port: int = 8080  #: Of the peer that the stack connects to.
    mtu: int = 1500
    gso_size: int = 0  #: `--mss`: packets to the stack with more text come as super-frames of such segments; 0: never.
    tolerance: Duration = 4000 * US  #: How far an event may be from its time,
    tolerance_share: float = 0.125  #: or this share of the time since the event before, whichever is more.
    ts_tick: Duration = 0  #: What one tick of the stack's timestamps is worth; 0: their values are not looked at.
    ts_ecr_scaled: bool = False  #: Echoed timestamps may be others than those that were seen.
    strict_segments: bool = False  #: A line stands for one segment, never for several.

    @property
    def mapped(self) -> bool:
        """Whether sockets are of IPv6, and packets of IPv4."""
        return self.ip_version == "ipv4-mapped-ipv6"

    @property
    def v6_sockets(self) -> bool:
        return self.ip_version != "ipv4"

    @property
    def cidr(self) -> str:
        """The stack's address with its prefix."""
        return f"{format_address(self.local)}/{_PREFIX[4 if len(self.local) == 4 else 6]}"


def from_script(script: Script, ip_version: str = "ipv4", mtu: int = 1500) -> Settings:
    """The settings of a script; `ip_version` and `mtu` count where it doesn't say them.

    Raises `Unsupported` for an option that asks for what is not here, `ScriptError` for a value that can't be.
    """
    settings = Settings(ip_version=ip_version, mtu=mtu)
    for option in script.options:
        settings = _apply(settings, option)
    family = 6 if settings.ip_version == "ipv6" else 4
    settings = replace(
        settings,
        local=settings.local or parse_address(_LOCAL[family]),
        remote=settings.remote or parse_address(_REMOTE[family]),
    )
    if {len(settings.local), len(settings.remote)} != {4 if family == 4 else 16}:
        raise ScriptError(script.path, 1, 1, f"the addresses are not both of {settings.ip_version}")
    return settings


def _apply(settings: Settings, option: Option) -> Settings:
    value = option.value or ""
    match option.name:
        case name if name in _WITHOUT_EFFECT:
            return settings
        case "ip_version" if value in IP_VERSIONS:
            return replace(settings, ip_version=value)
        case "local_ip":
            return replace(settings, local=_address(option))
        case "remote_ip":
            return replace(settings, remote=_address(option))
        case "bind_port":
            return replace(settings, bind_port=_number(option, 1, 65535))
        case "connect_port":
            return replace(settings, connect_port=_number(option, 1, 65535))
        case "mtu":
            return replace(settings, mtu=_number(option, 576, 65535))
        case "mss":
            return replace(settings, gso_size=_number(option, 1, 65535))
        case "tolerance_usecs":
            return replace(settings, tolerance=_number(option, 0, 10**9) * US)
        case "tolerance_percent":
            return replace(settings, tolerance_share=_share(option))
        case "tcp_ts_tick_usecs":
            return replace(settings, ts_tick=_number(option, 0, 10**6) * US)
        case "tcp_ts_ecr_scaled":
            return replace(settings, ts_ecr_scaled=True)
        case "strict_segments":
            return replace(settings, strict_segments=True)
        case "ip_version":
            raise _fault(option, f"is one of {', '.join(IP_VERSIONS)}")
    raise Unsupported(*option.place, f"the option --{option.name}")


def _address(option: Option) -> bytes:
    try:
        return parse_address((option.value or "").partition("/")[0])
    except ValueError:
        raise _fault(option, "needs an address") from None


def _number(option: Option, low: int, high: int) -> int:
    text = option.value or ""
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or not low <= int(text) <= high:
        raise _fault(option, f"needs a number from {low} to {high}")
    return int(text)


def _share(option: Option) -> float:
    try:
        percent = float(option.value or "")
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise _fault(option, "needs a number from 0 to 100")
    return percent / 100


def _fault(option: Option, what: str) -> ScriptError:
    return ScriptError(*option.place, f"--{option.name} {what}, not {option.value or 'nothing'}")
