"""`POST /v1/stylize/{style}` and `POST /v1/upscale/{scale}`: an image in, an image out."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from time import monotonic
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response

from service.batcher import Batcher, Job
from service.body import described, read_image, while_connected
from service.codec import (
    DEFAULT_QUALITY,
    Limits,
    Picture,
    accepted_types,
    choose,
    decode,
    encode,
    inspect,
    output_formats,
)
from service.errors import DeadlineExceeded
from service.metrics import Metrics
from service.routes.problems import problems
from service.served_models import ServedModel, ServedModels
from service.settings import Settings
from service.trace import Trace

Encoding = Callable[[Picture], bytes]

Format = Annotated[
    str | None,
    Query(alias="format", description="of the answer; by default by Accept, else that of the input", examples=["webp"]),
]
Quality = Annotated[int, Query(ge=1, le=100, description="of a JPEG or WebP answer")]

Result = TypeVar("Result")


class Images:
    """What turns a request into an answer, built once."""

    def __init__(
        self,
        settings: Settings,
        models: ServedModels,
        batcher: Batcher[ServedModel],
        codecs: Executor,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._limits = Limits(settings.max_pixels, settings.max_output_pixels)
        self._models = models
        self._batcher = batcher
        self._codecs = codecs
        self._metrics = metrics
        self.router = APIRouter(tags=["images"], responses=problems(400, 404, 406, 408, 413, 415, 422, 500, 503, 504))
        for path, endpoint in (("/v1/stylize/{style}", self.stylize), ("/v1/upscale/{scale}", self.upscale)):
            self.router.add_api_route(
                path,
                endpoint,
                methods=["POST"],
                response_class=Response,
                responses={200: _success()},
                openapi_extra=described(),
            )

    async def stylize(
        self,
        request: Request,
        style: Annotated[str, Path(description="a model of GET /v1/models whose task is style")],
        requested: Format = None,
        quality: Quality = DEFAULT_QUALITY,
    ) -> Response:
        """Paint an image in a style, at its own size."""
        return await self._answer(request, self._models.style(style), requested, quality)

    async def upscale(
        self,
        request: Request,
        scale: Annotated[int, Path(ge=2, le=16, description="how many times the side grows")],
        model: Annotated[str | None, Query(description="which model, where several have that scale")] = None,
        requested: Format = None,
        quality: Quality = DEFAULT_QUALITY,
    ) -> Response:
        """Enlarge an image to `scale` times its sides."""
        return await self._answer(request, self._models.upscaler(scale, model), requested, quality)

    async def _answer(self, request: Request, model: ServedModel, requested: str | None, quality: int) -> Response:
        """The life of a request. Each step that can refuse it comes before what it would cost."""
        trace: Trace = request.state.trace
        trace.model, trace.version = model.name, model.manifest.version
        formats = output_formats(requested, request.headers.get("Accept"))
        self._batcher.check(output_pixels=1)  # a full service refuses before it reads
        with trace.stage("read"):
            data = await read_image(request, self._settings.max_body_bytes, self._settings.request_timeout)
        header = inspect(data)
        output = choose(formats, header)
        self._limits.check(header, model.scale, output)
        encoding = partial(encode, output=output, quality=quality)
        with self._batcher.admit(model, header.pixels * model.scale**2, self._deadline()) as job:
            answer = await while_connected(request.receive, self._in_time(job, data, encoding, trace))
        self._metrics.output_pixels.labels(model.name).inc(job.output_pixels)
        return Response(answer, media_type=output.media_type, headers=_headers(model, trace))

    async def _in_time(self, job: Job[ServedModel], data: bytes, encoding: Encoding, trace: Trace) -> bytes:
        try:
            async with asyncio.timeout(job.deadline - monotonic()):
                return await self._painted(job, data, encoding, trace)
        except TimeoutError as error:
            seconds = self._settings.request_timeout
            raise DeadlineExceeded(f"the answer was not ready in {seconds:g} s; send a smaller image") from error

    async def _painted(self, job: Job[ServedModel], data: bytes, encoding: Encoding, trace: Trace) -> bytes:
        """Decode, run and encode. The pool bounds how many images are decoded at once; the batcher has the device."""
        with trace.stage("decode"):
            picture = await self._in_pool(decode, data)
        try:
            pixels = await self._batcher.submit(job, picture.pixels)
        finally:
            trace.durations |= job.durations()
        with trace.stage("encode"):
            return await self._in_pool(lambda: encoding(picture.repainted(pixels)))

    async def _in_pool(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._codecs, function, *arguments)

    def _deadline(self) -> float:
        return monotonic() + self._settings.request_timeout


def _headers(model: ServedModel, trace: Trace) -> dict[str, str]:
    return {
        "Server-Timing": trace.server_timing(),
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
        "X-Model": model.label,
        "X-Model-Digest": model.manifest.digest,
    }


def _success() -> dict[str, Any]:
    file = {"schema": {"type": "string", "format": "binary"}}
    texts = {
        "Server-Timing": "milliseconds of read, decode, queue, infer and encode",
        "X-Model": "name@version of the network",
        "X-Model-Digest": "sha256 of its weights",
        "X-Request-ID": "the request's own, or a new one",
    }
    return {
        "description": "The image",
        "content": dict.fromkeys(accepted_types(), file),
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in texts.items()},
    }
