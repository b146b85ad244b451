import asyncio
import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from service.app import build_service
from service.http.json_body import JSON_LIMIT
from tests.service.live import publish, serving, settings

JSON = {"Content-Type": "application/json"}
ESTIMATE = b'{"task": "stylize", "style": "wave", "width": 40, "height": 30}'


def test_body_up_to_the_limit_is_read(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        answer = live.client.post("/v1/estimate", content=ESTIMATE.ljust(JSON_LIMIT.bytes), headers=JSON)
        assert answer.status_code == 200
        assert answer.json()["accepted"]


@pytest.mark.parametrize("chunked", [False, True])
def test_larger_body_is_refused(tmp_path: Path, chunked: bool) -> None:
    publish(tmp_path)
    body = ESTIMATE.ljust(JSON_LIMIT.bytes + 1)

    def chunks() -> Iterator[bytes]:
        yield body

    with serving(tmp_path) as live:
        answer = live.client.post("/v1/estimate", content=chunks() if chunked else body, headers=JSON)
        assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large")
        assert answer.json()["max_accepted"] == JSON_LIMIT.bytes


def test_coding_is_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        coded = {"Content-Encoding": "gzip"}
        answer = live.client.post("/v1/estimate", content=gzip.compress(ESTIMATE), headers=JSON | coded)
        assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-coding")
        assert answer.headers["Accept-Encoding"] == "identity"
        plain = live.client.post("/v1/estimate", content=ESTIMATE, headers=JSON | {"Content-Encoding": "identity"})
        assert plain.status_code == 200


def test_endless_body_is_read_no_further_than_the_limit(tmp_path: Path) -> None:
    app, given = build_service(settings(tmp_path)).app, 0
    sent: list[Message] = []

    async def receive() -> Message:
        nonlocal given
        given += 2**14
        return {"type": "http.request", "body": bytes(2**14), "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/estimate", "query_string": b"", "headers": headers}
    asyncio.run(app(scope | {"http_version": "1.1", "scheme": "http", "server": ("here", 80)}, receive, send))
    assert sent[0]["status"] == 413
    assert given <= JSON_LIMIT.bytes + 2 * 2**14
    assert httpx.Response(413, content=sent[1]["body"]).json()["limit"] == "max_json_bytes"
