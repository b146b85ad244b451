import asyncio
from pathlib import Path

import httpx
import pytest

from client.exchange import Refused
from client.local import local
from tests.service.imaging.images import file, photo
from tests.service.live import pixels, publish


def test_local_service_answers_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path)
    monkeypatch.setenv("PASTICHE_STORES", str(tmp_path))
    monkeypatch.setenv("PASTICHE_THREADS", "1")

    async def run() -> httpx.Response:
        async with local(httpx.Timeout(60)) as client:
            return await client.post("/v1/stylize/wave", content=file(photo()))

    answer = asyncio.run(run())
    assert answer.status_code == 200
    assert pixels(answer.content).shape == photo().shape


def test_local_service_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASTICHE_DEVICE", "cuda:99")

    async def run() -> None:
        async with local(httpx.Timeout(60)):
            raise AssertionError

    with pytest.raises(Refused, match="cuda:99 does not exist"):
        asyncio.run(run())
