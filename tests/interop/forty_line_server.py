"""A whole server on this stack: `curl http://10.66.0.2/` is answered by Python, down to the third of its handshake."""

from __future__ import annotations

import sys

import trio

import stack

PAGE = b"carried by a TCP that is written in Python\n"


async def answer(stream: stack.TcpStream) -> None:
    """One request, one answer."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = await stream.receive_some()
        if not piece:
            return
        head += piece
    status, body = (b"200 OK", PAGE) if head.startswith(b"GET ") else (b"405 Method Not Allowed", b"")
    await stream.send_all(b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)))
    await stream.send_all(body)
    await stream.send_eof()
    while await stream.receive_some():
        pass
    await stream.aclose()


async def main(device: str) -> None:
    """Make a device and serve on it."""
    link = stack.TunLink(device, kernel=["10.66.0.1/24", "fd66::1/64"])
    async with stack.open_host(link, addresses=["10.66.0.2/24", "fd66::2/64"]) as host, trio.open_nursery() as nursery:
        await nursery.start(host.serve_tcp, answer, 80)
        print("listening", flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1] if len(sys.argv) > 1 else "tun%d")
