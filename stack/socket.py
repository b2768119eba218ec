"""Berkeley sockets over the sans-IO host: `stack.host.sockets` under its public name."""

from stack.host.sockets import *  # noqa: F403
from stack.host.sockets import __doc__ as __doc__
from stack.host.sockets.constants import *  # noqa: F403
