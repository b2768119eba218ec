"""Files over HTTP: paths, ranges, conditions, listings, uploads. Streams in memory; the files are real."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stack.apps.http import FileServer, files, serve_directory
from stack.apps.http.files import CHUNK, content_type, listing, path_names
from tests.apps.helpers import Peer, Reply, talking_to

BIG = bytes(range(256)) * (3 * CHUNK // 256) + b"the end"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "site").mkdir()
    (root / "a.txt").write_bytes(b"0123456789")
    (root / "empty").write_bytes(b"")
    (root / "big.bin").write_bytes(BIG)
    (root / "sub" / "page.html").write_text("<p>")
    (root / "site" / "index.html").write_text("the site")
    (root / "sp ace & <b>.txt").write_text("odd")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root-beside").mkdir()
    (tmp_path / "root-beside" / "secret").write_text("secret")
    os.utime(root / "a.txt", (784123200, 784123200))
    return root


def tree(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


async def get(root: Path, target: str, headers: str = "", *, method: str = "GET") -> Reply:
    async with talking_to(serve_directory(root)) as peer:
        return await peer.asks(f"{method} {target} HTTP/1.1\nHost: x\n{headers}")


@contextlib.asynccontextmanager
async def uploading(root: Path, max_upload: int | None = None) -> AsyncIterator[Peer]:
    async with talking_to(serve_directory(root, allow_put=True, max_upload=max_upload)) as peer:
        yield peer


async def put(peer: Peer, target: str, body: bytes, headers: str = "") -> Reply:
    head = f"PUT {target} HTTP/1.1\nHost: x\nContent-Length: {len(body)}\n{headers}\n"
    await peer.says(head.replace("\n", "\r\n").encode() + body)
    return await peer.hears()


async def test_a_file(root: Path) -> None:
    reply = await get(root, "/a.txt")
    assert (reply.status, reply.body) == (200, b"0123456789")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["last-modified"] == "Sun, 06 Nov 1994 12:00:00 GMT"
    assert reply.headers["accept-ranges"] == "bytes"


async def test_a_file_of_many_chunks(root: Path) -> None:
    assert (await get(root, "/big.bin")).body == BIG


async def test_an_empty_file(root: Path) -> None:
    reply = await get(root, "/empty")
    assert (reply.status, reply.headers["content-length"], reply.body) == (200, "0", b"")


async def test_head(root: Path) -> None:
    reply = await get(root, "/big.bin", method="HEAD")
    assert (reply.status, reply.headers["content-length"], reply.body) == (200, str(len(BIG)), b"")


async def test_absolute_form_and_query(root: Path) -> None:
    assert (await get(root, "http://x/a.txt?v=1")).body == b"0123456789"
    assert (await get(root, "/sub/../a.txt?../..")).body == b"0123456789"
    assert (await get(root, "http://x")).status == 200


@pytest.mark.parametrize(
    ("wanted", "status", "body", "content_range"),
    [
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=3-5", 206, b"345", "bytes 3-5/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("chapters=1", 200, b"0123456789", None),
        ("bytes=10-", 416, None, "bytes */10"),
    ],
)
async def test_ranges(root: Path, wanted: str, status: int, body: bytes | None, content_range: str | None) -> None:
    reply = await get(root, "/a.txt", f"Range: {wanted}\n")
    assert reply.status == status
    assert reply.headers.get("content-range") == content_range
    if body is not None:
        assert reply.body == body


async def test_a_range_across_chunks(root: Path) -> None:
    reply = await get(root, "/big.bin", f"Range: bytes={CHUNK - 5}-{2 * CHUNK + 4}\n")
    assert reply.body == BIG[CHUNK - 5 : 2 * CHUNK + 5]


async def test_head_ignores_ranges(root: Path) -> None:
    assert (await get(root, "/a.txt", "Range: bytes=3-5\n", method="HEAD")).status == 200


async def test_if_range(root: Path) -> None:
    etag = (await get(root, "/a.txt")).headers["etag"]
    assert (await get(root, "/a.txt", f"Range: bytes=3-5\nIf-Range: {etag}\n")).status == 206
    assert (await get(root, "/a.txt", 'Range: bytes=3-5\nIf-Range: "other"\n')).status == 200


async def test_not_modified(root: Path) -> None:
    first = await get(root, "/a.txt")
    again = await get(root, "/a.txt", f"If-None-Match: {first.headers['etag']}\n")
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert "content-length" not in again.headers
    assert (await get(root, "/a.txt", "If-Modified-Since: Sun, 06 Nov 1994 12:00:00 GMT\n")).status == 304
    (root / "a.txt").write_bytes(b"changed")
    assert (await get(root, "/a.txt", f"If-None-Match: {first.headers['etag']}\n")).status == 200


async def test_a_directory_without_slash_redirects(root: Path) -> None:
    reply = await get(root, "/sub?x=1")
    assert (reply.status, reply.headers["location"]) == (301, "/sub/?x=1")


async def test_a_redirect_never_leads_to_another_host(root: Path) -> None:
    reply = await get(root, "//sub")
    assert (reply.status, reply.headers["location"]) == (301, "/sub/")


async def test_index(root: Path) -> None:
    assert (await get(root, "/site/")).body == b"the site"


async def test_listing(root: Path) -> None:
    reply = await get(root, "/")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    page = reply.body.decode()
    assert '<a href="./sp%20ace%20%26%20%3Cb%3E.txt">sp ace &amp; &lt;b&gt;.txt</a>' in page
    places = [page.index(f">{name}<") for name in ("a.txt", "big.bin", "empty", "site/", "sub/")]
    assert places == sorted(places)
    assert "../" not in page
    assert '<a href="../">' in (await get(root, "/sub/")).body.decode()


def test_a_listing_leaves_out_what_leads_nowhere_and_uploads_under_way(root: Path) -> None:
    (root / "sub" / "nowhere").symlink_to("missing")
    (root / "sub" / ".upload-1.part").touch()
    page = listing(str(root / "sub"), ["sub", ""]).decode()
    assert "nowhere" not in page
    assert "upload" not in page


def test_a_listing_shows_names_that_are_not_text(root: Path) -> None:
    (root / "sub" / os.fsdecode(b"caf\xe9")).touch()
    page = listing(str(root / "sub"), ["sub", ""]).decode()
    assert '<a href="./caf%E9">caf\ufffd</a>' in page


async def test_a_file_whose_name_is_not_text(root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9")).write_text("coffee")
    assert (await get(root, "/caf%E9")).body == b"coffee"


@pytest.mark.parametrize(
    "target",
    [
        "/missing",
        "/a.txt/",
        "/a.txt/b",
        "/../secret",
        "/%2e%2e/secret",
        "/sub/../../secret",
        "/..%2fsecret",
        "/sub%2f..%2f..%2fsecret",
        "/../root-beside/secret",
        "//../secret",
        "/a.txt%00.html",
        "/" + "x" * 300,
        "https://x/a.txt",
        "*",
        "http://[/a.txt",
    ],
)
async def test_not_found(root: Path, target: str) -> None:
    reply = await get(root, target)
    assert reply.status == 404
    assert b"secret\n" not in reply.body


async def test_links_are_followed_inside_the_root_alone(root: Path) -> None:
    (root / "inside").symlink_to("a.txt")
    (root / "outside").symlink_to("../secret")
    (root / "beside").symlink_to("../root-beside")
    (root / "loop").symlink_to("loop")
    assert (await get(root, "/inside")).body == b"0123456789"
    for target in ("/outside", "/beside/secret", "/beside/", "/beside", "/loop"):
        assert (await get(root, target)).status == 404


async def test_an_index_that_leads_outside_is_not_followed(root: Path) -> None:
    (root / "sub" / "index.html").symlink_to("../../secret")
    reply = await get(root, "/sub/")
    assert b"secret" not in reply.body.replace(b"/sub/", b"")
    assert b"page.html" in reply.body


async def test_only_regular_files_are_served(root: Path) -> None:
    os.mkfifo(root / "fifo")
    assert (await get(root, "/fifo")).status == 403


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "TRACE", "CONNECT"])
async def test_other_methods(root: Path, method: str) -> None:
    reply = await get(root, "x:1" if method == "CONNECT" else "/a.txt", method=method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_options(root: Path) -> None:
    reply = await get(root, "*", method="OPTIONS")
    assert (reply.status, reply.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


async def test_a_file_that_shrinks_cuts_the_answer_off(root: Path) -> None:
    (root / "shrinks").write_bytes(b"x" * 20 * CHUNK)
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="shrank")):
        async with talking_to(serve_directory(root)) as peer:
            await peer.says("GET /shrinks HTTP/1.1\nHost: x\n\n")
            await peer.stream.receive_some(1)
            os.truncate(root / "shrinks", 10)
            while await peer.stream.receive_some():  # the failure ends this too
                pass


def test_the_root_must_be_a_directory(root: Path) -> None:
    with pytest.raises(NotADirectoryError):
        FileServer(root / "a.txt")


async def test_put_creates_and_replaces(root: Path) -> None:
    async with uploading(root) as peer:
        assert (await put(peer, "/sub/new", b"one")).status == 201
        assert (root / "sub" / "new").read_bytes() == b"one"
        assert (await put(peer, "/sub/new", BIG)).status == 204
        assert (root / "sub" / "new").read_bytes() == BIG
        assert (await put(peer, "/sub/nothing", b"")).status == 201
        assert (await peer.asks("GET /sub/new HTTP/1.1\nHost: x")).body == BIG
    assert sorted(os.listdir(root / "sub")) == ["deep", "new", "nothing", "page.html"]
    umask = os.umask(0)
    os.umask(umask)
    assert (root / "sub" / "new").stat().st_mode & 0o777 == 0o666 & ~umask


async def test_put_chunked(root: Path) -> None:
    async with uploading(root) as peer:
        await peer.says("PUT /c HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n3\nabc\n2\nde\n0\n\n")
        assert (await peer.hears()).status == 201
    assert (root / "c").read_bytes() == b"abcde"


async def test_put_needs_permission(root: Path) -> None:
    async with talking_to(serve_directory(root)) as peer:
        assert (await put(peer, "/new", b"one")).status == 405
        assert (await put(peer, "/new", b"one")).status == 405  # on the same connection
    assert not (root / "new").exists()


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/", "", 400),
        ("/dir/", "", 400),
        ("/../x", "", 400),
        ("/x", "Content-Range: bytes 0-2/10\n", 400),
        ("/sub", "", 409),
        ("/missing/x", "", 409),
        ("/a.txt/x", "", 409),
        ("/beside/x", "", 409),
    ],
)
async def test_put_refused(root: Path, target: str, headers: str, status: int) -> None:
    (root / "beside").symlink_to("../root-beside")
    before = tree(root)
    async with uploading(root) as peer:
        assert (await put(peer, target, b"one", headers)).status == status
    assert tree(root) == before
    assert not (root.parent / "root-beside" / "x").exists()


async def test_put_replaces_a_link_not_what_it_leads_to(root: Path) -> None:
    (root / "link").symlink_to("../secret")
    async with uploading(root) as peer:
        assert (await put(peer, "/link", b"mine")).status == 204
    assert (root / "link").read_bytes() == b"mine"
    assert (root.parent / "secret").read_bytes() == b"secret"


async def test_put_too_large(root: Path) -> None:
    before = tree(root)
    async with uploading(root, max_upload=10) as peer:
        assert (await put(peer, "/x", b"x" * 11)).status == 413
        assert (await put(peer, "/x", b"x" * 10)).status == 201
        await peer.says("PUT /y HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\nb\n01234567890\n0\n\n")
        assert (await peer.hears()).status == 413
    assert tree(root) == sorted([*before, root / "x"])


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EACCES, 403)])
async def test_put_that_the_disk_refuses(root: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int) -> None:
    def refuse(part: str, target: str) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "_put_in_place", refuse)
    before = tree(root)
    async with uploading(root) as peer:
        assert (await put(peer, "/x", b"one")).status == status
        assert (await peer.asks("GET /a.txt HTTP/1.1\nHost: x")).status == 200
    assert tree(root) == before


async def test_put_cut_short_leaves_nothing(root: Path) -> None:
    before = tree(root)
    async with uploading(root) as peer:
        await peer.says(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000)
        await peer.stream.send_eof()
        assert (await peer.hears()).status == 400
    assert tree(root) == before


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("/", []),
        ("/a", ["a"]),
        ("/a/", ["a", ""]),
        ("/a//b", ["a", "b"]),
        ("/a/./b", ["a", "b"]),
        ("/a/../b", ["b"]),
        ("/a/..", []),
        ("/a/b/..", ["a", ""]),
        ("/a/.", ["a", ""]),
        ("/a%20b?c/d", ["a b"]),
        ("/%C3%A9", ["é"]),
        ("http://h/a", ["a"]),
        ("HTTP://h", []),
        ("/..", None),
        ("/a/../../b", None),
        ("/a%2fb", None),
        ("/%00", None),
        ("*", None),
        ("h:80", None),
        ("ftp://h/a", None),
    ],
)
def test_path_names(target: str, names: list[str] | None) -> None:
    assert path_names(target) == names


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt.xz", "application/x-xz"),
        ("a.txt.Z", "application/octet-stream"),
        ("a.no-such-type", "application/octet-stream"),
        ("README", "application/octet-stream"),
    ],
)
def test_content_type(name: str, kind: str) -> None:
    assert content_type(name) == kind
