"""Our sockets do what the kernel's do: the same calls on both, and the same answers, errnos and bits of poll(2)."""

from __future__ import annotations

import pytest

from tests.host.socket_machines import Kernel, Ours
from tests.host.socket_scripts import SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_the_kernel(name: str) -> None:
    kernel, ours = Kernel(), Ours()
    for machine in (kernel, ours):
        try:
            SCRIPTS[name](machine)
        finally:
            machine.close()
    assert ours.transcript == kernel.transcript
