"""The README's program is run as it stands there, against a kernel socket."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import trio

README = Path(__file__).parents[2] / "README.md"


async def test_the_program_in_the_readme_works(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 12
    path = tmp_path / "shout.py"
    path.write_text(program)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            process = await nursery.start(trio.run_process, [sys.executable, str(path)])
            try:
                stream = await _connected("10.7.0.2", 7, process)
                await stream.send_all(b"hello, tcp")
                await stream.send_eof()
                answer = b"".join([piece async for piece in stream])
                await stream.aclose()
            finally:
                nursery.cancel_scope.cancel()
    assert answer == b"HELLO, TCP"


async def _connected(address: str, port: int, process: subprocess.Popen[bytes]) -> trio.SocketStream:
    """A kernel connection, as soon as the program listens."""
    while True:
        assert process.returncode is None, "the program has ended"
        kernel = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            await kernel.connect((address, port))
        except OSError:
            kernel.close()
            await trio.sleep(0.01)  # between attempts, not for anything to have happened
        else:
            return trio.SocketStream(kernel)
