"""A user and network namespace of our own, without root, for the demo and the benchmark.

The process replaces itself: `unshare` (util-linux) makes the namespaces and runs this program again inside
them. The process stays the same one, so signals reach it as before, and the namespaces end with it: the
kernel takes away the devices in them. Whoever is root needs no user namespace.

Being inside is known from a variable that names the network namespace outside; it can't be left over by
mistake from somewhere else, because outside it names the very namespace that one is in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stack.cli.terminal import CommandError

OUTSIDE = "TCPSTACK_DEMO_OUTSIDE"  #: The variable: the network namespace outside, as the kernel names it.

_NETWORK = Path("/proc/self/ns/net")
_AS_ROOT = ("--net",)
_AS_USER = ("--user", "--map-root-user", "--net")


def enter(arguments: Sequence[str], command: str = "demo") -> None:
    """Return if we are inside already; else become `tcpstack` with these arguments inside.

    `command` is what errors name. Raises `CommandError` where the system does not allow it, with the remedy.
    """
    outside = _namespace(command)
    if os.environ.get(OUTSIDE, outside) != outside:
        return
    unshare = shutil.which("unshare")
    if unshare is None:
        raise CommandError("unshare is not installed", "install it: apt install util-linux")
    flags = _allowed(unshare, command)
    # Where the package was found, and not where this file lies: the compiled form has links to it.
    package = Path(sys.modules["stack"].__path__[0]).parent
    environment = dict(os.environ)
    environment[OUTSIDE] = outside
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")]))
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: what lies in the directory where the user stands is none of our modules.
    again = [unshare, *flags, "--", sys.executable, "-P", "-m", "stack", *arguments]
    os.execve(unshare, again, environment)


def raise_loopback() -> None:
    """Bring up the new namespace's `lo`, which starts down."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as netlink:
            netlink.link("set", index=netlink.link_lookup(ifname="lo")[0], state="up")
    except NetlinkError as error:
        # Ubuntu's rule can allow the namespace and take every privilege in it away.
        raise refusal(str(error)) from error


def _namespace(command: str) -> str:
    try:
        return os.readlink(_NETWORK)
    except OSError as error:
        raise CommandError(f"the {command} needs Linux, with network namespaces and /proc") from error


def _allowed(unshare: str, command: str) -> tuple[str, ...]:
    """The flags of the first way in that the system allows."""
    ways = (_AS_ROOT, _AS_USER) if os.geteuid() == 0 else (_AS_USER,)
    said = ""
    for flags in ways:
        probe = subprocess.run([unshare, *flags, "--", "true"], capture_output=True, text=True, check=False)
        if probe.returncode == 0:
            return flags
        said = probe.stderr.strip()
    raise refusal(said, command=command)


def refusal(said: str, knob: Callable[[str], str] | None = None, command: str = "demo") -> CommandError:
    """Why there is no sandbox, from the kernel's settings, and what to do."""
    setting = knob or _setting
    if setting("kernel/unprivileged_userns_clone") == "0":
        remedy = "allow them: sudo sysctl kernel.unprivileged_userns_clone=1"
    elif setting("user/max_user_namespaces") == "0":
        remedy = "allow them: sudo sysctl user.max_user_namespaces=15000"
    elif setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        remedy = (
            "Ubuntu's AppArmor rule restricts them; lift it until the next boot:\n"
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    else:
        remedy = "in a container, start it with --privileged"
    said = f" ({said})" if said else ""
    return CommandError(
        f"user and network namespaces are refused here, and tcpstack {command} needs them{said}",
        f"{remedy}\nor run it as root: sudo tcpstack {command}",
    )


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
