"""The command `tcpstack`: each subcommand has a module of its own.

They are imported when `main` runs, not with this module, so that Ctrl-C in the first tenths of a second is no
traceback. `doctor` runs without the others, because it is for finding out why they don't.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stack.cli.broken_pipe import unread

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
A TCP/IP host in a Python process: its own TCP, against real peers, over a TUN device.
"""

EPILOG = """\
`tcpstack COMMAND --help` tells more. serve, get, ping and iperf3 need the right to make network
devices: run them as root, or in a network namespace of your own (unshare -Urn).
"""

INTERRUPTED = 130  #: The exit status after Ctrl-C, as shells have it.


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 when it failed, 2 for wrong usage, 130 on Ctrl-C."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return unread()


def _run(argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] == "doctor":
        return _doctor(words)

    from stack.cli.terminal import CommandError, report

    try:
        arguments = build_parser().parse_args(argv)
        status: int = arguments.run(arguments)
    except CommandError as error:
        return report(error)
    return status


def _doctor(words: Sequence[str]) -> int:
    import argparse

    from stack.cli import doctor

    parser = argparse.ArgumentParser(prog="tcpstack")
    doctor.add_parser(parser.add_subparsers())
    try:
        return doctor.run_doctor(parser.parse_args(words))
    except BrokenPipeError:
        raise
    except OSError as error:  # of the output, as when a disk is full: the findings are never errors
        print(f"error: {error.strerror}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    import argparse

    from stack.cli import bench, demo, doctor, get, iperf3, packetdrill, ping, serve, sim

    parser = argparse.ArgumentParser(
        prog="tcpstack",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (demo, serve, get, ping, iperf3, sim, packetdrill, bench, doctor):
        module.add_parser(commands)
    return parser


def _version() -> str:
    """Ours, Python's, and which form of the core runs."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from stack.wire.compiling import form

    try:
        ours = version("tcpstack")
    except PackageNotFoundError:  # a checkout that was not installed
        ours = "(not installed)"
    return f"tcpstack {ours}, core {form()}, {platform.python_implementation()} {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
