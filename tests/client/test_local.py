import asyncio
from pathlib import Path

import pytest

from client.errors import PasticheError
from client.files import UsageError
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


def test_unknown_model_is_told_before_the_service_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes torch, and all models. A service with that device could not be built."""
    (tmp_path / "wave" / "1").mkdir(parents=True)
    (tmp_path / "wave" / "1" / "manifest.json").touch()
    monkeypatch.setenv("PASTICHE_STORES", str(tmp_path))
    monkeypatch.setenv("PASTICHE_DEVICE", "cuda:99")

    async def run(name: str) -> None:
        async with local([name]):
            raise AssertionError

    with pytest.raises(UsageError, match=r"no model is named 'waves'; there are: wave; did you mean wave\?"):
        asyncio.run(run("waves"))
    with pytest.raises(PasticheError, match="cuda:99 does not exist"):
        asyncio.run(run("wave"))
    monkeypatch.setenv("PASTICHE_STORES", f"{tmp_path}:memory://store")
    with pytest.raises(PasticheError, match="cuda:99 does not exist"):
        asyncio.run(run("waves"))
