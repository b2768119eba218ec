"""Files over HTTP: a directory tree, read with GET and HEAD, written with PUT where that is allowed.

A request's path is split at "/" first and decoded after, so that an encoded slash never becomes a separator;
"." and ".." are resolved in the list of names, and what the names lead to must lie inside the root after
every symbolic link is followed. Whatever fails that is simply not found. Only regular files are served.

Reading, writing and listing happen in threads, a piece at a time: a slow disk does not hold up the other
connections, and a peer that reads slowly holds one piece in memory, not the file.
"""

from __future__ import annotations

import contextlib
import errno
import html
import mimetypes
import os
import secrets
import stat
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote_to_bytes, urlsplit

import trio

from stack.apps.http.selection import UnsatisfiableError, not_modified, parse_range, range_applies
from stack.apps.http.server import Exchange, Limits, Log, serve_http

CHUNK = 128 * 1024  #: Bytes read or written in one visit to a thread; a new connection's send buffer takes two.

StreamHandler = Callable[[trio.abc.HalfCloseableStream], Awaitable[None]]


def serve_directory(
    root: str | Path,
    *,
    allow_put: bool = False,
    max_upload: int | None = None,
    limits: Limits | None = None,
    log: Log | None = None,
) -> StreamHandler:
    """A handler of connections, for `serve_tcp`, that serves the files below `root`.

    `allow_put` lets clients create and replace files, of at most `max_upload` bytes each (None: no limit).
    Raises `NotADirectoryError` where `root` is not a directory.
    """
    files = FileServer(root, allow_put=allow_put, max_upload=max_upload)

    async def handler(stream: trio.abc.HalfCloseableStream) -> None:
        await serve_http(stream, files, limits=limits, log=log)

    return handler


class FileServer:
    """The handler of one request: `await files(exchange)`."""

    def __init__(self, root: str | Path, *, allow_put: bool = False, max_upload: int | None = None) -> None:
        if not os.path.isdir(root):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(root))
        mimetypes.init()  # which reads files, and not while somebody waits for an answer
        self.root = os.path.realpath(root)
        self.allow_put = allow_put
        self.max_upload = max_upload

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.method in ("GET", "HEAD"):
            await self._get(exchange)
        elif exchange.method == "PUT" and self.allow_put:
            await self._put(exchange)
        elif exchange.method == "OPTIONS":
            await exchange.respond(204, headers=[("allow", self._allow)])
        else:
            await exchange.fail(405, headers=[("allow", self._allow)])

    @property
    def _allow(self) -> str:
        return "GET, HEAD, OPTIONS, PUT" if self.allow_put else "GET, HEAD, OPTIONS"

    def _inside(self, path: str) -> bool:
        return path == self.root or path.startswith(os.path.join(self.root, ""))

    # Reading

    async def _get(self, exchange: Exchange) -> None:
        names = path_names(exchange.target)
        if names is None:
            await exchange.fail(404)
            return
        try:
            found = await trio.to_thread.run_sync(self._find, names)
        except PermissionError:
            await exchange.fail(403)
        except (OSError, ValueError):  # missing, a loop of links, a name too long, a NUL in it
            await exchange.fail(404)
        else:
            await self._send_found(exchange, names, found)

    def _find(self, names: list[str]) -> tuple[BinaryIO, os.stat_result, str] | str | bytes:
        """In a thread: an open file with its status and type, a directory's proper name, or its listing."""
        path = os.path.realpath(os.path.join(self.root, *names))
        if not self._inside(path):
            raise FileNotFoundError(errno.ENOENT, "outside the root")
        if os.path.isdir(path):
            if names and names[-1] != "":
                return "/" + "/".join(quote(os.fsencode(name), safe="") for name in names) + "/"
            index = os.path.join(path, "index.html")
            if not (os.path.isfile(index) and self._inside(os.path.realpath(index))):
                return listing(path, names)
            path = os.path.realpath(index)
        elif not names or names[-1] == "":
            raise FileNotFoundError(errno.ENOENT, "a file is no directory")
        # The path holds no link any more; should one appear meanwhile, it is not followed. Opening a FIFO
        # doesn't wait.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", 0)
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            file.close()
            raise PermissionError(errno.EACCES, "not a regular file")
        return file, status, content_type(path)

    async def _send_found(
        self, exchange: Exchange, names: list[str], found: tuple[BinaryIO, os.stat_result, str] | str | bytes
    ) -> None:
        if isinstance(found, str):
            query = urlsplit(exchange.target).query
            await exchange.respond(301, headers=[("location", found + (f"?{query}" if query else ""))])
        elif isinstance(found, bytes):
            await exchange.respond(200, found, [("content-type", "text/html; charset=utf-8")])
        else:
            file, status, kind = found
            with file:
                await self._send_file(exchange, file, status, kind)

    async def _send_file(self, exchange: Exchange, file: BinaryIO, status: os.stat_result, kind: str) -> None:
        size, mtime = status.st_size, int(status.st_mtime)
        etag = f'"{status.st_mtime_ns:x}-{size:x}"'
        headers = [("etag", etag), ("last-modified", formatdate(mtime, usegmt=True))]
        headers.append(("accept-ranges", "bytes"))
        get = exchange.headers.get
        if not_modified(etag, mtime, if_none_match=get("if-none-match"), if_modified_since=get("if-modified-since")):
            await exchange.respond(304, headers=headers)
            return
        start, stop, code = 0, size, 200
        wanted = get("range") if exchange.method == "GET" else None  # RFC 9110 14.2: of GET alone
        if wanted is not None and range_applies(etag, mtime, get("if-range")):
            try:
                part = parse_range(wanted, size)
            except UnsatisfiableError as error:
                await exchange.fail(416, str(error), [("content-range", f"bytes */{size}")])
                return
            if part is not None:
                (start, stop), code = part, 206
                headers.append(("content-range", f"bytes {start}-{stop - 1}/{size}"))
        headers += [("content-type", kind), ("content-length", str(stop - start))]
        await exchange.start(code, headers)
        if exchange.method == "GET":
            await _send_range(exchange, file, start, stop)

    # Writing

    async def _put(self, exchange: Exchange) -> None:
        names = path_names(exchange.target)
        length = exchange.headers.get("content-length")
        if names is None or not names or names[-1] == "" or "content-range" in exchange.headers:
            await exchange.fail(400)  # RFC 9110 14.5: a partial PUT would be taken for a whole one
        elif self.max_upload is not None and length is not None and int(length) > self.max_upload:
            await exchange.fail(413)
        else:
            try:
                await self._store(exchange, names)
            except PermissionError:
                await exchange.fail(403)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
                await exchange.fail(409, str(error.args[-1]))
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                await exchange.fail(507)

    async def _store(self, exchange: Exchange, names: list[str]) -> None:
        """Write the body beside its place under a name of its own, then put it there in one step."""
        target = await trio.to_thread.run_sync(self._place, names)
        part = os.path.join(os.path.dirname(target), f".upload-{secrets.token_hex(8)}.part")
        file = await trio.to_thread.run_sync(_create, part)
        try:
            with file:
                if not await self._write_body(exchange, file):
                    await exchange.fail(413)
                    return
            existed = await trio.to_thread.run_sync(_put_in_place, part, target)
        finally:
            _unlink(part)  # unless it took its place
        await exchange.respond(204 if existed else 201)

    def _place(self, names: list[str]) -> str:
        folder = os.path.realpath(os.path.join(self.root, *names[:-1]))
        if not self._inside(folder) or not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, "no such directory")
        target = os.path.join(folder, names[-1])
        if os.path.isdir(target):
            raise IsADirectoryError(errno.EISDIR, "that is a directory")
        return target

    async def _write_body(self, exchange: Exchange, file: BinaryIO) -> bool:
        """Whether the whole body fitted."""
        pieces: list[bytes] = []
        gathered = 0
        async for piece in exchange.body():
            if self.max_upload is not None and exchange.bytes_received > self.max_upload:
                return False
            pieces.append(piece)
            gathered += len(piece)
            if gathered >= CHUNK:
                await trio.to_thread.run_sync(file.writelines, pieces)
                pieces, gathered = [], 0
        await trio.to_thread.run_sync(file.writelines, pieces)
        return True


async def _send_range(exchange: Exchange, file: BinaryIO, start: int, stop: int) -> None:
    while start < stop:
        data = await trio.to_thread.run_sync(os.pread, file.fileno(), min(CHUNK, stop - start), start)
        if not data:
            # Its end came before the length that we promised: only cutting the connection off can say so.
            raise OSError(errno.EIO, f"the file shrank to {start} bytes while it was sent", exchange.target)
        await exchange.send(data)
        start += len(data)


def _create(path: str) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb")


def _put_in_place(part: str, target: str) -> bool:
    existed = os.path.lexists(target)
    os.replace(part, target)
    return existed


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def path_names(target: str) -> list[str] | None:
    """The decoded names in a request's target (RFC 9112 3.2), "" last after a final "/"; None if it is bad.

    Dot segments are removed (RFC 3986 5.2.4), also encoded ones; leaving the root with them is bad.
    """
    if target.startswith("/"):
        path = target.partition("?")[0]
    else:
        try:
            parts = urlsplit(target)
        except ValueError:
            return None
        if parts.scheme.lower() != "http":
            return None
        path = parts.path or "/"
    names: list[str] = []
    last = ""
    for raw in path.split("/")[1:]:
        last = os.fsdecode(unquote_to_bytes(raw.encode("latin-1")))
        if "/" in last or "\0" in last:
            return None
        if last == "..":
            if not names:
                return None
            names.pop()
        elif last not in ("", "."):
            names.append(last)
    if last in ("", ".", "..") and names:
        names.append("")
    return names


def content_type(path: str) -> str:
    """The media type by a file's name; what is compressed is served as such, not as what is inside."""
    kind, encoding = mimetypes.guess_type(path)
    if encoding is not None:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}.get(
            encoding, "application/octet-stream"
        )
    if kind is None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def listing(path: str, names: list[str]) -> bytes:
    """A directory as a page: names sorted, directories with a "/", sizes of files."""
    title = html.escape("/" + "/".join(names), quote=True)
    rows = ['<tr><td><a href="../">../</a></td><td></td></tr>'] if names else []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(".upload-"):
                continue  # an upload under way, see FileServer._store
            folder = entry.is_dir()
            try:
                size = "" if folder else f"{entry.stat().st_size:,}"
            except OSError:  # a link to nowhere, or gone meanwhile
                continue
            slash = "/" if folder else ""
            # "./" keeps a colon in the name from reading as a scheme (RFC 3986 4.2).
            link = "./" + quote(os.fsencode(entry.name), safe="") + slash
            name = html.escape(os.fsencode(entry.name).decode("utf-8", "replace")) + slash
            rows.append(f'<tr><td><a href="{link}">{name}</a></td><td align="right">{size}</td></tr>')
    return PAGE.format(title=title, rows="\n".join(rows)).encode("utf-8", "replace")


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem }} td {{ padding-right: 2rem }}</style>
</head><body><h1>{title}</h1>
<table>
{rows}
</table></body></html>
"""
