"""The phases of a socket, which decide what `connect`, `listen` and `bind` may do, and the bits of what is shut down.

The state of TCP itself is the connection's; for the application CLOSED and TIME-WAIT are the same: it has nothing more
to do there.
"""

from __future__ import annotations

from typing import Final

UNCONNECTED: Final = 0  #: Nothing yet; or an attempt has failed and was told, or AF_UNSPEC was given.
CONNECTING: Final = 1  #: From the first `connect` to the one that tells what became of it.
CONNECTED: Final = 2  #: For good, also when the connection is long over.
BROKEN: Final = 3  #: Shut down after an attempt that had failed; only AF_UNSPEC makes it usable again.

RECEIVING: Final = 1
SENDING: Final = 2
BOTH: Final = 3
