"""Requests on the wire, some of which are shed."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

from service.http.connection import ConnectionLimits
from tests.service.full import STYLE, Full, full
from tests.service.live import wait_for
from tests.service.wire import LIVE, connected


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    with full(tmp_path_factory.mktemp("store")) as service:
        yield service


def head(length: int, *fields: str, version: str = "1.1") -> bytes:
    """The head of a request that is refused."""
    lines = [f"POST {STYLE} HTTP/{version}", "Host: here", "Accept: */*", f"Content-Length: {length}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def refused(service: Full) -> float:
    return service.live.metric("pastiche_rejected_total", reason="overloaded")


def test_connection_is_kept_after_a_refusal(service: Full) -> None:
    with connected(service.live.url) as wire:
        for _ in range(3):
            wire.send(head(2) + b"xx")
            assert wire.statuses(1) == [503]
        wire.send(LIVE)
        assert wire.statuses(1) == [200]


def test_large_body_is_thrown_away_as_it_comes(service: Full) -> None:
    with connected(service.live.url) as wire:
        wire.send(head(5_000_000) + bytes(5_000_000) + LIVE)
        assert wire.statuses(2) == [503, 200]


def test_trace_is_continued(service: Full) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with connected(service.live.url) as wire:
        wire.send(head(1, f"traceparent: 00-{trace}-00f067aa0ba902b7-01", "X-Request-ID: mine") + b"x")
        status, header, _ = wire.answer()
    assert (status, header["X-Request-ID"]) == (503, "mine")
    assert header["traceparent"].split("-")[1] == trace


def test_pipelined_requests_are_answered_in_turn(service: Full) -> None:
    with connected(service.live.url) as wire:
        wire.send(head(1) + b"x" + LIVE + head(1) + b"x" + LIVE)
        assert wire.statuses(4) == [503, 200, 404, 200]  # behind an unanswered request, the application answers


def test_slow_client_is_answered_before_the_end_of_its_body(service: Full) -> None:
    with connected(service.live.url) as wire:
        wire.send(head(10) + b"12345")
        assert wire.statuses(1) == [503]
        wire.send(b"67890" + LIVE)
        assert wire.statuses(1) == [200]


@pytest.mark.parametrize(("fields", "version"), [(("Connection: close",), "1.1"), ((), "1.0")])
def test_connection_is_closed_when_the_body_has_come(service: Full, fields: tuple[str, ...], version: str) -> None:
    with connected(service.live.url) as wire:
        wire.send(head(10, *fields, version=version) + b"12345")
        status, header, _ = wire.answer()
        assert (status, header["Connection"]) == (503, "close")
        wire.send(b"67890")
        assert wire.ended()


def test_client_that_leaves_before_the_answer_harms_nobody(tmp_path: Path) -> None:
    period = 2.0
    with full(tmp_path, period=period) as service:
        before = refused(service)
        sleep(period - monotonic() % period)  # refusals are sent at the end of a period: it has left long before
        with connected(service.live.url) as wire:
            wire.send(head(10) + b"12345")
        wait_for(lambda: service.live.metric("pastiche_http_requests_total", code="499"), bool)
        assert service.live.metric("pastiche_cancelled_total", stage="before") == 1
        assert refused(service) == before
        assert service.ask("GET", "/livez").status_code == 200


def test_connection_that_fails_takes_no_others_answer(service: Full) -> None:
    with connected(service.live.url) as wire, connected(service.live.url) as bad, connected(service.live.url) as other:
        wire.send(head(1) + b"x")
        bad.send(head(1) + b"x" + LIVE + b"\0garbage")
        other.send(head(1) + b"x" + LIVE)
        assert wire.statuses(1) == [503]
        assert other.statuses(2) == [503, 200]
        assert bad.statuses(3) == [503, 200, 400]
        assert bad.ended()


@pytest.mark.parametrize(
    ("fields", "limits"),
    [
        ((), ConnectionLimits(keep_alive_seconds=1.0)),
        (("Connection: close",), ConnectionLimits(linger_seconds=1.0)),
    ],
)
def test_connection_whose_client_says_no_more_is_closed(
    tmp_path: Path, fields: tuple[str, ...], limits: ConnectionLimits
) -> None:
    with full(tmp_path, limits=limits) as service:
        for rest in (b"", b"678", b"67890"):
            with connected(service.live.url) as wire:
                wire.send(head(10, *fields) + b"12345")
                assert wire.statuses(1) == [503]
                wire.send(rest)
                assert wire.ended()


def test_client_that_expects_100_continue_is_answered_by_the_application(service: Full) -> None:
    before = refused(service)
    with connected(service.live.url) as wire:
        wire.send(head(2, "Expect: 100-continue"))
        assert wire.statuses(1) == [404]
    assert refused(service) == before


def test_pending_refusal_is_still_sent_when_the_service_stops(tmp_path: Path) -> None:
    period = 4.0
    with ExitStack() as running:
        service = running.enter_context(full(tmp_path, period=period))
        shedder = service.live.shedder
        assert shedder is not None
        with connected(service.live.url) as wire:
            wait_for(lambda: monotonic() % period, lambda phase: phase < 0.5)  # nearly a whole period is left
            wire.send(head(1) + b"x")
            wait_for(lambda: shedder.pending, bool)
            running.close()
            status, header, _ = wire.answer()
            assert (status, header["Connection"]) == (503, "close")
            assert wire.ended()
