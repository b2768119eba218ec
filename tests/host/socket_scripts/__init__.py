"""Scripts of calls for `socket_machines`: what is done here is done to the kernel's sockets and to ours."""

from tests.host.socket_scripts import choosing, connecting, datagrams, families, naming, talking
from tests.host.socket_scripts.registry import SCRIPTS

__all__ = ["SCRIPTS", "choosing", "connecting", "datagrams", "families", "naming", "talking"]
