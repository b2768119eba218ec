"""How the stack is configured before a script says anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from stack.tcp.config import TcpOptions
from stack.tcp.profiles import profile as options_of

SECRET: Final = b"packetdrill, the same every time."
"""The host's secret: the same script gives the same packets."""


@dataclass(frozen=True, slots=True)
class Profile:
    """`max_payload` is what the link takes in a super-frame, 0 for none."""

    name: str
    options: TcpOptions
    max_payload: int = 0
    doubles_buffers: bool = False  #: SO_SNDBUF and SO_RCVBUF tell twice what was asked for, as Linux does.


_LINUX = options_of("linux")
LINUX_OPTIONS: Final = _LINUX.replace(receive_buffer=15 << 20, habits=replace(_LINUX.habits, even_syns=0))
"""Scripts for Linux take for granted, besides, the receive buffer that their `defaults.sh` sets, and that each SYN
waits twice as long as the one before, as it was up to Linux 6.4."""

PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile("linux", LINUX_OPTIONS, doubles_buffers=True),
        Profile("freebsd", options_of("freebsd")),
        Profile("rfc", options_of("rfc")),
    )
}
