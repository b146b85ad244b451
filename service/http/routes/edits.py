"""`POST /v1/images/edits`: OpenAI's call, with its answers and errors, so that its clients can be pointed here."""

import asyncio
import base64
import time
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from service.errors import InvalidRequest, MalformedBody, ServiceError
from service.http.accept import JSON, Accept
from service.http.body import is_form, read_form
from service.http.disconnect import while_connected
from service.http.multipart import MultipartForm
from service.http.prefer import Preference
from service.http.problems import failure_headers
from service.http.routes.jobs import JobRoutes, JobStatus
from service.http.routes.parameters import PreferHeader, TimeoutHeader
from service.http.routes.problems import titles_of
from service.imaging.codecs import DEFAULT_QUALITY
from service.models.registry import ModelRegistry
from service.pipeline.coalescing import RequestCoalescer
from service.pipeline.requests import (
    ImageRequest,
    InputFiles,
    StylizeParameters,
    StylizeRequest,
    UpscaleParameters,
    UpscaleRequest,
)
from service.pipeline.resolve import resolve
from service.pipeline.result import FinishedImage
from service.pipeline.trace import Trace
from service.settings import Settings

PATH = "/v1/images/edits"

IMAGES = ("image", "image[]")
IGNORED = ("prompt", "user", "quality", "input_fidelity", "moderation")
"""Fields that other models need, and a network with one style, or one scale, has no use for."""


class Edit(BaseModel):
    """The fields of the form, besides the image, that have a meaning here."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        description="a name of GET /v1/models: a style, or a network that enlarges; or styles, mixed by weight",
        examples=["great-wave", "great-wave:0.7,the-scream:0.3"],
    )
    n: Literal["1"] = Field("1", description="a network gives one picture of an image")
    response_format: Literal["b64_json"] = Field("b64_json", description="nothing is kept here that a url could name")
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: int = Field(DEFAULT_QUALITY, ge=0, le=100, description="the quality of a JPEG or WebP")
    size: Literal["auto"] = Field("auto", description="the size of the answer is that of the image, or scale times it")
    background: Literal["auto"] = Field("auto", description="transparency is kept where the format has it")
    stream: Literal["false"] = "false"
    partial_images: Literal["0"] = "0"

    @field_validator("output_format", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return "jpeg" if value == "jpg" else value

    @property
    def query(self) -> dict[str, Any]:
        """The query parameters that mean the same."""
        return {"format": self.output_format, "quality": max(1, self.output_compression)}


class EditedImage(BaseModel):
    """One picture."""

    b64_json: str = Field(description="the file, base64")


class EditResponse(BaseModel):
    """OpenAI's ImagesResponse, as far as it applies."""

    created: int = Field(description="seconds since 1970")
    data: list[EditedImage]
    output_format: str
    size: str = Field(description="width×height in pixels", examples=["1024x768"])

    @classmethod
    def of(cls, image: FinishedImage) -> "EditResponse":
        """A finished image in OpenAI's words."""
        edited = EditedImage(b64_json=base64.b64encode(image.content).decode())
        size = f"{image.result.width}x{image.result.height}"
        return cls(created=int(time.time()), data=[edited], output_format=image.result.format, size=size)


class OpenAIFault(BaseModel):
    """What OpenAI says of a failure."""

    message: str
    type: str = Field(description="invalid_request_error, or server_error")
    param: str | None
    code: str = Field(description="the kind of problem, as at /problems")


class OpenAIError(BaseModel):
    """OpenAI's error."""

    error: OpenAIFault


class EditRoutes:
    """The endpoint for OpenAI's clients."""

    def __init__(self, settings: Settings, models: ModelRegistry, coalescer: RequestCoalescer, jobs: JobRoutes) -> None:
        self._settings = settings
        self._models = models
        self._coalescer = coalescer
        self._jobs = jobs
        self.router = APIRouter(tags=["images"])
        failures = (400, 404, 406, 408, 413, 415, 422, 500, 503, 504)
        self.router.add_api_route(
            PATH,
            self.edit,
            methods=["POST"],
            response_model=EditResponse,
            responses={
                202: {"model": JobStatus, "description": "The job that `Prefer: respond-async` asked for"},
                **{status: {"model": OpenAIError, "description": titles_of(status)} for status in failures},
            },
            openapi_extra={"requestBody": _request_body_schema()},
        )

    async def edit(
        self, request: Request, timeout_seconds: TimeoutHeader = None, prefer: PreferHeader = None
    ) -> Response:
        """OpenAI's call: the model is a style or a network that enlarges, the prompt is ignored.

        A job, where that is preferred, is one of ours.
        """
        trace: Trace = request.state.trace
        with trace.stage("read"):
            parts = await self._read_parts(request)
        image, edit = _image(parts), _edit(parts)
        asked = self._image_request(edit, timeout_seconds)
        if Preference.parse(prefer).respond_async:
            return await self._jobs.accept(request, asked, InputFiles(image), Preference(respond_async=True))
        resolved = resolve(asked, self._models, self._settings)
        finished = await while_connected(request.receive, self._coalescer.run(resolved, image, trace))
        headers = {"Server-Timing": trace.server_timing(), "X-Model": finished.result.label}
        content = await asyncio.to_thread(lambda: EditResponse.of(finished).model_dump_json())
        return Response(content, media_type=JSON, headers=headers)

    async def _read_parts(self, request: Request) -> list[tuple[str, bytes]]:
        if not is_form(request):
            raise MalformedBody("the body must be multipart/form-data with the parts image and model")
        form = MultipartForm(request.headers["Content-Type"], (*IMAGES, *IGNORED, *Edit.model_fields))
        await read_form(request, form, self._settings.max_body_bytes, self._settings.request_timeout)
        return form.parts()

    def _image_request(self, edit: Edit, timeout: float | None) -> ImageRequest:
        is_mixture = ":" in edit.model or "," in edit.model
        model = None if is_mixture else self._models.find(edit.model)
        formats = Accept.parse(()).formats(edit.output_format)
        if model is None or model.manifest.task == "style":
            stylize = StylizeParameters.model_validate(edit.query)
            return StylizeRequest(style=edit.model, parameters=stylize, formats=formats, timeout=timeout)
        upscale = UpscaleParameters.model_validate(edit.query | {"model": model.name})
        return UpscaleRequest(scale=model.scale, parameters=upscale, formats=formats, timeout=timeout)


def openai_error(failure: ServiceError, instance: str) -> Response:
    """A failure as OpenAI's error object; a `Renderer`."""
    kind = "invalid_request_error" if failure.status < 500 else "server_error"
    param = failure.members.get("param")
    fault = OpenAIFault(
        message=failure.detail, type=kind, param=str(param) if param is not None else None, code=failure.kind
    )
    headers = failure_headers(failure, instance)
    return JSONResponse(OpenAIError(error=fault).model_dump(), failure.status, headers)


def _image(parts: Sequence[tuple[str, bytes]]) -> bytes:
    images = [content for name, content in parts if name in IMAGES]
    if len(images) != 1:
        raise InvalidRequest(f"image: one image is edited at a time; the form has {len(images)}", param="image")
    return images[0]


def _edit(parts: Sequence[tuple[str, bytes]]) -> Edit:
    texts = {name: content.decode("utf-8", "replace") for name, content in parts if name in Edit.model_fields}
    try:
        return Edit.model_validate(texts)
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0])
        meaning = Edit.model_fields[name].description
        detail = f"{name}: {fault['msg']}" + (f" ({meaning})" if meaning else "")
        raise InvalidRequest(detail, param=name) from error


def _request_body_schema() -> dict[str, Any]:
    """The form for the OpenAPI document."""
    schema = Edit.model_json_schema()
    image = {"type": "string", "format": "binary", "description": "the file; `image[]` is the same"}
    ignored = {name: {"type": "string", "description": "accepted and ignored"} for name in IGNORED}
    properties = {"image": image, **schema["properties"], **ignored}
    form = {"type": "object", "properties": properties, "required": ["image", "model"]}
    return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
