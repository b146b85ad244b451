"""Batching never changes your picture: the bytes of an answer do not depend on what else the service does."""

import asyncio
from pathlib import Path

import httpx
import pytest
import torch

from model_store import has_fast_bf16
from tests.networks import network
from tests.service.imaging.images import file, photo
from tests.service.live import PATIENCE, Live, publish, serving

REQUESTS = 240
AT_ONCE = 64
SIZES = ((1, 1), (7, 40), (16, 16), (24, 32), (33, 21), (48, 64))
PATHS = ("/v1/stylize/wave", "/v1/stylize/thumb", "/v1/upscale/2")
STYLE = "c3s1-4,d6,R6,u4,c3s1-3"
UPSCALE = "c3s1-6,R6,u6,c3s1-3"
MANY_TILES = {"tile_values": 2**14}
"""The largest of the images are two tiles for a style, and eight or more for the upscaler."""


async def storm(live: Live, pictures: list[bytes]) -> list[tuple[int, str, bytes]]:
    """All requests, as many at once as there are connections; which picture, which path, and the answer's bytes.

    A place is taken before a connection is asked for: httpx looks at all that wait for one whenever one gets free.
    """
    places = asyncio.Semaphore(AT_ONCE)
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(base_url=live.url, timeout=PATIENCE, limits=limits) as client:

        async def ask(number: int) -> tuple[int, str, bytes]:
            picture, path = number % len(pictures), PATHS[number % len(PATHS)]
            async with places:
                answer = await client.post(path, content=pictures[picture], headers={"X-Request-ID": str(number)})
            assert answer.status_code == 200, answer.text
            assert answer.headers["X-Request-ID"] == str(number)
            return picture, path, answer.content

        return await asyncio.gather(*(ask(number) for number in range(REQUESTS)))


def check(root: Path, **options: object) -> None:
    publish(root, "wave", network(STYLE))
    publish(root, "thumb", network(STYLE, norm="thumbnail", seed=1))
    publish(root, "x2", network(UPSCALE, skip=True))
    pictures = [file(photo(seed, *SIZES[seed % len(SIZES)])) for seed in range(19)]
    with serving(root, max_queue_requests=2 * REQUESTS, request_timeout=600, coalesce=False, **options) as live:
        alone = {
            (picture, path): live.client.post(path, content=data).content
            for picture, data in enumerate(pictures)
            for path in PATHS
        }
        answers = asyncio.run(storm(live, pictures))
        assert live.metric("pastiche_prediction_ratio_count") > REQUESTS
    assert len(answers) == REQUESTS
    for picture, path, answer in answers:
        assert answer == alone[picture, path], f"picture {picture} of {path}"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_hundreds_of_requests_at_once_get_the_bytes_that_each_gets_alone(tmp_path: Path, precision: str) -> None:
    if precision == "bf16" and not has_fast_bf16(torch.device("cpu")):
        pytest.skip("this processor does not compute in bf16")
    check(tmp_path, precision=precision, threads=2, lanes=2, **MANY_TILES)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_hundreds_of_requests_at_once_on_a_gpu(tmp_path: Path) -> None:
    check(tmp_path, device="cuda", precision="fp16")
