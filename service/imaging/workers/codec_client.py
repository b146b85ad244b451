"""The codecs as the pipeline calls them: in worker processes, each call within a budget that follows from its size."""

import asyncio
import os
import pickle
from collections.abc import Sequence
from dataclasses import replace

from service.imaging.codecs import ImageHeader
from service.imaging.damage import Damage
from service.imaging.json_contents import Path, TakenApart
from service.imaging.masks import MaskMeaning
from service.imaging.sizes import Size
from service.imaging.workers.image_tasks import (
    DecodedFrames,
    DecodeRequest,
    EncodeRequest,
    assess_image,
    decode_frames,
    encode_frames,
    inspect_image,
    inspect_mask_for,
    take_json_apart,
)
from service.imaging.workers.pool import WorkerPool
from service.imaging.workers.task import Budget, CodecTask

MEGAPIXEL = 10**6
MIB = 2**20

SMALL_FILE, SMALL_IMAGE = MIB, 2 * MEGAPIXEL
"""Bytes and pixels up to which a task is expected to be short."""

LONG_FILE, LONG_IMAGE = 4 * MIB, 8 * MEGAPIXEL
"""Bytes or pixels beyond which a task is expected to take more than a tenth of a second."""

BASE_MEMORY = 512 * MIB
THREAD_MEMORY = 16 * MIB * (os.cpu_count() or 1)
"""Bytes of address space that a task is given whatever its size: for libraries, and for the stacks of their threads."""

FILE_MEMORY, PIXEL_MEMORY = 8, 96
"""Bytes of address space for a byte of a file, and for a pixel of an image, of which several copies are made."""

PIXEL_SECONDS = {"read": 0.0, "decode": 0.25, "encode": 1.0}
"""Processor time for a megapixel, as a share of every task's: several times what the slowest format takes."""

JSON_BYTES = 4
"""For a pixel of JSON, at least: three values, of a digit and a comma each, are more."""

COPIED_ON_LOOP = MIB
"""Bytes of an answer up to which it is copied on the event loop."""


class CodecClient:
    """Reads and writes image files in the workers of a pool. Every call raises as `WorkerPool.run` does."""

    def __init__(self, pool: WorkerPool, seconds: float) -> None:
        """`seconds`: processor time of every task; each megapixel adds a share of it."""
        self._pool = pool
        self._seconds = seconds

    async def inspect(self, image: bytes) -> ImageHeader:
        """The header of an image. Raises what `codecs.inspect` raises."""
        task = CodecTask(inspect_image, (_shared(image),), self._budget("read", len(image)))
        header: ImageHeader = await self._pool.run(task)
        return header

    async def inspect_mask(self, mask: bytes, photo: Size, meaning: MaskMeaning) -> ImageHeader:
        """The header of a mask. Raises what `masks.inspect_mask` raises."""
        task = CodecTask(inspect_mask_for, (_shared(mask), photo, meaning), self._budget("read", len(mask)))
        header: ImageHeader = await self._pool.run(task)
        return header

    async def assess(self, image: bytes, header: ImageHeader) -> Damage:
        """What is wrong with an image that does not move. Raises CorruptImage."""
        budget = self._budget("decode", len(image), header.pixels)
        damage: Damage = await self._pool.run(CodecTask(assess_image, (_shared(image), header), budget))
        return damage

    async def take_apart(self, body: bytes, paths: Sequence[Path]) -> TakenApart:
        """A JSON document and what is at these paths in it. Raises what `json_contents.take_apart` raises."""
        budget = self._budget("decode", len(body), len(body) // JSON_BYTES)
        task = CodecTask(take_json_apart, (_shared(body), paths), budget)
        document, contents = await self._pool.run(task)
        copied = [await asyncio.to_thread(bytes, content) for content in contents]
        return TakenApart(document, tuple(copied))

    async def decode(self, request: DecodeRequest, pixels: int) -> DecodedFrames:
        """All frames of an image. `pixels` are those of the files and of what the networks get. Raises CorruptImage."""
        image, mask = bytes(request.image), None if request.mask is None else bytes(request.mask)
        shared = replace(request, image=_shared(image), mask=None if mask is None else _shared(mask))
        budget = self._budget("decode", len(image) + len(mask or b""), pixels)
        decoded: DecodedFrames = await self._pool.run(CodecTask(decode_frames, (shared,), budget))
        return decoded

    async def encode(self, request: EncodeRequest, pixels: int) -> bytes:
        """The file of an answer. `pixels` are those of the networks' outputs and of the answer."""
        budget = self._budget("encode", 0, pixels)
        content: memoryview = await self._pool.run(CodecTask(encode_frames, (request,), budget))
        if len(content) <= COPIED_ON_LOOP:
            return bytes(content)
        return await asyncio.to_thread(bytes, content)

    def _budget(self, purpose: str, size: int, pixels: int = 0) -> Budget:
        """The limits of a task on a file of `size` bytes that shows `pixels`."""
        memory = BASE_MEMORY + THREAD_MEMORY + FILE_MEMORY * size + PIXEL_MEMORY * pixels
        is_small = size <= SMALL_FILE and pixels <= SMALL_IMAGE
        seconds = self._seconds * (1 + PIXEL_SECONDS[purpose] * pixels / MEGAPIXEL)
        return Budget(seconds, memory, purpose, is_small, is_long=size > LONG_FILE or pixels > LONG_IMAGE)


def _shared(file: bytes) -> pickle.PickleBuffer:
    return pickle.PickleBuffer(file)
