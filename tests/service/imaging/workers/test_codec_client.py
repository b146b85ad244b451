"""The codecs in real workers; over HTTP they are tested in http/routes/test_images.py."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest

from service.errors import CorruptImage, ImageTooDemanding, InvalidRequest, MalformedJson, UnsupportedImage
from service.imaging.codecs import ImageFormat, OutputSpec, SourceType, decode, inspect
from service.imaging.damage import Damage, Fault
from service.imaging.frame_transform import FrameTransform
from service.imaging.json_contents import TakenApart
from service.imaging.masks import MaskMeaning
from service.imaging.sizes import Framing, Size
from service.imaging.style_transform import StyleTransform
from service.imaging.upscale_transform import UpscaleTransform
from service.imaging.workers.codec_client import CodecClient
from service.imaging.workers.image_tasks import DecodeRequest, EncodeRequest
from service.imaging.workers.pool import WorkerPool
from service.imaging.workers.task import Budget, CodecTask
from tests.service.imaging.images import file, photo
from tests.service.imaging.workers.functions import loaded
from tests.service.live import worker_launcher

MIB, MEGAPIXEL = 2**20, 10**6
SIZE = Size(24, 32)
STYLE = StyleTransform(SIZE, SIZE, (1.0,), strength=0.5)


def with_codecs(scenario: Callable[[CodecClient], Awaitable[None]], seconds: float = 60.0) -> None:
    async def run() -> None:
        pool = WorkerPool(2, worker_launcher())
        try:
            await scenario(CodecClient(pool, seconds))
        finally:
            await pool.close()

    asyncio.run(run())


def request(image: bytes, mask: bytes | None = None) -> DecodeRequest:
    return DecodeRequest(
        image, inspect(image), mask, MaskMeaning.WHITE, STYLE, keep_grey=False, keep_16_bit=False, keep_metadata=True
    )


def test_damage_is_told_by_the_tables_or_by_the_pixels() -> None:
    async def scenario(codecs: CodecClient) -> None:
        hard, gentle, plain = file(photo(), "JPEG", quality=40), file(photo(), "JPEG", quality=95), file(photo())
        found = [await codecs.assess(image, inspect(image)) for image in (hard, gentle, plain)]
        assert found == [Damage(Fault.COMPRESSED, 40), Damage(), Damage()]
        noisy = 128 + np.random.default_rng(0).normal(0, 9, (64, 64, 3))
        saved = file(noisy.round().astype(np.uint8))
        assert (await codecs.assess(saved, inspect(saved))).fault is Fault.NOISE
        with pytest.raises(CorruptImage):
            await codecs.assess(plain[:-40], inspect(plain))

    with_codecs(scenario)


def test_json_is_taken_apart() -> None:
    async def scenario(codecs: CodecClient) -> None:
        large = base64.b64encode(bytes(2 * 2**20)).decode()
        taken = await codecs.take_apart(json.dumps({"image": large, "name": "x"}).encode(), [("image",)])
        assert taken == TakenApart(b'{"image": null, "name": "x"}', (bytes(2 * 2**20),))
        with pytest.raises(MalformedJson):
            await codecs.take_apart(b"{", [("image",)])

    with_codecs(scenario)


def test_header_is_that_of_the_file() -> None:
    async def scenario(codecs: CodecClient) -> None:
        assert await codecs.inspect(file(photo())) == inspect(file(photo()))
        assert (await codecs.inspect_mask(file(photo()), SIZE, MaskMeaning.WHITE)).upright_size == SIZE
        with pytest.raises(UnsupportedImage):
            await codecs.inspect(b"no image")
        with pytest.raises(InvalidRequest, match="the mask is 32×24"):
            await codecs.inspect_mask(file(photo()), Size(32, 24), MaskMeaning.WHITE)

    with_codecs(scenario)


def test_image_goes_through_workers_and_back() -> None:
    async def scenario(codecs: CodecClient) -> None:
        decoded = await codecs.decode(request(file(photo()), file(np.zeros((24, 32), np.uint8))), SIZE.pixels)
        assert np.array_equal(decoded.inputs[0], photo())
        output = OutputSpec([ImageFormat.PNG])
        asked = EncodeRequest(decoded.source, ([photo(1)],), STYLE, ImageFormat.PNG, output, SourceType.STYLIZED)
        content = await codecs.encode(asked, SIZE.pixels)
        assert isinstance(content, bytes)
        assert np.array_equal(next(decode(content).pictures).pixels, photo())  # the mask is black

    with_codecs(scenario)


def test_torn_file_is_refused() -> None:
    async def scenario(codecs: CodecClient) -> None:
        with pytest.raises(CorruptImage):
            await codecs.decode(request(file(photo(), compress_level=0)[:-900]), SIZE.pixels)

    with_codecs(scenario)


def test_image_that_takes_too_long_is_refused() -> None:
    async def scenario(codecs: CodecClient) -> None:
        endless = StyleTransform(Size(11_000, 11_000), SIZE, (1.0,))
        with pytest.raises(ImageTooDemanding, match=r"more than 0.1 s of processor time to decode"):
            await codecs.decode(replace(request(file(photo())), transform=endless), 0)

    with_codecs(scenario, seconds=0.1)


@pytest.mark.parametrize("transform", [STYLE, UpscaleTransform(SIZE, Framing(SIZE, SIZE))])
def test_worker_loads_nothing_when_it_is_first_asked(transform: FrameTransform) -> None:
    """What is loaded in the program that forks workers is there at once, and once for all of them."""

    async def run() -> None:
        pool = WorkerPool(1, worker_launcher())
        codecs, ask = CodecClient(pool, 60.0), CodecTask(loaded, (), Budget(60, 2**28))
        try:
            before = await pool.run(ask)
            image = file(photo(), "JPEG")
            await codecs.inspect(image)
            await codecs.assess(image, inspect(image))
            decoded = await codecs.decode(replace(request(image), transform=transform), 768)
            outputs = ((photo(1),),)
            kinds = ImageFormat.JPEG, OutputSpec([ImageFormat.JPEG]), SourceType.STYLIZED
            await codecs.encode(EncodeRequest(decoded.source, outputs, transform, *kinds), 768)
            assert await pool.run(ask) == before
            assert len(pool.pids) == 1
        finally:
            await pool.close()

    asyncio.run(run())


class Recording(WorkerPool):
    """A pool that keeps what it is asked, and answers nothing of use."""

    def __init__(self) -> None:
        super().__init__(1, worker_launcher())
        self.budgets: list[Budget] = []

    async def run(self, task: CodecTask) -> bytes:
        self.budgets.append(task.budget)
        return b""


@pytest.mark.parametrize(
    ("size", "pixels", "is_small", "is_long"),
    [
        (MIB, 2 * MEGAPIXEL, True, False),
        (MIB + 1, 0, False, False),
        (0, 2 * MEGAPIXEL + 1, False, False),
        (4 * MIB, 8 * MEGAPIXEL, False, False),
        (4 * MIB + 1, 0, False, True),
        (0, 8 * MEGAPIXEL + 1, False, True),
    ],
)
def test_tasks_are_short_or_long_by_their_files_and_pixels(
    size: int, pixels: int, is_small: bool, is_long: bool
) -> None:
    async def run() -> Budget:
        pool = Recording()
        header = replace(inspect(file(photo())), width=pixels, height=1)
        await CodecClient(pool, 1.0).assess(bytes(size), header)
        return pool.budgets[0]

    budget = asyncio.run(run())
    assert (budget.is_small, budget.is_long) == (is_small, is_long)
