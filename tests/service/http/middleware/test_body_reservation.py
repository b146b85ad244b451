import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from service.http.body_budget import BodyBudget
from service.http.middleware import body_reservation
from service.http.middleware.body_reservation import BodyReservation, Upload
from service.http.upload_pace import Pace
from service.telemetry.metrics import Metrics
from tests.service.imaging.images import file, photo
from tests.service.live import Live, publish, serving_clients, wait_for
from tests.service.wire import Wire, connected

LARGE = 300_000
BUDGET = 400_000
"""Of which one large body takes all that is not reserved for small ones."""


@pytest.mark.parametrize("fails", [False, True])
def test_memory_is_released_when_the_request_has_ended(fails: bool) -> None:
    budget = BodyBudget(6400, Metrics())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        upload: Upload = scope["state"]["upload"]
        await upload.reserve(1000, 60)
        await upload.grow(2000, 60)
        assert budget.held == 2000
        if fails:
            raise KeyError

    async def nothing() -> Message:
        raise AssertionError

    async def send(_: Message) -> None:
        raise AssertionError

    async def main() -> None:
        await BodyReservation(app, lambda: Upload(budget, Pace(1.0)))({"type": "http"}, nothing, send)

    if fails:
        with pytest.raises(KeyError):
            asyncio.run(main())
    else:
        asyncio.run(main())
    assert budget.held == 0


@contextmanager
def uploading(live: Live) -> Iterator[None]:
    """A client sends a large body for the length of the block, as slowly as it may within a minute."""
    ended = threading.Event()

    def send_slowly(wire: Wire) -> None:
        while not ended.wait(0.2):
            wire.send(bytes(600))

    with ThreadPoolExecutor(1) as client, connected(live.url) as wire:
        wire.send(f"POST /v1/stylize/wave HTTP/1.1\r\nHost: here\r\nContent-Length: {LARGE}\r\n\r\nx".encode())
        wait_for(lambda: live.metric("pastiche_body_bytes"), lambda held: held == LARGE)
        client.submit(send_slowly, wire)
        try:
            yield
        finally:
            ended.set()


@pytest.mark.parametrize(
    ("method", "path", "chunked"),
    [
        ("POST", "/v1/stylize/wave", False),
        ("POST", "/v1/stylize/wave", True),
        ("PUT", "/v1/jobs/mine?style=wave", False),
        ("POST", "/v1/images/edits", False),
    ],
)
def test_large_body_is_refused_while_others_take_its_memory_and_small_ones_are_answered(
    tmp_path: Path, method: str, path: str, chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path)
    monkeypatch.setattr(body_reservation, "WAIT_SHARE", 0.01)
    limits = {"max_body_bytes": LARGE, "max_body_bytes_in_flight": BUDGET, "request_timeout": 60.0}
    small = file(photo())
    large = b'--cut\r\nContent-Disposition: form-data; name="image"\r\n\r\n'.ljust(LARGE)
    with serving_clients(tmp_path, **limits) as live:
        multipart = {"Content-Type": "multipart/form-data; boundary=cut"}
        content = iter([large]) if chunked else large
        with uploading(live):
            answer = live.client.request(method, path, content=content, headers=multipart)
            assert (answer.status_code, problem_kind(answer)) == (503, "too-many-uploads"), answer.text
            assert answer.headers["Retry-After"] == "5"
            assert live.client.post("/v1/stylize/wave", content=small).status_code == 200
            assert live.client.put("/v1/jobs/small?style=wave", content=small).status_code == 201
            form = {"image": small}
            assert live.client.post("/v1/images/edits", files=form, data={"model": "wave"}).status_code == 200
        wait_for(lambda: live.metric("pastiche_body_bytes"), lambda held: held == 0)
        assert live.metric("pastiche_rejected_total", reason="too-many-uploads") == 1


def problem_kind(answer: httpx.Response) -> str:
    """The kind of a problem, as problem details or as OpenAI's error."""
    body = answer.json()
    return str(body["error"]["code"] if "error" in body else body["type"].removeprefix("/problems/"))


def test_stalled_body_is_refused_in_words_and_its_connection_is_closed(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving_clients(tmp_path, request_timeout=0.5) as live, connected(live.url) as wire:
        wire.send(b"POST /v1/stylize/wave HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nx")
        status, header, body = wire.answer()
        assert (status, header["Connection"]) == (408, "close")
        assert b"must arrive within 0.5 s" in body
        assert wire.ended()
