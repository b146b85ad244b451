"""`POST /v1/stylize/{style}` and `POST /v1/upscale/{scale}`: an image in, an image out."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi import Header as RequestHeader

from service.admission import Admission
from service.allocator import give_back
from service.batcher import Batcher
from service.body import described, read_image, while_connected
from service.codec import (
    DEFAULT_QUALITY,
    Header,
    Limits,
    Picture,
    accepted_types,
    choose,
    decode,
    encode,
    inspect,
    output_formats,
)
from service.errors import DeadlineExceeded, InvalidRequest, Overloaded
from service.jobs import Job, Priority
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
Urgency = Annotated[Priority, Query(description="bulk: nobody waits for it; interactive work goes first")]
Within = Annotated[
    float | None,
    RequestHeader(
        alias="X-Request-Timeout",
        gt=0,
        allow_inf_nan=False,
        description="seconds after which the answer is of no use; work that cannot be done by then is refused at once",
    ),
]

LARGE = 16_000_000
"""Output pixels from which an answer's memory is not kept for the next one."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Wish:
    """What a request asks for beside its image."""

    format: str | None
    quality: int
    priority: Priority
    timeout: float | None
    default_timeout: float
    began: float = field(default_factory=monotonic)

    @property
    def seconds(self) -> float:
        """Within which the answer is wanted."""
        return self.timeout or self.default_timeout

    def deadline(self) -> float:
        """When (`time.monotonic`) the answer is late: from the request's arrival where it says so, else from now."""
        return (self.began if self.timeout else monotonic()) + self.seconds


class Images:
    """What turns a request into an answer, built once."""

    def __init__(
        self,
        settings: Settings,
        models: ServedModels,
        admission: Admission[ServedModel],
        batcher: Batcher[ServedModel],
        codecs: Executor,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._limits = Limits(settings.max_pixels, settings.max_output_pixels, settings.max_whole_pixels)
        self._models = models
        self._admission = admission
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
        priority: Urgency = Priority.INTERACTIVE,
        within: Within = None,
    ) -> Response:
        """Paint an image in a style, at its own size."""
        wish = self._wish(requested, quality, priority, within)
        return await self._answer(request, self._models.style(style), wish)

    async def upscale(
        self,
        request: Request,
        scale: Annotated[int, Path(ge=2, le=16, description="how many times the side grows")],
        model: Annotated[str | None, Query(description="which model, where several have that scale")] = None,
        requested: Format = None,
        quality: Quality = DEFAULT_QUALITY,
        priority: Urgency = Priority.INTERACTIVE,
        within: Within = None,
    ) -> Response:
        """Enlarge an image to `scale` times its sides."""
        wish = self._wish(requested, quality, priority, within)
        return await self._answer(request, self._models.upscaler(scale, model), wish)

    async def _answer(self, request: Request, model: ServedModel, wish: Wish) -> Response:
        """The life of a request. Each step that can refuse it comes before what it would cost."""
        trace: Trace = request.state.trace
        trace.model, trace.version = model.name, model.manifest.version
        formats = output_formats(wish.format, request.headers.get("Accept"))
        self._admission.check(model, 1, 1, wish.deadline(), wish.priority)  # a full service refuses before it reads
        with trace.stage("read"):
            seconds = min(self._settings.request_timeout, wish.seconds)
            data = await read_image(request, self._settings.max_body_bytes, seconds)
        header = inspect(data)
        output = choose(formats, header)
        self._limits.check(header, model.scale, output, tileable=model.manifest.tileable)
        encoding = partial(encode, output=output, quality=wish.quality)
        with self._admitted(request, model, header, wish, len(data)) as job:
            answer = await while_connected(request.receive, self._in_time(job, data, encoding, trace))
        self._metrics.output_pixels.labels(model.name).inc(job.output_pixels)
        return Response(answer, media_type=output.media_type, headers=_headers(model, trace))

    @contextmanager
    def _admitted(
        self, request: Request, model: ServedModel, header: Header, wish: Wish, length: int
    ) -> Iterator[Job[ServedModel]]:
        try:
            with self._admission.admit(model, header.height, header.width, wish.deadline(), wish.priority) as job:
                yield job
        except Overloaded as refusal:
            if wish.priority is Priority.INTERACTIVE:
                self._admission.remember(refusal, wish.seconds, request.url.path, length)
            raise

    async def _in_time(self, job: Job[ServedModel], data: bytes, encoding: Encoding, trace: Trace) -> bytes:
        try:
            async with asyncio.timeout(job.deadline - monotonic()):
                return await self._painted(job, data, encoding, trace)
        except TimeoutError as error:
            seconds = job.deadline - job.admitted
            detail = f"the answer was not ready in {seconds:.3g} s; send a smaller image, or a larger X-Request-Timeout"
            raise DeadlineExceeded(detail) from error

    async def _painted(self, job: Job[ServedModel], data: bytes, encoding: Encoding, trace: Trace) -> bytes:
        """Decode, run and encode. The pool bounds how many images are decoded at once; the batcher has the device."""
        with trace.stage("decode"):
            picture = await self._in_pool(decode, data)
        try:
            pixels = await self._batcher.submit(job, picture.pixels)
        finally:
            trace.durations |= job.durations()
        with trace.stage("encode"):
            answer = await self._in_pool(lambda: encoding(picture.repainted(pixels)))
        if job.output_pixels >= LARGE:
            await self._in_pool(give_back)
        return answer

    async def _in_pool(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._codecs, function, *arguments)

    def _wish(self, requested: str | None, quality: int, priority: Priority, within: float | None) -> Wish:
        most = self._settings.max_request_timeout
        if within is not None and within > most:
            raise InvalidRequest(f"X-Request-Timeout is {within:g}; at most {most:g} seconds are accepted")
        return Wish(requested, quality, priority, within, self._settings.request_timeout)


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
