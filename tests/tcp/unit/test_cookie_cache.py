"""What a client remembers of servers."""

from __future__ import annotations

from stack.tcp.cookie_cache import MAX_DOUBLINGS, MAX_SERVERS, CookieCache, Server
from stack.wire.units import SECOND

COOKIE = bytes(8)


# RFC7413-02, RFC7413-04
def test_requests_alternate_until_a_cookie_comes() -> None:
    server = Server()
    assert server.option == (b"", False)
    server.on_no_cookie((b"", False))
    assert server.option == (b"", True)
    server.on_no_cookie((b"", True))
    assert server.option == (b"", False)
    server.on_no_cookie((b"", False))
    assert server.option == (b"", False)
    server.learn((COOKIE, True))
    assert server.option == (COOKIE, True)
    server.on_no_cookie((COOKIE, True))
    assert server.option == (COOKIE, True)


# RFC7413-04
def test_pauses_double_up_to_a_limit_and_a_success_ends_them() -> None:
    server = Server()
    pauses = []
    for _ in range(MAX_DOUBLINGS + 3):
        server.on_failure(60 * SECOND, 1000)
        pauses.append((server.paused_until - 1000) // (60 * SECOND))
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    server.on_success()
    assert server.paused_until == 0
    server.on_failure(60 * SECOND, 0)
    assert server.paused_until == 60 * SECOND


# RFC7413-04
def test_the_server_that_was_not_needed_for_longest_makes_way() -> None:
    cache = CookieCache()
    keys = [index.to_bytes(10, "big") for index in range(MAX_SERVERS + 1)]
    for key in keys[:MAX_SERVERS]:
        cache.server(key).mss = 1
    assert cache.find(keys[0]) is not None  # now the second is the oldest
    cache.server(keys[MAX_SERVERS])
    assert len(cache) == MAX_SERVERS
    assert cache.find(keys[1]) is None
    assert cache.find(keys[0]) is not None
    cache.clear()
    assert len(cache) == 0
