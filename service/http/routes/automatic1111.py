"""`/sdapi/v1`: enlarging as clients of AUTOMATIC1111's web UI ask for it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel

from service.http.automatic1111.answers import EnlargedImage, EnlargedImages, Upscaler, WebUIError
from service.http.automatic1111.extras import IMAGE, IMAGES, Extras
from service.http.body import read_body
from service.http.compatible_api_calls import MAX_IMAGES, ImageCalls, check_count
from service.http.content_negotiation import JSON
from service.http.problem_responses import titles_of
from service.http.relay.exchange import was_admitted_before
from service.http.routers import REFUSALS, new_router
from service.http.routes.parameters import TimeoutHeader
from service.imaging.json_contents import Path
from service.imaging.sizes import Size
from service.models.registry import ModelRegistry
from service.pipeline.gathering import gather
from service.pipeline.pipeline import ImagePipeline
from service.pipeline.resolve import ResolvedRequest, resolve
from service.pipeline.result import FinishedImage
from service.pipeline.trace import Trace
from service.settings import Settings

PATH = "/sdapi"


class Automatic1111Routes:
    """The upscalers of the "extras" tab."""

    def __init__(self, settings: Settings, models: ModelRegistry, pipeline: ImagePipeline, calls: ImageCalls) -> None:
        self._settings = settings
        self._models = models
        self._pipeline = pipeline
        self._calls = calls
        self.router = new_router(prefix=f"{PATH}/v1", tags=["automatic1111"], responses=_failures(*REFUSALS))
        self.router.add_api_route("/upscalers", self.upscalers)
        failures = _failures(400, 404, 408, 413, 415, 422, 500, 503, 504)
        for path, endpoint, answer in (
            ("/extra-single-image", self.extra_single_image, EnlargedImage),
            ("/extra-batch-images", self.extra_batch_images, EnlargedImages),
        ):
            self.router.add_api_route(
                path,
                endpoint,
                methods=["POST"],
                response_model=answer,
                responses=failures,
                openapi_extra={"requestBody": _body_schema(batch=answer is EnlargedImages)},
            )

    async def upscalers(self) -> list[Upscaler]:
        """What `upscaler_1` may be."""
        return Upscaler.every(self._models.all())

    async def extra_single_image(self, request: Request, timeout_seconds: TimeoutHeader = None) -> Response:
        """Enlarge an image. Faces are not restored, and results of two upscalers not mixed."""
        (image,) = await self._enlarge(request, IMAGE, 1, timeout_seconds)
        return await _response(request, lambda: EnlargedImage.of(image))

    async def extra_batch_images(self, request: Request, timeout_seconds: TimeoutHeader = None) -> Response:
        """Enlarge several images, each by itself."""
        images = await self._enlarge(request, IMAGES, MAX_IMAGES, timeout_seconds)
        return await _response(request, lambda: EnlargedImages.of(images))

    async def _enlarge(self, request: Request, path: Path, most: int, seconds: float | None) -> Sequence[FinishedImage]:
        """The images at that path of the body, enlarged."""
        self._calls.check(request)
        trace: Trace = request.state.trace
        with trace.stage("read"):
            body = await read_body(request, self._settings.max_body_bytes, self._settings.request_timeout)
            taken = await self._pipeline.take_apart(body, [path])
        extras = Extras.parse(taken.document)
        check_count(len(taken.contents), path[0], most)
        if path is IMAGES:
            extras.check_entries(len(taken.contents))
        admitted_before = was_admitted_before(request)
        work = await gather(self._resolve(extras, image, seconds, admitted_before) for image in taken.contents)
        return await self._calls.run_all(request, work)

    async def _resolve(
        self, extras: Extras, image: bytes, seconds: float | None, admitted_before: bool
    ) -> tuple[ResolvedRequest, bytes]:
        header = await self._pipeline.inspect(image)
        asked = extras.request(Size(*header.upright_size), self._network_scale(extras.upscaler_1), seconds)
        return resolve(asked, self._models, self._settings, admitted_before=admitted_before), image

    def _network_scale(self, name: str) -> int:
        """That of a network of that name; 1 for auto, for a chain, and for what is not served."""
        return next((model.scale for model in self._models.all() if model.upscales and model.name == name), 1)


async def _response(request: Request, build: Callable[[], BaseModel]) -> Response:
    content = await asyncio.to_thread(lambda: build().model_dump_json())
    return Response(content, media_type=JSON, headers={"Server-Timing": request.state.trace.server_timing()})


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": WebUIError, "description": titles_of(status)} for status in statuses}


def _body_schema(*, batch: bool) -> dict[str, Any]:
    """The body for the OpenAPI document, which cannot see what a worker parses."""
    image = {"type": "string", "description": "a file as base64, also as a data URL"}
    entry = {"type": "object", "properties": {"data": image, "name": {"type": "string"}}, "required": ["data"]}
    images = {"imageList": {"type": "array", "items": entry}} if batch else {"image": image}
    properties = {**Extras.model_json_schema()["properties"], **images}
    schema = {"type": "object", "properties": properties, "required": [*images, "upscaler_1"]}
    return {"required": True, "content": {JSON: {"schema": schema}}}
