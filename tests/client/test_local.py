import asyncio
from pathlib import Path

import pytest

from client.errors import PasticheError
from client.local import local
from client.picture import Picture
from tests.service.imaging.images import file, photo
from tests.service.live import pixels, publish


def test_local_service_answers_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path)
    monkeypatch.setenv("PASTICHE_STORES", str(tmp_path))
    monkeypatch.setenv("PASTICHE_THREADS", "1")

    async def run() -> Picture:
        async with local() as client:
            return await client.stylize(file(photo()), "wave")

    picture = asyncio.run(run())
    assert [(model.name, model.version) for model in picture.models] == [("wave", 1)]
    assert pixels(picture.bytes).shape == photo().shape


def test_local_service_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASTICHE_DEVICE", "cuda:99")

    async def run() -> None:
        async with local():
            raise AssertionError

    with pytest.raises(PasticheError, match="cuda:99 does not exist"):
        asyncio.run(run())
