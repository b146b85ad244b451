import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.http.connection import SPARE_CONNECTIONS, ConnectionLimits
from tests.service.imaging.images import file, photo
from tests.service.live import Live, held, publish, running, settings, wait_for
from tests.service.wire import LIVE, Wire, connected

HOST = b"Host: here\r\n"
ESTIMATE = b'{"task": "stylize", "style": "wave", "width": 40, "height": 30}'
CHUNKED = (
    b"POST /v1/estimate HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
)
OFFER = LIVE.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
"""A request that offers another protocol."""
LIMITS = ConnectionLimits()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("store")
    publish(root)
    with running(settings(root)) as live:
        yield live


@contextmanager
def limited(root: Path, **limits: Any) -> Iterator[Live]:
    """A service whose connections have these limits."""
    with running(settings(root), limits=replace(LIMITS, **limits)) as live:
        yield live


def estimate(*fields: str, body: bytes = ESTIMATE) -> bytes:
    lines = ["POST /v1/estimate HTTP/1.1", "Host: here", "Content-Type: application/json", *fields]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def problem(wire: Wire, status: int, kind: str) -> str:
    """The detail of the next answer, which has this problem and is the last of its connection."""
    answered, header, body = wire.answer()
    assert (answered, header["Connection"]) == (status, "close"), body
    assert f'"/problems/{kind}"'.encode() in body
    assert wire.ended()
    return body.decode()


@pytest.mark.parametrize(
    "request_line_and_header",
    [
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + fields + b"\r\n\r\n", id=repr(fields))
        for fields in (
            b"Content-Length: 3\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3",
            b"Content-Length: 3\r\nContent-Length: 4",
            b"Content-Length: 3, 4",
            b"Content-Length: +3",
            b"Content-Length: -1",
            b"Content-Length: 0x3",
            b"Content-Length: 99999999999999999999999",
            b"Content-Length : 3",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding:\r\n chunked",
            b"X-Folded: one\r\n two",
            b"X-Bare: one\nX-Other: two",
            b"X-Bare: one\rX-Other: two",
            b"X-Null: a\0b",
            b"X Space: a",
            b"Host: there",
            b": nameless",
        )
    ]
    + [
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\n" + HOST + b"\r\n",
        b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n",
        b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
        b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT here:1 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(live: Live, request_line_and_header: bytes) -> None:
    with connected(live.url) as wire:
        wire.send(request_line_and_header + LIVE)
        problem(wire, 400, "malformed-request")


@pytest.mark.parametrize(
    "chunk",
    [b"zz\r\n", b"0x3\r\nabc\r\n", b"-1\r\n", b"f" * 17 + b"\r\n", b"3\nabc\r\n", b"3\r\nabcX0\r\n", b"3 \r\nabc\r\n"],
)
def test_chunk_that_is_none_is_refused_in_the_middle_of_the_body(live: Live, chunk: bytes) -> None:
    with connected(live.url) as wire:
        wire.send(CHUNKED + b"\r\n1\r\n{\r\n")
        wait_for(lambda: live.metric("pastiche_http_requests_in_progress"), lambda count: count == 2)
        wire.send(chunk + LIVE)
        problem(wire, 400, "malformed-request")
    wait_for(lambda: live.metric("pastiche_http_requests_in_progress"), lambda count: count == 1)


def test_garbage_behind_a_request_does_not_take_its_answer(live: Live) -> None:
    with connected(live.url) as wire:
        wire.send(LIVE + LIVE + b"\0garbage")
        assert wire.statuses(2) == [200, 200]
        problem(wire, 400, "malformed-request")


def test_broken_body_behind_other_requests_does_not_take_their_answers(live: Live) -> None:
    with connected(live.url) as wire:
        wire.send(LIVE + LIVE + CHUNKED + b"\r\nzz\r\n")
        assert wire.statuses(2) == [200, 200]
        problem(wire, 400, "malformed-request")


def test_broken_rest_of_a_body_that_was_refused_ends_the_connection(live: Live) -> None:
    with connected(live.url) as wire:
        wire.send(b"POST /none HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        assert wire.statuses(1) == [404]
        wire.send(b"zz\r\n")
        assert wire.ended()


@pytest.mark.parametrize("end", [b"", b" HTTP/1.1\r\n" + HOST + b"\r\n"])
def test_long_url_is_refused_while_it_arrives(live: Live, end: bytes) -> None:
    with connected(live.url) as wire:
        wire.send(b"GET /" + b"x" * LIMITS.target_bytes + end)
        assert "8192 bytes" in problem(wire, 414, "target-too-long")


@pytest.mark.parametrize(
    "fields",
    [
        b"X: y\r\n" * (LIMITS.header_fields + 1),
        b"X: " + b"y" * 50_000,
        b"x" * 50_000,
        b"".join(b"X: %s\r\n" % (b"y" * 1000) for _ in range(40)),
    ],
)
def test_large_header_is_refused_before_it_ends(live: Live, fields: bytes) -> None:
    with connected(live.url) as wire:
        wire.send(b"GET /livez HTTP/1.1\r\n" + HOST + fields)
        assert "100 fields and 32768 bytes" in problem(wire, 431, "header-too-large")


@pytest.mark.parametrize("begin", [b"GET /livez HTTP/1.1\r\nX: ", b"GET /livez HTTP/1.1\r\n"])
def test_field_without_end_is_refused(live: Live, begin: bytes) -> None:
    with connected(live.url) as wire:
        wire.send(begin)
        with pytest.raises(ConnectionError):  # noqa: PT012 # which of them meets the end is not known
            while True:
                wire.send(b"x" * 2**20)


def test_largest_head_is_read(live: Live) -> None:
    with connected(live.url) as wire:
        query = b"x" * (LIMITS.target_bytes - len("/livez?"))
        fields = b"X-Long: " + b"y" * (LIMITS.header_bytes - 30) + b"\r\n"
        wire.send(b"GET /livez?" + query + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n" + LIVE)
        assert wire.statuses(2) == [422, 200]


@pytest.mark.parametrize("begun", [b"G", b"GET /livez HTTP/1.1\r\nHost: h"])
def test_slow_header_is_refused(tmp_path: Path, begun: bytes) -> None:
    with limited(tmp_path, header_seconds=1.0) as live, connected(live.url) as wire:
        wire.send(begun)
        assert "within 1 s" in problem(wire, 408, "head-timeout")
        with connected(live.url) as later:
            later.send(LIVE)
            assert later.statuses(1) == [200]
            later.send(begun)
            problem(later, 408, "head-timeout")
        assert live.metric("pastiche_rejected_total", reason="head-timeout") == 2


@pytest.mark.parametrize("said", [b"", b"\r\n\r\n"])
def test_silent_connection_is_closed(tmp_path: Path, said: bytes) -> None:
    with limited(tmp_path, header_seconds=1.0) as live, connected(live.url) as wire:
        wire.send(said)
        assert wire.ended()
        assert live.metric("pastiche_http_connections_closed_total", reason="silent") == 1


def test_idle_connection_is_closed(tmp_path: Path) -> None:
    with limited(tmp_path, keep_alive_seconds=1.0) as live, connected(live.url) as wire:
        wire.send(LIVE)
        assert wire.statuses(1) == [200]
        wire.send(b"\r\n")
        assert wire.ended()


def test_rest_of_a_body_is_not_awaited_for_ever(tmp_path: Path) -> None:
    with limited(tmp_path, keep_alive_seconds=0.3) as live, connected(live.url) as wire:
        wire.send(b"POST /none HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n1")
        assert wire.statuses(1) == [404]
        assert wire.ended()


def test_connection_is_idle_from_the_end_of_a_body_that_was_refused(tmp_path: Path) -> None:
    with limited(tmp_path, keep_alive_seconds=2.0) as live, connected(live.url) as wire:
        wire.send(b"POST /none HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n1")
        assert wire.statuses(1) == [404]
        wire.send(b"23456789" + LIVE)
        assert wire.statuses(1) == [200]
        assert wire.ended()


def test_answer_that_nobody_reads_ends_the_connection(tmp_path: Path) -> None:
    with limited(tmp_path, write_seconds=0.3, bytes_per_second=1e9) as live, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        parts = urlsplit(live.url)
        client.connect((parts.hostname, parts.port))
        while not live.metric("pastiche_http_connections_closed_total", reason="unread"):
            try:
                client.sendall(LIVE.replace(b"livez", b"openapi.json") * 32)
            except ConnectionError:
                break
        wait_for(lambda: live.metric("pastiche_http_connections"), lambda count: count == 1)
        assert live.metric("pastiche_http_connections_closed_total", reason="unread") == 1


def test_probes_are_answered_beyond_the_limit_of_connections(tmp_path: Path) -> None:
    with limited(tmp_path, connections=2) as live, ExitStack() as stack:
        stack.enter_context(connected(live.url))
        with connected(live.url) as wire:
            wire.send(estimate())
            assert "at most 2 connections may be open" in problem(wire, 503, "too-many-connections")
        for path in (b"/livez", b"/metrics", b"/readyz?"):
            with connected(live.url) as wire:
                wire.send(LIVE.replace(b"/livez", path))
                _, header, _ = wire.answer()
                assert header["Connection"] == "close"
                assert wire.ended()


def test_probes_behind_a_prefix_are_answered_beyond_the_limit(tmp_path: Path) -> None:
    with running(settings(tmp_path, max_connections=1, root_path="/pastiche")) as live:
        for path in (b"/livez", b"/pastiche/livez", b"/pastiche/metrics"):
            with connected(live.url) as wire:
                wire.send(LIVE.replace(b"/livez", path))
                assert wire.answer()[0] == 200
        with connected(live.url) as wire:
            wire.send(LIVE.replace(b"/livez", b"/other/livez"))
            problem(wire, 503, "too-many-connections")


def test_connections_far_beyond_the_limit_are_closed_at_once(tmp_path: Path) -> None:
    with limited(tmp_path, connections=1) as live, ExitStack() as stack:
        for _ in range(SPARE_CONNECTIONS):
            stack.enter_context(connected(live.url))
        with connected(live.url) as wire:
            assert wire.ended()
    assert live.service.metrics.registry.get_sample_value(
        "pastiche_http_connections_closed_total", {"reason": "surplus"}
    )


def test_pipelined_requests_are_bounded(live: Live) -> None:
    with connected(live.url) as wire:
        wire.send(LIVE * 1000)
        assert wire.statuses(LIMITS.pipelined + 1) == [200] * (LIMITS.pipelined + 1)
        assert "wait for answers" in problem(wire, 503, "overloaded")


@pytest.mark.parametrize("requests", [1, 2, 3])
@pytest.mark.parametrize("reset", [False, True])
def test_client_that_leaves_behind_pipelined_requests_is_noticed(live: Live, requests: int, reset: bool) -> None:
    body = file(photo(1))
    asked = b"POST /v1/stylize/wave HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    before = live.metric("pastiche_http_requests_total", code="499")
    parts = urlsplit(live.url)
    with held(live):
        with socket.create_connection((parts.hostname, parts.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
            client.sendall(asked)
            wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda count: count == 1)
            client.sendall(asked * (requests - 1))
        wait_for(lambda: live.metric("pastiche_http_connections"), lambda count: count == 1)
        wait_for(lambda: live.metric("pastiche_admitted_requests"), lambda count: count == 0)
    wait_for(lambda: live.metric("pastiche_http_requests_in_progress"), lambda count: count == 1)
    assert live.metric("pastiche_http_requests_total", code="499") == before + 1


def test_pipelined_bodies_are_answered_in_turn(live: Live) -> None:
    body = ESTIMATE.ljust(60_000)
    with connected(live.url) as wire:
        for _ in range(3):
            wire.send(estimate(body=body) * 9 + LIVE)
            assert wire.statuses(10) == [200] * 10


@pytest.mark.parametrize("requests", [1, 3])
def test_other_protocol_that_is_offered_is_ignored(live: Live, requests: int) -> None:
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    asked = estimate(*upgrade)
    with connected(live.url) as wire:
        wire.send(asked * requests + LIVE)
        assert wire.statuses(requests + 1) == [200] * (requests + 1)
        wire.send(asked[:-10])
        wire.send(asked[-10:] + OFFER + LIVE)
        assert wire.statuses(3) == [200] * 3


def test_limits_hold_behind_an_offer_of_another_protocol(live: Live) -> None:
    with connected(live.url) as wire:
        wire.send(OFFER)
        assert wire.statuses(1) == [200]
        wire.send(OFFER + b"GET /" + b"x" * 9000)
        assert wire.statuses(1) == [200]
        problem(wire, 414, "target-too-long")


def test_requests_on_one_connection_are_counted_apart(live: Live) -> None:
    with connected(live.url) as wire:
        for _ in range(600):
            wire.send(LIVE)
            assert wire.statuses(1) == [200]
        asked = estimate()
        wire.send(asked[:-10])
        wire.send(asked[-10:-5])
        wire.send(asked[-5:])
        assert wire.statuses(1) == [200]


def chunks(body: bytes, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    return b"".join(b"1%s\r\n%c\r\n" % (extension, byte) for byte in body) + b"0\r\n" + trailer + b"\r\n"


def test_small_chunks_are_read(live: Live) -> None:
    body = ESTIMATE.ljust(50_000)
    with connected(live.url) as wire:
        wire.send(CHUNKED + b"\r\n" + chunks(body, trailer=b"X-Trailer: x\r\n") + LIVE)
        assert wire.statuses(2) == [200, 200]


def test_field_of_a_trailer_is_no_header(live: Live) -> None:
    with connected(live.url) as wire:
        trailer = b"Content-Encoding: br\r\n" * (LIMITS.header_fields + 1)
        wire.send(CHUNKED + b"\r\n" + chunks(ESTIMATE, trailer=trailer))
        assert wire.statuses(1) == [200]


@pytest.mark.parametrize(("extension", "count"), [(b";" + b"x" * 100, 10_000), (b";x=" + b"y" * 10**6, 1)])
def test_chunks_of_extensions_are_refused(live: Live, extension: bytes, count: int) -> None:
    with connected(live.url) as wire:
        wire.send(CHUNKED + b"\r\n")
        wait_for(lambda: live.metric("pastiche_http_requests_in_progress"), lambda count: count == 2)
        wire.send(chunks(b" " * count, extension)[:-5])
        assert "too many extensions" in problem(wire, 400, "malformed-request")


def test_body_that_is_refused_is_not_asked_for(live: Live) -> None:
    with connected(live.url) as wire:
        wire.send(
            b"POST /v1/stylize/wave HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
        )
        assert wire.statuses(1) == [413]


def test_body_that_is_wanted_is_asked_for(live: Live) -> None:
    with connected(live.url) as wire:
        asked = estimate("Expect: 100-continue")
        wire.send(asked[: -len(ESTIMATE)])
        assert [wire.line(), wire.line()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
        wire.send(ESTIMATE)
        assert wire.statuses(1) == [200]


def test_http_1_0_needs_no_host_and_is_closed(live: Live) -> None:
    with connected(live.url) as wire:
        wire.send(b"GET /livez HTTP/1.0\r\n\r\n")
        status, header, _ = wire.answer()
        assert (status, header["Connection"]) == (200, "close")
        assert wire.ended()


def test_head_has_the_length_and_no_body(live: Live) -> None:
    with connected(live.url) as wire:
        wire.send(LIVE.replace(b"GET", b"HEAD") + LIVE)
        assert wire.line() == b"HTTP/1.1 200 OK\r\n"
        while wire.line() != b"\r\n":
            pass
        assert wire.statuses(1) == [200]
