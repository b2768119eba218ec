"""`tcpstack doctor`: what this machine has of all that the commands need, and what to do about the rest.

Each finding is one of three: `ok`; `note`, something that would be better but that nothing depends on; `missing`,
something without which commands fail. Only the last makes the exit status 1.

This module looks at what other commands import, and so imports nothing of it itself: it runs when half of the
installation is missing. Where it asks the kernel, it asks for nothing to be made.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stack.wire.compiling import form, is_compiled

OK, NOTE, MISSING = "ok", "note", "missing"

OLDEST_PYTHON = (3, 11)
OLDEST_KERNEL = (3, 8)  #: Several queues on one device, and user namespaces.

DEVICE = "/dev/net/tun"
# <linux/if_tun.h>
TUNGETFEATURES = 0x800454CF
IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x4000, 0x0100
_FEATURES = struct.Struct("I")

CAP_NET_ADMIN = 1 << 12  #: <linux/capability.h>

ON_X86_64 = "x86_64"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A package that we need, the oldest version that will do, and what for; `machine`: needed there alone."""

    name: str
    oldest: str
    purpose: str
    machine: str = ""


#: The dependencies in pyproject.toml; a test compares them.
DEPENDENCIES = (
    Dependency("trio", "0.29", "the event loop"),
    Dependency("h11", "0.16", "HTTP"),
    Dependency("rich", "13.7", "tables and progress bars"),
    Dependency("lark", "1.2", "packetdrill scripts"),
    Dependency("pyroute2", "0.9.1", "addresses and routes of TUN devices"),
    Dependency("python-pytun", "2.4.2", "TUN devices; a plain ioctl takes its place", ON_X86_64),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `remedy` is empty where there is nothing to do."""

    name: str
    state: str
    text: str
    remedy: str = ""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "doctor",
        help="say what this machine lacks, and which form of the core runs",
        description="Look at Python, the core, the kernel, privileges and packages. The exit status is 1\n"
        "if something is missing that commands need.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one object: ok, compiled, findings")
    parser.set_defaults(run=run_doctor)


def run_doctor(arguments: argparse.Namespace) -> int:
    """Print the findings; returns the exit status."""
    findings = examine()
    healthy = all(finding.state != MISSING for finding in findings)
    if arguments.json:
        fields = {"ok": healthy, "compiled": is_compiled(), "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(fields), flush=True)
    else:
        print("\n".join(lines(findings)), flush=True)
    return 0 if healthy else 1


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The report for people."""
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        yield f"{finding.state:<7}  {finding.name:<{width}}  {finding.text}"
        for remedy in finding.remedy.splitlines():
            yield " " * (width + 11) + remedy


def examine() -> list[Finding]:
    """Everything that there is to look at."""
    return [
        _program(),
        _python(),
        _core(),
        kernel(platform.system(), platform.release()),
        tun_device(DEVICE),
        offload(DEVICE),
        privileges(_capabilities(), try_namespace),
        *(dependency(needed, _version_of(needed.name), platform.machine()) for needed in DEPENDENCIES),
    ]


def _program() -> Finding:
    version = _version_of("tcpstack")
    where = Path(__file__).resolve().parents[2]
    if version is None:
        return Finding("tcpstack", NOTE, f"not installed; running from {where}", f"pip install {where}")
    return Finding("tcpstack", OK, f"{version} in {where}")


def _python() -> Finding:
    text = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", MISSING, text, "Python 3.11 or later is needed")
    return Finding("python", OK, text)


def _core() -> Finding:
    if is_compiled():
        return Finding("core", OK, form())
    return Finding(
        "core",
        NOTE,
        f"{form()}, which costs it several times the processor",
        "in a checkout: TCPSTACK_COMPILE=1 pip install .   (needs a C compiler and Python's headers)\n"
        "or, without installing: PYTHONPATH=$(tools/compile) tcpstack ...",
    )


def kernel(system: str, release: str) -> Finding:
    """Whether this is a kernel to work with."""
    text = f"{system} {release}"
    numbers = version_numbers(release)[:2]
    if system != "Linux":
        return Finding(
            "kernel", MISSING, text, "TUN devices, namespaces and netlink are Linux'; the simulator runs here"
        )
    if numbers and numbers < OLDEST_KERNEL:
        return Finding("kernel", MISSING, text, f"Linux {'.'.join(map(str, OLDEST_KERNEL))} or later is needed")
    return Finding("kernel", OK, text)


def tun_device(path: str) -> Finding:
    """Whether the TUN driver answers and we may open it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        remedy = {
            errno.ENOENT: "load the driver: sudo modprobe tun (in a container: --device /dev/net/tun)",
            errno.ENODEV: "load the driver: sudo modprobe tun",
            errno.EACCES: f"Debian and Ubuntu ship it open to all; make it so: sudo chmod 0666 {path}",
            errno.EPERM: "in a container, start it with --device /dev/net/tun",
        }.get(error.errno or 0, "")
        return Finding(path, MISSING, f"can't be opened: {error.strerror}", remedy)
    return Finding(path, OK, "can be opened")


def offload(path: str) -> Finding:
    """Whether devices can exchange super-frames with us, and have several queues."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            (features,) = _FEATURES.unpack(fcntl.ioctl(descriptor, TUNGETFEATURES, bytes(_FEATURES.size)))
        finally:
            os.close(descriptor)
    except OSError as error:
        return Finding("offload", NOTE, f"not known: {error.strerror}")
    lacking = [
        name
        for flag, name in ((IFF_VNET_HDR, "super-frames"), (IFF_MULTI_QUEUE, "several queues"))
        if not features & flag
    ]
    if lacking:
        return Finding("offload", NOTE, f"this kernel's TUN devices lack {' and '.join(lacking)}", "use --no-offload")
    return Finding("offload", OK, "super-frames with partial checksums, several queues")


def privileges(capabilities: int, namespace: Callable[[], str | None]) -> Finding:
    """Whether devices may be made here, or at least in a namespace of our own.

    `namespace` tries to make one; it returns what was said against it, or None.
    """
    if capabilities & CAP_NET_ADMIN:
        return Finding("privileges", OK, "CAP_NET_ADMIN: devices can be made here")
    refusal = namespace()
    if refusal is None:
        return Finding(
            "privileges",
            NOTE,
            "no CAP_NET_ADMIN, but namespaces of one's own: enough for the demo and the tests",
            "for devices: sudo, or a namespace (unshare -Urn), or a device that root has prepared\n"
            "(sudo ip tuntap add NAME mode tun user YOU)",
        )
    return Finding("privileges", MISSING, f"no CAP_NET_ADMIN, and no namespaces ({refusal})", "use sudo\n" + _allow())


def _allow() -> str:
    """How to allow namespaces, if the settings tell."""
    for setting, barrier, command in (
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    ):
        if _read(f"/proc/sys/{setting}").strip() == barrier:
            return f"or allow namespaces: sudo sysctl {command}"
    return "or, in a container, start it with --privileged"


def try_namespace() -> str | None:
    """Make a user and network namespace that ends at once; returns what was said against it, or None."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return "unshare is not installed: apt install util-linux"
    tried = subprocess.run(
        # Ubuntu's rule can allow the namespace and take every privilege in it away: a hostname is harmless to set.
        [
            unshare,
            "--user",
            "--map-root-user",
            "--net",
            "--uts",
            "--",
            "sh",
            "-c",
            "echo doctor >/proc/sys/kernel/hostname",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else tried.stderr.strip() or f"exit status {tried.returncode}"


def dependency(needed: Dependency, version: str | None, machine: str) -> Finding:
    """Whether a package is there, and new enough."""
    name = f"package {needed.name}"
    if version is not None and version_numbers(version) >= version_numbers(needed.oldest):
        return Finding(name, OK, f"{version} ({needed.purpose})")
    if needed.machine:
        state = NOTE if machine == needed.machine else OK
        text = f"{version or 'not installed'} ({needed.purpose})"
    else:
        state = MISSING
        text = f"{version or 'not installed'}, and {needed.oldest} or later is needed ({needed.purpose})"
    return Finding(name, state, text, "" if state == OK else f"pip install '{needed.name}>={needed.oldest}'")


def version_numbers(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 6.1.0-28-amd64 is (6, 1, 0)."""
    begin = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, begin.group().split("."))) if begin else ()


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _capabilities() -> int:
    """Our effective capabilities, as bits; 0 where the system has none."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", _read("/proc/self/status"), re.MULTILINE)
    return int(found.group(1), 16) if found else 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
