"""The commands of a script, in back quotes: nothing is run; what they would change of a kernel is changed here.

What is understood:

- `sysctl -q net.ipv4.tcp_x=y ...`, `set_sysctls.py /proc/sys/net/ipv4/tcp_x=y ...`, `echo y > /proc/sys/...`: see
  `sysctls` for the names, Linux' and FreeBSD's. They hold for sockets that are made afterwards.
- `defaults.sh`, wherever it lies: the values that the scripts of the original tool begin with.
- `sysctl_restore_...sh`: nothing, for the next script begins anew.
- `sleep N`: time passes.
- `ethtool -K tun0 tso off` and the like: nothing, for no script can see super-frames.
- `tc qdisc` that adds or replaces a queue of `pfifo`: nothing; there is none here that could overflow.
- `ip tcp_metrics flush all`: what is remembered of peers is forgotten, which is Fast Open's cookies here.
- `nstat | grep NAME`: whether the kernel's counter of that name, one of `COUNTERS`, has counted since the last `nstat`.
- `true`, `:`: nothing.

Everything else is unsupported, and so is every other sysctl, and every value of a sysctl that the stack could not live
up to. A queue that drops everything (`limit 0`), routes with an MTU or an initial window of their own and `fq`, which
paces, are among that.

Of the shell's language there are `;`, `&&`, `||`, new lines, `\\` at the end of one, comments, quotes, redirections
and `$((...))`. A command that is understood succeeds, and what follows its `||` is not looked at; only `nstat | grep`
and sysctls that no Linux has may fail. Not looked at either is a command without a time behind the last event, which
cleans up: nothing outlives a script here.
"""

from __future__ import annotations

import math
import re
import shlex
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from stack.sim.packetdrill.profiles import Profile
from stack.sim.packetdrill.syntax import Place, Unsupported
from stack.sim.packetdrill.sysctls import FASTOPEN_CLIENT, FREEBSD, LINUX, LINUX_DEFAULTS, LINUX_HAS_NOT, whole
from stack.tcp.config import TcpOptions, check_fastopen_keys
from stack.wire.drop import Drop
from stack.wire.units import Duration, seconds

if TYPE_CHECKING:
    from stack.host.host import Host
    from stack.sim.packetdrill.bench import Bench

_ARITHMETIC = re.compile(r"\$\(\(([0-9* ]+)\)\)")
_PATHS: Final = ("/proc/sys/net/ipv4/", "net.ipv4.", "net/ipv4/")
_ENDS: Final = frozenset((";", "&&", "||", "\n", "&"))


COUNTERS: Final = (("TcpExtOutOfWindowIcmps", Drop.ICMP_UNMATCHED.value),)
"""A kernel's counters by their names in nstat, and the host's for the same."""


class CommandFailed(Exception):  # noqa: N818
    """A command that is understood, and would end with an exit status other than 0."""


class Environment:
    """How the stack is configured: by a profile, and by what a script's commands have set since.

    `options` are those of sockets that are made next.
    """

    def __init__(self, profile: Profile) -> None:
        self.options = profile.options
        self.doubles_buffers = profile.doubles_buffers
        self.fastopen = FASTOPEN_CLIENT  # the bits of the sysctl
        self.fastopen_keys: tuple[bytes, ...] = ()
        self.host: Host | None = None
        self.sleep: Callable[[Duration], None] = lambda _duration: None
        self.on_options: Callable[[TcpOptions], None] = lambda _options: None
        self._counts: dict[str, int] = {}

    def attach(self, bench: Bench) -> None:
        """There is a host now; what was set before holds for it."""
        self.host = host = bench.host
        self.sleep = bench.sleep
        self.on_options = bench.set_options
        if self.fastopen_keys:
            host.fastopen_keys = self.fastopen_keys

    def run(self, line: str, place: Place) -> None:
        """Do what a command asks for; `Unsupported` names what can't be done, `CommandFailed` the last that failed."""
        words: list[str] = []
        skip = False
        failure: CommandFailed | None = None
        for word in [*_words(line, place), "\n"]:
            if word not in _ENDS:
                words.append(word)
                continue
            if words and not skip:
                failure = self._try(words, place)
            if words or word not in ("\n", ";"):
                skip = failure is None if word == "||" else word == "&&" and failure is not None
            words = []
        if failure is not None:
            raise failure

    def _try(self, words: list[str], place: Place) -> CommandFailed | None:
        try:
            self._one(words, place)
        except CommandFailed as failure:
            return failure
        return None

    def _one(self, words: list[str], place: Place) -> None:
        name = words[0].rpartition("/")[2]
        arguments = _without_redirections(words[1:])
        if name == "nstat":
            self._count(arguments, place)
        elif "|" in arguments:
            raise Unsupported(*place, f"the command `{' '.join(words)}`")
        elif name in ("true", ":") or name.startswith("sysctl_restore"):
            return
        elif name == "defaults.sh":
            for key, value in LINUX_DEFAULTS.items():
                self._set(key, value, place)
        elif name == "sysctl":
            for setting in arguments:
                if not setting.startswith("-"):
                    self._assign(setting, place)
        elif name == "set_sysctls.py":
            for setting in arguments:
                self._assign(setting, place)
        elif name == "echo" and ">" in words and words[-1].startswith(_PATHS[0]):
            self._assign(f"{words[-1]}={' '.join(arguments)}", place)
        elif name == "sleep" and len(arguments) == 1:
            self._sleep(arguments[0], place)
        elif name == "ethtool" and arguments[:1] in (["-K"], ["-k"]):
            return
        elif name == "ip" and arguments[:2] == ["tcp_metrics", "flush"]:
            if self.host is not None:
                self.host.forget_fastopen()
        elif name == "tc" and _is_harmless_queue(arguments):
            return
        else:
            raise Unsupported(*place, f"the command `{' '.join(words)}`")

    def _count(self, arguments: list[str], place: Place) -> None:
        """`nstat`, alone or with one name to be found in what it prints."""
        counts = {} if self.host is None else {name: self.host.counters.drops.get(ours, 0) for name, ours in COUNTERS}
        before, self._counts = self._counts, counts
        if all(word.startswith("-") for word in arguments):
            return
        if arguments[:2] != ["|", "grep"] or len(arguments) != 3 or arguments[2] not in counts:
            raise Unsupported(*place, f"the command `nstat {' '.join(arguments)}`")
        if counts[arguments[2]] == before.get(arguments[2], 0):
            raise CommandFailed(f"{arguments[2]} has not counted anything")

    def _sleep(self, text: str, place: Place) -> None:
        try:
            self.sleep(seconds(float(text)))
        except ValueError:
            raise Unsupported(*place, f"the command `sleep {text}`") from None

    def _assign(self, setting: str, place: Place) -> None:
        name, equals, value = setting.partition("=")
        for path in _PATHS:
            name = name.removeprefix(path)
        if not equals:
            raise Unsupported(*place, f"the sysctl {name} without a value")
        self._set(name, value.strip(), place)

    def _set(self, name: str, value: str, place: Place) -> None:
        if name == "tcp_fastopen_key":
            self._set_keys(value, place)
            return
        setter = LINUX.get(name) or FREEBSD.get(name)
        if name in LINUX_HAS_NOT:
            raise CommandFailed(f"there is no sysctl {name}")
        if setter is None:
            raise Unsupported(*place, f"the sysctl {name}")
        try:
            options = setter(self.options, value)
        except ValueError:
            options = None
        if name == "tcp_fastopen" and options is not None:
            self.fastopen = whole(value)
        if options is None:
            raise Unsupported(*place, f"the value {value} of the sysctl {name}")
        self.options = options
        self.on_options(options)

    def _set_keys(self, value: str, place: Place) -> None:
        """`a-b-c-d`, or two of them with a comma: four words of 32 bits, as in Linux in hexadecimal digits."""
        try:
            keys = tuple(_key(text) for text in value.split(","))
            check_fastopen_keys(keys)
        except ValueError:
            raise Unsupported(*place, f"the value {value} of the sysctl tcp_fastopen_key") from None
        self.fastopen_keys = keys
        if self.host is not None:
            self.host.fastopen_keys = keys


def _key(text: str) -> bytes:
    words = [int(word, 16) for word in text.split("-")]
    if len(words) != 4:
        raise ValueError("four words make a key")
    return struct.pack("<4I", *words)


def _words(line: str, place: Place) -> list[str]:
    """The words and operators of a command; new lines are operators."""
    text = _ARITHMETIC.sub(lambda match: str(_product(match[1])), line.replace("\\\n", " "))
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|<>\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError as error:
        raise Unsupported(*place, f"a command that can't be read ({error})") from None
    kept: list[str] = []
    comment = False
    for word in words:
        if word and not word.strip("\n;"):
            comment = False
            kept.append("\n")
        elif word.startswith("#") or comment:
            comment = True
        else:
            kept.append(word)
    return kept


def _product(text: str) -> int:
    """`15*1024*1024`: of whole numbers, which is all that scripts ask a shell for."""
    return math.prod(int(factor) for factor in text.strip("() ").split("*"))


def _without_redirections(words: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in (">", ">>", "<", ">&", "&>"):
            skip = True
            if kept and kept[-1] in ("1", "2"):
                kept.pop()
        else:
            kept.append(word)
    return kept


def _is_harmless_queue(arguments: list[str]) -> bool:
    return (
        arguments[:1] == ["qdisc"]
        and arguments[1:2] != []
        and arguments[1] in ("add", "replace", "delete", "del")
        and "fq" not in arguments
        and "limit" not in arguments
    )
