"""A TCP/IP host that lives in a Python process.

The names below are what an application needs. They are imported when first used (PEP 562), so that `import
stack.wire` or `import stack.host` brings in neither trio nor pytun nor pyroute2: the core runs where none of
them is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack.link.capture import CaptureLink
    from stack.link.memory import memory_links
    from stack.link.tun import TunLink
    from stack.runtime.listener import TcpListener
    from stack.runtime.open import OpenHost, open_host
    from stack.runtime.stream import TcpStream
    from stack.tcp.config import TcpOptions

    __version__: str

__all__ = [
    "CaptureLink",
    "OpenHost",
    "TcpListener",
    "TcpOptions",
    "TcpStream",
    "TunLink",
    "__version__",
    "memory_links",
    "open_host",
]

#: Where each public name lives.
_HOMES = {
    "CaptureLink": "stack.link.capture",
    "OpenHost": "stack.runtime.open",
    "TcpListener": "stack.runtime.listener",
    "TcpOptions": "stack.tcp.config",
    "TcpStream": "stack.runtime.stream",
    "TunLink": "stack.link.tun",
    "memory_links": "stack.link.memory",
    "open_host": "stack.runtime.open",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("tcpstack")
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
