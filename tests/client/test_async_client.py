import asyncio
import inspect
from pathlib import Path

import httpx
import pytest

from client.answers import JobStatus
from client.async_client import AsyncClient, AsyncJob
from client.errors import Overloaded, UnknownJob, UnknownModel
from client.sync_client import Client, Job
from tests.client.answering import Waits
from tests.service.imaging.images import file, photo
from tests.service.live import held, painted, pixels, publish, publish_upscaler, same, serving

PHOTO = file(photo())


@pytest.mark.parametrize(("ours", "theirs"), [(AsyncClient, Client), (AsyncJob, Job)])
def test_methods_are_those_of_the_other_client(ours: type, theirs: type) -> None:
    def methods(of: type) -> dict[str, list[str]]:
        found = {name: method for name, method in vars(of).items() if not name.startswith("_") and callable(method)}
        return {
            name: [str(each) for each in inspect.signature(method).parameters.values()]
            for name, method in found.items()
        }

    assert methods(ours) == methods(theirs)


def test_many_images_are_on_their_way_at_once(tmp_path: Path) -> None:
    publish(tmp_path / "store")
    publish_upscaler(tmp_path / "store")

    async def run(url: str) -> None:
        async with AsyncClient(url, verify=False) as client:
            assert (await client.ready()).ok
            assert (await client.health()).ok
            pictures = await asyncio.gather(*[client.stylize(photo(seed), "wave") for seed in range(12)])
            for seed, picture in enumerate(pictures):
                assert same(pixels(picture.bytes), painted(tmp_path / "store", photo(seed)))
            assert (await client.upscale(PHOTO, 4, width=64)).image().size == (64, 48)
            estimate = await client.estimate(100, 100, scale=4)
            assert estimate.accepted
            assert [model.name for model in await client.models()] == ["wave", "x4"]
            assert (await client.model("wave")).version == 1
            assert "wave" in await client.card("wave")
            with pytest.raises(UnknownModel):
                await client.stylize(PHOTO, "none")

    with serving(tmp_path / "store") as live:
        asyncio.run(run(live.url))


def test_jobs_are_waited_for(tmp_path: Path) -> None:
    publish(tmp_path / "store")
    seen: list[JobStatus] = []

    async def run(url: str) -> None:
        async with AsyncClient(url, verify=False) as client:
            job = await client.submit(PHOTO, style="wave", id="mine")
            picture = await job.result(seen.append)
            assert picture.bytes == (await client.stylize(PHOTO, "wave")).bytes
            assert [status.state async for status in client.job("mine")] == ["succeeded"]
            assert (await job.status()).ended
            await job.cancel()
            await job.cancel()
            with pytest.raises(UnknownJob):
                await job.wait()

    with serving(tmp_path / "store") as live:
        asyncio.run(run(live.url))
    assert seen[-1].progress.fraction == 1


def test_wait_may_end_before_the_job(tmp_path: Path) -> None:
    publish(tmp_path / "store")

    async def run(url: str) -> None:
        async with AsyncClient(url, verify=False) as client:
            job = await client.submit(PHOTO, style="wave")
            with pytest.raises(TimeoutError, match="still"):
                await job.wait(timeout=0.1)

    with serving(tmp_path / "store") as live, held(live):
        asyncio.run(run(live.url))


def test_pauses_do_not_block() -> None:
    waits = Waits()
    busy = httpx.Response(503, headers={"Retry-After": "3"}, json={"type": "/problems/overloaded", "detail": "full"})

    async def run() -> None:
        transport = httpx.MockTransport(lambda _: busy)
        async with AsyncClient("http://here", transport=transport, sleep=waits.sleep) as client:
            with pytest.raises(Overloaded, match="full"):
                await client.stylize(PHOTO, "wave")

    asyncio.run(run())
    assert waits == [3] * 5
