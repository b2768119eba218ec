"""What setsockopt has chosen for one socket, beside what the core knows of."""

from __future__ import annotations

from stack.tcp.config import TcpOptions


class Choices:
    """Values of options; a child of a listener begins with a copy of the listener's."""

    __slots__ = (
        "fastopen_connect",
        "inq",
        "linger",
        "linger2",
        "oob_inline",
        "options",
        "receive_buffer",
        "receive_window",
        "recverr",
        "unsent_mark",
        "v6only",
        "window_clamp",
    )

    def __init__(self, options: TcpOptions) -> None:
        self.options = options  # what the core is told
        self.receive_buffer = options.receive_buffer  # without the clamp
        self.receive_window = options.receive_window
        self.window_clamp = 0  # 0: none
        self.unsent_mark = 0  # TCP_NOTSENT_LOWAT as it was given
        self.linger = (0, 0)
        self.linger2 = 0  # 0: the host's; -1: no wait in FIN-WAIT-2 at all
        self.oob_inline = False
        self.recverr = False
        self.inq = False
        self.v6only = False
        self.fastopen_connect = False

    def copy(self) -> Choices:
        twin = Choices(self.options)
        twin.receive_buffer, twin.receive_window = self.receive_buffer, self.receive_window
        twin.window_clamp, twin.unsent_mark = self.window_clamp, self.unsent_mark
        twin.linger, twin.linger2 = self.linger, self.linger2
        twin.oob_inline, twin.recverr, twin.inq = self.oob_inline, self.recverr, self.inq
        twin.v6only, twin.fastopen_connect = self.v6only, self.fastopen_connect
        return twin
